"""The best fillings of one canvas, one after the other.

Knows scores by class and what lies ahead of each node. Must not know what tokens write. Each
further filling leaves one found before at some position by the next best token there, and goes on
from it in the best way (Lawler 1972): what each node has to offer is sorted only as far as asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.runs import Longs, spread
from agentkit_engine.lattice.passes import Ahead
from agentkit_engine.lattice.scores import Scores
from agentkit_engine.lattice.trellis import Trellis

__all__ = ["Paths"]

Floats = NDArray[np.float64]


class _Option(NamedTuple):
    """A token that a node offers. loss: less the best score of a way that begins with it; own:
    what it is worth by itself; node: where it leads. Sorts as it is offered."""

    loss: float
    token: int
    own: float
    node: int


@dataclass(slots=True, eq=False)
class _Path:
    """A filling, and before each token the node and the score up to it."""

    tokens: list[int]
    nodes: list[int]
    scores: list[float]


class Paths:
    """Iterates over a canvas's fillings, the best first, as (tokens, score).

    Of equal scores the lower token ids, from left to right, come first.
    """

    def __init__(self, scores: Scores, trellis: Trellis, ahead: Ahead, number: int) -> None:
        self.scores, self.trellis, self.ahead = scores, trellis, ahead
        self.length = trellis.lengths[number]
        self.late = trellis.steps - self.length
        self._begin, self._base = trellis.begins[number], trellis.base[number]
        self._offers: dict[int, _Offers] = {}
        self._ranks: dict[tuple[int, int], _Ranked] = {}

    def best(self) -> Longs:
        """The tokens of the first, without a sort: int64 [L]."""
        onward, firsts = self.ahead.onward, self.trellis.node_first.tolist()
        run, target = self.trellis.out_first.item, self.trellis.dst.item
        node = self._begin
        edges = np.empty(self.length, np.int64)
        for at in range(self.length):
            edge, high = run(node), run(node + 1)
            if high > edge + 1:
                ways = onward[edge:high].tolist()
                best = max(ways)
                if ways.count(best) > 1:
                    equal = edge + np.flatnonzero(onward[edge:high] == best)
                    lowest = self._lowest(np.full(len(equal), at), equal)
                    edge = int(equal[lowest.argmin()])
                else:
                    edge += ways.index(best)
            edges[at] = edge
            node = firsts[self.late + at + 1] + target(edge)
        return self._lowest(np.arange(self.length), edges)

    def sets(self, positions: Longs, edges: Longs) -> Longs:
        """The set that each edge stands for."""
        return self.trellis.weight[edges] - self._base - positions * self.scores.plan.sets

    def ranked(self, at: int, number: int) -> _Ranked:
        """The tokens of a class at a position, the best first."""
        found = self._ranks.get((at, number))
        if found is None:
            found = self._ranks[at, number] = _Ranked(*self.scores.values(at, number))
        return found

    def _lowest(self, positions: Longs, edges: Longs) -> Longs:
        """The lowest of the best tokens of each edge."""
        if not len(edges):
            return edges
        plan, scores = self.scores.plan, self.scores
        sets = self.sets(positions, edges)
        owner, entry = spread(plan.set_first[sets], plan.set_first[sets + 1])
        classes = plan.set_class[entry]
        top = scores.sets.top[positions, sets]
        equal = np.flatnonzero(scores.top[positions[owner], classes] == top[owner])
        owner = owner[equal]
        tokens = scores.first_tokens(positions[owner], classes[equal])
        return np.minimum.reduceat(tokens, np.searchsorted(owner, np.arange(len(edges))))

    def __iter__(self) -> Iterator[tuple[list[int], float]]:
        if not self.length:
            yield [], 0.0
            return
        heap = [_Next(self, _Path([], [self._begin], [0.0]), 0, 0)]
        while heap:
            found = heapq.heappop(heap)
            path = found.path
            yield path.tokens, found.score
            if self._option(found.parent, found.at, found.rank + 1) is not None:
                heapq.heappush(heap, _Next(self, found.parent, found.at, found.rank + 1))
            for at in range(found.at + 1, self.length):
                if self._option(path, at, 1) is not None:
                    heapq.heappush(heap, _Next(self, path, at, 1))

    def _option(self, path: _Path, at: int, rank: int) -> _Option | None:
        return self.offers(path.nodes[at], at).get(rank)

    def offers(self, node: int, at: int) -> _Offers:
        """What a node at a position offers."""
        found = self._offers.get(node)
        if found is None:
            found = self._offers[node] = _Offers(self, node, at)
        return found


class _Next:
    """A filling to come: that of `parent` up to `at`, there the option of a rank, then the best."""

    def __init__(self, paths: Paths, parent: _Path, at: int, rank: int) -> None:
        self._paths, self.parent, self.at, self.rank = paths, parent, at, rank
        option = paths.offers(parent.nodes[at], at).get(rank)
        assert option is not None  # whoever makes it has looked
        self.score = parent.scores[at] - option.loss

    def __lt__(self, other: _Next) -> bool:
        if self.score != other.score:
            return self.score > other.score
        return self.path.tokens < other.path.tokens

    @cached_property
    def path(self) -> _Path:
        parent, at = self.parent, self.at
        found = _Path(parent.tokens[:at], parent.nodes[: at + 1], parent.scores[: at + 1])
        rank = self.rank
        for place in range(at, self._paths.length):
            option = self._paths.offers(found.nodes[-1], place).get(rank)
            assert option is not None  # every node but the ends leads on
            found.tokens.append(option.token)
            found.nodes.append(option.node)
            found.scores.append(found.scores[-1] + option.own)
            rank = 0
        return found


class _Offers:
    """The options of a node, the best first, sorted as far as they were asked for."""

    def __init__(self, paths: Paths, node: int, at: int) -> None:
        self._paths, self._at = paths, at
        trellis, scores, plan = paths.trellis, paths.scores, paths.scores.plan
        edges = np.arange(trellis.out_first[node], trellis.out_first[node + 1])
        sets = paths.sets(np.full(len(edges), at), edges)
        owner, entry = spread(plan.set_first[sets], plan.set_first[sets + 1])
        nodes = trellis.node_first[paths.late + at + 1] + trellis.dst[edges][owner]
        classes, beyond = plan.set_class[entry], paths.ahead.score[nodes]
        loss = -(scores.top[at, classes] + beyond)
        order = np.argsort(loss, kind="stable")
        order = order[loss[order] < np.inf]
        self._loss: list[float] = loss[order].tolist()
        self._classes: list[int] = classes[order].tolist()
        self._nodes: list[int] = nodes[order].tolist()
        self._beyond: list[float] = beyond[order].tolist()
        self._opened = 0
        self._heap: list[tuple[_Option, int, int]] = []
        self._found: list[_Option] = []

    def get(self, rank: int) -> _Option | None:
        """The option of a rank, 0 being the best; None if there are not so many."""
        while len(self._found) <= rank:
            self._open()
            if not self._heap:
                return None
            option, entry, place = heapq.heappop(self._heap)
            self._found.append(option)
            self._offer(entry, place + 1)
        return self._found[rank]

    def _open(self) -> None:
        """Takes up each class that may hold the next option."""
        loss = self._loss
        while self._opened < len(loss) and (
            not self._heap or loss[self._opened] <= self._heap[0][0].loss
        ):
            self._opened += 1
            self._offer(self._opened - 1, 0)

    def _offer(self, entry: int, place: int) -> None:
        found = self._paths.ranked(self._at, self._classes[entry]).get(place)
        if found is not None:
            token, own = found
            loss = -(own + self._beyond[entry])
            option = _Option(loss, token, own, self._nodes[entry])
            heapq.heappush(self._heap, (option, entry, place))


class _Ranked:
    """The tokens of a class by falling worth, sorted as far as they were asked for."""

    def __init__(self, tokens: Longs, worth: Floats) -> None:
        self._tokens, self._worth = tokens, worth
        self._sorted: list[tuple[int, float]] = []
        self._wanted = 16

    def get(self, place: int) -> tuple[int, float] | None:
        """The token at a place and its worth; None if there are no more that are possible."""
        while place >= len(self._sorted) < len(self._tokens):
            self._sort()
        if place >= len(self._sorted) or self._sorted[place][1] == -np.inf:
            return None
        return self._sorted[place]

    def _sort(self) -> None:
        """Four times as many as before, and all that are equal to the last of them."""
        self._wanted *= 4
        worth, kept = self._worth, np.arange(len(self._worth))
        if self._wanted < len(worth):
            least = np.partition(worth, -self._wanted)[-self._wanted]
            kept = np.flatnonzero(worth >= least)
        kept = kept[np.argsort(-worth[kept], kind="stable")]
        tokens: list[int] = self._tokens[kept].tolist()
        self._sorted = list(zip(tokens, worth[kept].tolist(), strict=True))
