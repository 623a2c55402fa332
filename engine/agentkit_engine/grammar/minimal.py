"""The smallest deterministic automaton of a labelled one, and numbering by order of meeting.

Knows tables of states and columns of symbols. Must not know what the symbols are. Trimmed: every
state is reachable and can still reach an end.
"""

from collections.abc import Hashable
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.patience import keep_on

__all__ = ["STATE_BUDGET", "Numbering", "merged_columns", "minimal"]

STATE_BUDGET = 200_000
"""States that one automaton may take while it is built; more raises SchemaTooLarge."""

Ints = NDArray[np.int32]
Key = TypeVar("Key", bound=Hashable)


class Numbering(Generic[Key]):
    """Numbers keys in the order met. `order` may be walked while more keys come in."""

    def __init__(self, first: Key) -> None:
        self.ids = {first: 0}
        self.order = [first]

    def __call__(self, key: Key) -> int:
        found = self.ids.setdefault(key, len(self.order))
        if found == len(self.order):
            self.order.append(key)
            if found >= STATE_BUDGET:
                raise SchemaTooLarge(found + 1, STATE_BUDGET)
        return found


def minimal(table: Ints, label: NDArray[Any], *, start: int = 0) -> tuple[Ints, NDArray[Any]]:
    """Trims and merges equal states; the start becomes 0, the rest is numbered breadth first.

    table: int32 [S, C], the next state or -1. label: int [S], what a text that ends there is, -1
    for none. Returns the new table and labels; the empty language keeps one state, labelled -1.
    """
    distance = _distances(table, label >= 0)
    if distance[start] < 0:
        return np.full((1, table.shape[1]), -1, np.int32), np.full(1, -1, label.dtype)
    table = np.where((table >= 0) & (distance[table] >= 0), table, -1)
    kinds = label.astype(np.int64) + (distance << 32)
    partition = _Partition(table, kinds)
    partition.refine()
    blocks, count = partition.block[:-1], len(partition.members)
    representative = np.zeros(count, np.int64)
    representative[blocks] = np.arange(len(table))
    merged = np.where(table[representative] >= 0, blocks[table[representative]], -1)
    merged, label = _reachable(merged, label[representative], int(blocks[start]))
    return merged.astype(np.int32), label


def merged_columns(table: Ints) -> tuple[Ints, NDArray[np.int64]]:
    """The table with equal columns merged, and the new column of each old one."""
    columns: dict[bytes, int] = {}
    narrow = [columns.setdefault(column.tobytes(), len(columns)) for column in table.T.copy()]
    kept = [narrow.index(column) for column in range(len(columns))]
    return np.ascontiguousarray(table[:, kept]), np.array(narrow)


class _Partition:
    """States in blocks; `refine` splits until only states of equal language share one.

    Moore's refinement, but a round looks only at *dirty* states, those with a successor that the
    last round renumbered, so that long chains stay cheap (after Hopcroft 1971).
    """

    def __init__(self, table: Ints, invariant: NDArray[np.int64]) -> None:
        """`invariant`: int64 [S], a number that states of equal language share."""
        blocks = np.unique(invariant, return_inverse=True)[1].tolist()
        self.table = table
        self.block = np.array([*blocks, -1])  # the last entry is where a missing move leads
        self.members: list[set[int]] = [set() for _ in range(max(blocks) + 1)]
        for state, number in enumerate(blocks):
            self.members[number].add(state)

    def refine(self) -> None:
        before, first = _incoming(self.table)
        dirty = set(range(len(self.table)))
        while dirty:
            keep_on()
            moved: list[int] = []
            for number, groups in self._groups(dirty).items():
                moved += self._split(number, groups, dirty)
            dirty = {one for state in moved for one in before[first[state] : first[state + 1]]}

    def _groups(self, dirty: set[int]) -> dict[int, list[list[int]]]:
        """Per block its dirty states and one clean one (all clean ones agree), by their moves."""
        asked = sorted(dirty)
        for number in set(self.block[asked].tolist()):
            clean = (state for state in self.members[number] if state not in dirty)
            asked.extend(islice(clean, 1))
        moves = self.block[self.table[asked]]
        alike: dict[tuple[int, bytes], list[int]] = {}
        for state, number, row in zip(asked, self.block[asked].tolist(), moves, strict=True):
            alike.setdefault((number, row.tobytes()), []).append(state)
        groups: dict[int, list[list[int]]] = {}
        for (number, _), states in alike.items():
            groups.setdefault(number, []).append(states)
        return groups

    def _split(self, number: int, groups: list[list[int]], dirty: set[int]) -> list[int]:
        """Gives every group but one a new number: the clean one stays, or else the largest."""
        stays = max(groups, key=lambda group: (group[-1] not in dirty, len(group)))
        moved: list[int] = []
        for group in groups:
            if group is not stays:
                self.block[group] = len(self.members)
                self.members.append(set(group))
                self.members[number].difference_update(group)
                moved += group
        return moved


def _incoming(table: Ints) -> tuple[list[int], list[int]]:
    """Sources of the moves into state s: entries `first[s]` to `first[s + 1]` of the first list."""
    sources, columns = np.nonzero(table >= 0)
    targets = table[sources, columns]
    order = np.argsort(targets, kind="stable")
    first = np.searchsorted(targets[order], np.arange(len(table) + 1))
    return sources[order].tolist(), first.tolist()


def _distances(table: Ints, ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Symbols from each state to the nearest end, -1 where none is in reach."""
    before, starts = _incoming(table)
    distance = np.where(ends, 0, -1).tolist()
    frontier: list[int] = np.flatnonzero(ends).tolist()
    while frontier:
        reached: list[int] = []
        for state in frontier:
            for source in before[starts[state] : starts[state + 1]]:
                if distance[source] < 0:
                    distance[source] = distance[state] + 1
                    reached.append(source)
        frontier = reached
    return np.array(distance, np.int64)


def _reachable(
    table: NDArray[np.int64], label: NDArray[Any], start: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Keeps what `start` reaches, numbered in breadth-first order."""
    number = Numbering(start)
    for state in number.order:
        for to in table[state].tolist():
            if to >= 0:
                number(to)
    order = np.array(number.order)
    renumbered = np.full(len(table) + 1, -1, np.int64)
    renumbered[order] = np.arange(len(order))
    return renumbered[table[order]], label[order]
