"""The wire: the JSON of requests, answers and errors.

Knows shapes and names, and what the engine calls them. Must not know sessions, routes or HTTP
beyond its status codes. What comes in is checked here, so that nothing behind has to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentkit_engine.errors import (
    CheckpointError,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    InvalidLogProbs,
)
from agentkit_engine.filling.outcome import Call, Decision, Draft, Effort, Filling, Value
from agentkit_engine.filling.settings import DecidingOptions, FillingOptions

_log = logging.getLogger(__name__)

Form = TypeVar("Form", bound="Wire")
# Gives the name by which a call of a tool, or an answer (None), can be refilled.
Note: TypeAlias = Callable[[str | None, Value], str]
LONGEST_ID = 64
SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", min_length=16, max_length=LONGEST_ID)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Wire(BaseModel):
    """A request's body. A name that is misspelled is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tool(Wire):
    """A tool on offer; `parameters` is a JSON Schema of type object."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    parameters: dict[str, Any]

    @property
    def declaration(self) -> dict[str, Any]:
        """As chat templates take it."""
        return {"type": "function", "function": self.model_dump()}


class CalledFunction(Wire):
    """What an assistant's message called."""

    name: str
    arguments: dict[str, Any]


class ToolCall(Wire):
    """A call in an assistant's message."""

    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Wire):
    """A message as chat templates take it; the system's is `Opening.instructions`."""

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class Opening(Wire):
    """Makes a session.

    id: chosen by the client, at random; so it can delete a session whose making it gave up.
    output: the JSON Schema that every answer is to satisfy; None for answers in words.
    messages: the chat so far.
    """

    id: SessionId | None = None
    instructions: str = ""
    tools: list[Tool] = []
    output: dict[str, Any] | None = None
    messages: list[Message] = []

    @field_validator("tools")
    @classmethod
    def _named_once(cls, tools: list[Tool]) -> list[Tool]:
        names = [tool.name for tool in tools]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tools are named {name!r}; rename one")
        return tools


class Extending(Wire):
    """Adds messages.

    after: how many messages they stand behind, so that sending the same again does no harm: what
        the session has beyond is dropped. By default all that it has.
    """

    after: Count | None = None
    messages: list[Message] = []


class Settings(Wire):
    """What may be asked of a decision; None leaves it to the engine."""

    steps: Positive | Literal["auto"] | None = None
    max_calls: Positive | None = None
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    seed: int | None = None
    max_tokens: Positive | None = None
    verify: Literal["off", "rerank", "exact"] | None = None

    def of_deciding(self) -> DecidingOptions:
        """As `Session.decide` takes them."""
        given = self.model_dump(exclude_none=True)
        if "max_tokens" in given:
            given["answer_tokens"] = given.pop("max_tokens")
        return cast(DecidingOptions, given)

    def of_refilling(self) -> FillingOptions:
        """As `Session.refill` takes them, which is not verified."""
        names = {"steps", "temperature", "seed"}
        return cast(FillingOptions, self.model_dump(include=names, exclude_none=True))


class Deciding(Extending):
    """Adds messages and decides. stream: drafts come as events, then the decision."""

    settings: Settings = Settings()
    stream: bool = False


class Refilling(Extending):
    """Fills rejected values again: JSON pointer -> why it won't do.

    origin: of a call, or of a decision's answer, as the decision told it.
    """

    origin: str
    rejected: Annotated[dict[str, str], Field(min_length=1)]
    settings: Settings = Settings()


class Forking(Wire):
    """A second session that goes on from the first `messages`; by default from all."""

    id: SessionId | None = None
    messages: Count | None = None


@dataclass(eq=False)
class Refused(Exception):
    """A request that never reaches the engine.

    field: the part of the body that is to blame, as `tools.0.name`; empty where none is.
    """

    status: int
    kind: str
    message: str
    field: str = ""

    def __str__(self) -> str:
        return self.message


