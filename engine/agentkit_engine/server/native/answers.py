"""The answers: what was decided, filled or is held, as JSON.

Knows shapes and names, and what the engine calls them. Must not know sessions, routes or HTTP. The
OpenAPI document is made of these types, so they name all there is in an answer and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NotRequired, TypeAlias

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from agentkit_engine.filling.outcome import Call, CellState, Decision, Draft, Effort, Filling, Value
from agentkit_engine.server.transport.problems import Problem

# Gives the name by which a call of a tool, or an answer (None), can be refilled.
Note: TypeAlias = Callable[[str | None, Value], str]

_whole = with_config(ConfigDict(extra="forbid"))


@_whole
class ErrorJSON(TypedDict):
    """What went wrong: its kind, in words, and the field of the body to blame where there is one.

    `arguments` and `notes` are an engine error's own, by which a client makes the same error.
    """

    type: str
    message: str
    field: str | None
    arguments: NotRequired[list[Any]]
    notes: NotRequired[list[str]]


@_whole
class FailedJSON(TypedDict):
    """The body of a problem; of a stream that has begun, the value of its last event, `error`."""

    error: ErrorJSON


@_whole
class TimingsJSON(TypedDict):
    """Seconds by phase."""

    encode: float
    denoise: float
    verify: float
    lattice: float


@_whole
class EffortJSON(TypedDict):
    """What it took: `forwards` of the decoder, `passes` of the causal encoder over what was filled.

    `tokens` were filled behind `prompt_tokens`. `agreed`: whether the causal encoder agrees with
    every token; null where it was not asked.
    """

    model: str
    forwards: int
    passes: int
    tokens: int
    prompt_tokens: int
    agreed: bool | None
    timings: TimingsJSON


@_whole
class CallJSON(TypedDict):
    """A call that was decided on. `origin`: its name where values of it are to be filled again."""

    tool: str
    arguments: Any
    confidence: dict[str, float]
    origin: str


@_whole
class DraftCallJSON(TypedDict):
    """A call as a draft reads: it satisfies its schema, but may yet change."""

    tool: str
    arguments: Any


@_whole
class RowJSON(TypedDict):
    """One row of a draft; a cell is the text and the state of one position."""

    name: str
    cells: list[tuple[str, CellState]]


@_whole
class DraftJSON(TypedDict):
    """The rows after `step` of `steps` forwards at most; step 0 is the noise they start from.

    The first `settled` of `calls` are final. `answer` is what is filled in else, as it reads now.
    """

    step: int
    steps: int
    rows: list[RowJSON]
    calls: list[CallJSON | DraftCallJSON]
    settled: int
    answer: str | None


class DecisionJSON(EffortJSON):
    """Calls, or an answer. `choice`: the probability of each tool; answering stands under ""."""

    calls: list[CallJSON]
    answer: str | None
    origin: str | None
    choice: dict[str, float]


@_whole
class AlternativeJSON(TypedDict):
    """The likeliest other value, and its probability."""

    value: Any
    probability: float


class FillingJSON(EffortJSON):
    """A filled template; what is told of each value stands under its JSON pointer, "" the whole.

    `confidence`: how probable the model finds it. `posterior`: its exact probability among all that
    are valid, by the denoiser's logits.
    """

    value: Any
    text: str
    confidence: dict[str, float]
    posterior: dict[str, float]
    runners_up: dict[str, AlternativeJSON]


@_whole
class CapabilitiesJSON(TypedDict):
    """What every session of this server can do."""

    guaranteed: bool
    drafts: bool
    refill: bool
    fork: bool


@_whole
class SessionJSON(TypedDict):
    """A session, and how many messages it has."""

    id: str
    messages: int
    model: str
    capabilities: CapabilitiesJSON


@_whole
class FunctionJSON(TypedDict):
    """A tool on offer."""

    name: str
    description: str
    parameters: dict[str, Any]


class SeenSessionJSON(SessionJSON):
    """A session as it stands: what it was made of, and its chat.

    `age` and `idle`: seconds since it was made and since it was last used. `busy`: a request uses
    it now.
    """

    instructions: str
    tools: list[FunctionJSON]
    output: dict[str, Any] | None
    chat: list[dict[str, Any]]
    age: float
    idle: float
    busy: bool


@_whole
class GrownJSON(TypedDict):
    """How many messages a session has now."""

    messages: int


# As `agentkit.backend.Capabilities` names them.
CAPABILITIES: CapabilitiesJSON = {"guaranteed": True, "drafts": True, "refill": True, "fork": True}


def error_json(problem: Problem) -> FailedJSON:
    """A problem."""
    about = ErrorJSON(type=problem.kind, message=problem.message, field=problem.field or None)
    if problem.arguments or problem.notes:
        about["arguments"], about["notes"] = list(problem.arguments), list(problem.notes)
    return {"error": about}


class Drafts:
    """The drafts of one decision; what has settled is written once."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._settled: list[CallJSON] = []

    def json(self, draft: Draft) -> DraftJSON:
        """A draft of a decision."""
        for call in draft.calls[len(self._settled) : draft.settled]:
            assert isinstance(call, Call)  # as all are that have settled
            self._settled.append(_call(call.name, call.arguments, call, self._note))
        return draft_json(draft, self._settled)


