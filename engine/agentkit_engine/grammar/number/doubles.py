"""What a divisor surely divides, by arithmetic and by a validator that divides doubles.

Knows IEEE 754 doubles, and how `jsonschema` divides with them. Must not know schemas or texts, but
for their rule (see `writing`): a number with a fraction has at most six decimal places, or is the
shortest text of its double; whole numbers are read exactly, however long.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np

from agentkit_engine.grammar.number.remainders import PLACES
from agentkit_engine.grammar.number.sets import NumberSet, decimal
from agentkit_engine.grammar.truth import Between

__all__ = ["multiples_between"]

_TRIED = 10_000
"""Multiples of a fractional divisor, either way from 0, whose division is tried one by one."""
_REFUSED = 20_000
"""Of those, how many may fail, times the size of the divisor's numerator; after that no more are
tried. The states of a leaf before it is reduced grow with both."""
_WHOLE = 2**53
"""From here on doubles are whole numbers, and not every whole number is one."""
_HUGE = Decimal(10**60)
"""Larger than any number that is written, and far from what overflows."""


@lru_cache(maxsize=256, typed=True)  # 2 and 2.0 are divided by differently
def multiples_between(divisor: int | float) -> Between[NumberSet]:
    """The multiples of `divisor`, a finite number over 0 (else ValueError).

    jsonschema 4 divides doubles if the divisor is one, and asks whether the rounded quotient is
    whole: 4.35 is no multiple of 0.01 to it. Inside is what passes both: the first multiples, whose
    division is tried; those which are doubles themselves, if the divisor's own error is below
    2^-54, as their quotient then rounds to the whole number it should be; and those whose quotient
    is too large for a fraction. Outside is what surely fails both: quotients further from a whole
    number than three roundings may err, 2^-51 in all.
    """
    known = NumberSet.multiples(decimal(divisor))
    if isinstance(divisor, int):
        return Between.exactly(known)  # their remainder is exact
    inner = _tried(divisor) | (known & (_sure(divisor) | _far(divisor)))
    written = Fraction(decimal(divisor))
    top = written.numerator * 10**PLACES
    nearest = Fraction(math.gcd(top, written.denominator), top)  # of a quotient to a whole number
    reach = written * nearest * 2**51 if divisor > 1e-200 else Fraction(0)
    fine = ~NumberSet.multiples(Decimal(1).scaleb(-PLACES))
    return Between(inner, known | ~_within(reach) | fine)


def _within(reach: Fraction) -> NumberSet:
    """Up to some way from 0; a bit less than `reach` where that is no decimal."""
    bound = Context(prec=40, rounding="ROUND_DOWN").divide(
        Decimal(reach.numerator), Decimal(reach.denominator)
    )
    return NumberSet.between(bound.copy_negate(), bound)


def _tried(divisor: float) -> NumberSet:
    """Multiples some way from 0, without those whose division rounds to a fraction."""
    written = decimal(divisor)
    top, bottom = written.as_integer_ratio()
    places = next((at for at in range(PLACES + 1) if 10**at % bottom == 0), None)
    if places is None or top * 10**PLACES >= _WHOLE // _TRIED:
        return NumberSet.nothing()
    step = top * 10**places // bottom
    # Both operands are exact, so this division rounds once, like reading the text does.
    multiples = np.arange(1, _TRIED + 1, dtype=np.float64) * step / 10**places
    quotients = multiples / divisor
    fails = np.flatnonzero(quotients != np.floor(quotients)) + 1
    most = _REFUSED // (4 + step)
    last = int(fails[most]) - 1 if len(fails) > most else _TRIED
    refused = [(Decimal(one).scaleb(-places)) for one in (fails[:most] * step).tolist()]
    reach = Decimal(last * step).scaleb(-places)
    kept = NumberSet.multiples(written) & NumberSet.between(reach.copy_negate(), reach)
    return kept - NumberSet.of([*refused, *(one.copy_negate() for one in refused)])


def _sure(divisor: float) -> NumberSet:
    """Multiples that are doubles, and whose quotient is one."""
    written = Fraction(decimal(divisor))
    if abs(written / Fraction(divisor) - 1) >= Fraction(1, 2**54):
        return NumberSet.nothing()
    whole = math.gcd(written.denominator, 2**PLACES)  # of six places, 1/64 is the finest double
    step = Decimal(written.numerator) / Decimal(whole)
    reach = min(_WHOLE * written, Fraction(_WHOLE, whole))
    return NumberSet.multiples(step) & _within(reach)


def _far(divisor: float) -> NumberSet:
    """Where every quotient is whole for its size, but finite."""
    if divisor < 1e-200:
        return NumberSet.nothing()
    return NumberSet.between(_HUGE.copy_negate(), _HUGE) - _within(
        Fraction(decimal(divisor)) * (_WHOLE + 8)
    )
