"""Lists of lists as flat arrays: run k is `first[k]` to `first[k + 1]` of some array.

Knows integer arrays, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bundles", "Ints", "Longs", "compacted", "grouped", "spread", "starts"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bundles:
    """Lists of numbers: those of bundle k are `first[k]` to `first[k + 1] - 1` of `item`."""

    first: Longs
    item: NDArray[Any]

    @property
    def count(self) -> int:
        return len(self.first) - 1

    @property
    def owner(self) -> Longs:
        """The bundle of each item."""
        return np.repeat(np.arange(self.count), np.diff(self.first))

    @classmethod
    def of(cls, lists: Sequence[Any]) -> Bundles:
        ends = np.cumsum([0, *map(len, lists)])
        return cls(ends, np.concatenate([np.zeros(0, np.int64), *lists]))

    @classmethod
    def joined(cls, blocks: Sequence[Bundles]) -> Bundles:
        """Those of all blocks, one after the other."""
        lengths = np.concatenate([np.diff(one.first) for one in blocks])
        return cls(np.append(0, np.cumsum(lengths)), np.concatenate([one.item for one in blocks]))

    def chosen(self, numbers: Longs) -> Bundles:
        """The bundles of these numbers."""
        first, last = self.first[numbers], self.first[numbers + 1]
        ends = np.append(0, np.cumsum(last - first))
        return Bundles(ends, self.item[spread(first, last)[1]])

    def inverted(self, limit: int) -> Bundles:
        """For each number below `limit` the bundles that hold it, ascending."""
        order = np.argsort(self.item, kind="stable")
        return Bundles(starts(self.item[order], limit), self.owner[order])

    def contents(self) -> list[bytes]:
        """The bytes of each list: equal lists have equal bytes."""
        held, size = self.item.tobytes(), self.item.itemsize
        return [held[low * size : high * size] for low, high in pairwise(self.first.tolist())]


def spread(first: NDArray[Any], last: NDArray[Any]) -> tuple[Longs, Longs]:
    """All entries of the runs `first[k]` to `last[k]`: (k of each entry, where it stands)."""
    count = last - first
    ends = np.cumsum(count)
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + (first - (ends - count))[owner]


def starts(owner: NDArray[Any], count: int) -> Longs:
    """Where the runs of a sorted list of owners start: int64 [count + 1]."""
    return np.searchsorted(owner, np.arange(count + 1))


def grouped(owner: NDArray[Any], item: Longs, count: int) -> tuple[Longs, Longs]:
    """The distinct items of each owner, ascending, as runs: first int64 [count + 1], item."""
    limit = int(item.max(initial=0)) + 1
    keys = np.unique(owner * limit + item)
    return np.searchsorted(keys, np.arange(count + 1) * limit), keys % limit


def compacted(keys: NDArray[Any], limit: int) -> tuple[Longs, Longs]:
    """The distinct keys (each >= 0 and below `limit`), sorted, and the number of each key.

    As `np.unique` with its inverse, without sorting where a table of `limit` entries is cheaper.
    """
    if limit > 1 << 16 and limit > 8 * len(keys):
        distinct, number = np.unique(keys, return_inverse=True)
        return distinct, number
    table = np.zeros(limit, np.int64)
    table[keys] = 1
    distinct = np.flatnonzero(table)
    table[distinct] = np.arange(len(distinct))
    return distinct, table[keys]
