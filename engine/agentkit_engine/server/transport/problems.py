"""What goes wrong with a request: a status, a kind, a message and the field to blame.

Knows the engine's errors and HTTP's status codes. Must not know how an API writes a problem.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from agentkit_engine.errors import (
    CheckpointError,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    InvalidLogProbs,
)

_log = logging.getLogger(__name__)

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
    """

    status: int
    kind: str
    message: str
    field: str = ""
    arguments: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    retry_after: float | None = None


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error; what is no business of his is logged instead."""
    if isinstance(error, Refused):
        return Problem(
            status=error.status,
            kind=error.kind,
            message=error.message,
            field=error.field,
            retry_after=error.retry_after,
        )
    if not isinstance(error, EngineError):
        _log.error("a request failed", exc_info=error)
        return Problem(
            status=500, kind="InternalError", message="the server failed; its log says how"
        )
    return Problem(
        status=_status(error),
        kind=type(error).__name__,
        message=str(error),
        arguments=error.args,
        notes=tuple(map(str, getattr(error, "__notes__", ()))),
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
