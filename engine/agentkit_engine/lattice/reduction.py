"""The vocabulary reduced to classes: the one part of the work that reads every logit.

Knows log-probabilities and the tokens of classes. Must not know automata. A small vocabulary is
reduced by numpy, whose calls cost least; a large one in blocks of rows that stay in the cache, the
class of most tokens by itself, so that its tokens need not be gathered. Each class is shifted by
its own best token, so nothing underflows that counts. Tokens of no class are never read, nor, of a
large vocabulary, classes where no filling has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentkit_engine.grammar.token.runs import Longs
from agentkit_engine.lattice.plan import Plan

__all__ = ["Reduced", "reduce_classes"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_BITS = math.log2(math.e)  # powers of 2 are quicker than those of e
_SMALL = 1 << 20  # logits up to which numpy is quicker
_BLOCK = 1 << 21  # logits of a block: with its copies it stays in the cache
_DEVICE_BLOCK = 1 << 24
_LEAST = 1e-300
_HIDDEN = -1e30  # finite, so that it times 0 is 0


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """Rows by classes, float64 [rows, C]. top: the best token's log-probability. log_total: the
    log of the summed probability of all. entropy: nats, that of a draw among them; 0 where it was
    not asked for."""

    top: Floats
    log_total: Floats
    entropy: Floats


def reduce_classes(
    values: Tensor,
    rows: Longs,
    plan: Plan,
    alive: Flags,
    *,
    temperature: float = 1.0,
    entropy: bool = True,
) -> Reduced:
    """The classes' scores at some rows of `values`, float [L, V'].

    alive: bool [L, C]; a class that is not may be left out, as if it had no probability.
    temperature: divides the values. entropy: whether that is asked for; it costs a fifth.
    """
    if not plan.classes or not len(rows):
        none = np.zeros((len(rows), plan.classes))
        return Reduced(none, none, none)
    if values.device.type == "cpu" and len(rows) * len(plan.tokens) <= _SMALL:
        return _small(values, rows, plan, temperature, entropy)
    return _large(values, rows, plan, alive, temperature, entropy)


def _small(values: Tensor, rows: Longs, plan: Plan, temperature: float, entropy: bool) -> Reduced:
    wide = values.detach().to(torch.promote_types(values.dtype, torch.float32)).numpy()
    if len(rows) < len(wide):
        wide = wide[rows]
    x = wide.take(plan.tokens, axis=1)
    if temperature != 1.0:
        x /= temperature
    begins = plan.first[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN and inf are the caller's to refuse
        top = np.maximum.reduceat(x, begins, axis=1)
        shift = np.maximum(top, np.finfo(x.dtype).min)
        x -= shift.take(plan.token_class, axis=1)
        chance = np.exp(x)
        total = np.add.reduceat(chance, begins, axis=1)
        if not entropy:
            return _finished(top, total, None)
        np.maximum(x, _HIDDEN, out=x)
        x *= chance
        mean = np.add.reduceat(x, begins, axis=1)
        return _finished(top, total, mean)


def _finished(top: NDArray[Any], total: NDArray[Any], mean: NDArray[Any] | None) -> Reduced:
    """total: summed exp of what is above `top`; mean: that, times how far above, summed."""
    some = np.maximum(total, _LEAST, dtype=np.float64)
    log_total = np.log(some)
    entropy = np.zeros_like(log_total) if mean is None else log_total - mean / some
    np.maximum(entropy, 0.0, out=entropy)
    log_total += top
    none = total <= 0
    if none.any():
        entropy[none], log_total[none] = 0.0, -np.inf
    return Reduced(top.astype(np.float64), log_total, entropy)


def _large(
    values: Tensor, rows: Longs, plan: Plan, alive: Flags, temperature: float, entropy: bool
) -> Reduced:
    device, dtype = values.device, torch.promote_types(values.dtype, torch.float32)
    parts = 2 + entropy  # top, total and, if asked for, mean
    found = torch.zeros((parts, len(rows), plan.classes), dtype=dtype, device=device)
    found[0] = -math.inf
    limit = _BLOCK if device.type == "cpu" else _DEVICE_BLOCK
    step = max(1, limit // values.shape[1])
    largest = plan.largest
    one = _Largest(plan, values.shape[1], step, device, dtype)
    rest = _Rest(plan, step, device, dtype)
    for low in range(0, len(rows), step):
        picked = rows[low : low + step]
        here = alive.take(picked, axis=0)
        block = _rows(values, picked).to(dtype)
        if temperature != 1.0:
            block = block / temperature
        into = found[:, low : low + len(picked)]
        holding = np.flatnonzero(here[:, largest])
        if len(holding):
            held = torch.from_numpy(holding).to(device)
            into[:, held, largest] = one.reduce(_rows(block, holding), parts)
        rest.reduce(block, np.logical_or.reduce(here, axis=0, keepdims=True)[0], into)
    top, total, *mean = found.cpu().numpy()
    return _finished(top, total, mean[0] if mean else None)


def _rows(values: Tensor, rows: Longs) -> Tensor:
    """Rows of a matrix; a view where they follow each other."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return values[int(rows[0]) : int(rows[-1]) + 1].detach()
    return values.detach()[torch.from_numpy(rows).to(values.device)]


