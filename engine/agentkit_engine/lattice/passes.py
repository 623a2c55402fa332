"""Dynamic programs over a trellis: max-plus, sum-product, and a walk by what they found.

Knows trellises and a weight, in nats, for each of their edges' sets. Must not know tokens. Max-plus
is Viterbi (1967), sum-product Baum and Welch (1970). Sums are float64 in log space, so that a
needed but improbable token can't underflow; the posterior behind them is a Markov chain whose
probabilities may: what is lost there is below 1e-300.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.lattice.trellis import Trellis

__all__ = ["Ahead", "Summed", "best_ahead", "best_behind", "flow", "summed"]

Floats = NDArray[np.float64]
_LEAST = -1e300


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """score: float64 [nodes], the best score from each node to the end; onward: float64 [E], the
    best one that begins with each edge. -inf where there is none."""

    score: Floats
    onward: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """log_total: float64 [nodes], log of the summed weight of all ways from each node to the end;
    share, sums: float64 [E], [nodes], an edge's share of its node's total is share / sums."""

    log_total: Floats
    share: Floats
    sums: Floats


def best_ahead(trellis: Trellis, weights: Floats) -> Ahead:
    """Max-plus from the end on. weights: float64 [trellis.weights]."""
    score = np.zeros(trellis.nodes)
    onward = weights.take(trellis.weight)
    for here, there, edges, first in reversed(trellis.spans):
        ways = onward[edges]
        ways += score[there].take(trellis.dst[edges])
        np.maximum.reduceat(ways, first, out=score[here])
    return Ahead(score, onward)


def best_behind(trellis: Trellis, weights: Floats) -> Floats:
    """Max-plus from the beginnings on: float64 [nodes], the best score up to each node."""
    score = np.full(trellis.nodes, -np.inf)
    score[list(trellis.begins)] = 0.0
    before = weights.take(trellis.weight)
    for (here, there, edges, _), (order, first, targets) in zip(
        trellis.spans, trellis.arrivals, strict=True
    ):
        ways = before[edges]
        ways += score[here].take(trellis.src[edges])
        there_score = score[there]
        there_score[targets] = np.maximum(
            np.maximum.reduceat(ways.take(order), first), there_score[targets]
        )
    return score


def summed(trellis: Trellis, weights: Floats) -> Summed:
    """Sum-product from the end on. weights: float64 [trellis.weights]."""
    log_total, sums = np.zeros(trellis.nodes), np.ones(trellis.nodes)
    share = weights.take(trellis.weight)
    with np.errstate(divide="ignore"):
        for here, there, edges, first in reversed(trellis.spans):
            ways = share[edges]
            ways += log_total[there].take(trellis.dst[edges])
            top = np.maximum.reduceat(ways, first)
            np.maximum(top, _LEAST, out=top)  # -inf - -inf is not a number
            ways -= top.take(trellis.src[edges])
            np.exp(ways, out=ways)
            total, whole = sums[here], log_total[here]
            np.add.reduceat(ways, first, out=total)
            np.log(total, out=whole)
            whole += top
    return Summed(log_total, share, sums)


def flow(trellis: Trellis, totals: Summed) -> Floats:
    """The posterior probability of each edge: float64 [E]."""
    chance = np.zeros(trellis.nodes)
    chance[list(trellis.begins)] = 1.0
    inverse = 1.0 / np.maximum(totals.sums, 1.0)  # no less than 1 where there is any way on
    found = totals.share.copy()
    for here, there, edges, _ in trellis.spans:
        through = found[edges]
        through *= (chance[here] * inverse[here]).take(trellis.src[edges])
        chance[there] += np.bincount(
            trellis.dst[edges], through, minlength=there.stop - there.start
        )
    return found
