"""One turn of a chat, whatever API asked for it, and what came of it.

Knows messages as chat templates take them, schemas and options. Must not know any API, nor how a
turn is taken.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agentkit_engine.filling.outcome import Decision
from agentkit_engine.filling.settings import DecidingOptions
from agentkit_engine.template import Schema

Reason: TypeAlias = Literal["stop", "length", "calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTool:
    """A tool on offer.

    Attributes:
        parameters: a JSON Schema of type object.
        place: of that in the body that was sent, for errors.
    """

    name: str
    description: str = ""
    parameters: Schema
    place: str = "tools"

    @property
    def declaration(self) -> dict[str, Any]:
        """As chat templates take it."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": about}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One turn that is asked for.

    Attributes:
        instructions: the system's message; empty for none.
        messages: the chat behind it: roles user, assistant (with `tool_calls`, whose arguments are
            objects) and tool (with the `name` of the tool).
        place: of those in the body that was sent, for errors.
        tools: all that the model is told of.
        callable: names of those that it may call.
        must_call: whether it calls one in any case.
        output: the schema of an answer; None for words.
        output_place: of that in the body that was sent, for errors.
        choices: so many answers are asked for, each with its own seed.
        stop: texts before which an answer in words ends.
        options: of every decision; each further choice has the next seed.
    """

    instructions: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    place: str = "messages"
    tools: tuple[AskedTool, ...] = ()
    callable: tuple[str, ...] = ()
    must_call: bool = False
    output: Schema | None = None
    output_place: str = ""
    choices: int = 1
    stop: tuple[str, ...] = ()
    options: DecidingOptions = field(default_factory=DecidingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCall:
    """A call that was decided on; `id` is what its result is to name."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """What came of one choice.

    Attributes:
        text: the answer, up to where a stop text begins; None for calls.
        reason: why it ends; "length" for words that take all the room there was for them.
        stopped_by: the stop text that was met.
        seed: with which it comes out again.
        decision: what it took, and what the model believed of it.
    """

    text: str | None
    calls: tuple[TurnCall, ...]
    reason: Reason
    stopped_by: str | None
    seed: int
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More of the answer of a choice, which stays as it is."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDelta:
    """The call number `number` of a choice, whole, which stays as it is."""

    choice: int
    number: int
    call: TurnCall


Delta: TypeAlias = TextDelta | CallDelta


def new_id(kind: str) -> str:
    """An id as clients expect it: `call_...`, `chatcmpl-...`."""
    return f"{kind}{secrets.token_hex(12)}"
