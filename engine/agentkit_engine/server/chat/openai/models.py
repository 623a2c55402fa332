"""GET /v1/models and /v1/models/{id}: the one model that is served.

Knows its name. Must not know anything else of it.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.chat.models import require_model
from agentkit_engine.server.transport.described import About, DescribedRoute
from agentkit_engine.server.transport.service import Service, json_response


class ModelRoutes:
    """The list of models, which has one."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._created = int(time.time())

    def routes(self) -> list[Route]:
        """All of them. A name may have slashes, as the hub's have."""
        listing = About(summary="Lists the one model that is served", room="Chat")
        telling = About(summary="Tells of a model", room="Chat", refuses=(404,))
        return [
            DescribedRoute("/v1/models", self._list, about=listing),
            DescribedRoute("/v1/models/{id:path}", self._one, about=telling),
        ]

    async def _list(self, _: Request) -> Response:
        return json_response(200, {"object": "list", "data": [self._model()]})

    async def _one(self, request: Request) -> Response:
        require_model(self._service, request.path_params["id"])
        return json_response(200, self._model())

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._service.model,
            "object": "model",
            "created": self._created,
            "owned_by": "agentkit",
        }
