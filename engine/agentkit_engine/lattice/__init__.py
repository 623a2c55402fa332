"""The lattice: canvas positions x automaton states, and exact inference over its paths.

Knows log-probabilities and token automata. Must not know schemas, models or how a canvas is made.

problem      what is asked: log-probabilities, an automaton, pins, a bias; what is refused
plan         an automaton laid out for inference, once
trellis      automata and lengths: the nodes and edges that valid fillings pass through
reduction    the vocabulary reduced to classes, the one part that reads every logit
scores       a problem's tokens by class and by set, and single classes token by token
passes       the dynamic programs
paths        the best fillings, one after the other
draws        exact samples
writings     how probable a text is, however it is cut into tokens
placing      a hole before a text, which begins where the hole ends: a lattice all the same
lattice      a batch of canvases, and all that can be asked of it
posterior    one canvas, one question
reference    the same, token by token and readable; the tests hold the two equal
"""

from agentkit_engine.lattice.lattice import Best, Lattice
from agentkit_engine.lattice.posterior import (
    best,
    entropies,
    marginals,
    max_marginals,
    n_best,
    sample,
)
from agentkit_engine.lattice.problem import Bias, Problem, check

__all__ = [
    "Best",
    "Bias",
    "Lattice",
    "Problem",
    "best",
    "check",
    "entropies",
    "marginals",
    "max_marginals",
    "n_best",
    "sample",
]
