"""Dialects: how one API writes its problems and its events.

Knows shapes. Must not know routes, nor what goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from agentkit_engine.server.transport.bodies import write_json
from agentkit_engine.server.transport.problems import Problem

_UNREAD = (408, 413, 415)  # the rest of the body is not read


def named_event(name: str, value: Any) -> bytes:
    """A server-sent event with its name."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), write_json(value))


def unnamed_event(_: str, value: Any) -> bytes:
    """A server-sent event that is told by its value."""
    return b"data: %s\n\n" % write_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one API writes.

    Attributes:
        error: the body of a problem; of a stream that has begun, the value of its last event.
        event: a server-sent event, by its name and its value.
        last: what ends a stream that went well.
        status: of a problem, where this API has another one for it.
        id_header: that tells the request's id, beside `x-request-id`; empty where that is all.
        problem: the type of what `error` gives, as pydantic takes them, for the OpenAPI document.
    """

    error: Callable[[Problem], Any]
    event: Callable[[str, Any], bytes] = named_event
    last: bytes = b""
    status: Callable[[Problem], int] = lambda problem: problem.status
    id_header: bytes = b""
    problem: Any = dict[str, Any]

    def response(self, problem: Problem) -> Response:
        """A problem as an answer."""
        status = self.status(problem)
        response = Response(write_json(self.error(problem)), status, media_type="application/json")
        if problem.status in _UNREAD:
            response.headers["connection"] = "close"
        if problem.retry_after is not None:
            response.headers["retry-after"] = f"{max(1, round(problem.retry_after))}"
        return response
