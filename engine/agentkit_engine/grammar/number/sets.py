"""Exact sets of finite decimal numbers, closed under and, or, not.

Knows numbers. Must not know schemas, texts or rounding: what doubles make of a bound or a divisor
is told in `doubles`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from agentkit_engine.errors import SchemaTooLarge

__all__ = ["Number", "NumberSet", "Table", "case_of", "decimal", "exponent", "possible_cases"]

Number: TypeAlias = int | float | Decimal

_EXPONENT = 4300
"""Decimal exponents beyond this, either way, are refused: exact arithmetic would drown in digits
(Python reads no longer integers either)."""
_DIVISORS = 10
"""Divisors that one set may tell apart; its spans are truth tables over them."""

Table: TypeAlias = int
"""A truth table: bit i says what holds of a number that, of the set's divisors, exactly those
divide whose bit is set in i."""


@dataclass(frozen=True, slots=True)
class NumberSet:
    """A set of finite decimals: which are in it between and at its cuts, by what divides them.

    cuts: ascending, M of them. points: whether each cut is a member. spans: M + 1 truth tables
    over `divisors` (ascending), one for each open interval between cuts. A number is an integer by
    its value: 1.0 is one. Equal sets are nearly always `==`; where a bounded span holds no multiple
    at all, or divisors differ of which only the least common multiple tells, they may not be.
    """

    cuts: tuple[Decimal, ...]
    points: tuple[bool, ...]
    spans: tuple[Table, ...]
    divisors: tuple[Fraction, ...]

    @classmethod
    def everything(cls) -> NumberSet:
        return _EVERYTHING

    @classmethod
    def nothing(cls) -> NumberSet:
        return _NOTHING

    @classmethod
    def integers(cls) -> NumberSet:
        return _INTEGERS

    @classmethod
    def between(
        cls,
        low: Decimal | None,
        high: Decimal | None,
        *,
        low_excluded: bool = False,
        high_excluded: bool = False,
    ) -> NumberSet:
        """From `low` to `high`; None or an infinity bounds nothing on its own side.

        Raises ValueError for NaN and SchemaTooLarge for an exponent of over 4300.
        """
        found = _EVERYTHING
        if low is not None:
            found &= _above(low, included=not low_excluded)
        if high is not None:
            found &= ~_above(high, included=high_excluded)
        return found

    @classmethod
    def multiples(cls, divisor: Decimal) -> NumberSet:
        """All integer multiples of `divisor`. Raises ValueError unless it is finite and over 0."""
        if not (divisor.is_finite() and divisor > 0):
            raise ValueError(f"{divisor} divides nothing; a divisor is over 0")
        return cls((), (), (0b10,), (Fraction(_bounded(divisor)),))

    @classmethod
    def of(cls, values: Iterable[Number]) -> NumberSet:
        """Just these numbers (infinities and NaN are none)."""
        found = (decimal(value) for value in values)
        cuts = tuple(sorted({value for value in found if value.is_finite()}))
        return cls(cuts, (True,) * len(cuts), (0,) * (len(cuts) + 1), ())

    @property
    def empty(self) -> bool:
        """Whether no number is in it, as far as can be told without counting multiples."""
        return self == _NOTHING

    def __contains__(self, number: Number) -> bool:
        value = decimal(number)
        if not value.is_finite():
            return False
        at = bisect_left(self.cuts, value)
        if at < len(self.cuts) and self.cuts[at] == value:
            return self.points[at]
        return self._holds(self.spans[at], value)

    def __and__(self, other: NumberSet) -> NumberSet:
        return _combined(self, other, lambda one, two: one & two)

    def __or__(self, other: NumberSet) -> NumberSet:
        return _combined(self, other, lambda one, two: one | two)

    def __sub__(self, other: NumberSet) -> NumberSet:
        return self & ~other

    def __invert__(self) -> NumberSet:
        every = possible_cases(self.divisors)
        points = tuple(not point for point in self.points)
        return NumberSet(
            self.cuts, points, tuple(every & ~span for span in self.spans), self.divisors
        )

    def refined(
        self, cuts: tuple[Decimal, ...], divisors: tuple[Fraction, ...]
    ) -> tuple[list[bool], list[Table]]:
        """The points and spans at more cuts and over more divisors, both ascending."""
        spans = list(self.spans)
        if divisors != self.divisors:
            lifted = {span: _lifted(span, self.divisors, divisors) for span in set(spans)}
            spans = [lifted[span] for span in spans]
        if cuts == self.cuts:
            return list(self.points), spans
        points: list[bool] = []
        among = spans[:1]
        own = len(self.cuts)
        at = 0
        for cut in cuts:
            if at < own and self.cuts[at] == cut:
                points.append(self.points[at])
                at += 1
            else:
                points.append(self._holds(self.spans[at], cut))
            among.append(spans[at])
        return points, among

    def _holds(self, span: Table, value: Decimal) -> bool:
        return span > 0 and bool(span >> case_of(self.divisors, value) & 1)

    def _normal(self) -> NumberSet:
        """Without the cuts and divisors that tell nothing apart."""
        cuts: list[Decimal] = []
        points: list[bool] = []
        spans = [self.spans[0]]
        for cut, point, span in zip(self.cuts, self.points, self.spans[1:], strict=True):
            if spans[-1] != span or self._holds(span, cut) != point:
                cuts.append(cut)
                points.append(point)
                spans.append(span)
        divisors, tables = _without_idle(self.divisors, frozenset(spans))
        narrow = dict(tables)
        return NumberSet(
            tuple(cuts), tuple(points), tuple(narrow[span] for span in spans), divisors
        )


_EVERYTHING = NumberSet((), (), (1,), ())
_NOTHING = NumberSet((), (), (0,), ())
_INTEGERS = NumberSet((), (), (0b10,), (Fraction(1),))


def decimal(number: Number) -> Decimal:
    """The number exactly as it is written: a float stands for the shortest text that reads back
    as it. Raises ValueError for NaN and SchemaTooLarge for an exponent of over 4300."""
    return _bounded(Decimal(repr(number)) if isinstance(number, float) else Decimal(number))


def case_of(divisors: tuple[Fraction, ...], value: Decimal) -> int:
    """Which of the divisors divide `value`: bit i stands for divisor i."""
    if not divisors:
        return 0
    top, bottom = value.as_integer_ratio()
    found = 0
    for bit, one in enumerate(divisors):
        found |= (top * one.denominator % (bottom * one.numerator) == 0) << bit
    return found


def _bounded(value: Decimal) -> Decimal:
    if value.is_nan():
        raise ValueError("NaN is no number to compare with")
    reach = max(abs(value.adjusted()), -int(exponent(value))) if value.is_finite() and value else 0
    if reach > _EXPONENT:
        raise SchemaTooLarge(reach, _EXPONENT, "digits of one number")
    return value


def exponent(value: Decimal) -> int:
    """The exponent of a finite decimal's last digit."""
    found = value.as_tuple().exponent
    return found if isinstance(found, int) else 0


