"""Canvas positions x automaton states: the nodes and edges that valid fillings pass through.

Knows automata and lengths. Must not know tokens or probabilities. Several canvases, of different
automata and lengths, make one trellis: their ends stand at the same time, so that a dynamic program
takes one step for each time and not for each canvas and position.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.runs import Longs, starts
from agentkit_engine.lattice.plan import plan_of

__all__ = ["Trellis", "trellis_of"]

_KEPT = 1 << 26
"""Bytes of trellises of several canvases that are remembered."""


@dataclass(frozen=True, eq=False)
class Trellis:
    """Nodes (time, state) by time, edges by their source; from time t on to t + 1.

    node_first: the nodes of time t are `node_first[t]` to `node_first[t + 1]`; those of the last
    time, and no others, are ends. edge_first: int64 [T + 1], likewise the edges that leave them.
    out_first: int64 [nodes + 1], the edges of each node; every node has some, but the ends. src,
    dst: int64 [E], the nodes that an edge joins, each counted from the first of its time. weight:
    int64 [E], which set of which position of which canvas the edge stands for: canvas k has its
    positions in a row from `base[k]` on, each with all sets of its plan; `weights` in all. begins,
    lengths: the node that each canvas begins at, and its positions.
    """

    node_first: Longs
    edge_first: Longs
    out_first: Longs
    src: Longs
    dst: Longs
    weight: Longs
    base: tuple[int, ...]
    begins: tuple[int, ...]
    lengths: tuple[int, ...]
    weights: int

    @property
    def steps(self) -> int:
        return len(self.edge_first) - 1

    @property
    def nodes(self) -> int:
        return int(self.node_first[-1])

    @property
    def nbytes(self) -> int:
        parts = (self.out_first, self.src, self.dst, self.weight)
        return sum(part.nbytes for part in parts)

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """Which set may be written at which position: bool [trellis.weights]."""
        found = np.zeros(self.weights, np.bool_)
        found[self.weight] = True
        return found

    @cached_property
    def spans(self) -> list[tuple[slice, slice, slice, Longs]]:
        """For each time: its nodes, those of the next time, its edges, where their runs start."""
        nodes, edges = self.node_first.tolist(), self.edge_first.tolist()
        return [
            (
                slice(nodes[t], nodes[t + 1]),
                slice(nodes[t + 1], nodes[t + 2]),
                slice(edges[t], edges[t + 1]),
                self.out_first[nodes[t] : nodes[t + 1]] - edges[t],
            )
            for t in range(self.steps)
        ]

    @cached_property
    def by_weight(self) -> tuple[Longs, Longs, Longs]:
        """The edges by weight, where their runs start, and of which weights."""
        order = np.argsort(self.weight, kind="stable")
        weights, first = np.unique(self.weight[order], return_index=True)
        return order, first, weights

    @cached_property
    def arrivals(self) -> list[tuple[Longs, Longs, Longs]]:
        """For each time: its edges by target, where their runs start, and of which targets."""
        found: list[tuple[Longs, Longs, Longs]] = []
        for _, _, edges, _ in self.spans:
            order = np.argsort(self.dst[edges], kind="stable")
            targets, first = np.unique(self.dst[edges][order], return_index=True)
            found.append((order, first, targets))
        return found


_single: WeakKeyDictionary[TokenAutomaton, dict[int, Trellis | None]] = WeakKeyDictionary()
_joined: OrderedDict[tuple[int, ...], tuple[tuple[Trellis, ...], Trellis]] = OrderedDict()
_lock = Lock()
_LENGTHS = 4


def trellis_of(canvases: Sequence[tuple[TokenAutomaton, int]]) -> Trellis | None:
    """The trellis of canvases, each an automaton and a length; None if one of them has no filling.

    Made when it is first asked for. Of an automaton the last few lengths are remembered.
    """
    singles: list[Trellis] = []
    for automaton, length in canvases:
        found = _single_of(automaton, length)
        if found is None:
            return None
        singles.append(found)
    if len(singles) == 1:
        return singles[0]
    key = tuple(map(id, singles))
    with _lock:
        known = _joined.get(key)
        if known is not None:  # it holds its parts, so that their ids are still theirs
            _joined.move_to_end(key)
            return known[1]
    joined = _join(singles)
    with _lock:
        _joined[key] = (tuple(singles), joined)
        held = sum(trellis.nbytes for _, trellis in _joined.values())
        while held > _KEPT and len(_joined) > 1:
            held -= _joined.popitem(last=False)[1][1].nbytes
    return joined


def _single_of(automaton: TokenAutomaton, length: int) -> Trellis | None:
    known = _single.setdefault(automaton, {})
    if length not in known:
        made = _make(automaton, length)
        with _lock:
            while len(known) >= _LENGTHS:
                known.pop(next(iter(known)))
            known[length] = made
    return known[length]


def _make(automaton: TokenAutomaton, length: int) -> Trellis | None:
    alive = _alive(automaton, length)
    if not alive[0, automaton.start]:
        return None
    time, state = np.nonzero(alive)
    node_first = starts(time, length + 1)
    local = np.zeros(alive.shape, np.int64)
    local[time, state] = np.arange(len(time)) - node_first[time]
    at, pair = np.nonzero(alive[:-1][:, automaton.src] & alive[1:][:, automaton.dst])
    src, dst = automaton.src[pair], automaton.dst[pair]
    sets = plan_of(automaton).sets
    nodes = local[at, src]
    return Trellis(
        node_first=node_first,
        edge_first=starts(at, length),
        out_first=starts(node_first[at] + nodes, len(time)),
        src=nodes,
        dst=local[at + 1, dst],
        weight=at * sets + automaton.set[pair],
        base=(0,),
        begins=(int(local[0, automaton.start]),),
        lengths=(length,),
        weights=length * sets,
    )


def _alive(automaton: TokenAutomaton, length: int) -> NDArray[np.bool_]:
    """Which state can be come to from the start and leads to the end: bool [L + 1, S]."""
    src, dst = automaton.src, automaton.dst
    reached = np.zeros((length + 1, automaton.states), np.bool_)
    reached[0, automaton.start] = True
    for at in range(length):
        reached[at + 1, dst[reached[at, src]]] = True
    reached[length] &= automaton.accepting
    for at in range(length - 1, -1, -1):
        leading = np.zeros(automaton.states, np.bool_)
        leading[src[reached[at + 1, dst]]] = True
        reached[at] &= leading
    return reached


def _join(parts: Sequence[Trellis]) -> Trellis:
    """One trellis of all, side by side, with their ends at the same time."""
    steps = max(part.steps for part in parts)
    late = [steps - part.steps for part in parts]
    counts = np.zeros((len(parts), steps + 1), np.int64)  # nodes of each part at each time
    for k, part in enumerate(parts):
        counts[k, late[k] :] = np.diff(part.node_first)
    before = np.cumsum(counts, axis=0) - counts
    base = np.cumsum([0, *(part.weights for part in parts)])
    edge_times = [_times(part.edge_first) + late[k] for k, part in enumerate(parts)]
    node_times = [_times(part.node_first) + late[k] for k, part in enumerate(parts)]
    edges = np.argsort(np.concatenate(edge_times), kind="stable")
    nodes = np.argsort(np.concatenate(node_times), kind="stable")
    src = [part.src + before[k, edge_times[k]] for k, part in enumerate(parts)]
    dst = [part.dst + before[k, edge_times[k] + 1] for k, part in enumerate(parts)]
    weight = [part.weight + base[k] for k, part in enumerate(parts)]
    degree = np.concatenate([np.diff(part.out_first) for part in parts])[nodes]
    node_first = starts(np.concatenate(node_times)[nodes], steps + 1)
    return Trellis(
        node_first=node_first,
        edge_first=starts(np.concatenate(edge_times)[edges], steps),
        out_first=np.append(0, np.cumsum(degree)),
        src=np.concatenate(src)[edges],
        dst=np.concatenate(dst)[edges],
        weight=np.concatenate(weight)[edges],
        base=tuple(base[:-1].tolist()),
        begins=tuple(
            int(node_first[late[k]] + before[k, late[k]]) + part.begins[0]
            for k, part in enumerate(parts)
        ),
        lengths=tuple(part.lengths[0] for part in parts),
        weights=int(base[-1]),
    )


def _times(first: Longs) -> Longs:
    """The time of each node or edge, by where the times begin."""
    return np.repeat(np.arange(len(first) - 1), np.diff(first))
