"""Byte automata: minimal, deterministic, and the algebra on these.

Knows states, bytes and languages. Must not know expressions, schemas, syntaxes or tokens. Bytes
that every state treats alike share one column (a *byte class*), so that tables stay narrow.
Trimmed: every state is reachable and can still reach acceptance.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge

__all__ = ["STATE_BUDGET", "ByteAutomaton", "Numbering", "minimal"]

STATE_BUDGET = 200_000
"""States that one byte automaton may take while it is built; more raises SchemaTooLarge."""

Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class ByteAutomaton:
    """A trimmed deterministic automaton over bytes; its start state is 0.

    table: int32 [S, C], the next state or -1. class_of: uint8 [256], the column of a byte.
    accepting: bool [S]. The empty language has one state that accepts nothing.
    """

    table: Ints
    class_of: NDArray[np.uint8]
    accepting: Flags

    @property
    def states(self) -> int:
        return len(self.table)

    @property
    def empty(self) -> bool:
        """Whether no text at all is accepted."""
        return not bool(self.accepting.any())

    def accepts(self, text: bytes) -> bool:
        """Whether `text`, whole, is in the language."""
        state = 0
        for byte in text:
            state = int(self.table[state, self.class_of[byte]])
            if state < 0:
                return False
        return bool(self.accepting[state])

    def __and__(self, other: "ByteAutomaton") -> "ByteAutomaton":
        """The texts of both languages (product construction)."""
        pairs = self.class_of.astype(np.int64) * 256 + other.class_of
        columns, class_of = np.unique(pairs, return_inverse=True)
        left, right = self.table[:, columns // 256], other.table[:, columns % 256]
        number = Numbering((0, 0))
        rows: list[list[int]] = []
        accepting: list[bool] = []
        for here, there in number.order:
            accepting.append(bool(self.accepting[here] and other.accepting[there]))
            row = [-1] * len(columns)
            both = zip(left[here].tolist(), right[there].tolist(), strict=True)
            for column, pair in enumerate(both):
                if min(pair) >= 0:
                    row[column] = number(pair)
            rows.append(row)
        return minimal(np.array(rows, np.int32), class_of.astype(np.uint8), np.array(accepting))

    def unquoted(self, quote: int) -> "ByteAutomaton | None":
        """The texts between an opening and a closing `quote`, or None if one lacks its opening."""
        column = self.class_of[quote]
        opened = int(self.table[0, column])
        others = np.delete(self.table[0], column)
        if bool(self.accepting[0]) or bool((others >= 0).any()):
            return None
        if opened < 0:
            return self
        closed = self.table[:, column]
        ends = (closed >= 0) & self.accepting[closed]
        return minimal(self.table, self.class_of, ends, start=opened)


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


def minimal(
    table: Ints, class_of: NDArray[np.uint8], accepting: Flags, *, start: int = 0
) -> ByteAutomaton:
    """Trims, merges equal states and equal byte columns, and numbers the start 0."""
    distance = _distances(table, accepting)
    if distance[start] < 0:
        return ByteAutomaton(
            np.full((1, 1), -1, np.int32), np.zeros(256, np.uint8), np.zeros(1, np.bool_)
        )
    table = np.where((table >= 0) & (distance[table] >= 0), table, -1)
    partition = _Partition(table, distance)
    partition.refine()
    blocks, count = partition.block[:-1], len(partition.members)
    representative = np.zeros(count, np.int64)
    representative[blocks] = np.arange(len(table))
    merged = np.where(table[representative] >= 0, blocks[table[representative]], -1)
    merged, accepting = _reachable(merged, accepting[representative], int(blocks[start]))
    columns: dict[bytes, int] = {}
    narrow = [columns.setdefault(column.tobytes(), len(columns)) for column in merged.T.copy()]
    kept = [narrow.index(column) for column in range(len(columns))]
    return ByteAutomaton(
        np.ascontiguousarray(merged[:, kept]).astype(np.int32),
        np.array(narrow, np.uint8)[class_of],
        accepting,
    )


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


def _distances(table: Ints, accepting: Flags) -> NDArray[np.int64]:
    """Bytes from each state to acceptance, -1 where it is out of reach."""
    before, starts = _incoming(table)
    distance = np.where(accepting, 0, -1).tolist()
    frontier: list[int] = np.flatnonzero(accepting).tolist()
    while frontier:
        reached: list[int] = []
        for state in frontier:
            for source in before[starts[state] : starts[state + 1]]:
                if distance[source] < 0:
                    distance[source] = distance[state] + 1
                    reached.append(source)
        frontier = reached
    return np.array(distance, np.int64)


def _reachable(table: NDArray[np.int64], accepting: Flags, start: int) -> tuple[Any, Flags]:
    """Keeps what `start` reaches, numbered in breadth-first order."""
    number = Numbering(start)
    for state in number.order:
        for to in table[state].tolist():
            if to >= 0:
                number(to)
    order = np.array(number.order)
    renumbered = np.full(len(table) + 1, -1, np.int64)
    renumbered[order] = np.arange(len(order))
    return renumbered[table[order]], accepting[order]
