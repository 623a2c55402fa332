"""A batch of canvases and all that can be asked about their valid fillings, exactly.

Knows problems, their scores and their trellis. Must not know what the tokens write. The paths of
the trellis are the valid fillings; a path's score is the sum of its tokens' log-probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar.token.runs import Longs
from agentkit_engine.lattice.draws import Draws
from agentkit_engine.lattice.passes import (
    Ahead,
    Summed,
    best_ahead,
    best_behind,
    flow,
    summed,
)
from agentkit_engine.lattice.paths import Paths
from agentkit_engine.lattice.problem import Problem
from agentkit_engine.lattice.scores import Scores
from agentkit_engine.lattice.trellis import Trellis, trellis_of

__all__ = ["Best", "Lattice"]

Floats = NDArray[np.float64]
_TRIES = 32
"""How many fillings may repeat a key before the strict part is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """A valid filling and what it is worth.

    tokens: int64 [L], on the device of the log-probabilities. score: its log-probability in nats,
    with the bias. log_partition: that of all valid fillings together. Pinned positions count 0 in
    both.
    """

    tokens: Tensor
    score: float
    log_partition: float

    @property
    def log_posterior(self) -> float:
        """Log-probability of this filling among the valid ones."""
        return self.score - self.log_partition


class Lattice:
    """The valid fillings of several canvases, each under its own log-probabilities.

    The vocabulary is reduced once, when it is first needed, and each dynamic program runs once,
    over all canvases together. A lattice belongs to one thread.

    Raises:
        CanvasTooShort, TemplateError: as `check`, for the first problem that nothing fits.
        InvalidLogProbs: a wrong shape; what is in the tensors is looked at when it is needed.
    """

    def __init__(self, problems: Sequence[Problem], *, entropies: bool = False) -> None:
        """
        Args:
            entropies: they will be asked for, so they are had from the first reduction; else asking
                for them reduces the vocabulary once more.
        """
        self.problems, self._with_entropies = tuple(problems), entropies
        for number, problem in enumerate(self.problems):
            try:
                problem.check()
            except Exception as error:
                if len(self.problems) > 1:
                    error.add_note(f"This is about problem {number} of the lattice.")
                raise

    def best(self) -> list[Best]:
        """The exact maximum of each problem, over all fillings that its automaton accepts.

        Of equal fillings the one with the lowest token ids, from left to right, is taken. Where
        that one repeats a key of an object, it is the best of the 32 best that does not, and if all
        do, the best of the automaton's `strict` part, in which none can; log_partition stays that
        of all moves, so that log_posterior is a lower bound.

        Raises:
            TemplateError: the log-probabilities give every valid filling probability 0.
            InvalidLogProbs: NaN or +inf at a token that may stand at its position. What can't
                stand there may not even be looked at.
        """
        return [self._best(number) for number in range(len(self.problems))]

    def log_partition(self, number: int) -> float:
        """Log of the summed probability of all fillings of a problem, in nats. Raises as `best`."""
        self._require(number)
        return float(self._summed.log_total[self._trellis.begins[number]])

    def entropies(self) -> list[Tensor]:
        """For each problem the entropy of each position among its valid fillings: float64 [L] nats.

        Of the exact marginals; by classes, so that no [L, V'] is made. Raises as `best`.
        """
        if not self._with_entropies:
            return Lattice(self.problems, entropies=True).entropies()
        found: list[Tensor] = []
        for number, scores in enumerate(self._scores):
            chance = self._class_chance(number)
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log(chance), -1e300)
            nats = (chance * (scores.entropy - logs)).sum(axis=1)
            found.append(torch.from_numpy(np.maximum(nats, 0.0)))
        return found

    def n_best(self, number: int, n: int) -> list[Best]:
        """Up to n distinct fillings of a problem, the best first; fewer if there are fewer.

        Equal scores: the lower token ids, from left to right, first. Those that repeat a key are
        left out; where more than 32 * n do, the best of the `strict` part take the remaining
        places. Raises as `best`.
        """
        self._require(number)
        repeats, total = self.problems[number].automaton.repeats, self.log_partition(number)
        found: list[Best] = []
        for tried, (tokens, score) in enumerate(self._paths(number)):
            if len(found) == n:
                break
            if repeats is not None and tried == _TRIES * n:
                known = {tuple(one.tokens.tolist()) for one in found}
                more = self._strict(number).n_best(0, n)
                fresh = (one for one in more if tuple(one.tokens.tolist()) not in known)
                found += [replace(one, log_partition=total) for one in fresh]
                break
            if repeats is None or not repeats(tokens):
                found.append(Best(self._tensor(number, tokens), score, total))
        return found[:n]

    def sample(
        self,
        number: int,
        *,
        count: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Exact draws from the fillings of a problem, by their probability: int64 [count, L].

        temperature: divides the log-probabilities and the bias, so that filling y is drawn with
        probability proportional to p(y) ** (1 / temperature). Those that repeat a key are drawn
        again, up to 32 times; what then still does comes from the `strict` part. Raises as `best`,
        and ValueError for a temperature that is not above 0 and finite.
        """
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature is {temperature}; it must be above 0 (or take `best`)")
        self._require(number)
        problem = self.problems[number]
        draws = self._draws(number, temperature)
        found = draws.draw(count, generator)
        repeats = problem.automaton.repeats
        if repeats is not None:
            for _ in range(_TRIES):
                bad = [k for k, tokens in enumerate(found.tolist()) if repeats(tokens)]
                if not bad:
                    break
                found[bad] = draws.draw(len(bad), generator)
            else:
                bad = [k for k, tokens in enumerate(found.tolist()) if repeats(tokens)]
                strict = self._strict(number)._draws(0, temperature)
                found[bad] = strict.draw(len(bad), generator)
        return torch.from_numpy(found).to(problem.log_probs.device)

    def marginals(self, number: int) -> Tensor:
        """How probable each token is at each position, among the valid fillings: [L, V'].

        Rows sum to 1. dtype: that of `log_probs`, at least float32. Raises as `best`.
        """
        return self._scores[number].spread_out(self._context(number), pinned=0.0).exp_()

    def log_marginals(self, number: int, tokens: Sequence[int]) -> Tensor:
        """Log of how probable a token is at each of the first positions: float64, nats.

        One entry a row of the log of `marginals`, for which no [L, V'] is made. Raises as `best`.
        """
        found = self._scores[number].spread_at(self._context(number), tokens, pinned=0.0)
        return torch.from_numpy(np.minimum(found, 0.0))

    def likeliest(self, number: int, count: int, length: int) -> tuple[Tensor, Tensor]:
        """The likeliest tokens at each of the first positions, and the logs of their marginals.

        The largest of each of the first `length` rows of `marginals`, best first, of which no more
        than a part is made at a time: int64 and float64 [length, count], fewer where the vocabulary
        is smaller; on the CPU. What can't stand there has -inf. Raises as `best`.
        """
        context = self._context(number)[:length]
        tokens, nats = self._scores[number].likeliest(context, count, pinned=0.0)
        return tokens, nats.clamp(max=0.0)

    def tail_marginals(self, number: int, token: int) -> Tensor:
        """How probable one token of the automaton's `tail` is at each position: float64 [L].

        One column of `marginals`, for which no [L, V'] is made. Raises as `best`, and ValueError
        for a token that is not of the tail.
        """
        automaton = self.problems[number].automaton
        if token not in automaton.tail:
            raise ValueError(f"token {token} is not of the automaton's tail {set(automaton.tail)}")
        return torch.from_numpy(self._class_chance(number)[:, automaton.class_of[token]].copy())

    def max_marginals(self, number: int, *, relative: bool = False) -> Tensor:
        """The best score of a valid filling that holds a token at a position: [L, V'], nats.

        -inf where no filling does. A row's argmax is the best filling's token, if that is unique.
        relative: less the score of the best, so that its own tokens have 0; in float32 that keeps
        apart what is close to the best however low the scores are. dtype: that of `log_probs`, at
        least float32. Raises as `best`.
        """
        self._require(number)
        through = self._best_through
        scores, plan = self._scores[number], self._scores[number].plan
        best = float(self._ahead.score[self._trellis.begins[number]])
        with np.errstate(invalid="ignore"):
            sets = self._of(number, through) - scores.sets.top
        sets[np.isnan(sets)] = -np.inf
        context = np.full((len(sets), plan.classes), -np.inf)
        if plan.classes:
            entries = sets.take(plan.entry_set[plan.class_order], axis=1)
            np.maximum.reduceat(entries, plan.class_first, axis=1, out=context)
        shift = best if relative else 0.0
        return scores.spread_out(context - shift, pinned=best - shift)

    @cached_property
    def _trellis(self) -> Trellis:
        trellis = trellis_of([(one.automaton, len(one.log_probs)) for one in self.problems])
        assert trellis is not None  # each problem passed its check
        return trellis

    @cached_property
    def _scores(self) -> list[Scores]:
        return [Scores(problem, entropy=self._with_entropies) for problem in self.problems]

    @cached_property
    def _ahead(self) -> Ahead:
        return best_ahead(self._trellis, _joined([one.sets.top for one in self._scores]))

    @cached_property
    def _summed(self) -> Summed:
        return summed(self._trellis, _joined([one.sets.log_total for one in self._scores]))

    @cached_property
    def _set_chance(self) -> Floats:
        """The posterior probability of each set at each position: [trellis.weights]."""
        trellis = self._trellis
        chance = flow(trellis, self._summed)
        return np.bincount(trellis.weight, chance, trellis.weights).astype(np.float64, copy=False)

    @cached_property
    def _best_through(self) -> Floats:
        """The best score of a filling through each set at each position: [trellis.weights]."""
        trellis = self._trellis
        behind = best_behind(trellis, _joined([one.sets.top for one in self._scores]))
        ways = self._ahead.onward.copy()
        for here, _, edges, _ in trellis.spans:
            ways[edges] += behind[here].take(trellis.src[edges])
        found = np.full(trellis.weights, -np.inf)
        order, first, weights = trellis.by_weight
        if len(order):
            found[weights] = np.maximum.reduceat(ways.take(order), first)
        return found

    def _class_chance(self, number: int) -> Floats:
        """The posterior probability of each class at each position of a problem: [L, C]."""
        self._require(number)
        scores, plan = self._scores[number], self._scores[number].plan
        found = np.zeros((len(scores.top), plan.classes))
        if plan.classes:
            sums = np.maximum(scores.sets.sums, 1e-300)
            sets = self._of(number, self._set_chance) / sums
            entries = sets.take(plan.entry_set, axis=1)
            entries *= scores.sets.share
            ordered = entries.take(plan.class_order, axis=1)
            np.add.reduceat(ordered, plan.class_first, axis=1, out=found)
        return found

    def _context(self, number: int) -> Floats:
        """Log of what a class's posterior adds to the worth of each of its tokens: [L, C]."""
        scores, chance = self._scores[number], self._class_chance(number)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(chance > 0, np.log(chance) - scores.log_total, -np.inf)

    def _of(self, number: int, weights: Floats) -> Floats:
        """A problem's own part of something of each set: [L, K]."""
        length, sets = self._trellis.lengths[number], self._scores[number].plan.sets
        low = self._trellis.base[number]
        return weights[low : low + length * sets].reshape(length, sets)

    def _require(self, number: int) -> None:
        """Raises if the log-probabilities leave a problem nothing."""
        if self._summed.log_total[self._trellis.begins[number]] == -math.inf:
            raise TemplateError(
                "the log-probabilities give every valid filling probability 0; don't mask (or "
                "ban) needed tokens"
            )

    def _best(self, number: int) -> Best:
        self._require(number)
        repeats, total = self.problems[number].automaton.repeats, self.log_partition(number)
        paths = self._paths(number)
        tokens = paths.best()
        if repeats is None or not repeats(tokens.tolist()):
            score = float(self._ahead.score[self._trellis.begins[number]])
            return Best(self._tensor(number, tokens), score, total)
        for several, score in islice(paths, _TRIES):
            if not repeats(several):
                return Best(self._tensor(number, several), score, total)
        return replace(self._strict(number).best()[0], log_partition=total)

    def _strict(self, number: int) -> Lattice:
        strict = self.problems[number].strict
        if strict is None:
            raise TemplateError(
                "the best fillings repeat a key, which nothing in the grammar rules out"
            )
        return Lattice([strict])

    def _paths(self, number: int) -> Paths:
        return Paths(self._scores[number], self._trellis, self._ahead, number)

    def _draws(self, number: int, temperature: float) -> Draws:
        if temperature == 1.0:
            return Draws(self._scores[number], self._trellis, self._summed, number)
        problem = self.problems[number]
        scores = Scores(problem, temperature=temperature)
        trellis = trellis_of([(problem.automaton, len(problem.log_probs))])
        assert trellis is not None  # the problem passed its check
        return Draws(scores, trellis, summed(trellis, scores.sets.log_total.ravel()), 0)

    def _tensor(self, number: int, tokens: Sequence[int] | Longs) -> Tensor:
        found = torch.from_numpy(np.asarray(tokens, np.int64))
        device = self.problems[number].log_probs.device
        return found if device.type == "cpu" else found.to(device)


def _joined(parts: Sequence[Floats]) -> Floats:
    return parts[0].ravel() if len(parts) == 1 else np.concatenate([one.ravel() for one in parts])
