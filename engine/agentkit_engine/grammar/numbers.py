"""Numbers in a range, as decimal text.

Knows digits. Must not know schemas or tokens. Numbers are written as the syntaxes write them: no
exponent, no leading or trailing zero, no minus zero. Up to 15 digits, so that two texts are two
doubles and a bound on the text is a bound on the double; only an integer bound reaches further.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache

import numpy as np

from agentkit_engine.grammar.automaton import ByteAutomaton, minimal
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.expression import (
    EMPTY,
    NOTHING,
    Expression,
    Spliced,
    byte_range,
    choice,
    literal,
    optional,
    repeat,
    sequence,
)

__all__ = ["Bounds", "integer", "multiple", "number"]

Bounds = tuple[Decimal | None, bool, Decimal | None, bool]
"""lowest, whether it is excluded, highest, whether it is excluded"""

_LIMIT = 10**15 - 1
_FAR = 10**40
_PLACES = 6
_DIGIT = byte_range((0x30, 0x39))
_EXACT = Context(prec=2000)


@lru_cache(maxsize=256)
def integer(bounds: Bounds, *, reach: int = _FAR) -> Expression:
    """The integers within the bounds.

    An open side ends where 15 digits do, a side further out than `reach` ends there; either goes
    on for a digit past the other side if that lies beyond.
    """
    low, high = _scaled(bounds, 0)
    floor = -_LIMIT if low is None else max(low, -reach)
    ceiling = _LIMIT if high is None else min(high, reach)
    if high is not None and high < floor:
        floor = 10 * high if low is None else max(low, 10 * high)
    if low is not None and low > ceiling:
        ceiling = 10 * low if high is None else min(high, 10 * low)
    return _signed(floor, ceiling, 0)


@lru_cache(maxsize=256)
def number(bounds: Bounds) -> Expression:
    """The decimals within the bounds, with up to six places."""
    options = [integer(bounds, reach=_LIMIT)]
    for places in range(1, _PLACES + 1):
        low, high = _scaled(bounds, places)
        low = -_LIMIT if low is None else max(low, -_LIMIT)
        high = _LIMIT if high is None else min(high, _LIMIT)
        options.append(_signed(low, high, places))
    found = build(choice(options)) & build(_shortest())
    return NOTHING if found.empty else Spliced(found)


def multiple(expression: Expression, divisor: int) -> Expression:
    """Of the integers that `expression` writes, the multiples of `divisor`."""
    found = build(expression) & _multiples(divisor)
    return NOTHING if found.empty else Spliced(found)


def _scaled(bounds: Bounds, places: int) -> tuple[int | None, int | None]:
    """The bounds in units of the last of `places` decimal places, both included."""
    low, low_excluded, high, high_excluded = bounds
    least = most = None
    if low is not None:
        scaled = low.scaleb(places, _EXACT)
        least = int(scaled.to_integral_value(ROUND_CEILING, _EXACT))
        least += low_excluded and least == scaled
    if high is not None:
        scaled = high.scaleb(places, _EXACT)
        most = int(scaled.to_integral_value(ROUND_FLOOR, _EXACT))
        most -= high_excluded and most == scaled
    return least, most


def _signed(low: int, high: int, places: int) -> Expression:
    below = _natural(max(1, -high), -low, places)
    return choice((sequence(literal(b"-"), below), _natural(max(low, 0), high, places)))


def _natural(low: int, high: int, places: int) -> Expression:
    """`low` to `high`, neither negative, the last `places` digits behind the point."""
    shortest = places + 1
    options: list[Expression] = []
    for width in range(max(len(str(low)), shortest), max(len(str(high)), shortest) + 1):
        least = max(low, 10 ** (width - 1) if width > shortest else 0)
        most = min(high, 10**width - 1)
        if least <= most:
            options.append(_digits(f"{least:0{width}}", f"{most:0{width}}", places))
    return choice(options)


def _digits(low: str, high: str, places: int) -> Expression:
    """Digit strings between two of equal length, the point before the last `places`."""
    if not low:
        return EMPTY
    if not low.strip("0") and not high.strip("9"):
        return _any_digits(len(low), places)
    point = literal(b"." if len(low) == places else b"")
    rest = len(low) - 1
    if low[0] == high[0]:
        tail = _digits(low[1:], high[1:], places)
        return sequence(point, literal(low[:1].encode()), tail)
    options = [
        sequence(literal(low[:1].encode()), _digits(low[1:], "9" * rest, places)),
        sequence(literal(high[:1].encode()), _digits("0" * rest, high[1:], places)),
    ]
    between = (ord(low[0]) + 1, ord(high[0]) - 1)
    if between[0] <= between[1]:
        options.append(sequence(byte_range(between), _any_digits(rest, places)))
    return sequence(point, choice(options))


def _any_digits(count: int, places: int) -> Expression:
    if 0 < places <= count:
        whole = repeat(_DIGIT, count - places, count - places)
        return sequence(whole, literal(b"."), repeat(_DIGIT, places, places))
    return repeat(_DIGIT, count, count)


def _shortest() -> Expression:
    """Any decimal without trailing zeros; one place may be zero, as in 2.0."""
    whole = sequence(optional(literal(b"-")), repeat(_DIGIT, 1))
    ending = sequence(repeat(_DIGIT, 1), byte_range((0x31, 0x39)))
    return sequence(whole, optional(sequence(literal(b"."), choice((_DIGIT, ending)))))


@lru_cache(maxsize=64)
def _multiples(divisor: int) -> ByteAutomaton:
    """Digit strings by their remainder: state 0 is the start, 1 + r the remainder r."""
    remainders = np.arange(divisor)[:, None] * 10 + np.arange(10)
    table = np.full((divisor + 1, 12), -1, np.int32)
    table[1:, :10] = remainders % divisor + 1
    table[0] = table[1]
    table[0, 10] = 0
    class_of = np.full(256, 11, np.uint8)
    class_of[0x30:0x3A] = np.arange(10)
    class_of[0x2D] = 10
    accepting = np.zeros(divisor + 1, np.bool_)
    accepting[1] = True
    return minimal(table, class_of, accepting)
