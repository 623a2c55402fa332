"""Leaves: small labelled automata over bytes, for what is written without anything nested in it.

Knows bytes and labels. Must not know schemas, syntaxes or tokens. A leaf is the inside of a string,
or a number, and ends where its surroundings go on with a byte that it has no move for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.minimal import merged_columns, minimal
from agentkit_engine.grammar.truth import Truth

__all__ = ["Label", "Leaf"]

Longs = NDArray[np.int64]

Label = tuple[Truth, ...]
"""What is known of a finished value: the truth of each statement that was asked about it."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A trimmed deterministic automaton over bytes whose final states carry labels.

    table: int32 [S, C], the next state or -1; the start is 0. class_of: uint8 [256], the column of
    a byte. label: int16 [S], which of `labels` holds where a text ends in that state, or -1. Equal
    leaves are one for every cache (`key`).
    """

    table: NDArray[np.int32]
    class_of: NDArray[np.uint8]
    label: NDArray[np.int16]
    labels: tuple[Label, ...]

    @cached_property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """What makes two leaves move alike (their labels are numbers here)."""
        return (self.table.tobytes(), self.class_of.tobytes(), self.label.tobytes())

    @property
    def states(self) -> int:
        return len(self.table)

    @cached_property
    def moves(self) -> tuple[Longs, Longs, Longs]:
        """src, byte, dst: int64 [E], one entry a state and byte."""
        table = self.table[:, self.class_of]
        src, byte = np.nonzero(table >= 0)
        return src, byte, table[src, byte].astype(np.int64)

    def renamed(self, rename: Callable[[Label], Label | None]) -> Leaf | None:
        """The leaf with other labels, those without a new name dropped; None if none is left."""
        names = tuple(rename(label) for label in self.labels)
        return self if names == self.labels else _renamed(self, names)

    def run(self, text: bytes) -> Label | None:
        """The label of `text`, whole; None if it is not in the language."""
        state = 0
        for byte in text:
            state = int(self.table[state, self.class_of[byte]])
            if state < 0:
                return None
        return self.labels[self.label[state]] if self.label[state] >= 0 else None


@lru_cache(maxsize=1024)
def _renamed(leaf: Leaf, names: tuple[Label | None, ...]) -> Leaf | None:
    labels = tuple(dict.fromkeys(name for name in names if name is not None))
    if not labels:
        return None
    numbers = [-1 if name is None else labels.index(name) for name in names]
    table, label = minimal(leaf.table, np.array([*numbers, -1], np.int16)[leaf.label])
    if label[0] < 0 and not bool((table[0] >= 0).any()):
        return None
    table, column = merged_columns(table)
    used = sorted(set(label[label >= 0].tolist()))
    number = np.full(len(labels) + 1, -1, np.int16)
    number[used] = np.arange(len(used))
    return Leaf(
        table,
        column[leaf.class_of].astype(np.uint8),
        number[label],
        tuple(labels[one] for one in used),
    )
