"""What a session gives back: fillings, decisions, and the drafts on the way to them.

Knows their shape alone. Must not know how they come about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from agentkit_engine.filling.settings import Batch
from agentkit_engine.layouts.forms import Form

CellState: TypeAlias = Literal["pinned", "noise", "draft", "settled"]


@dataclass(frozen=True, slots=True)
class DraftRow:
    """One row of a draft: the text and state of each position."""

    name: str
    texts: tuple[str, ...]
    states: tuple[CellState, ...]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by phase; `encode` is that of the context since the last filling.

    denoise: decoder forwards, waiting for others in the same batch included. verify: the causal
    encoder's passes over what was filled. lattice: exact inference, and comparing with the passes.
    """

    encode: float = 0.0
    denoise: float = 0.0
    verify: float = 0.0
    lattice: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a filling or a decision took.

    Attributes:
        forwards: decoder forwards run.
        passes: passes of the causal encoder over fillings.
        tokens: positions that were filled.
        prompt_tokens: of the context it was filled in behind.
        cached_tokens: those of them that did not have to be encoded since the last filling.
        elapsed: seconds, the encoding of the context not included.
        agreed: whether the causal encoder agrees with every token, as verify="exact" asks it; False
            where the rounds ran out before; None where it wasn't asked.
        timings: seconds by phase.
    """

    forwards: int = 0
    passes: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    elapsed: float = 0.0
    agreed: bool | None = None
    timings: Timings = Timings()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another value a slot might have held, and its probability."""

    value: Any
    probability: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token of what was filled in, and how probable the model found it at its place.

    Attributes:
        text: what it writes; a character's bytes may be shared among several. Nothing where, in
            place of a token, the text has ended.
        nats: log of its probability; 0 for what the schema settles.
        likeliest: what might have stood there, the likeliest first, as far as it was asked for;
            nothing for what the schema settles.
    """

    text: bytes
    nats: float
    likeliest: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """The row that a value came from, for `Session.refill`; no one else's business.

    Attributes:
        turn: it is what the model says in its turn, and no template beside the chat.
        earlier: rows of the same form of which values were rejected, the latest first.
    """

    form: Form
    tokens: tuple[int, ...]
    turn: bool = False
    earlier: tuple[tuple[int, ...], ...] = ()


class Beliefs(Protocol):
    """How sure the model was of the values of one row, worked out when it is asked for."""

    @property
    def confidence(self) -> Mapping[str, float]: ...

    @property
    def posterior(self) -> Mapping[str, float]: ...

    @property
    def runners_up(self) -> Mapping[str, Alternative]: ...

    def token_probabilities(self, likeliest: int) -> Sequence[Token]: ...


@dataclass(frozen=True, kw_only=True)
class Value:
    """What was filled in, and how sure the model is of it.

    What is told of each value is found by its JSON pointer, "" being the whole.
    """

    beliefs: Beliefs = field(repr=False, compare=False)
    origin: Origin = field(repr=False, compare=False)

    @property
    def confidence(self) -> Mapping[str, float]:
        """How probable the model finds each value.

        Where the causal encoder has agreed on it (`verify="exact"`), the product of its tokens'
        probabilities by that; else the posterior. docs/denoising.md shows how well the embedded
        model's is calibrated.
        """
        return self.beliefs.confidence

    @property
    def posterior(self) -> Mapping[str, float]:
        """The exact probability of each value as written, among all valid ones.

        By the denoiser's logits when all of the value was still free.
        """
        return self.beliefs.posterior

    @property
    def runners_up(self) -> Mapping[str, Alternative]:
        """The likeliest other value, where there is one, by the same logits."""
        return self.beliefs.runners_up

    def token_probabilities(self, likeliest: int = 0) -> Sequence[Token]:
        """What was filled in as text, token by token, with the probability of each at its place.

        Exact marginals among all valid fillings, by the denoiser's logits when all was still free
        (`posterior` is that of a value's tokens together). What lies between the values of JSON is
        settled by the schema; it is as probable as that an object's absent keys are. Where the
        checkpoint writes a value otherwise than JSON does, all of that counts as one token, with
        the value's own posterior.

        Args:
            likeliest: how many of the likeliest tokens are told of each place.
        """
        return self.beliefs.token_probabilities(likeliest)


@dataclass(frozen=True, kw_only=True)
class Filling(Value, Effort):
    """A filled template.

    Attributes:
        value: the Python value (of a choice, pattern or text: the string).
        text: the value as text; JSON for a schema.
        full: it is a text that takes every token there was room for, so that more may be unsaid.
    """

    value: Any
    text: str
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Call(Value):
    """A call that was decided on: one of those on offer, with arguments that satisfy its schema."""

    name: str
    arguments: Any


@dataclass(frozen=True, kw_only=True)
class Answer(Value):
    """An answer: in words, both `value` and `text`; by a schema, a value and its JSON.

    Attributes:
        words: it has no schema.
        full: it is in words and takes every token that there was room for, so that more may be
            left unsaid.
    """

    value: Any
    text: str
    words: bool = True
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision(Effort):
    """Which calls are made and with what, or the answer.

    Attributes:
        calls: one or several; none for an answer.
        answered: the answer; None for calls.
        choice: name -> probability of the first call; answering stands under "".
        batch: whether the choice and all candidates were rows of one batch, or the choice was made
            alone and only what was chosen was filled then.
    """

    calls: tuple[Call, ...]
    answered: Answer | None
    choice: Mapping[str, float]
    batch: Batch

    @property
    def answer(self) -> str | None:
        """The answer's text, JSON where it has a schema; None for calls."""
        return self.answered.text if self.answered else None

    @property
    def value(self) -> Any:
        """The answer's value, which is its text where it has no schema; None for calls."""
        return self.answered.value if self.answered else None

    @property
    def confidence(self) -> Mapping[str, float]:
        """That of the answer's values, see `Value`; calls have their own."""
        return self.answered.confidence if self.answered else {}


@dataclass(frozen=True, slots=True)
class DraftCall:
    """A call as a draft reads: its arguments satisfy its schema, but may yet change."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Draft:
    """The rows after `step` of `steps` decoder forwards; step 0 is the noise they start from.

    Attributes:
        calls: those of a decision as they read now. The first `settled` are whole `Call`s: they
            stay as they are, and stand first in what is decided.
        answer: what is filled in else, as it reads now: text, or JSON that satisfies the schema.
        said: what that text begins with and goes on to begin with; of JSON, nothing.
    """

    step: int
    steps: int
    rows: tuple[DraftRow, ...]
    calls: tuple[Call | DraftCall, ...] = ()
    settled: int = 0
    answer: str | None = None
    said: str = ""


OnDraft: TypeAlias = Callable[[Draft], None]
