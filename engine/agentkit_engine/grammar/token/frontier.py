"""Walks of many tokens at once along the moves of a byte automaton.

Knows skeletons, leaves and tries. Must not know classes of tokens. A *frontier* is a list of
(origin, state, node): tokens below that node of a trie that came from the origin to that state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton, Instance
from agentkit_engine.grammar.token.index import Trie
from agentkit_engine.grammar.token.rests import Ways
from agentkit_engine.grammar.token.runs import Longs, spread, starts

__all__ = ["Frontier", "Moves", "Place"]


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """origin, state, node: int64 [n]."""

    origin: Longs
    state: Longs
    node: Longs

    def __getitem__(self, kept: NDArray[np.bool_] | Longs) -> Frontier:
        return Frontier(self.origin[kept], self.state[kept], self.node[kept])

    def __len__(self) -> int:
        return len(self.origin)

    @classmethod
    def joined(cls, parts: list[Frontier]) -> Frontier:
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *(part.origin for part in parts)]),
            np.concatenate([none, *(part.state for part in parts)]),
            np.concatenate([none, *(part.node for part in parts)]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where one leaf stands. ways: how its surroundings go on. base: int64 [I]; exits: int64
    [I, labels], -1 for none."""

    leaf: Leaf
    ways: Ways
    base: Longs
    exits: Longs


class Moves:
    """The moves of a byte automaton, laid out for walking.

    places: one for each leaf. place_of, number_of, base_of, exit_of: int64 [S - K], of each
    state of a leaf: its place, its instance's number there and base, the skeleton's state to go on
    from (or -1).
    """

    def __init__(self, automaton: ByteAutomaton) -> None:
        order = np.argsort(automaton.src, kind="stable")
        self.skeleton = len(automaton.accepting)
        self.states = automaton.states
        self.byte = automaton.byte[order].astype(np.int64)
        self.dst = automaton.dst[order].astype(np.int64)
        self.first = starts(automaton.src[order], self.skeleton)
        inside = self.states - self.skeleton
        self.place_of = np.zeros(inside, np.int64)
        self.number_of = np.zeros(inside, np.int64)
        self.base_of = np.zeros(inside, np.int64)
        self.exit_of = np.full(inside, -1)
        self.places = tuple(self._placed(ones) for ones in _by_leaf(automaton))
        for number, place in enumerate(self.places):
            self._fill(number, place)
        tables = [place.leaf.table.ravel() for place in self.places]
        self._table = np.concatenate([np.zeros(0, np.int32), *tables])
        self._table_at = np.cumsum([0, *map(len, tables)])
        self._width = np.array([place.leaf.table.shape[1] for place in self.places], np.int64)
        self._column = np.array([place.leaf.class_of for place in self.places], np.int64)

    def accepting(self, automaton: ByteAutomaton) -> NDArray[np.bool_]:
        """Which states accept: bool [S]."""
        ends = np.append(automaton.accepting, False)
        return np.concatenate([automaton.accepting, ends[self.exit_of]])

    def along(self, frontier: Frontier, trie: Trie) -> Iterator[Frontier]:
        """What a frontier in the skeleton becomes, byte by byte, until it leaves the skeleton."""
        while len(frontier):
            frontier = self._skeleton_step(frontier, trie)
            yield frontier
            frontier = frontier[frontier.state < self.skeleton]

    def through(self, frontier: Frontier, trie: Trie) -> Iterator[Frontier]:
        """What a frontier becomes, byte by byte, in the skeleton and in leaves."""
        while len(frontier):
            inside = frontier.state >= self.skeleton
            parts = [self._skeleton_step(frontier[~inside], trie)]
            if inside.any():
                parts += self._leaf_step(frontier[inside], trie)
            frontier = Frontier.joined(parts)
            yield frontier

    def _skeleton_step(self, frontier: Frontier, trie: Trie) -> Frontier:
        kept = trie.last[frontier.node] > trie.first[frontier.node]
        frontier = frontier[kept]
        owner, move = spread(self.first[frontier.state], self.first[frontier.state + 1])
        child = trie.child(frontier.node[owner], self.byte[move])
        met = child >= 0
        return Frontier(frontier.origin[owner[met]], self.dst[move[met]], child[met])

    def _leaf_step(self, frontier: Frontier, trie: Trie) -> list[Frontier]:
        owner, child = trie.children(frontier.node)
        frontier = frontier[owner]
        own = frontier.state - self.skeleton
        place, base, byte = self.place_of[own], self.base_of[own], trie.byte[child]
        inner = self._inner(place, frontier.state - base, byte)
        stays = inner >= 0
        after = Frontier(frontier.origin, base + inner, child)[stays]
        out = self.exit_of[own]
        leaves = ~stays & (out >= 0)
        left, byte, child = frontier[leaves], byte[leaves], child[leaves]
        which, move = spread(self.first[out[leaves]], self.first[out[leaves] + 1])
        met = self.byte[move] == byte[which]
        which, move = which[met], move[met]
        return [after, Frontier(left.origin[which], self.dst[move], child[which])]

    def _inner(self, place: Longs, state: Longs, byte: NDArray[np.uint8]) -> Longs:
        cell = state * self._width[place] + self._column[place, byte]
        return self._table[self._table_at[place] + cell].astype(np.int64)

    def _placed(self, ones: list[Instance]) -> Place:
        exits = np.array([one.exits for one in ones], np.int64).reshape(len(ones), -1)
        return Place(
            ones[0].leaf,
            tuple(self._ways(column) for column in exits.T),
            np.array([one.base for one in ones], np.int64),
            exits,
        )

    def _ways(self, exits: Longs) -> bytes:
        """By which bytes any of these states goes on."""
        exits = exits[exits >= 0]
        _, move = spread(self.first[exits], self.first[exits + 1])
        return np.flatnonzero(np.bincount(self.byte[move], minlength=1)).astype(np.uint8).tobytes()

    def _fill(self, number: int, place: Place) -> None:
        own = (place.base - self.skeleton)[:, None] + np.arange(place.leaf.states)
        self.place_of[own] = number
        self.number_of[own] = np.arange(len(place.base))[:, None]
        self.base_of[own] = place.base[:, None]
        exits = np.concatenate([place.exits, np.full((len(place.base), 1), -1)], axis=1)
        self.exit_of[own] = exits[:, place.leaf.label]


def _by_leaf(automaton: ByteAutomaton) -> list[list[Instance]]:
    alike: dict[tuple[bytes, bytes, bytes], list[Instance]] = {}
    for one in automaton.instances:
        alike.setdefault(one.leaf.key, []).append(one)
    return list(alike.values())
