"""The one seam: all that the loop knows of any model.

A backend opens conversations. A conversation is an encoded prefix that grows by messages and
gives decisions. Knows messages; must not know agents, tools' functions, or any model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, TypeAlias

from agentkit.errors import DefinitionError
from agentkit.message import Message

CellState: TypeAlias = Literal["pinned", "noise", "draft", "settled"]
Verify: TypeAlias = Literal["off", "rerank", "exact"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do; the loop degrades where it can't.

    guaranteed: every proposed call satisfies its tool's schema by construction, and an answer the
        schema given at `open`.
    drafts: `decide` reports the canvas after each denoise step.
    refill: `Conversation.refill` works.
    fork: `Conversation.fork` works.
    several: one decision may make several calls where `max_calls` is not said.
    """

    guaranteed: bool = False
    drafts: bool = False
    refill: bool = False
    fork: bool = False
    several: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What may be asked of a decision; None leaves it to the backend.

    A backend ignores what it can't do where that changes no promise (`steps` of a model that writes
    token by token, say).

    steps: denoise steps of each denoising, at most; "auto" until nothing changes.
    max_calls: calls of one decision, at most.
    temperature: 0 takes the likeliest valid filling.
    seed: of noise and samples.
    max_tokens: of what is written in one decision.
    verify: what the causal encoder has to say of a filling, see docs/denoising.md.
    """

    steps: int | Literal["auto"] | None = None
    max_calls: int | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    verify: Verify | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "max_calls", "max_tokens"):
            number = getattr(self, name)
            if number not in (None, "auto") and number < 1:
                raise DefinitionError(f"{name}={number!r} is too small; give 1 or more")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise DefinitionError(f"temperature={self.temperature!r} is none; give 0 or more")

    def over(self, other: ModelSettings) -> ModelSettings:
        """These settings, and where they say nothing those of `other`."""
        names = [item.name for item in fields(self)]
        return ModelSettings(**{name: _first(self, other, name) for name in names})


def _first(one: ModelSettings, other: ModelSettings, name: str) -> Any:
    value = getattr(one, name)
    return getattr(other, name) if value is None else value


@dataclass(frozen=True, slots=True)
class Cell:
    """One canvas position, as text."""

    text: str
    state: CellState


@dataclass(frozen=True, slots=True)
class Row:
    """One canvas of a turn's batch; `name` is the tool it would call, or "" for the choice."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ProposedCall:
    """A call the model wants.

    confidence: JSON pointer of a value -> its probability.
    problem: why it can't be made as it is (what a model without guarantee wrote is no JSON, say);
        empty where it can.
    origin: the backend's own note of where the call came from, for `Conversation.refill`.
    """

    tool: str
    arguments: dict[str, Any]
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])
    problem: str = ""
    origin: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """The canvases after denoise step `step` of `steps`; step 0 is the noise they start from.

    calls: the calls as the canvases read now, each valid already; the first `settled` of them stay
        as they are and stand first in the decision, so that they may be started.
    answer: the answer as it reads now, where an answer is being written. With an output schema it
        is valid JSON of that schema at any time.
    """

    step: int
    steps: int
    rows: tuple[Row, ...]
    calls: tuple[ProposedCall, ...] = ()
    settled: int = 0
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds a decision took, by phase; `encode` includes the `extend` before it.

    verify: the model's causal passes over what it filled in.
    """

    encode: float = 0.0
    denoise: float = 0.0
    lattice: float = 0.0
    verify: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What a model decided in one turn: calls, or an answer; calls win where both are given.

    answer: text; JSON of the output schema where `open` was given one.
    choice: tool name -> probability; answering stands under the key "".
    forwards: decoder forwards run. passes: causal passes over what was filled in. tokens: canvas
    positions filled. prompt_tokens: of the context it was decided behind, where that is known.
    model: its name, for those who read traces. origin: the backend's own note of where an answer
    came from, for `Conversation.refill`.
    """

    calls: tuple[ProposedCall, ...] = ()
    answer: str | None = None
    choice: Mapping[str, float] = field(default_factory=dict[str, float])
    forwards: int = 0
    tokens: int = 0
    timings: Timings = Timings()
    passes: int = 0
    prompt_tokens: int = 0
    model: str = ""
    origin: object = field(default=None, repr=False, compare=False)


OnDraft: TypeAlias = Callable[[Draft], None]


class Conversation(Protocol):
    """An encoded prefix. Used by one task at a time; a failed call leaves it unusable."""

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages to the prefix.

        The loop sends every message of the history once, in order, and none twice. That
        includes the `CallMessage` a decision led to: a backend whose `decide` has already put
        its own call into the prefix recognises it and encodes only what follows.
        """
        ...

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        """Decide between calling the tools given at `open` and answering.

        on_draft: called in the event loop's own thread; it returns at once and never raises.
        Cancelling is honoured between two forwards.
        """
        ...

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        """Fill rejected values again, with others, while all else stays as it is.

        filled: a call that this conversation decided on or refilled, or the decision of an answer
            that has a schema. What comes back decides on one call, or on an answer, likewise.
        rejected: JSON pointers of values -> why each won't do.

        Raises:
            BackendError: where `Capabilities.refill` is false.
            UnsatisfiableSchema: no other value is valid.
            TemplateError: nothing was filled in at a pointer.
        """
        ...

    def fork(self) -> Conversation:
        """A second conversation that continues from the same prefix.

        Raises:
            BackendError: where `Capabilities.fork` is false.
        """
        ...

    async def aclose(self) -> None:
        """Free what the conversation holds. Closing twice is fine."""
        ...


class Backend(Protocol):
    """A model, ready to hold any number of conversations at once.

    One backend may serve several event loops, one after another or in several threads, so it
    keeps nothing that belongs to one loop.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Start a conversation.

        output: the JSON Schema that every answer is to satisfy; None for answers in words.

        Raises:
            EngineError: a schema can't be honoured.
        """
        ...

    async def aclose(self) -> None:
        """Free the model. The one who made the backend closes it; an agent never does."""
        ...
