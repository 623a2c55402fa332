"""Sets of Unicode characters.

Knows code points. Must not know patterns, bytes or schemas. A set is a sorted tuple of inclusive
ranges that don't touch; surrogates are in none.
"""

from collections.abc import Iterable

__all__ = ["ALL", "Characters", "characters", "complement", "intersection", "span", "union"]

Characters = tuple[tuple[int, int], ...]

ALL: Characters = ((0, 0xD7FF), (0xE000, 0x10FFFF))


def characters(text: str) -> Characters:
    """The characters that occur in `text`."""
    return _scalars(sorted((ord(one), ord(one)) for one in text))


def span(low: int, high: int) -> Characters:
    """The characters from code point `low` to `high`."""
    return _scalars([(low, high)])


def union(*sets: Characters) -> Characters:
    """Characters of any of the sets."""
    return _scalars(sorted(pair for ranges in sets for pair in ranges))


def intersection(left: Characters, right: Characters) -> Characters:
    """Characters of both sets."""
    found: list[tuple[int, int]] = []
    here = there = 0
    while here < len(left) and there < len(right):
        low = max(left[here][0], right[there][0])
        high = min(left[here][1], right[there][1])
        if low <= high:
            found.append((low, high))
        if left[here][1] < right[there][1]:
            here += 1
        else:
            there += 1
    return tuple(found)


def complement(ranges: Characters) -> Characters:
    """Every other character."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        gaps.append((start, low - 1))
        start = high + 1
    gaps.append((start, 0x10FFFF))
    return _scalars(gap for gap in gaps if gap[0] <= gap[1])


def _scalars(ranges: Iterable[tuple[int, int]]) -> Characters:
    """Sorted ranges merged where they overlap or touch, without the surrogates."""
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return intersection(tuple(merged), ALL)
