"""The route of the OpenAPI document.

Knows the application's routes. Must not know what any of them does.

    GET /openapi.json   the document of all routes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.native.document import make_document
from agentkit_engine.server.transport.bodies import write_json
from agentkit_engine.server.transport.described import About, DescribedRoute
from agentkit_engine.server.transport.dialect import Dialect


class DocumentRoutes:
    """What describes all the others."""

    def __init__(
        self, *, dialect: Callable[[str], Dialect], free: Iterable[str] | None = None
    ) -> None:
        """
        Args:
            dialect: that of a path, in which its problems are written.
            free: paths that need no key; None where nothing needs one.
        """
        self._make = partial(make_document, dialect=dialect, free=free)
        self._written: bytes | None = None  # made once somebody asks

    def routes(self) -> list[Route]:
        """All of them."""
        about = About(
            summary="Tells the OpenAPI document of this server",
            room="Native",
            gives={200: dict[str, Any]},
        )
        return [DescribedRoute("/openapi.json", self._document, about=about)]

    async def _document(self, request: Request) -> Response:
        if self._written is None:
            made = await anyio.to_thread.run_sync(self._make, request.app.routes)
            self._written = write_json(made)
        return Response(self._written, media_type="application/json")
