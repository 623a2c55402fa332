"""Small automata and canvases, for tests of the lattice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor
from vocabularies import tiny

from agentkit_engine.grammar import TokenAutomaton, compile_regex
from agentkit_engine.lattice import Bias, Problem

TINY = tiny(b"a", b"b", b"ab", b"a", b"ba", None, None)
FILLER, MARKER = 5, 6
PATTERNS = ["(ab)*", "a*b?", "a|b|abab", "(a|b){2,3}", "aba?", "(ba)+"]


def automata() -> list[TokenAutomaton]:
    bare = [compile_regex(pattern, vocabulary=TINY) for pattern in PATTERNS]
    slots = [one.fill(FILLER) for one in bare]
    optional = [one.fill(FILLER, marker=MARKER) for one in bare]
    return [*bare, *slots, *optional, *(one.close(MARKER, FILLER) for one in bare)]


AUTOMATA = automata()

Fillings = dict[tuple[int, ...], float]


def fillings(problem: Problem) -> Fillings:
    """Every valid filling that is possible, with its score: by trying all sequences."""
    bias, pins = problem.bias or Bias(), problem.pins or {}
    tail = problem.automaton.tail

    def worth(token: int, score: float) -> float:
        if token in bias.banned:
            return -math.inf
        return score + bias.preferred.get(token, 0.0) + (token not in tail) * bias.length

    rows = [
        {pins[at]: 0.0}
        if at in pins
        else {token: worth(token, score) for token, score in enumerate(row)}
        for at, row in enumerate(problem.log_probs.tolist())
    ]
    choices = [[token for token, score in row.items() if score > -math.inf] for row in rows]
    return {
        tokens: sum(row[token] for row, token in zip(rows, tokens, strict=True))
        for tokens in itertools.product(*choices)
        if problem.automaton.accepts(tokens)
    }


def ordered(found: Mapping[tuple[int, ...], float]) -> list[tuple[int, ...]]:
    """The best first, of equal ones the lowest tokens."""
    return sorted(found, key=lambda tokens: (-found[tokens], tokens))


def log_total(scores: Sequence[float]) -> float:
    return math.log(math.fsum(math.exp(score) for score in scores))


def random_log_probs(length: int, size: int, *, seed: int = 0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(length, size, generator=noise).log_softmax(-1)


scores = st.integers(-6, 0).map(float) | st.just(-math.inf)
biases = st.builds(
    Bias,
    length=st.integers(-2, 2).map(float),
    banned=st.frozensets(st.integers(0, 6), max_size=1),
    preferred=st.dictionaries(st.integers(0, 6), st.integers(-2, 2).map(float), max_size=2),
)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Any canvas of up to four tokens; most of them can be filled."""
    rows = draw(st.lists(st.lists(scores, min_size=7, max_size=7), max_size=4))
    pins = draw(st.dictionaries(st.integers(0, 3), st.integers(0, 6), max_size=2))
    return Problem(
        torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 7),
        draw(st.sampled_from(AUTOMATA)),
        {at: token for at, token in pins.items() if at < len(rows)},
        draw(st.none() | biases),
    )
