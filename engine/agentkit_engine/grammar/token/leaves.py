"""What the tokens below a node of the trie do inside a leaf, and how they leave it.

Knows leaves and tries. Must not know skeletons. A *passage* is worked out once for a vocabulary:
all its tokens are walked through the leaf at once, byte by byte, and tokens that move every state
alike share a *row* (a part of the leaf's transition monoid). Where a token leaves the leaf before
its end, what is left of it (its *rest*) goes into a small trie, to be walked along a skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.token.index import VocabularyIndex
from agentkit_engine.grammar.token.rests import Rests, Ways, rests
from agentkit_engine.grammar.token.runs import Bundles, Ints, Longs, spread

__all__ = ["Joins", "Passage", "passage"]

ROW_BUDGET = 1 << 25
"""Rows times states that one leaf may take; more raises SchemaTooLarge."""

_CHUNK = 1 << 20
_UNKNOWN = -2


@dataclass(frozen=True, slots=True, eq=False)
class Joins:
    """Which starts are joined to which states: start, target, set: int64 [P]. sets: of rows."""

    start: Longs
    target: Longs
    set: Longs
    sets: Bundles


@dataclass(frozen=True, eq=False)
class Passage:
    """row: int32 [R, K], where the tokens of each row lead from each of K starts, or -1. bundles:
    the tokens of each row."""

    row: Ints
    bundles: Bundles
    rests: Rests | None

    @property
    def nbytes(self) -> int:
        """About the memory that keeping it takes."""
        return self.row.nbytes + self.bundles.item.nbytes

    @cached_property
    def joins(self) -> Joins:
        """The rows by the pairs of states that they join."""
        ids: dict[bytes, int] = {}
        start, target, number = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], list[int]()
        per = max(1, _CHUNK // len(self.row)) if len(self.row) else self.row.shape[1]
        for low in range(0, self.row.shape[1], per):
            part = self.row[:, low : low + per].T
            order = np.argsort(part, axis=1, kind="stable")
            reached = np.take_along_axis(part, order, axis=1)
            fresh = np.ones(reached.shape, np.bool_)
            fresh[:, 1:] = reached[:, 1:] != reached[:, :-1]
            begins = np.flatnonzero(fresh)
            kept = reached.ravel()[begins] >= 0
            lists = Bundles(np.append(begins, reached.size), order.ravel()).chosen(
                np.flatnonzero(kept)
            )
            number += [ids.setdefault(key, len(ids)) for key in lists.contents()]
            start.append(low + begins[kept] // max(1, len(self.row)))
            target.append(reached.ravel()[begins[kept]].astype(np.int64))
        sets = Bundles.of([np.frombuffer(key, np.int64) for key in ids])
        return Joins(
            np.concatenate(start), np.concatenate(target), np.array(number, np.int64), sets
        )


def passage(
    index: VocabularyIndex, leaf: Leaf, ways: Ways, *, node: int, starts: Sequence[int]
) -> Passage:
    """The tokens properly below `node`, by what of them is below it, from each of `starts`."""
    walk = _Walk(index, leaf, ways, np.array(starts, np.int32))
    entry, row = walk.below(node)
    held = np.bincount(row, minlength=1)
    used = np.flatnonzero(held)
    small = len(held) <= 1 << 15  # numpy sorts short integers by radix
    order = np.argsort(row.astype(np.int16) if small else row, kind="stable")
    return Passage(
        walk.rows[used],
        Bundles(np.append(0, np.cumsum(held[used])), index.token[entry[order]]),
        rests(index, walk.left, walk.leaving),
    )


class _Walk:
    """The walk of one passage.

    rows: int32 [R, K], distinct rows in the order met, the first is that of the empty text.
    left: nodes by whose byte the leaf is left from some start, and the row before.
    """

    def __init__(self, index: VocabularyIndex, leaf: Leaf, ways: Ways, first: Ints) -> None:
        self.index = index
        self.table, self.column, self.out = _columns(leaf, ways)
        self.label = leaf.label
        self._moves, self._out = self.table.T.ravel(), self.out.T.ravel()
        self._ways: NDArray[np.bool_] = np.any(self.out, axis=0)
        self.left: list[tuple[Longs, Longs]] = []
        self._ids = {first.tobytes(): 0}
        self._rows = first[None]
        # For each row and column the row after it (-1: leads nowhere), and whether a start leaves.
        self._after = np.full((1, self.table.shape[1]), _UNKNOWN)
        self._leaves = np.zeros((1, self.table.shape[1]), np.bool_)

    @property
    def rows(self) -> Ints:
        return self._rows[: len(self._ids)]

    def below(self, node: int) -> tuple[Longs, Longs]:
        """The tokens properly below `node` that some start survives, and their rows.

        All nodes of a level are walked while most survive (they stand in a row), then only those
        that do.
        """
        trie, token_first = self.index.trie, self.index.token_first
        entries: list[Longs] = [np.zeros(0, np.int64)]
        rows: list[Longs] = [np.zeros(0, np.int64)]
        low, high, row = node, node + 1, np.zeros(1, np.int64)
        while 2 * np.count_nonzero(row >= 0) > len(row):
            before, low, high = low, int(trie.first[low]), int(trie.last[high - 1])
            row = self._next((trie.key[low:high] >> 8) - before, row, slice(low, high))
            entry = np.arange(token_first[low], token_first[high])
            own = row[self.index.node[entry] - low]
            entries.append(entry[own >= 0])
            rows.append(own[own >= 0])
        nodes = low + np.flatnonzero(row >= 0)
        row = row[nodes - low]
        while len(nodes):
            parent, child = trie.children(nodes)
            row = self._next(parent, row, child)
            nodes, row = child[row >= 0], row[row >= 0]
            owner, entry = spread(token_first[nodes], token_first[nodes + 1])
            entries.append(entry)
            rows.append(row[owner])
        return np.concatenate(entries), np.concatenate(rows)

    def leaving(self, row: int, byte: int) -> dict[int, Longs]:
        """By label, from which starts the leaf is left by `byte` after `row`."""
        states = self.rows[row]
        outside = np.flatnonzero(self.out[states, self.column[byte]])
        labels = self.label[states[outside]]
        return {int(label): outside[labels == label] for label in np.unique(labels)}

    def _next(self, parent: Longs, row: Longs, child: Longs | slice) -> Longs:
        """The rows of children. parent: which entry of `row` each child follows."""
        before = row[parent]
        width = self.table.shape[1]
        keys = before * width + self.column[self.index.trie.byte[child]]
        if dead := bool((before < 0).any()):
            keys[before < 0] = 0
        after = self._after.ravel()[keys]
        if (after == _UNKNOWN).any():
            self._learn(np.flatnonzero(np.bincount(keys[after == _UNKNOWN])))
            after = self._after.ravel()[keys]
        if dead:
            after[before < 0] = -1
        left = self._leaves.ravel()[keys] & (before >= 0)
        if left.any():
            nodes = np.arange(child.start, child.stop) if isinstance(child, slice) else child
            self.left.append((nodes[left], before[left]))
        return after

    def _learn(self, keys: Longs) -> None:
        rows, columns = np.divmod(keys, self.table.shape[1])
        per = max(1, _CHUNK // self._rows.shape[1])
        stride = len(self.table)
        for low in range(0, len(keys), per):
            row, column = rows[low : low + per], columns[low : low + per]
            # -1 leads to the last entry of some column, which leads nowhere too
            cells = self._rows[row] + (column * stride)[:, None]
            leaves = np.flatnonzero(self._ways[column])
            left: NDArray[np.bool_] = self._out.take(cells[leaves], mode="wrap")
            self._leaves[row[leaves], column[leaves]] = left.any(axis=1)
            self._after[row, column] = self._numbered(self._moves.take(cells, mode="wrap"))

    def _numbered(self, moved: Ints) -> list[int]:
        """The numbers of rows, new ones included; -1 for one that leads nowhere."""
        fresh: list[int] = []
        numbers: list[int] = []
        ids = self._ids
        for at, alive in enumerate(np.any(moved >= 0, axis=1).tolist()):
            known = len(ids)
            numbers.append(ids.setdefault(moved[at].tobytes(), known) if alive else -1)
            if len(ids) > known:
                fresh.append(at)
        self._grow(len(ids))
        self._rows[len(ids) - len(fresh) : len(ids)] = moved[fresh]
        return numbers

    def _grow(self, count: int) -> None:
        held, starts = self._rows.shape
        if count <= held:
            return
        if count * starts > ROW_BUDGET:
            raise SchemaTooLarge(count * starts, ROW_BUDGET, "token moves")
        more = max(2 * held, count) - held
        width = self.table.shape[1]
        self._rows = np.concatenate([self._rows, np.zeros((more, starts), np.int32)])
        self._after = np.concatenate([self._after, np.full((more, width), _UNKNOWN)])
        self._leaves = np.concatenate([self._leaves, np.zeros((more, width), np.bool_)])


def _columns(leaf: Leaf, ways: Ways) -> tuple[Ints, NDArray[np.int64], NDArray[np.bool_]]:
    """The leaf's table by columns that also tell by which ways it is left.

    Returns table: int32 [S + 1, C], the last row is where -1 leads; column: int64 [256]; out: bool
    [S + 1, C], whether a state is left by such a byte.
    """
    member = np.zeros((len(ways) + 1, 256), np.bool_)
    for label, way in enumerate(ways):
        member[label, list(way)] = True
    ids: dict[bytes, int] = {}
    kinds = np.concatenate([leaf.class_of[:, None], member.T.astype(np.uint8)], axis=1)
    column = np.array([ids.setdefault(kind.tobytes(), len(ids)) for kind in kinds])
    example = np.zeros(len(ids), np.int64)
    example[column[::-1]] = np.arange(255, -1, -1)
    table = np.full((leaf.states + 1, len(ids)), -1, np.int32)
    table[:-1] = leaf.table[:, leaf.class_of[example]]
    out = np.zeros(table.shape, np.bool_)
    out[:-1] = member[:, example][leaf.label] & (table[:-1] < 0)
    return table, column, out
