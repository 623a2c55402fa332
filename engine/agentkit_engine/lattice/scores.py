"""Log-probabilities of tokens, gathered to classes.

Knows log-probabilities, plans, pins and leanings. Must not know states. The vocabulary is reduced
on the device it lies on; what comes back is [L, C], and single classes of single positions where
they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentkit_engine.errors import InvalidLogProbs
from agentkit_engine.grammar.token.runs import Longs
from agentkit_engine.lattice.plan import Plan, plan_of
from agentkit_engine.lattice.problem import Problem
from agentkit_engine.lattice.reduction import reduce_classes
from agentkit_engine.lattice.trellis import Trellis, trellis_of

__all__ = ["Scores", "SetScores"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_BLOCK = 1 << 20  # elements of [L, V'] that are computed at a time
_WIDE = (torch.float32, torch.float64)
_FEW = 4096  # tokens of a class from which on reading the whole row is quicker


@dataclass(frozen=True, slots=True, eq=False)
class SetScores:
    """Classes gathered to sets. top, log_total: float64 [L, K], of the best class and of all
    together. share: float64 [L, M], an entry's share of its set's total is share / sums."""

    top: Floats
    log_total: Floats
    share: Floats
    sums: Floats


class Scores:
    """What a problem's tokens are worth, by class.

    top: float64 [L, C], nats, the best token of each class; log_total: of all its tokens together;
    entropy: among them, nats, if asked for. temperature divides what the model and the bias say.
    """

    def __init__(
        self, problem: Problem, *, temperature: float = 1.0, entropy: bool = False
    ) -> None:
        self.problem = problem
        self.plan: Plan = plan_of(problem.automaton)
        self.pins = dict(problem.pins or {})
        self._temperature = temperature
        self._length = len(problem.log_probs)
        self._values = _leaning(problem).detach()
        near = self._values.device.type == "cpu" and self._values.dtype in _WIDE
        self._host = self._values.numpy() if near else None
        self._held = np.zeros(self._length, np.bool_)
        self._held[list(self.pins)] = True
        self._free = np.flatnonzero(~self._held)
        alive = _alive(problem, self.plan)
        size = len(problem.automaton.class_of)
        wide = self._values.shape[1] > size
        read = self._values[:, :size] if wide else self._values
        reduced = reduce_classes(
            read, self._free, self.plan, alive, temperature=temperature, entropy=entropy
        )
        if reduced.top.size and not reduced.top.max() < np.inf:
            raise InvalidLogProbs("log_probs holds NaN or +inf; look for an overflow in the model")
        self._raw = self._whole(reduced.top, -np.inf)
        self.top, self.log_total = self._raw, self._whole(reduced.log_total, -np.inf)
        self.entropy = self._whole(reduced.entropy, 0.0)
        length = problem.bias.length / temperature if problem.bias is not None else 0.0
        self._added = np.where(self.plan.text, length, 0.0)
        if length:
            self.top, self.log_total = self._raw + self._added, self.log_total + self._added
        for position, token in self.pins.items():
            number = problem.automaton.class_of[token]
            self.top[position, number] = self.log_total[position, number] = 0.0

    def _whole(self, rows: Floats, missing: float) -> Floats:
        """`rows` in their places, pinned positions between them."""
        if len(rows) == self._length:
            return rows
        found = np.full((self._length, rows.shape[1]), missing)
        found[self._free] = rows
        return found

    @cached_property
    def sets(self) -> SetScores:
        plan, begins = self.plan, self.plan.set_first[:-1]
        if not plan.sets:
            none = np.zeros((self._length, 0))
            return SetScores(none, none, none, none)
        top = np.maximum.reduceat(self.top.take(plan.set_class, axis=1), begins, axis=1)
        shift = np.maximum(top, -1e300)
        share = self.log_total.take(plan.set_class, axis=1)
        share -= shift.take(plan.entry_set, axis=1)
        np.exp(share, out=share)
        sums = np.add.reduceat(share, begins, axis=1)
        with np.errstate(divide="ignore"):
            log_total = np.log(sums)
        log_total += shift
        return SetScores(top, log_total, share, sums)

    def values(self, position: int, number: int) -> tuple[Longs, Floats]:
        """The tokens of a class, ascending, and what each is worth at a position.

        At a pinned position just the pin, if it is of the class.
        """
        plan = self.plan
        tokens = plan.tokens[plan.first[number] : plan.first[number + 1]]
        if position in self.pins:
            own = tokens == self.pins[position]
            return tokens[own], np.zeros(int(own.sum()))
        row = self._values[position]
        found = row[torch.from_numpy(tokens).to(row.device)].cpu().double().numpy()
        found /= self._temperature
        return tokens, found + self._added[number]

    def first_tokens(self, positions: Longs, classes: Longs) -> Longs:
        """The lowest of the best tokens of each class at its position: int64, equally long.

        For scores at temperature 1, where a class's best is exactly a value of `log_probs`.
        """
        first = self.plan.first[classes]
        found = self.plan.tokens[first]  # right where a class has but one token
        open_ = np.flatnonzero(self._held[positions] | (self.plan.first[classes + 1] - first > 1))
        for one in open_.tolist():
            found[one] = self._first(int(positions[one]), int(classes[one]))
        return found

    def _first(self, position: int, number: int) -> int:
        if position in self.pins:
            return self.pins[position]
        low, high = self.plan.first[number], self.plan.first[number + 1]
        row = self._row(position)
        if high - low <= _FEW:
            tokens = self.plan.tokens[low:high]
            return int(tokens[row[tokens].argmax()])
        best = np.flatnonzero(row == row.dtype.type(self._raw[position, number]))
        return int(best[self.problem.automaton.class_of[best] == number][0])

    def _row(self, position: int) -> NDArray[np.floating]:
        if self._host is not None:
            return self._host[position]
        row = self._values[position, : len(self.problem.automaton.class_of)]
        return row.to(torch.promote_types(row.dtype, torch.float32)).cpu().numpy()

    def spread_out(self, context: Floats, *, pinned: float) -> Tensor:
        """Each token's own worth and what its class has around it, added: [L, V'].

        context: [L, C]; pinned: what a pin has. -inf for all else.
        """
        dtype = torch.promote_types(self._values.dtype, torch.float32)
        found = torch.empty(self._values.shape, dtype=dtype, device=self._values.device)
        for low, part in self._parts(context, pinned):
            found[low : low + len(part)] = part
        return found

    def likeliest(self, context: Floats, count: int, *, pinned: float) -> tuple[Tensor, Tensor]:
        """The largest of each row of `spread_out`: int64 and float64 [l, count], on the CPU.

        context: [l, C], of the first l positions.
        """
        shape = (len(context), min(count, self._values.shape[1]))
        tokens = torch.empty(shape, dtype=torch.int64)
        found = torch.empty(shape, dtype=torch.float64)
        for low, part in self._parts(context, pinned):
            top = part.topk(shape[1])
            tokens[low : low + len(part)] = top.indices
            found[low : low + len(part)] = top.values
        return tokens, found

    def spread_at(self, context: Floats, tokens: Sequence[int], *, pinned: float) -> Floats:
        """One entry of each of the first rows of `spread_out`: float64 [tokens]."""
        class_of = self.problem.automaton.class_of
        numbers = class_of[np.array(tokens, np.int64)]
        rows = np.arange(len(tokens))
        index = torch.tensor(tokens, dtype=torch.int64, device=self._values.device)[:, None]
        own = self._values[: len(tokens)].gather(1, index)[:, 0].cpu().double().numpy()
        found = own + context[rows, numbers] + self._added[numbers]
        found[np.isnan(found) | (numbers < 0)] = -np.inf
        for position, token in self.pins.items():
            if position < len(tokens):
                found[position] = pinned if tokens[position] == token else -np.inf
        return found

    def _parts(self, context: Floats, pinned: float) -> Iterator[tuple[int, Tensor]]:
        """Some rows of `spread_out` after the other, each with its first: float64 [n, V']."""
        values, plan = self._values[: len(context)], self.plan
        device = values.device
        number = np.full(values.shape[1], plan.classes)
        number[plan.tokens] = plan.token_class
        unknown = torch.from_numpy(np.flatnonzero(number == plan.classes)).to(device)
        index = torch.from_numpy(number).to(device)
        around = np.pad(context + self._added, ((0, 0), (0, 1)))
        step = max(1, _BLOCK // max(1, values.shape[1]))
        for low in range(0, len(values), step):
            part = torch.from_numpy(around[low : low + step]).to(device)
            own = values[low : low + step].to(torch.float64)
            found = part.gather(1, index.expand(own.shape)).add_(own)
            found.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)  # what no filling holds
            found[:, unknown] = -torch.inf
            for position in self.pins.keys() & range(low, low + len(found)):
                found[position - low] = -torch.inf
                found[position - low, self.pins[position]] = pinned
            yield low, found


_living: WeakKeyDictionary[Trellis, Flags] = WeakKeyDictionary()


def _alive(problem: Problem, plan: Plan) -> Flags:
    """Which class may be written at which position: bool [L, C]."""
    trellis = trellis_of([(problem.automaton, len(problem.log_probs))])
    assert trellis is not None  # the problem passed its check
    found = _living.get(trellis)
    if found is None:
        found = np.zeros((trellis.steps, plan.classes), np.bool_)
        if plan.classes:
            sets = trellis.alive.reshape(trellis.steps, plan.sets)
            entries = sets[:, plan.entry_set[plan.class_order]]
            np.logical_or.reduceat(entries, plan.class_first, axis=1, out=found)
        _living[trellis] = found
    return found


def _leaning(problem: Problem) -> Tensor:
    """The log-probabilities, with what single tokens are wished to have in place."""
    bias, values = problem.bias, problem.log_probs
    if bias is None or not (bias.banned or bias.preferred):
        return values
    size = len(problem.automaton.class_of)
    found = values.detach().to(torch.promote_types(values.dtype, torch.float32), copy=True)
    preferred = {token: nats for token, nats in bias.preferred.items() if 0 <= token < size}
    banned = [token for token in bias.banned if 0 <= token < size]
    nats = torch.tensor(list(preferred.values()), dtype=found.dtype, device=found.device)
    found[:, list(preferred)] += nats
    found[:, banned] = -torch.inf
    return found
