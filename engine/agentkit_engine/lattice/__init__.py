"""The lattice: canvas positions x automaton states, and exact inference over its paths.

Knows log-probabilities and token automata. Must not know schemas, models or how a canvas is made.

plan         an automaton laid out for inference, once
posterior    best filling, log-partition and marginals, by classes of tokens
reference    the same, token by token and readable; the tests hold the two equal
"""

from agentkit_engine.lattice.posterior import Best, best, entropies, marginals

__all__ = ["Best", "best", "entropies", "marginals"]
