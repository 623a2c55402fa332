"""Exact draws from the posterior of one canvas.

Knows scores by class and the summed weight ahead of each node. Must not know what tokens write. A
draw goes forward from the beginning, each edge by its share of what lies ahead (forward filtering,
backward sampling, the other way round), then picks a class of the edge's set and a token of it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from agentkit_engine.grammar.token.runs import Longs, spread
from agentkit_engine.lattice.passes import Summed
from agentkit_engine.lattice.scores import Scores
from agentkit_engine.lattice.trellis import Trellis

__all__ = ["Draws"]

Floats = NDArray[np.float64]


class Draws:
    """Draws fillings of canvas `number` of a trellis."""

    def __init__(self, scores: Scores, trellis: Trellis, totals: Summed, number: int) -> None:
        self._scores, self._trellis, self._share = scores, trellis, totals.share
        self._length, self._begin = trellis.lengths[number], trellis.begins[number]
        self._late, self._base = trellis.steps - self._length, trellis.base[number]

    def draw(self, count: int, generator: torch.Generator | None) -> Longs:
        """int64 [count, L]. generator: where the randomness is from; torch's own if None."""
        device = generator.device if generator is not None else torch.device("cpu")
        shape = (self._length, 3, count)
        random = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        trellis, plan = self._trellis, self._scores.plan
        found = np.empty((count, self._length), np.int64)
        node = np.full(count, self._begin)
        for at, (for_edge, for_class, for_token) in enumerate(random.cpu().numpy()):
            runs = trellis.out_first[node], trellis.out_first[node + 1]
            edge = _one_of_each(*runs, self._share, for_edge)
            node = trellis.node_first[self._late + at + 1] + trellis.dst[edge]
            sets = trellis.weight[edge] - self._base - at * plan.sets
            runs = plan.set_first[sets], plan.set_first[sets + 1]
            entry = _one_of_each(*runs, self._scores.sets.share[at], for_class)
            found[:, at] = self._tokens(at, plan.set_class[entry], for_token)
        return found

    def _tokens(self, at: int, classes: Longs, random: Floats) -> Longs:
        """A token of each class, at a position."""
        found = np.empty(len(classes), np.int64)
        for number in np.unique(classes).tolist():
            chosen = np.flatnonzero(classes == number)
            tokens, worth = self._scores.values(at, number)
            weight = np.exp(worth - worth.max())
            first, last = np.zeros(len(chosen), np.int64), np.full(len(chosen), len(tokens))
            if len(tokens) == 1:
                found[chosen] = tokens[0]
            else:
                found[chosen] = tokens[_places(weight, first, last, random[chosen])]
        return found


def _one_of_each(first: Longs, last: Longs, weight: Floats, random: Floats) -> Longs:
    """An entry of each run `first[k]` to `last[k]` of `weight`, by its weight."""
    _, entry = spread(first, last)
    ends = np.cumsum(last - first)
    return entry[_places(weight[entry], ends - (last - first), ends, random)]


def _places(weight: Floats, first: Longs, last: Longs, random: Floats) -> Longs:
    """Where the running sum of each run's weights passes a random share of their total."""
    running = np.append(0.0, np.cumsum(weight))
    low, high = running[first], running[last]
    wanted = np.minimum(low + random * (high - low), np.nextafter(high, -np.inf))
    return np.searchsorted(running, wanted, side="right") - 1
