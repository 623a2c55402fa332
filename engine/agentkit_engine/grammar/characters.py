"""Sets of Unicode characters, and how they are spelled in UTF-8.

Knows code points and bytes. Must not know quotes, escapes or schemas. A set is a sorted tuple of
inclusive ranges that don't touch; surrogates are in none.
"""

from collections.abc import Iterable
from functools import lru_cache

from agentkit_engine.grammar.expression import Expression, byte_range, choice, sequence

__all__ = ["ALL", "Characters", "characters", "complement", "intersection", "one", "union", "utf8"]

Characters = tuple[tuple[int, int], ...]

ALL: Characters = ((0, 0xD7FF), (0xE000, 0x10FFFF))
_LENGTH_LIMITS = (0x7F, 0x7FF, 0xFFFF, 0x10FFFF)


def one(character: str) -> Characters:
    """Just this character."""
    return ((ord(character), ord(character)),)


def characters(text: str) -> Characters:
    """The characters that occur in `text`."""
    return union(*(one(character) for character in text))


def union(*sets: Characters) -> Characters:
    """Characters of any of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pair for ranges in sets for pair in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return intersection(tuple(merged), ALL) if sets else ()


def intersection(left: Characters, right: Characters) -> Characters:
    """Characters of both sets."""
    found = (
        (max(low, other_low), min(high, other_high))
        for low, high in left
        for other_low, other_high in right
    )
    return tuple(sorted((low, high) for low, high in found if low <= high))


def complement(ranges: Characters) -> Characters:
    """Every other character."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        gaps.append((start, low - 1))
        start = high + 1
    gaps.append((start, 0x10FFFF))
    return intersection(tuple(gap for gap in gaps if gap[0] <= gap[1]), ALL)


@lru_cache(maxsize=4096)
def utf8(ranges: Characters) -> Expression:
    """One character of the set, in UTF-8."""
    return choice(_spelled(ranges))


def _spelled(ranges: Characters) -> Iterable[Expression]:
    for low, high in ranges:
        for limit in _LENGTH_LIMITS:
            if low <= min(high, limit):
                yield from _same_length(low, min(high, limit))
                low = limit + 1


def _same_length(low: int, high: int) -> Iterable[Expression]:
    """Splits a range until the bytes of its ends bound each byte on its own."""
    first, last = chr(low).encode(), chr(high).encode()
    tail = len(first) - 1
    for place in range(tail):
        # from the last byte on: where all bytes behind `place` must run through their whole range
        bits = 6 * (place + 1)
        mask = (1 << bits) - 1
        if low >> bits != high >> bits:
            if low & mask:
                yield from _same_length(low, low | mask)
                yield from _same_length((low | mask) + 1, high)
                return
            if high & mask != mask:
                yield from _same_length(low, (high & ~mask) - 1)
                yield from _same_length(high & ~mask, high)
                return
    yield sequence(*(byte_range(pair) for pair in zip(first, last, strict=True)))
