"""What those who run a server ask it: whether it lives, whether it takes requests, what it counts.

Knows the service and its meter. Must not know any other route.

    GET /healthz   200 as long as it answers at all
    GET /readyz    200, or 503 once it was told to end
    GET /metrics   for Prometheus
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.transport.described import About, DescribedRoute
from agentkit_engine.server.transport.service import Service, json_response

_METRICS = "text/plain; version=1.0.0; charset=utf-8"

_STATUS = dict[str, str]


class HealthRoutes:
    """How a server does."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            DescribedRoute("/healthz", self._alive, about=_about("Whether it answers at all")),
            DescribedRoute(
                "/readyz",
                self._ready,
                about=_about("Whether it takes requests", {200: _STATUS, 503: _STATUS}),
            ),
            DescribedRoute(
                "/metrics",
                self._metrics,
                about=_about("What it counts, for Prometheus", {200: "text/plain"}),
            ),
        ]

    async def _alive(self, _: Request) -> Response:
        return json_response(200, {"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        if self._service.draining:
            return json_response(503, {"status": "draining"})
        return json_response(200, {"status": "ready"})

    async def _metrics(self, _: Request) -> Response:
        # Some milliseconds, seldom: a thread would cost more than it saves.
        return Response(self._service.meter.text(), media_type=_METRICS)


def _about(summary: str, gives: Mapping[int, Any] | None = None) -> About:
    return About(summary=summary, room="Operation", gives=gives or {200: _STATUS})
