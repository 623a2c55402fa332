"""Routes that say what they take and give, for the OpenAPI document.

Knows forms, statuses and media types. Must not know how the document is made, nor what is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# What is answered: a type as pydantic takes them, for JSON; a media type; None for no body.
Given: TypeAlias = Any

# Of whatever reads a form and does something with it; a missing key's 401 is added where there is
# one, by the document.
REFUSALS = (400, 408, 413, 415, 422, 429, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a route takes and gives.

    Attributes:
        summary: in a line, as "Fills a template".
        room: under which readers find it, as "Native".
        more: what else there is to say of it, as Markdown.
        takes: the form of its body; None for a route that reads none.
        gives: status -> what is answered, of all that goes well.
        events: of a route that may stream: what an event holds, by its name ("" for unnamed ones).
        refuses: statuses of problems, which are written in the dialect of the path.
    """

    summary: str
    room: str
    more: str = ""
    takes: type[Any] | None = None
    gives: Mapping[int, Given] = field(default_factory=lambda: {200: dict[str, Any]})
    events: Mapping[str, Given] = field(default_factory=dict[str, Any])
    refuses: Sequence[int] = ()


class DescribedRoute(Route):
    """A route that the OpenAPI document tells of."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        *,
        about: About,
        methods: Sequence[str] = ("GET",),
    ) -> None:
        super().__init__(path, endpoint, methods=list(methods))
        self.about = about
