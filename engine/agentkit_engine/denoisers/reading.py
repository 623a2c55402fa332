"""Causal readings: many rows behind one prefix, in one pass over the tree of their tokens.

Rows that begin alike share what they begin with, as the n best fillings of a template do, so a pass
costs the distinct tokens only (token trees: SpecInfer, arXiv 2305.09781). Knows tokens, states and
cached keys and values. Must not know models or masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.denoisers.cache import Fresh, Memory, extend, memory_of
from agentkit_engine.errors import EngineError


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be read: its tokens, and the position of the first one."""

    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The tokens of some rows, those of common beginnings once.

    Attributes:
        tokens: one id a node.
        positions: of each node, where it stands.
        paths: the nodes of each row, in order.
    """

    tokens: list[int]
    positions: list[int]
    paths: list[list[int]]

    def visible(self) -> torch.Tensor:
        """[T, T] bool: whether a node (first axis) sees another: its row up to itself."""
        seen = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.bool)
        for path in self.paths:
            nodes = torch.tensor(path, dtype=torch.long)
            behind, before = torch.tril_indices(len(path), len(path))
            seen[nodes[behind], nodes[before]] = True
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What one encoder forward over a tree gave: states [T, H], keys and values of its nodes."""

    states: torch.Tensor
    fresh: Fresh


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A row that was read: its tokens, and the nodes [n] of a pass that are they."""

    tokens: tuple[int, ...]
    run: Pass
    nodes: torch.Tensor

    @property
    def states(self) -> torch.Tensor:
        """[n, H]."""
        return self.run.states[self.nodes]


class TreeReading:
    """The `Reading` of one or more passes over trees."""

    def __init__(
        self, prefix: Prefix, rows: Sequence[Read], head: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        """
        Args:
            prefix: what all rows stand behind; it knows its last state.
            head: states [n, H] to logits [n, V].
        """
        state = memory_of(prefix).state
        assert state is not None
        self._before, self._state, self._rows, self._head = prefix, state, rows, head

    @torch.inference_mode()
    def logits(self, row: int) -> torch.Tensor:
        """Next-token logits [n + 1, V] of a row, see `Reading.logits`."""
        return self._head(torch.cat((self._state[None], self._rows[row].states)))

    @torch.inference_mode()
    def prefix(self, row: int, length: int | None = None) -> Prefix:
        """The prefix behind the first `length` tokens of a row, see `Reading.prefix`."""
        read = self._rows[row]
        length = len(read.tokens) if length is None else length
        if not 0 <= length <= len(read.tokens):
            raise EngineError(
                f"row {row} has {len(read.tokens)} tokens; there is no prefix of {length}"
            )
        if length == 0:
            return self._before
        cache = extend(memory_of(self._before).cache, read.run.fresh, read.nodes[:length])
        memory = Memory(cache, read.run.states[read.nodes[length - 1]].clone())
        return Prefix(self._before.tokens + read.tokens[:length], memory)


def packs(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    """`rows` in packs of no more than `most` tokens, at least one row each."""
    pack: list[Row] = []
    for row in rows:
        if pack and sum(len(other.tokens) for other in (*pack, row)) > most:
            yield pack
            pack = []
        pack.append(row)
    if pack:
        yield pack


def tree_of(rows: Sequence[Row]) -> Tree:
    """The tree of `rows`; rows that start at different positions have nothing in common."""
    tree = Tree([], [], [])
    known: dict[tuple[int, int], int] = {}
    for row in rows:
        path: list[int] = []
        for position, token in enumerate(row.tokens, row.start):
            parent = path[-1] if path else -1 - row.start  # no node: a root of its own a start
            node = known.setdefault((parent, token), len(tree.tokens))
            if node == len(tree.tokens):
                tree.tokens.append(token)
                tree.positions.append(position)
            path.append(node)
        tree.paths.append(path)
    return tree
