"""What a stream tells while a run goes on, in the order it happens.

Knows messages, decisions and results; must not know who listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentkit.backend import Decision, Draft
from agentkit.message import Call, ResultMessage
from agentkit.result import Pending, RunResult


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn begins; turns count from 1."""

    turn: int


@dataclass(frozen=True, slots=True)
class DraftCanvas:
    """The canvas after a denoise step. A reader too slow for drafts misses some of them."""

    turn: int
    draft: Draft


@dataclass(frozen=True, slots=True)
class AnswerDraft:
    """The answer reads otherwise than before. A reader too slow for drafts misses some of them.

    value: the output it makes, always valid; the text where the agent answers in words.
    """

    turn: int
    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class CallFilled:
    """The model filled a call; it runs next. `confidence`: JSON pointer -> probability.

    refills: the id of the earlier call of which rejected values were filled in again; else empty.
    early: whether it starts before the rest of the decision is there.
    """

    turn: int
    call: Call
    confidence: Mapping[str, float]
    decision: Decision | None
    refills: str = ""
    early: bool = False


@dataclass(frozen=True, slots=True)
class CallProgress:
    """What a tool reports while it works; `done` of `total`, in units of its own."""

    turn: int
    call: Call
    message: str
    done: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call came to its end, good or bad. Calls of one turn finish in any order."""

    turn: int
    call: Call
    result: ResultMessage
    seconds: float


@dataclass(frozen=True, slots=True)
class CallPending:
    """A call waits for a human, or for whoever finishes it elsewhere."""

    turn: int
    pending: Pending


@dataclass(frozen=True, slots=True)
class Escalated:
    """A policy left a doubtful decision to another backend; `why` names the policy."""

    turn: int
    decision: Decision
    why: str


@dataclass(frozen=True, slots=True)
class HandedOff:
    """Another agent goes on with the conversation."""

    turn: int
    agent: str


@dataclass(frozen=True, slots=True)
class AnswerRejected:
    """The answer failed a check; the model answers again."""

    turn: int
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The model answered, or asks back."""

    turn: int
    text: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """All of a turn is done and in the history."""

    turn: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of a run that ended with a result."""

    result: RunResult[Any]


Event: TypeAlias = (
    TurnStarted
    | DraftCanvas
    | AnswerDraft
    | CallFilled
    | CallProgress
    | CallFinished
    | CallPending
    | Escalated
    | HandedOff
    | AnswerRejected
    | Answered
    | TurnFinished
    | RunFinished
)
