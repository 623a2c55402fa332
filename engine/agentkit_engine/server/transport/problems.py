"""What goes wrong with a request: a status, a kind, a message and the field to blame.

Knows the engine's errors and HTTP's status codes. Must not know how an API writes a problem.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from agentkit_engine.errors import (
    CheckpointError,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    InvalidLogProbs,
)
from agentkit_engine.server.transport.account import current_account

_log = logging.getLogger(__name__)

_LONGEST = 2000  # characters of a message
_AGAIN = 1.0  # seconds after which a client that found the engine busy may come again


@dataclass(eq=False)
class Refused(Exception):
    """A request that never reaches the engine.

    field: the part of the body that is to blame, as `tools.0.name`; empty where none is.
    retry_after: seconds after which the same may be asked again; None where that is of no use.
    """

    status: int
    kind: str
    message: str
    field: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as a client is told of it.

    arguments, notes: an engine error's own, by which a client of ours makes the same error.
    request: the id of the request that it happened to; empty outside of one.
    """

    status: int
    kind: str
    message: str
    field: str = ""
    arguments: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    retry_after: float | None = None
    request: str = ""


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error; what is no business of his is logged instead."""
    problem = _told(error)
    account = current_account()
    if account is None:
        return problem
    account.error = problem.kind
    return replace(problem, request=account.id)


def _told(error: Exception) -> Problem:
    if isinstance(error, Refused):
        return Problem(
            status=error.status,
            kind=error.kind,
            message=error.message,
            field=error.field,
            retry_after=error.retry_after,
        )
    if isinstance(error, RecursionError):  # only what is asked is nested
        why = "what was asked is nested too deeply; nest less"
        return Problem(status=422, kind="NestedTooDeeply", message=why)
    if not isinstance(error, EngineError):
        _log.error("a request failed", exc_info=error)
        return Problem(
            status=500, kind="InternalError", message="the server failed; its log says how"
        )
    message = str(error)
    whole = len(message) <= _LONGEST  # else it quotes what was asked, and so do its arguments
    return Problem(
        status=_status(error),
        kind=type(error).__name__,
        message=message if whole else f"{message[:_LONGEST]}...",
        arguments=error.args if whole else (),
        notes=tuple(str(note)[:_LONGEST] for note in getattr(error, "__notes__", ())),
        retry_after=_AGAIN if isinstance(error, EngineBusy) else None,
    )


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
