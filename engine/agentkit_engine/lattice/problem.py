"""What is asked of a lattice: log-probabilities, an automaton, pins and a bias; what is refused.

Knows tokens and automata. Must not know how an answer is found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from agentkit_engine.errors import CanvasTooShort, InvalidLogProbs, TemplateError
from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.lattice.passes import best_ahead
from agentkit_engine.lattice.plan import plan_of
from agentkit_engine.lattice.trellis import trellis_of

__all__ = ["Bias", "Pins", "Problem", "check"]

Pins = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Bias:
    """What is wished for beyond what the model says; it counts in every score and probability.

    length: nats added for each token that writes text, that is for each but the automaton's `tail`:
    above 0 for longer fillings. banned: tokens that must not be written. preferred: token -> nats
    added where it is written. Pinned positions take no bias, and a pin may be a banned token.
    Raises ValueError for nats that are not finite.
    """

    length: float = 0.0
    banned: frozenset[int] = frozenset()
    preferred: Mapping[int, float] = field(default_factory=dict[int, float])

    def __post_init__(self) -> None:
        for nats in (self.length, *self.preferred.values()):
            if not math.isfinite(nats):
                raise ValueError(f"a bias is {nats} nats; it must be finite, or ban the token")


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One canvas to be filled.

    log_probs: float [L, V'], nats, on any device, normalised or not (a constant added to a row
    changes nothing but the scores); V' at least the automaton's vocabulary, and what is beyond it
    is never read. pins: position -> the token that must stand there.
    """

    log_probs: Tensor
    automaton: TokenAutomaton
    pins: Pins | None = None
    bias: Bias | None = None

    def check(self) -> None:
        """Raises what `check` raises, and InvalidLogProbs for a wrong shape."""
        size = len(self.automaton.class_of)
        if self.log_probs.ndim != 2 or self.log_probs.shape[1] < size:
            raise InvalidLogProbs(
                f"log_probs has the shape {tuple(self.log_probs.shape)}; it needs [positions, at "
                f"least {size} tokens]"
            )
        if not self.log_probs.is_floating_point():
            raise InvalidLogProbs(f"log_probs holds {self.log_probs.dtype}; it needs floats")
        check(self.automaton, len(self.log_probs), pins=self.pins, bias=self.bias)

    @property
    def strict(self) -> Problem | None:
        """The same, of the automaton's strict part."""
        strict = self.automaton.strict
        if strict is None:
            return None
        return Problem(self.log_probs, strict, self.pins, self.bias)


def check(
    automaton: TokenAutomaton,
    length: int,
    *,
    pins: Pins | None = None,
    bias: Bias | None = None,
) -> None:
    """Whether a canvas of `length` tokens can be filled at all, before anything is computed.

    What passes can be filled under any log-probabilities that give every token some probability.
    Where texts can repeat keys, that is so of the moves and not yet of their `strict` part.

    Raises:
        CanvasTooShort: the shortest valid filling is longer.
        TemplateError: no valid filling has this length, or none holds the pins, or the banned
            tokens leave none; says which.
    """
    if length < automaton.min_tokens:
        raise CanvasTooShort(automaton.min_tokens, length)
    pins = pins or {}
    for position, token in pins.items():
        if not 0 <= position < length:
            raise TemplateError(
                f"the pin at position {position} is outside the canvas of {length} tokens"
            )
        if not 0 <= token < len(automaton.class_of) or automaton.class_of[token] < 0:
            raise TemplateError(
                f"token {token}, pinned at position {position}, never occurs in this grammar"
            )
    if trellis_of([(automaton, length)]) is None:
        raise TemplateError(
            f"no valid filling has exactly {length} tokens; give the automaton a filler or an end"
        )
    banned = bias.banned if bias is not None else frozenset[int]()
    if (pins or banned) and not _fits(automaton, length, pins, banned):
        raise _impossible(automaton, length, pins)


def _impossible(automaton: TokenAutomaton, length: int, pins: Pins) -> TemplateError:
    held: dict[int, int] = {}
    for position, token in sorted(pins.items()):
        held[position] = token
        if not _fits(automaton, length, held, frozenset()):
            return TemplateError(
                f"token {token} pinned at position {position} fits no valid filling of {length} "
                "tokens, given the pins before it"
            )
    return TemplateError(
        f"every valid filling of {length} tokens holds a banned token; ban fewer tokens"
    )


def _fits(automaton: TokenAutomaton, length: int, pins: Pins, banned: frozenset[int]) -> bool:
    """Whether the moves leave a filling."""
    trellis = trellis_of([(automaton, length)])
    if trellis is None:
        return False
    plan = plan_of(automaton)
    free = ~np.isin(plan.tokens, np.array(sorted(banned), np.int64))
    top = np.where(np.logical_or.reduceat(free, plan.first[:-1]), 0.0, -np.inf)
    top = np.repeat(top[None], length, axis=0)
    for position, token in pins.items():
        top[position] = -np.inf
        top[position, automaton.class_of[token]] = 0.0
    sets = np.maximum.reduceat(top[:, plan.set_class], plan.set_first[:-1], axis=1)
    return bool(np.isfinite(best_ahead(trellis, sets.ravel()).score[trellis.begins[0]]))
