"""Character automata: complete, minimal, deterministic and labelled, in one canonical numbering.

Knows states, code points and labels. Must not know what labels mean, patterns, or bytes. Two
automata are equal exactly if they label every text alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.minimal import STATE_BUDGET, merged_columns, minimal
from agentkit_engine.patience import keep_on

__all__ = ["CharacterAutomaton", "Columns", "merged", "product", "trie"]

_SURROGATES = (0xD800, 0xE000)
_ENTRIES = 1 << 25
"""Entries that the table of a list of texts may have."""

_Node = tuple[int, tuple[tuple[str, int], ...]]
"""A state of a tree: its label, and the states that characters lead to."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column a code point has: from `cuts[i]` to `cuts[i + 1] - 1` it is `column[i]`.

    `cuts` ascends from 0; columns are numbered in the order in which they appear. Surrogates
    belong to the range before them, since no text holds one.
    """

    cuts: tuple[int, ...]
    column: tuple[int, ...]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Columns:
        """`ranges`: (first code point, any number that tells columns apart), sorted, from 0."""
        cuts: list[int] = []
        names: list[int] = []
        for cut, name in ranges:
            start = 0xE000 if _SURROGATES[0] <= cut < _SURROGATES[1] else cut
            if cuts and cuts[-1] == start:
                names.pop()
                cuts.pop()
            if not names or names[-1] != name:
                cuts.append(start)
                names.append(name)
        order: dict[int, int] = {}
        return cls(tuple(cuts), tuple(order.setdefault(name, len(order)) for name in names))

    @property
    def width(self) -> int:
        return max(self.column) + 1

    def __getitem__(self, code: int) -> int:
        return self.column[bisect_right(self.cuts, code) - 1]


@dataclass(frozen=True, eq=False)
class CharacterAutomaton:
    """Every text ends in one state, whose label is what is said of the text.

    table: int32 [S, C], the next state; the start is 0. label: int32 [S], not negative.
    """

    columns: Columns
    table: NDArray[np.int32]
    label: NDArray[np.int32]

    @property
    def states(self) -> int:
        return len(self.table)

    @cached_property
    def rows(self) -> list[list[int]]:
        rows: list[list[int]] = self.table.tolist()
        return rows

    @cached_property
    def labels(self) -> list[int]:
        labels: list[int] = self.label.tolist()
        return labels

    @cached_property
    def key(self) -> tuple[Columns, bytes, bytes]:
        """Equal for equal labellings of texts, as the numbering is canonical."""
        return (self.columns, self.table.tobytes(), self.label.tobytes())

    def run(self, text: str) -> int:
        """The label of `text`, which holds no surrogate."""
        state = 0
        for character in text:
            state = self.rows[state][self.columns[ord(character)]]
        return self.labels[state]

    @cached_property
    def sinks(self) -> dict[int, int]:
        """The state that can't be left, by label; there is at most one for each."""
        return {
            self.labels[state]: state
            for state, row in enumerate(self.rows)
            if row.count(state) == len(row)
        }

    def relabelled(self, renamed: Mapping[int, int]) -> CharacterAutomaton:
        """Other labels on the same texts; `renamed` is one to one."""
        table = [renamed[label] for label in self.labels]
        return CharacterAutomaton(self.columns, self.table, np.array(table, np.int32))


def merged(automaton: CharacterAutomaton) -> CharacterAutomaton:
    """The minimal automaton of one with labels 0 and 1."""
    keep_on()
    # how far it is to either label tells most states apart at once, long chains above all
    near, far = _distances(automaton, 1), _distances(automaton, 0)
    number: dict[tuple[int, int], int] = {}
    kinds = [number.setdefault(pair, len(number)) for pair in zip(near, far, strict=True)]
    table, kind = minimal(automaton.table, np.array(kinds, np.int32))
    label = np.array([int(distance == 0) for distance, _ in number], np.int32)
    return _canonical(automaton.columns, table, label[kind])


