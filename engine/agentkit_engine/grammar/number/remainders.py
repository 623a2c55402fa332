"""Which divisors divide a number, told while its digits are read.

Knows digits and remainders. Must not know bounds, sets or labels. Numbers are counted in units of
their last possible decimal place, so that a fractional divisor is an integer too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLACES", "Remainders", "remainders"]

PLACES = 6
"""Decimal places that a number may have."""

_CLASSES = 2_000
"""Classes that digits read so far may fall into; divisors that need more are not followed."""
_AHEAD = 48
"""Digits looked ahead at most; a longer memory of zeros is for numbers never written."""
_UNIT = 10**PLACES

Signature = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remainders:
    """An automaton over digits: the whole ones in one table, each decimal place in its own.

    whole: int64 [C, 10], the class after a further whole digit; nothing read is class 0. places:
    for each place k, int64 [C(k), 10], the class at k + 1 places; the classes without a place are
    those of `whole`. cases: for 0 to 6 places, int64 [C(k)], which divisors divide what was read
    (bit i stands for divisor i).
    """

    whole: NDArray[np.int64]
    places: tuple[NDArray[np.int64], ...]
    cases: tuple[NDArray[np.int64], ...]


@lru_cache(maxsize=256)
def remainders(divisors: tuple[Fraction, ...]) -> Remainders | None:
    """The automaton that tells these divisors; None if it is too large to follow.

    As small as can be: a class is what can still be appended to make a multiple (Myhill and Nerode
    1957-58), so that multiples of 10^20 take 21 classes, and those of 999 take 999.
    """
    moduli = [_modulus(one) for one in divisors]
    ahead = max((_smooth(modulus) for modulus in moduli), default=0)
    if ahead > _AHEAD:
        return None
    period = math.lcm(*moduli)

    def whole(read: int) -> Signature:
        """By modulus and count of further digits the least completion, if that count can be it."""
        return tuple(
            _completion(
                read * 10**digits, modulus, _UNIT * 10**digits if digits < ahead else period
            )
            for modulus in moduli
            for digits in range(ahead + 1)
        )

    known, read = {whole(0): 0}, [0]
    table: list[list[int]] = []
    for value in read:  # grows on the way
        table.append(_moves((value * 10, _UNIT), period, whole, known, read))
        if len(read) > _CLASSES:
            return None
    places: list[NDArray[np.int64]] = []
    cases = [_cases(read, moduli)]
    for place in range(PLACES):
        found, read = _place(read, 10 ** (PLACES - 1 - place), moduli)
        if len(read) > _CLASSES:
            return None
        places.append(found)
        cases.append(_cases(read, moduli))
    return Remainders(np.array(table), tuple(places), tuple(cases))


def _place(read: list[int], unit: int, moduli: list[int]) -> tuple[NDArray[np.int64], list[int]]:
    """The moves by one decimal digit worth `unit`, and what was read where they lead."""

    def signature(read: int) -> Signature:
        return tuple(_completion(read, modulus, unit) for modulus in moduli)

    known: dict[Signature, int] = {}
    reached: list[int] = []
    period = math.lcm(*moduli)
    rows = [_moves((value, unit), period, signature, known, reached) for value in read]
    return np.array(rows), reached


def _moves(
    read: tuple[int, int],
    period: int,
    signature: Callable[[int], Signature],
    known: dict[Signature, int],
    values: list[int],
) -> list[int]:
    """The class after each digit; read: the number with a 0, and what one more is worth.

    New classes go into `known`, and what was read there into `values`.
    """
    row: list[int] = []
    for digit in range(10):
        after = (read[0] + digit * read[1]) % period
        found = known.setdefault(signature(after), len(values))
        if found == len(values):
            values.append(after)
        row.append(found)
    return row


def _completion(read: int, modulus: int, limit: int) -> int:
    """What must be appended, below `limit`, to make a multiple; -1 if nothing does."""
    least = -read % modulus
    return least if least < limit else -1


def _cases(read: Sequence[int], moduli: list[int]) -> NDArray[np.int64]:
    found = (sum((value % one == 0) << bit for bit, one in enumerate(moduli)) for value in read)
    return np.fromiter(found, np.int64, len(read))


def _modulus(divisor: Fraction) -> int:
    """The multiples of the divisor with few enough places, counted in the last place's unit."""
    top = divisor.numerator * _UNIT
    return top // math.gcd(top, divisor.denominator)


def _smooth(modulus: int) -> int:
    """Further whole digits after which only the part of the modulus prime to ten matters."""
    digits = 0
    while digits <= _AHEAD and modulus // math.gcd(modulus, _UNIT * 10**digits) % 2 == 0:
        digits += 1
    while digits <= _AHEAD and modulus // math.gcd(modulus, _UNIT * 10**digits) % 5 == 0:
        digits += 1
    return digits