def read_form(form: type[Form], body: bytes) -> Form:
    """A request's body, checked.

    Raises:
        Refused: it is no JSON, or not of this form; names the field.
    """
    try:
        return form.model_validate_json(body or b"{}")
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        field = ".".join(map(str, first["loc"]))
        others = f" ({len(more)} more)" if more else ""
        if first["type"] == "json_invalid":
            raise Refused(400, "InvalidJSON", f"the body is no JSON: {first['msg']}") from error
        message = f"{field or 'the body'}: {first['msg']}{others}"
        raise Refused(422, "InvalidRequest", message, field) from error


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As the engine's sessions take them."""
    return [message.model_dump(exclude_none=True) for message in messages]


def write_json(value: Any) -> bytes:
    """JSON, as short as it gets."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def write_event(name: str, value: Any) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), write_json(value))


def problem(error: Exception) -> tuple[int, dict[str, Any]]:
    """An error as status and JSON.

    The engine's own carry their `arguments`, by which a client makes the same error.
    """
    if isinstance(error, Refused):
        return error.status, _error(error.kind, error.message, field=error.field or None)
    if not isinstance(error, EngineError):
        _log.error("a request failed", exc_info=error)
        return 500, _error("InternalError", "the server failed; its log says how")
    notes = list(getattr(error, "__notes__", ()))
    told = _error(type(error).__name__, str(error), arguments=list(error.args), notes=notes)
    return _status(error), told


def _error(kind: str, message: str, *, field: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "field": field, **more}}


def _status(error: EngineError) -> int:
    match error:
        case EngineBusy():
            return 429
        case DeadlineExceeded():
            return 504
        case CheckpointError() | InvalidLogProbs():
            return 500
        case _:
            return 422


class Drafts:
    """The drafts of one decision; what has settled is written once."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._settled: list[dict[str, Any]] = []

    def json(self, draft: Draft) -> dict[str, Any]:
        """A draft; a row's cells are pairs of text and state."""
        for call in draft.calls[len(self._settled) : draft.settled]:
            assert isinstance(call, Call)  # as all are that have settled
            self._settled.append(_call(call.name, call.arguments, call, self._note))
        others = draft.calls[draft.settled :]
        return {
            "step": draft.step,
            "steps": draft.steps,
            "rows": [
                {"name": row.name, "cells": list(zip(row.texts, row.states, strict=True))}
                for row in draft.rows
            ],
            "calls": [
                *self._settled,
                *({"tool": call.name, "arguments": call.arguments} for call in others),
            ],
            "settled": draft.settled,
            "answer": draft.answer,
        }


def decision_json(decision: Decision, note: Note, *, model: str) -> dict[str, Any]:
    """A decision: what was chosen, and what it took."""
    answered = decision.answered
    return {
        "calls": [_call(call.name, call.arguments, call, note) for call in decision.calls],
        "answer": decision.answer,
        "origin": None if answered is None else note(None, answered),
        "choice": dict(decision.choice),
        "model": model,
        **_effort(decision),
    }


def refilled_json(filling: Filling, tool: str | None, note: Note, *, model: str) -> dict[str, Any]:
    """A refilled call of `tool`, or answer, as a decision on just that."""
    call = None if tool is None else _call(tool, filling.value, filling, note)
    return {
        "calls": [call] if call else [],
        "answer": None if call else filling.text,
        "origin": None if call else note(None, filling),
        "choice": {},
        "model": model,
        **_effort(filling),
    }


def _call(tool: str, arguments: Any, value: Value, note: Note) -> dict[str, Any]:
    return {
        "tool": tool,
        "arguments": arguments,
        "confidence": dict(value.confidence),
        "origin": note(tool, value),
    }


def _effort(effort: Effort) -> dict[str, Any]:
    return {
        "forwards": effort.forwards,
        "passes": effort.passes,
        "tokens": effort.tokens,
        "prompt_tokens": effort.prompt_tokens,
        "timings": asdict(effort.timings),
    }
