"""The same inference token by token, to be read and to be tested against.

Knows what `Lattice` knows, but no classes and no sorting: plain dynamic programs over (position,
state). Slow; nothing but tests and the curious should call it. Keys that repeat are not looked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.lattice.lattice import Best
from agentkit_engine.lattice.problem import Bias, Problem

__all__ = ["Reference"]

Scores = list[dict[int, float]]
Edge = tuple[int, int, int]


class Reference:
    """What `Lattice` answers, for one problem under which some filling is valid."""

    def __init__(self, problem: Problem) -> None:
        self._automaton = problem.automaton
        self._shape = problem.log_probs.shape
        self._edges = list(_edges(problem.automaton))
        self._rows = _rows(problem)

    def best(self) -> Best:
        """From the start along best moves; among equals the lowest token."""
        ahead, state = self._ahead(max), self._automaton.start
        tokens: list[int] = []
        for at, row in enumerate(self._rows):
            options = [
                (-row[token] - ahead[at + 1][dst], token, dst)
                for src, token, dst in self._edges
                if src == state and token in row and dst in ahead[at + 1]
            ]
            _, token, state = min(options)
            tokens.append(token)
        score = ahead[0][self._automaton.start]
        return Best(torch.tensor(tokens, dtype=torch.int64), score, self.log_partition())

    def n_best(self, n: int) -> list[Best]:
        """Beginnings of fillings by the best that can become of them, until n are whole."""
        ahead, total = self._ahead(max), self.log_partition()
        start = self._automaton.start
        heap: list[tuple[float, tuple[int, ...], float, int]] = [(-ahead[0][start], (), 0.0, start)]
        found: list[Best] = []
        while heap and len(found) < n:
            _, tokens, score, state = heapq.heappop(heap)
            at = len(tokens)
            if at == len(self._rows):
                found.append(Best(torch.tensor(tokens, dtype=torch.int64), score, total))
                continue
            row = self._rows[at]
            for src, token, dst in self._edges:
                if src == state and token in row and dst in ahead[at + 1]:
                    so_far = score + row[token]
                    bound = so_far + ahead[at + 1][dst]
                    heapq.heappush(heap, (-bound, (*tokens, token), so_far, dst))
        return found

    def log_partition(self) -> float:
        """Log of the summed probability of all fillings."""
        return self._ahead(_log_sum)[0][self._automaton.start]

    def marginals(self) -> Tensor:
        """At each position, the share of the fillings that hold each token there: float64."""
        total = self.log_partition()
        found = torch.zeros(self._shape, dtype=torch.float64)
        for at, token, score in self._through(_log_sum):
            found[at, token] += math.exp(score - total)
        return found

    def max_marginals(self) -> Tensor:
        """At each position, the score of the best filling that holds each token there: float64."""
        found = torch.full(self._shape, -math.inf, dtype=torch.float64)
        for at, token, score in self._through(max):
            found[at, token] = max(float(found[at, token]), score)
        return found

    def entropies(self) -> Tensor:
        """Entropy of each position's marginals in nats: float64 [L]."""
        return torch.special.entr(self.marginals()).sum(dim=-1)

    def _ahead(self, gather: Callable[[Iterable[float]], float]) -> Scores:
        """Per position and state what `gather` makes of all ways to the end; none: no entry."""
        accepting = enumerate(self._automaton.accepting)
        ahead: Scores = [{state: 0.0 for state, accepted in accepting if accepted}]
        for row in reversed(self._rows):
            scores: dict[int, list[float]] = {}
            for src, token, dst in self._edges:
                if token in row and dst in ahead[0]:
                    scores.setdefault(src, []).append(row[token] + ahead[0][dst])
            ahead.insert(0, {state: gather(found) for state, found in scores.items()})
        return ahead

    def _through(
        self, gather: Callable[[Iterable[float]], float]
    ) -> Iterator[tuple[int, int, float]]:
        """Every move at every position: (position, token, all ways through it gathered)."""
        ahead = self._ahead(gather)
        behind = {self._automaton.start: 0.0}
        for at, row in enumerate(self._rows):
            reached: dict[int, list[float]] = {}
            for src, token, dst in self._edges:
                if src in behind and token in row and dst in ahead[at + 1]:
                    here = behind[src] + row[token]
                    reached.setdefault(dst, []).append(here)
                    yield at, token, here + ahead[at + 1][dst]
            behind = {state: gather(scores) for state, scores in reached.items()}


def _edges(automaton: TokenAutomaton) -> Iterator[Edge]:
    """Every move as (state, token, state)."""
    tokens: dict[int, list[int]] = {}
    for token, number in enumerate(automaton.class_of.tolist()):
        tokens.setdefault(number, []).append(token)
    for src, number, dst in zip(*(part.tolist() for part in automaton.edges), strict=True):
        for token in tokens[number]:
            yield src, token, dst


def _rows(problem: Problem) -> Scores:
    """Per position the tokens that may stand there, and what they are worth."""
    pins, bias, tail = problem.pins or {}, problem.bias or Bias(), problem.automaton.tail

    def leaning(token: int) -> float:
        return bias.preferred.get(token, 0.0) + (0.0 if token in tail else bias.length)

    return [
        {pins[at]: 0.0}
        if at in pins
        else {
            token: score + leaning(token)
            for token, score in enumerate(row)
            if score > -math.inf and token not in bias.banned
        }
        for at, row in enumerate(problem.log_probs.double().tolist())
    ]


def _log_sum(scores: Iterable[float]) -> float:
    found = list(scores)
    top = max(found)
    return top + math.log(math.fsum(math.exp(score - top) for score in found))
