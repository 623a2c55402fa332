"""Blocks: relocatable pieces of an automaton, each writing all values of one kind of place.

Knows states, bytes, leaves and how pieces are put together. Must not know schemas. A block starts
in its state 0 and ends in one placeholder a label; whoever embeds it says which of its own states
these become. A finished leaf goes on with the moves of the state its exit names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton, Instance

__all__ = ["Block", "Builder", "Marks", "assembled"]

Longs = NDArray[np.int64]

_NARROW = 24  # moves a state: a leaf with fewer is written out as skeleton
_NARROW_STATES = 2000


class Marks(Flag):
    """What is to know of how a block was made.

    CUT: deeper nesting was left out; STARVED: some that a schema speaks of. GENEROUS: with less
    effort it would be smaller. REPEATING: it may repeat a key, or an item that must differ.
    """

    NONE = 0
    CUT = auto()
    STARVED = auto()
    GENEROUS = auto()
    REPEATING = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """src, byte, dst: int64 [E], the moves. merges: int64 [M, 2], (state, exit it goes on as).

    A leaf's state s is written -1 - s among the targets. leaves: one for each place that has one;
    bases: int64, the number of each one's first leaf state; ends: int64, the exits of all of them
    in a row, one for each label, -1 where a label leads nowhere. unique: the states just inside
    arrays whose items must differ, though the moves don't see to it.
    """

    states: int
    src: Longs
    byte: Longs
    dst: Longs
    merges: Longs
    leaves: tuple[Leaf, ...]
    bases: Longs
    ends: Longs
    leaf_states: int
    exits: Mapping[Label, int]
    marks: Marks
    unique: Longs

    @property
    def size(self) -> int:
        return self.states + self.leaf_states


class Builder:
    """Gathers states and moves; every `SchemaTooLarge` of a block's size is raised here."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.states = 1
        self.leaf_states = 0
        self.marks = Marks.NONE
        self.unique: list[int] = []
        self.exits: dict[Label, int] = {}
        self._moves: list[tuple[int, int, int]] = []
        self._chunks: list[tuple[Longs, Longs, Longs]] = []
        self._merges: list[tuple[int, int]] = []
        self._merge_chunks: list[Longs] = []
        self._leaves: list[Leaf] = []
        self._bases: list[Longs] = []
        self._ends: list[Longs] = []

    def state(self) -> int:
        self._grow(1)
        return self.states - 1

    def exit(self, label: Label) -> int:
        """The placeholder of a label."""
        if label not in self.exits:
            self.exits[label] = self.state()
        return self.exits[label]

    def move(self, src: int, byte: int, dst: int) -> None:
        self._moves.append((src, byte, dst))

    def merge(self, state: int, other: int) -> None:
        """Lets `state` go on as `other` does, which is not merged itself."""
        self._merges.append((state, other))

    def chain(self, src: int, text: bytes, dst: int) -> None:
        """Moves along `text`, which is not empty."""
        for byte in text[:-1]:
            middle = self.state()
            self._moves.append((src, byte, middle))
            src = middle
        self._moves.append((src, text[-1], dst))

    def before(self, text: bytes, dst: int) -> int:
        """A state from which `text` leads to `dst`."""
        if not text:
            return dst
        start = self.state()
        self.chain(start, text, dst)
        return start

    def leaf(self, leaf: Leaf, exits: tuple[int, ...]) -> int:
        """Puts a leaf in and returns its first state."""
        if _narrow(leaf):
            return self._written_out(leaf, exits, self.state())
        base = self.leaf_states
        self.leaf_states += leaf.states
        self._grow(0)
        self._leaves.append(leaf)
        self._bases.append(np.array([base]))
        self._ends.append(np.array(exits, np.int64))
        return -1 - base

    def join(self, state: int, leaf: Leaf, exits: tuple[int, ...]) -> None:
        """Lets `state` itself begin a leaf that doesn't hold the empty text."""
        src, byte, dst = leaf.moves
        if _narrow(leaf) and not bool((dst == 0).any()):
            self._written_out(leaf, exits, state)
            return
        first = self.leaf(leaf, exits)
        mine = src == 0
        to = dst[mine] + first if first >= 0 else first - dst[mine]
        self._chunks.append((np.full(int(mine.sum()), state, np.int64), byte[mine], to))

    def _written_out(self, leaf: Leaf, exits: tuple[int, ...], start: int) -> int:
        """A leaf as moves of the skeleton, which few tokens take: no need to work it out apart."""
        place = np.arange(self.states - 1, self.states - 1 + leaf.states)
        place[0] = start
        self._grow(leaf.states - 1)
        src, byte, dst = leaf.moves
        self._chunks.append((place[src], byte, place[dst]))
        for state in np.flatnonzero(leaf.label >= 0).tolist():
            if exits[leaf.label[state]] >= 0:
                self._merges.append((int(place[state]), exits[leaf.label[state]]))
        return start

    def embed(self, block: Block, start: int, exits: Mapping[Label, int]) -> None:
        """A copy of `block` from `start` on; `exits` has a state for each of its labels."""
        place = np.arange(self.states - 1, self.states - 1 + block.states)
        place[0] = start
        for label, placeholder in block.exits.items():
            place[placeholder] = exits[label]
        inner = place[np.maximum(block.dst, 0)]
        dst = np.where(block.dst < 0, block.dst - self.leaf_states, inner)
        self._chunks.append((place[block.src], block.byte, dst))
        self._merge_chunks.append(place[block.merges])
        if block.leaves:
            self._leaves += block.leaves
            self._bases.append(block.bases + self.leaf_states)
            self._ends.append(np.where(block.ends < 0, -1, place[block.ends]))
        self.unique += place[block.unique].tolist()
        self.leaf_states += block.leaf_states
        self._grow(block.states - 1)

    def _grow(self, count: int) -> None:
        self.states += count
        if self.states + self.leaf_states > self.budget:
            raise SchemaTooLarge(self.states + self.leaf_states, self.budget)

    def finish(self) -> Block:
        moves = np.array(self._moves, np.int64).reshape(-1, 3)
        chunks = [(moves[:, 0], moves[:, 1], moves[:, 2]), *self._chunks]
        src, byte, dst = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        merges = [np.array(self._merges, np.int64).reshape(-1, 2), *self._merge_chunks]
        bases, ends = (np.concatenate([np.zeros(0, np.int64), *one])
                       for one in (self._bases, self._ends))  # fmt: skip
        return Block(
            self.states, src, byte, dst, np.concatenate(merges), tuple(self._leaves), bases, ends,
            self.leaf_states, dict(self.exits), self.marks, np.array(self.unique, np.int64),
        )  # fmt: skip


