"""A hole before a text: where that text begins is inferred together with what fills the hole.

Knows log-probabilities, token automata and lattices. Must not know forms, nor why there is a hole.

A row of W positions holds a hole of at most M tokens, n >= 1 known tokens right behind it, and
padding. For a hole of l tokens the known ones begin at position l, so that their log-probabilities
there and the padding's are worth

    S(l) = sum_j log p[l + j, behind_j]  +  sum_{k >= l + n} log p[k, pad]

whatever fills the hole. Two tokens that write nothing in the hole stand for all that: the *marker*
of the end, which is worth S(l) at position l, and the *rest* behind it, worth 0. The fillings of
the row are then those of an ordinary lattice of M + 1 positions, the hole's automaton closed with
these two (`TokenAutomaton.close`), and all that a `Lattice` answers is exact for length and content
jointly: the best, samples, the partition, and the posterior over lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agentkit_engine.lattice.lattice import Lattice

__all__ = ["lengths", "marked", "row_entropies"]


def marked(
    log_probs: Tensor, behind: Sequence[int], *, pad: int, markers: tuple[int, int]
) -> Tensor:
    """The log-probabilities of the short lattice in place of the row's.

    Args:
        log_probs: [W, V], nats, normalised or not: each filling reads each position once.
        behind: n tokens that stand right behind the hole, at least one and at most W.
        pad: the token of the positions behind them.
        markers: the marker and the rest, two tokens that write nothing in the hole.

    Returns:
        [M + 1, V] of the same type, M = W - n; the values of other tokens are the row's own.
    """
    width, count = len(log_probs), len(behind)
    most = width - count
    starts = torch.arange(most + 1, device=log_probs.device)
    tokens = torch.tensor(behind, device=log_probs.device)
    offsets = torch.arange(count, device=log_probs.device)
    known = log_probs[starts[:, None] + offsets, tokens].double().sum(-1)
    padding = log_probs[:, pad].double()
    after = torch.cat([padding.flip(0).cumsum(0).flip(0), padding.new_zeros(1)])
    found = log_probs[: most + 1].clone()
    marker, rest = markers
    found[:, marker] = (known + after[count:]).to(found.dtype)
    found[:, rest] = 0.0
    return found


def lengths(lattice: Lattice, number: int, marker: int) -> Tensor:
    """The posterior over the hole's length: float64 [M + 1]. Raises as `Lattice.best`."""
    return lattice.tail_marginals(number, marker)


def row_entropies(nats: Tensor, chances: Tensor, behind: Sequence[int], pad: int) -> Tensor:
    """The entropy of each position of the row: float64 [W], nats.

    A token that may stand at one position both in the hole and behind it counts as two, so that
    there, and only there, it is an upper bound.

    Args:
        nats: [M + 1], the entropies of the short lattice.
        chances: [M + 1], the posterior over lengths.
        behind, pad: as of `marked`.
    """
    most, count = len(chances) - 1, len(behind)
    tokens, which = torch.unique(torch.tensor([*behind, pad]), return_inverse=True)
    share = torch.zeros(most + count, len(tokens), dtype=torch.float64)  # of each token behind
    for offset in range(count):
        share[offset : offset + most + 1, which[offset]] += chances
    ended = chances.cumsum(0)
    share[count:, which[-1]] += ended[:most]
    before = torch.cat([ended.new_zeros(1), ended[:-1]])  # the rest, at each position
    found = _nats(share).sum(-1)
    found[: most + 1] += nats - _nats(chances) - _nats(before)
    return found.clamp(min=0.0)


def _nats(chance: Tensor) -> Tensor:
    return torch.special.entr(chance.clamp(0.0, 1.0))