def _above(low: Decimal, *, included: bool) -> NumberSet:
    if _bounded(low).is_infinite():
        return _NOTHING if low > 0 else _EVERYTHING
    return NumberSet((low,), (included,), (0, 1), ())


def _combined(one: NumberSet, two: NumberSet, operation: Callable[[int, int], int]) -> NumberSet:
    divisors = one.divisors
    if two.divisors != divisors:
        divisors = tuple(sorted({*one.divisors, *two.divisors}))
    cuts = one.cuts
    if two.cuts != cuts:
        cuts = tuple(sorted({*one.cuts, *two.cuts}))
    first, second = one.refined(cuts, divisors), two.refined(cuts, divisors)
    points = tuple(bool(operation(*pair)) for pair in zip(first[0], second[0], strict=True))
    spans = tuple(operation(*pair) for pair in zip(first[1], second[1], strict=True))
    return NumberSet(cuts, points, spans, divisors)._normal()  # pyright: ignore[reportPrivateUsage]


@lru_cache(maxsize=256)
def possible_cases(divisors: tuple[Fraction, ...]) -> Table:
    """The cases that some number is in, as a truth table; more than ten divisors are too many.

    What has exactly these divisors, if anything has, is their least common multiple.
    """
    if len(divisors) > _DIVISORS:
        raise SchemaTooLarge(len(divisors), _DIVISORS, "divisors of one number")
    every = 0
    for case in range(1 << len(divisors)):
        dividing = [one for bit, one in enumerate(divisors) if case >> bit & 1]
        least = _least_multiple(dividing)
        every |= all(
            case >> bit & 1 or least is None or (least / one).denominator != 1
            for bit, one in enumerate(divisors)
        ) << case  # fmt: skip
    return every


def _least_multiple(divisors: list[Fraction]) -> Fraction | None:
    if not divisors:
        return None  # numbers that nothing divides are everywhere
    top = math.lcm(*(one.numerator for one in divisors))
    return Fraction(top, math.gcd(*(one.denominator for one in divisors)))


@lru_cache(maxsize=1024)
def _lifted(span: Table, few: tuple[Fraction, ...], many: tuple[Fraction, ...]) -> Table:
    bits = [many.index(one) for one in few]
    possible, found = possible_cases(many), 0
    for case in range(1 << len(many)):
        narrow = sum((case >> bit & 1) << place for place, bit in enumerate(bits))
        found |= (span >> narrow & 1) << case
    return found & possible


@lru_cache(maxsize=1024)
def _without_idle(
    divisors: tuple[Fraction, ...], spans: frozenset[Table]
) -> tuple[tuple[Fraction, ...], tuple[tuple[Table, Table], ...]]:
    """Drops the divisors that no span depends on, the largest first; each span's new table."""
    narrow = {span: span for span in spans}
    for bit in reversed(range(len(divisors))):
        rest = divisors[:bit] + divisors[bit + 1 :]
        fewer = {table: _narrowed(table, divisors, bit) for table in narrow.values()}
        if all(_lifted(few, rest, divisors) == table for table, few in fewer.items()):
            narrow = {span: fewer[table] for span, table in narrow.items()}
            divisors = rest
    return divisors, tuple(narrow.items())


def _narrowed(span: Table, divisors: tuple[Fraction, ...], bit: int) -> Table:
    """The only table that may do without the divisor at `bit`."""
    found, below = 0, (1 << bit) - 1
    for case in range(1 << len(divisors)):
        if span >> case & 1:
            found |= 1 << (case & below | case >> bit + 1 << bit)
    return found & possible_cases(divisors[:bit] + divisors[bit + 1 :])
