"""How Anthropic's API writes problems and events.

Knows its error bodies and its status codes. Must not know any of its routes.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from agentkit_engine.server.transport.dialect import Dialect, named_event
from agentkit_engine.server.transport.problems import Problem

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# A server that is full is not a client that asks too often, which this API keeps apart.
_FULL = frozenset({"Overloaded", "EngineBusy"})
_STATUS = {415: 400, 422: 400, 503: 529}
# By these words clients know that they are to shorten the chat.
_TOO_LONG = "prompt is too long: "


class ErrorJSON(TypedDict):
    """What went wrong, and of what kind it is."""

    type: str
    message: str


class FailedJSON(TypedDict):
    """The body of a problem, as Anthropic's API has it."""

    type: Literal["error"]
    error: ErrorJSON
    request_id: str | None


def error_json(problem: Problem) -> dict[str, Any]:
    """The body of a problem; its message begins with the field to blame, or with `_TOO_LONG`."""
    status = error_status(problem)
    other = "invalid_request_error" if status < 500 else "api_error"
    message = "\n".join((problem.message, *problem.notes))
    if problem.kind == "ContextTooLong":
        message = _TOO_LONG + message
    elif problem.field and not message.startswith(f"{problem.field}:"):
        message = f"{problem.field}: {message}"
    return {
        "type": "error",
        "error": {"type": _TYPES.get(status, other), "message": message},
        "request_id": problem.request or None,
    }


def error_status(problem: Problem) -> int:
    """The status of a problem; of a server that is full, and of what is wrong with a request."""
    if problem.kind in _FULL:
        return 529
    return _STATUS.get(problem.status, problem.status)


ANTHROPIC = Dialect(
    error=error_json,
    event=named_event,
    status=error_status,
    id_header=b"request-id",
    problem=FailedJSON,
)
"""Events have names, and the last of them ends the stream."""
