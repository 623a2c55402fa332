"""The same inference token by token, to be read and to be tested against.

Knows what `posterior` knows, but no classes and no sorting: plain dynamic programs over (position,
state). Slow; nothing but tests and the curious should call it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.lattice.posterior import Best

__all__ = ["reference_best", "reference_marginals"]

Scores = list[dict[int, float]]


def reference_best(
    log_probs: Tensor, automaton: TokenAutomaton, *, pins: Mapping[int, int] | None = None
) -> Best:
    """`best`, for log-probabilities under which some filling is valid."""
    edges = list(_edges(automaton))
    rows = _rows(log_probs, pins or {})
    ahead = _ahead(rows, edges, automaton, max)
    state = automaton.start
    tokens: list[int] = []
    for at, row in enumerate(rows):
        options = [
            (-row[token] - ahead[at + 1][dst], token, dst)
            for src, token, dst in edges
            if src == state and token in row and dst in ahead[at + 1]
        ]
        _, token, state = min(options)
        tokens.append(token)
    summed = _ahead(rows, edges, automaton, _log_sum)
    return Best(torch.tensor(tokens), ahead[0][automaton.start], summed[0][automaton.start])


def reference_marginals(
    log_probs: Tensor, automaton: TokenAutomaton, *, pins: Mapping[int, int] | None = None
) -> Tensor:
    """`marginals`: at each position, the share of the fillings that hold each token there."""
    edges = list(_edges(automaton))
    rows = _rows(log_probs, pins or {})
    ahead = _ahead(rows, edges, automaton, _log_sum)
    behind: dict[int, float] = {automaton.start: 0.0}
    found = torch.zeros_like(log_probs)
    for at, row in enumerate(rows):
        reached: dict[int, list[float]] = {}
        for src, token, dst in edges:
            if src in behind and token in row and dst in ahead[at + 1]:
                here = behind[src] + row[token]
                reached.setdefault(dst, []).append(here)
                share = here + ahead[at + 1][dst] - ahead[0][automaton.start]
                found[at, token] += math.exp(share)
        behind = {state: _log_sum(scores) for state, scores in reached.items()}
    return found


def _edges(automaton: TokenAutomaton) -> Iterator[tuple[int, int, int]]:
    """Every move as (state, token, state)."""
    tokens: dict[int, list[int]] = {}
    for token, number in enumerate(automaton.class_of.tolist()):
        tokens.setdefault(number, []).append(token)
    for src, number, dst in zip(*(part.tolist() for part in automaton.edges), strict=True):
        for token in tokens[number]:
            yield src, token, dst


def _rows(log_probs: Tensor, pins: Mapping[int, int]) -> list[dict[int, float]]:
    """Per position the tokens that may stand there, with their log-probabilities."""
    return [
        {pins[at]: 0.0}
        if at in pins
        else {token: score for token, score in enumerate(row) if score > -math.inf}
        for at, row in enumerate(log_probs.double().tolist())
    ]


def _ahead(
    rows: list[dict[int, float]],
    edges: list[tuple[int, int, int]],
    automaton: TokenAutomaton,
    gather: Callable[[Iterable[float]], float],
) -> Scores:
    """Per position and state what `gather` makes of all ways to the end; none: no entry."""
    ends = {state: 0.0 for state, accepting in enumerate(automaton.accepting) if accepting}
    ahead: Scores = [ends]
    for row in reversed(rows):
        scores: dict[int, list[float]] = {}
        for src, token, dst in edges:
            if token in row and dst in ahead[0]:
                scores.setdefault(src, []).append(row[token] + ahead[0][dst])
        ahead.insert(0, {state: gather(found) for state, found in scores.items()})
    return ahead


def _log_sum(scores: Iterable[float]) -> float:
    found = list(scores)
    top = max(found)
    return top + math.log(math.fsum(math.exp(score - top) for score in found))