def _distances(automaton: CharacterAutomaton, wanted: int) -> list[int]:
    """Characters from each state to the nearest with a label, -1 where there is none."""
    rows, labels = automaton.rows, automaton.labels
    before: list[list[int]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for to in set(row):
            before[to].append(state)
    distance = [0 if label == wanted else -1 for label in labels]
    reached = [state for state, label in enumerate(labels) if label == wanted]
    for state in reached:
        for source in before[state]:
            if distance[source] < 0:
                distance[source] = distance[state] + 1
                reached.append(source)
    return distance


def _canonical(
    columns: Columns, table: NDArray[np.int32], label: NDArray[np.int32]
) -> CharacterAutomaton:
    """Merges the equal columns of a minimal automaton that is numbered breadth first."""
    table, renumbered = merged_columns(table)
    names: list[int] = renumbered.tolist()
    columns = Columns.of(
        (cut, names[name]) for cut, name in zip(columns.cuts, columns.column, strict=True)
    )
    return CharacterAutomaton(columns, table, label)


def product(
    left: CharacterAutomaton,
    right: CharacterAutomaton,
    label: Callable[[int, int], int],
    *,
    dead: tuple[int, int] = (-1, -1),
    budget: int = STATE_BUDGET,
) -> CharacterAutomaton:
    """Two automata side by side. It is not minimal, unless `label` tells all pairs apart.

    dead: a state of each from which on the label is 0, whatever the other does; -1 for none.
    Raises SchemaTooLarge above `budget` states.
    """
    columns, lefts, rights = _shared(left.columns, right.columns)
    size = right.states
    steps, others = left.table[:, lefts].astype(np.int64) * size, right.table[:, rights]
    ids: dict[int, int] = {0: 0}
    order = [0]
    rows: list[list[int]] = []
    labels: list[int] = []
    for here, pair in enumerate(order):
        keep_on()
        if pair < 0:  # dead
            labels.append(0)
            rows.append([here] * len(lefts))
            continue
        one, other = divmod(pair, size)
        labels.append(label(left.labels[one], right.labels[other]))
        row = []
        for step, to in zip(steps[one].tolist(), others[other].tolist(), strict=True):
            code = -1 if step == dead[0] * size or to == dead[1] else step + to
            known = ids.get(code)
            if known is None:
                known = ids[code] = len(order)
                order.append(code)
                if known >= budget:
                    raise SchemaTooLarge(known + 1, budget)
            row.append(known)
        rows.append(row)
    return CharacterAutomaton(columns, np.array(rows, np.int32), np.array(labels, np.int32))


def _shared(left: Columns, right: Columns) -> tuple[Columns, list[int], list[int]]:
    """Columns fine enough for both, and which of either's each of them stands for."""
    cuts = sorted({*left.cuts, *right.cuts})
    number: dict[tuple[int, int], int] = {}
    columns = Columns.of(
        (cut, number.setdefault((one, other), len(number)))
        for cut, one, other in zip(cuts, _spread(left, cuts), _spread(right, cuts), strict=True)
    )
    return columns, [one for one, _ in number], [other for _, other in number]


def _spread(part: Columns, cuts: list[int]) -> list[int]:
    places = np.searchsorted(np.array(part.cuts), np.array(cuts), side="right") - 1
    spread: list[int] = np.array(part.column)[places].tolist()
    return spread


def trie(texts: Mapping[str, int], *, other: int) -> CharacterAutomaton:
    """The labels of some texts; all others are labelled `other`. No text holds a surrogate."""
    kept = {text: label for text, label in texts.items() if label != other}
    columns, column_of = _singled(sorted({ord(one) for text in kept for one in text}))
    # state 0 is where no text goes on
    number: dict[_Node, int] = {(other, ()): 0}
    start = _merge_tree(kept, other, number)
    if len(number) * columns.width > _ENTRIES:
        raise SchemaTooLarge(len(number) * columns.width, _ENTRIES, "table entries")
    nodes = [
        (label, [(column_of[character], to) for character, to in moves]) for label, moves in number
    ]
    return _canonical(columns, *_numbered(nodes, start, columns.width))


def _singled(codes: list[int]) -> tuple[Columns, dict[str, int]]:
    """A column for each of the code points, and one for all others."""
    ranges = {0: -1}
    for code in codes:
        ranges[code] = code
        ranges.setdefault(code + 1, -1)
    ranges.pop(0x110000, None)
    columns = Columns.of(ranges.items())
    return columns, {chr(code): columns[code] for code in codes}


def _merge_tree(texts: Mapping[str, int], other: int, number: dict[_Node, int]) -> int:
    """Numbers the states of a tree from its leaves up, equal ones once (Daciuk et al. 2000).

    Texts come in order, so that a node is finished when the next text leaves it. Returns the root.
    """
    path: list[tuple[int, list[tuple[str, int]]]] = [(texts.get("", other), [])]
    last = ""

    def finished() -> int:
        keep_on()
        label, moves = path.pop()
        state = number.setdefault((label, tuple(moves)), len(number))
        if state >= STATE_BUDGET:
            raise SchemaTooLarge(state + 1, STATE_BUDGET)
        return state

    def close(depth: int) -> None:
        while len(path) > depth + 1:
            state = finished()
            path[-1][1].append((last[len(path) - 1], state))

    for text in sorted(texts):
        common = 0
        while common < min(len(text), len(last)) and text[common] == last[common]:
            common += 1
        close(common)
        path.extend((other, []) for _ in text[common:])
        path[-1] = (texts[text], path[-1][1])
        last = text
    close(0)
    return finished()


def _numbered(
    nodes: list[tuple[int, list[tuple[int, int]]]], start: int, width: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Table and labels of what `start` reaches, numbered breadth first.

    nodes: per state its label and its moves by ascending column; all other moves lead to state 0.
    """
    ids = {start: 0}
    order = [start]
    places: list[int] = []
    for here, state in enumerate(order):
        moves = nodes[state][1]
        columns = [column for column, _ in moves]
        gap = next((one for one, column in enumerate(columns) if one != column), len(moves))
        reached = [to for _, to in moves]
        for to in reached if gap == width else [*reached[:gap], 0, *reached[gap:]]:
            if to not in ids:
                ids[to] = len(order)
                order.append(to)
        places += [here * width + column for column in columns]
    table = np.full(len(order) * width, ids.get(0, 0), np.int32)
    table[places] = [ids[to] for state in order for _, to in nodes[state][1]]
    label = np.array([nodes[state][0] for state in order], np.int32)
    return table.reshape(-1, width), label
