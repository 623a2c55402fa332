"""How OpenAI's API writes problems and events.

Knows its error bodies, its status codes and its streams. Must not know any of its routes.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from agentkit_engine.server.transport.dialect import Dialect, unnamed_event
from agentkit_engine.server.transport.problems import Problem

# Codes that clients look for; any other problem's is its kind in snake case.
_CODES = {
    "Unauthorized": "invalid_api_key",
    "NoSuchModel": "model_not_found",
    "ContextTooLong": "context_length_exceeded",
    "Overloaded": "rate_limit_exceeded",
    "EngineBusy": "rate_limit_exceeded",
    "InternalError": "server_error",
}
_LONGEST = 4000  # characters of a message, which may quote what was asked
# The API knows no 422: whatever is wrong with a request is a 400.
_STATUS = {422: 400}


class ErrorJSON(TypedDict):
    """What went wrong: `param` is the field to blame, `code` what a program tells it by."""

    message: str
    type: str
    param: str | None
    code: str


class FailedJSON(TypedDict):
    """The body of a problem, as OpenAI's API has it."""

    error: ErrorJSON


def error_type(problem: Problem) -> str:
    """The class of a problem."""
    if problem.status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if problem.status < 500 else "server_error"


def error_code(problem: Problem) -> str:
    """What a program tells a problem by."""
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in problem.kind)
    return _CODES.get(problem.kind, snake.lstrip("_").replace("_j_s_o_n", "_json"))


def error_json(problem: Problem) -> dict[str, Any]:
    """The body of a problem, notes of the engine included."""
    about = {
        "message": "\n".join((problem.message, *problem.notes))[:_LONGEST],
        "type": error_type(problem),
        "param": problem.field or None,
        "code": error_code(problem),
    }
    return {"error": about}


def _status(problem: Problem) -> int:
    return _STATUS.get(problem.status, problem.status)


OPENAI = Dialect(
    error=error_json,
    event=unnamed_event,
    last=b"data: [DONE]\n\n",
    status=_status,
    problem=FailedJSON,
)
"""Events are told by their value alone; a stream that went well ends with `[DONE]`."""
