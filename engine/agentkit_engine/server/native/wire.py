"""The wire: the JSON of requests, answers and errors.

Knows shapes and names, and what the engine calls them. Must not know sessions, routes or HTTP.
What comes in is checked here, so that nothing behind has to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agentkit_engine.filling.outcome import Call, Decision, Draft, Effort, Filling, Value
from agentkit_engine.filling.settings import DecidingOptions, FillingOptions
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Problem

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


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As the engine's sessions take them."""
    return [message.model_dump(exclude_none=True) for message in messages]


def error_json(problem: Problem) -> dict[str, Any]:
    """A problem; an engine error's `arguments` let a client make the same error."""
    about = {"type": problem.kind, "message": problem.message, "field": problem.field or None}
    if problem.arguments or problem.notes:
        about |= {"arguments": list(problem.arguments), "notes": list(problem.notes)}
    return {"error": about}


NATIVE = Dialect(error=error_json)


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
