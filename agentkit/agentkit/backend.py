"""The one seam: all that the loop knows of any model.

A backend opens conversations. A conversation is an encoded prefix that grows by messages and
gives decisions. Knows messages; must not know agents, tools' functions, or any model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from agentkit.message import Message

CellState: TypeAlias = Literal["pinned", "noise", "draft", "settled"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do; the loop degrades where it can't.

    guaranteed: every proposed call satisfies its tool's schema by construction.
    drafts: `decide` reports the canvas after each denoise step.
    refill: rejected values can be renoised while the others stay.
    fork: `Conversation.fork` works.
    """

    guaranteed: bool = False
    drafts: bool = False
    refill: bool = False
    fork: bool = False


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
class Draft:
    """The canvases after denoise step `step` of `steps`; step 0 is the noise they start from."""

    step: int
    steps: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ProposedCall:
    """A call the model wants. `confidence`: JSON pointer of a value -> its probability."""

    tool: str
    arguments: dict[str, Any]
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])


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

    choice: tool name -> probability; answering stands under the key "".
    forwards: decoder forwards run. passes: causal passes over what was filled in. tokens: canvas
    positions filled.
    """

    calls: tuple[ProposedCall, ...] = ()
    answer: str | None = None
    choice: Mapping[str, float] = field(default_factory=dict[str, float])
    forwards: int = 0
    tokens: int = 0
    timings: Timings = Timings()
    passes: int = 0


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

    async def decide(self, *, steps: int, on_draft: OnDraft | None = None) -> Decision:
        """Decide between calling the tools given at `open` and answering.

        steps: denoise steps at most, of each denoising. on_draft: called in the event loop's own
        thread; it returns at once and never raises. Cancelling is honoured between two forwards.
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

    async def open(self, *, instructions: str, tools: Sequence[ToolSpec]) -> Conversation:
        """Start a conversation.

        Raises:
            EngineError: a tool's schema can't be honoured.
        """
        ...

    async def aclose(self) -> None:
        """Free the model. The one who made the backend closes it; an agent never does."""
        ...