class _Largest:
    """The class of most tokens: all others are hidden, so that rows are read as they lie."""

    def __init__(
        self, plan: Plan, width: int, step: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        own = plan.tokens[plan.first[plan.largest] : plan.first[plan.largest + 1]]
        self._hidden = torch.full((width,), _HIDDEN, dtype=dtype, device=device)
        self._hidden[torch.from_numpy(own).to(device)] = 0.0
        self._space = torch.empty((2, step, width), dtype=dtype, device=device)

    def reduce(self, block: Tensor, parts: int) -> Tensor:
        """The first `parts` of top, total and mean of each row: [parts, rows]."""
        x, chance = self._space[:, : len(block)]
        torch.add(block, self._hidden, out=x)
        top = x.amax(1)
        torch.add(top.clamp(min=2 * _HIDDEN)[:, None] * -_BITS, x, alpha=_BITS, out=x)
        torch.exp2(x, out=chance)
        total = chance.sum(1)
        if parts == 2:
            return torch.stack([top, total])
        mean = torch.mul(x, chance, out=chance).sum(1)
        if math.isnan(mean.sum().item()):  # 0 times -inf, where a token of the class is impossible
            torch.exp2(x, out=chance)
            mean = x.clamp_(min=_HIDDEN).mul_(chance).sum(1)
        return torch.stack([top, total, mean / _BITS])


class _Rest:
    """All classes but the largest: their tokens are gathered, class by class."""

    def __init__(self, plan: Plan, step: int, device: torch.device, dtype: torch.dtype) -> None:
        self._plan, self._device = plan, device
        space = step * len(plan.rest)
        self._space = torch.empty((2, space), dtype=dtype, device=device)
        self._chosen = np.zeros(0, np.bool_)

    def reduce(self, block: Tensor, alive: Flags, into: Tensor) -> None:
        """Writes top, total and mean of each row's living classes, as many as there is room for.

        into: [2 or 3, rows, C].
        """
        if not np.array_equal(alive, self._chosen):
            self._choose(alive)
        if not len(self._begins):
            return
        shape = (len(block), len(self._tokens))
        x, chance = (one[: shape[0] * shape[1]].view(shape) for one in self._space)
        torch.gather(block, 1, self._tokens.expand(shape), out=chance)
        torch.gather(chance, 1, self._place.expand(shape), out=x)
        top = self._gathered(x, "amax")
        top_bits = top.clamp(min=2 * _HIDDEN) * -_BITS
        torch.gather(top_bits, 1, self._number.expand(shape), out=chance)
        torch.add(chance, x, alpha=_BITS, out=x)
        torch.exp2(x, out=chance)
        total = self._gathered(chance, "sum")
        if len(into) == 2:
            into[:, :, self._classes] = torch.stack([top, total])
            return
        mean = self._gathered(x.clamp_(min=_HIDDEN).mul_(chance), "sum")
        into[:, :, self._classes] = torch.stack([top, total, mean / _BITS])

    def _choose(self, alive: Flags) -> None:
        """The tokens of these classes from now on."""
        kept = alive.copy()
        kept[self._plan.largest] = False
        places = np.flatnonzero(kept[self._plan.token_class])
        number = (np.cumsum(kept) - 1)[self._plan.token_class[places]]
        self._chosen = alive
        self._begins = np.searchsorted(number, np.arange(int(kept.sum())))
        # By id first, then by class: so a whole row's memory is gone through in one direction.
        by_id = self._plan.rest[kept[self._plan.token_class[self._plan.rest]]]
        place = np.empty(len(self._plan.tokens), np.int64)
        place[by_id] = np.arange(len(by_id))
        self._tokens = torch.from_numpy(self._plan.tokens[by_id]).to(self._device)
        self._place = torch.from_numpy(place[places]).to(self._device)
        self._number = torch.from_numpy(number).to(self._device)
        self._classes = torch.from_numpy(np.flatnonzero(kept)).to(self._device)

    def _gathered(self, x: Tensor, reduce: str) -> Tensor:
        """Runs of equal class reduced: [rows, N] -> [rows, classes]."""
        if x.device.type == "cpu":
            ufunc = np.maximum if reduce == "amax" else np.add
            return torch.from_numpy(ufunc.reduceat(x.numpy(), self._begins, axis=1))
        start = -math.inf if reduce == "amax" else 0.0
        found = x.new_full((len(x), len(self._begins)), start)
        return found.scatter_reduce_(1, self._number.expand(x.shape), x, reduce)
