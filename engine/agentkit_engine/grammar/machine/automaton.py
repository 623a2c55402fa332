"""Byte automata: a skeleton of punctuation and keys, with leaves put in where values are written.

Knows states, bytes and leaves. Must not know schemas, syntaxes or tokens. Kept in two parts since a
schema's strings and numbers are nearly all alike: each kind of leaf is worked out once for a
vocabulary, and only the skeleton is particular to a schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.leaf import Leaf

__all__ = ["ByteAutomaton", "Instance"]

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One leaf in its place: its state s is the automaton's state `base + s`.

    exits: for each number in `leaf.label`, the skeleton state whose moves go on from there (the
    leaf itself has no move for those bytes).
    """

    leaf: Leaf
    base: int
    exits: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ByteAutomaton:
    """A deterministic automaton over bytes.

    States below `len(accepting)` are the skeleton's, with the moves (src, byte, dst), int32 [E];
    those above are the leaves'. accepting: bool [skeleton states]; a leaf state accepts where the
    exit of its label does. start may be a leaf's state. Every state can still reach an end, but for
    states of leaves that hold keys, some of whose ends may be missing.

    unique: skeleton states just inside arrays whose items must differ, though the moves don't see
    to it. repeats: where by the moves alone an object could repeat a key, or such an array an item
    (no finite automaton can tell all texts apart), a test of whether a text does; such a text is
    not accepted. strict: then, a part of the language whose moves never do.
    """

    src: Ints
    byte: Ints
    dst: Ints
    accepting: NDArray[np.bool_]
    instances: tuple[Instance, ...]
    start: int
    unique: frozenset[int] = frozenset()
    repeats: Callable[[bytes], bool] | None = None
    strict: ByteAutomaton | None = None

    @property
    def skeleton(self) -> int:
        """How many states are the skeleton's."""
        return len(self.accepting)

    @cached_property
    def states(self) -> int:
        return self.skeleton + sum(one.leaf.states for one in self.instances)

    @property
    def empty(self) -> bool:
        """Whether no text at all is accepted."""
        return not bool(self.accepting.any())

    def accepts(self, text: bytes) -> bool:
        """Whether `text`, whole, is in the language."""
        state = self.start
        for byte in text:
            state = self.step(state, byte)
            if state < 0:
                return False
        return self.ends(state) and not (self.repeats is not None and self.repeats(text))

    def step(self, state: int, byte: int) -> int:
        """Where `byte` leads from a state, -1 if nowhere."""
        if state < self.skeleton:
            return self._moves.get(state << 8 | byte, -1)
        one = self._instance(state)
        inner = int(one.leaf.table[state - one.base, one.leaf.class_of[byte]])
        if inner >= 0:
            return one.base + inner
        out = self._exit(state)
        return self._moves.get(out << 8 | byte, -1) if out >= 0 else -1

    def ways(self, state: int) -> dict[int, int]:
        """The moves from a state: byte -> next state."""
        if state < self.skeleton:
            low, high = np.searchsorted(self._sorted[0], (state, state + 1))
            return dict(zip(self._sorted[1][low:high].tolist(), self._sorted[2][low:high].tolist(),
                            strict=True))  # fmt: skip
        one = self._instance(state)
        row = one.leaf.table[state - one.base][one.leaf.class_of]
        found = {byte: one.base + int(row[byte]) for byte in np.flatnonzero(row >= 0).tolist()}
        out = self._exit(state)
        return {**(self.ways(out) if out >= 0 else {}), **found}

    def ends(self, state: int) -> bool:
        """Whether a text may end in a state, as far as the moves can tell."""
        if state >= self.skeleton:
            state = self._exit(state)
        return state >= 0 and bool(self.accepting[state])

    @cached_property
    def _moves(self) -> dict[int, int]:
        keys = self.src.astype(np.int64) << 8 | self.byte
        return dict(zip(keys.tolist(), self.dst.tolist(), strict=True))

    @cached_property
    def _sorted(self) -> tuple[Ints, Ints, Ints]:
        order = np.argsort(self.src, kind="stable")
        return self.src[order], self.byte[order], self.dst[order]

    @cached_property
    def _bases(self) -> Any:
        return np.array([one.base for one in self.instances])

    def _instance(self, state: int) -> Instance:
        return self.instances[int(np.searchsorted(self._bases, state, side="right")) - 1]

    def _exit(self, state: int) -> int:
        one = self._instance(state)
        label = int(one.leaf.label[state - one.base])
        return one.exits[label] if label >= 0 else -1