def draft_json(draft: Draft, settled: Sequence[CallJSON] = ()) -> DraftJSON:
    """A draft, with the calls of it that have settled."""
    others: list[DraftCallJSON] = [
        {"tool": one.name, "arguments": one.arguments} for one in draft.calls[draft.settled :]
    ]
    return {
        "step": draft.step,
        "steps": draft.steps,
        "rows": [
            {"name": row.name, "cells": list(zip(row.texts, row.states, strict=True))}
            for row in draft.rows
        ],
        "calls": [*settled, *others],
        "settled": draft.settled,
        "answer": draft.answer,
    }


def decision_json(decision: Decision, note: Note, *, model: str) -> DecisionJSON:
    """A decision: what was chosen, and what it took."""
    answered = decision.answered
    return {
        "calls": [_call(call.name, call.arguments, call, note) for call in decision.calls],
        "answer": decision.answer,
        "origin": None if answered is None else note(None, answered),
        "choice": dict(decision.choice),
        **_effort(decision, model),
    }


def refilled_json(filling: Filling, tool: str | None, note: Note, *, model: str) -> DecisionJSON:
    """A refilled call of `tool`, or answer, as a decision on just that."""
    call = None if tool is None else _call(tool, filling.value, filling, note)
    return {
        "calls": [call] if call else [],
        "answer": None if call else filling.text,
        "origin": None if call else note(None, filling),
        "choice": {},
        **_effort(filling, model),
    }


def filling_json(filling: Filling, *, model: str) -> FillingJSON:
    """A filled template; what the model believed of it is worked out here."""
    return {
        "value": filling.value,
        "text": filling.text,
        "confidence": dict(filling.confidence),
        "posterior": dict(filling.posterior),
        "runners_up": {
            pointer: {"value": other.value, "probability": other.probability}
            for pointer, other in filling.runners_up.items()
        },
        **_effort(filling, model),
    }


def _call(tool: str, arguments: Any, value: Value, note: Note) -> CallJSON:
    return {
        "tool": tool,
        "arguments": arguments,
        "confidence": dict(value.confidence),
        "origin": note(tool, value),
    }


def _effort(effort: Effort, model: str) -> EffortJSON:
    timings = effort.timings
    return {
        "model": model,
        "forwards": effort.forwards,
        "passes": effort.passes,
        "tokens": effort.tokens,
        "prompt_tokens": effort.prompt_tokens,
        "agreed": effort.agreed,
        "timings": {
            "encode": timings.encode,
            "denoise": timings.denoise,
            "verify": timings.verify,
            "lattice": timings.lattice,
        },
    }