def _narrow(leaf: Leaf) -> bool:
    return leaf.states <= _NARROW_STATES and len(leaf.moves[0]) <= _NARROW * leaf.states


def assembled(block: Block, ends: Iterable[Label]) -> ByteAutomaton:
    """The automaton of a whole block, which accepts where it ends with one of `ends`."""
    accepting = np.zeros(block.states, np.bool_)
    accepting[[block.exits[label] for label in ends]] = True
    src, byte, dst = _merged(block)
    accepting[block.merges[accepting[block.merges[:, 1]], 0]] = True
    return ByteAutomaton(
        src.astype(np.int32),
        byte.astype(np.int32),
        np.where(dst < 0, block.states - 1 - dst, dst).astype(np.int32),
        accepting,
        tuple(_instances(block)),
        0,
        unique=frozenset(block.unique.tolist()),
    )


def _instances(block: Block) -> Iterator[Instance]:
    first, ends = 0, block.ends.tolist()
    for leaf, base in zip(block.leaves, block.bases.tolist(), strict=True):
        last = first + len(leaf.labels)
        yield Instance(leaf, block.states + base, tuple(ends[first:last]))
        first = last


def _merged(block: Block) -> tuple[Longs, Longs, Longs]:
    """The moves, with those of exits given to the states that go on as them."""
    if not len(block.merges):
        return block.src, block.byte, block.dst
    order = np.argsort(block.src, kind="stable")
    first = np.searchsorted(block.src[order], np.arange(block.states + 1))
    state, exit_ = block.merges.T
    count = first[exit_ + 1] - first[exit_]
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    copied = order[np.repeat(first[exit_], count) + offset]
    return (
        np.concatenate([block.src, np.repeat(state, count)]),
        np.concatenate([block.byte, block.byte[copied]]),
        np.concatenate([block.dst, block.dst[copied]]),
    )
