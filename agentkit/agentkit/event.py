"""What a stream tells while a run goes on, in the order it happens.

Knows messages, decisions and results; must not know who listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from agentkit.backend import Decision, Draft
from agentkit.message import Call, ResultMessage
from agentkit.result import RunResult


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
class CallFilled:
    """The model filled a call; it runs next. `confidence`: JSON pointer -> probability."""

    turn: int
    call: Call
    confidence: Mapping[str, float]
    decision: Decision


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call came to its end, good or bad. Calls of one turn finish in any order."""

    turn: int
    call: Call
    result: ResultMessage
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The model answered."""

    turn: int
    text: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of a run that ended well."""

    result: RunResult


Event: TypeAlias = TurnStarted | DraftCanvas | CallFilled | CallFinished | Answered | RunFinished
