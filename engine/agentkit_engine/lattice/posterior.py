"""One canvas, one question: functions in place of a `Lattice`.

Knows lattices. Who asks several things of the same log-probabilities, or of several canvases, saves
work with a `Lattice`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.lattice.lattice import Best, Lattice
from agentkit_engine.lattice.problem import Bias, Pins, Problem

__all__ = ["best", "entropies", "marginals", "max_marginals", "n_best", "sample"]


def best(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> Best:
    """The exact maximum over all fillings that the automaton accepts: see `Lattice.best`.

    log_probs: float [L, V'], nats, normalised or not; V' at least the automaton's vocabulary.
    pins: position -> token that must stand there.

    Raises CanvasTooShort, TemplateError (nothing valid fits: says whether the length, a pin, the
    bias or the log-probabilities forbid it) or InvalidLogProbs.
    """
    return Lattice([Problem(log_probs, automaton, pins, bias)]).best()[0]


def n_best(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    n: int,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> list[Best]:
    """Up to n distinct fillings, the best first: see `Lattice.n_best`.

    Takes and raises what `best` does.
    """
    return Lattice([Problem(log_probs, automaton, pins, bias)]).n_best(0, n)


def marginals(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> Tensor:
    """How probable each token is at each position, among the valid fillings: [L, V'].

    See `Lattice.marginals`. Takes and raises what `best` does.
    """
    return Lattice([Problem(log_probs, automaton, pins, bias)]).marginals(0)


def max_marginals(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
    relative: bool = False,
) -> Tensor:
    """The best score of a valid filling that holds a token at a position: [L, V'], nats.

    See `Lattice.max_marginals`. Takes and raises what `best` does.
    """
    lattice = Lattice([Problem(log_probs, automaton, pins, bias)])
    return lattice.max_marginals(0, relative=relative)


def sample(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    *,
    count: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> Tensor:
    """Exact draws from the fillings, by their probability: int64 [count, L].

    See `Lattice.sample`. Takes and raises what `best` does.
    """
    lattice = Lattice([Problem(log_probs, automaton, pins, bias)])
    return lattice.sample(0, count=count, temperature=temperature, generator=generator)


def entropies(
    log_probs: Tensor,
    automaton: TokenAutomaton,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> Tensor:
    """The entropy of each position among the valid fillings: float64 [L], nats.

    See `Lattice.entropies`. Takes and raises what `best` does.
    """
    return Lattice([Problem(log_probs, automaton, pins, bias)], entropies=True).entropies()[0]
