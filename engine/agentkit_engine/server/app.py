"""The application: the routes of every API, and what stands before them.

Knows the rooms of the server and how they fit together. Must not know what any of them does.

Every request passes, in this order: its account (`operation.watching`), the names that the host may
be asked by, CORS, the keys; and then the routes.

A closed connection ends what it asked for before the model's next forward.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.engine import Engine
from agentkit_engine.errors import EngineError
from agentkit_engine.server.chat.anthropic.dialect import ANTHROPIC
from agentkit_engine.server.chat.anthropic.messages import MessageRoutes
from agentkit_engine.server.chat.openai.completions import CompletionRoutes
from agentkit_engine.server.chat.openai.dialect import OPENAI
from agentkit_engine.server.chat.openai.models import ModelRoutes
from agentkit_engine.server.chat.openai.responses import ResponseRoutes
from agentkit_engine.server.copilot.routes import CopilotRoutes
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.infill import InfillRoutes
from agentkit_engine.server.native.ledger import SessionLedger
from agentkit_engine.server.native.openapi import DocumentRoutes
from agentkit_engine.server.native.routes import SessionRoutes
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.native.wire import NATIVE
from agentkit_engine.server.operation.health import HealthRoutes
from agentkit_engine.server.operation.keys import HostRequired, KeyRequired
from agentkit_engine.server.operation.tracing import tracing
from agentkit_engine.server.operation.watching import Watched
from agentkit_engine.server.playground.routes import PlaygroundRoutes
from agentkit_engine.server.transport.account import UNHEARD
from agentkit_engine.server.transport.connection import note_gone
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused, problem_of
from agentkit_engine.server.transport.service import Service

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_NATIVE = ("/v1/sessions", "/v1/infill", "/healthz", "/readyz", "/metrics", "/openapi.json")
_FREE = frozenset({"/healthz", "/readyz"})  # need no key
_SWEEPS = 4  # in the time after which a session goes


def make_app(
    engine: Engine,
    *,
    api_key: str | Sequence[str] | None = None,
    limits: Limits | None = None,
    model: str | None = None,
    hosts: Sequence[str] | None = None,
    cors: Sequence[str] = (),
    log_prompts: bool = False,
    tracer_provider: TracerProvider | None = None,
    ledger: SessionLedger | None = None,
) -> Starlette:
    """The application, for any ASGI server.

    Its service is at `app.state.service`, its sessions at `app.state.sessions`.

    Args:
        engine: stays the caller's to close.
        api_key: or several, of which every request must bear one, but for those to `/healthz`,
            `/readyz` and the playground's page; None: whoever can connect may ask.
        model: what clients call the engine; by default `Engine.name`.
        hosts: names that the host may be asked by, beside those of loopback; None: any.
        cors: origins whose web pages may ask; "*" for all.
        log_prompts: the line of a request holds its body.
        tracer_provider: of OpenTelemetry; by default that of the process, if it has one.
        ledger: of sessions that other servers hold as well.
    """
    limits = limits or Limits()
    service = Service(engine, limits=limits, model=model or engine.name)
    sessions = Sessions(engine, limits=limits, ledger=ledger)
    service.meter.gauge("sessions", "Sessions held.", lambda: len(sessions))
    playground = PlaygroundRoutes(service)
    free = _FREE | playground.free
    keys = [api_key] if isinstance(api_key, str) else list(api_key or ())
    watched = Middleware(
        Watched,
        meter=service.meter,
        dialect=dialect_of,
        tracing=tracing(service.model, tracer_provider),
        log_prompts=log_prompts,
    )
    app = Starlette(
        routes=_routes(service, sessions, playground, free=free if keys else None),
        middleware=[watched, *gates(keys, free, hosts, cors)],
        exception_handlers={
            Refused: _failed,
            EngineError: _failed,
            HTTPException: _misdirected,
            ClientDisconnect: _unheard,
        },
        lifespan=partial(_lifespan, sessions, limits.idle_seconds / _SWEEPS),
    )
    app.router.redirect_slashes = False  # which would tell clients to come to where they say we are
    app.state.service, app.state.sessions = service, sessions
    return app


def _routes(
    service: Service,
    sessions: Sessions,
    playground: PlaygroundRoutes,
    *,
    free: frozenset[str] | None,
) -> list[Route]:
    """The routes of all rooms. free: see `DocumentRoutes`."""
    return [
        *CompletionRoutes(service).routes(),
        *CopilotRoutes(service).routes(),
        *DocumentRoutes(dialect=dialect_of, free=free).routes(),
        *HealthRoutes(service).routes(),
        *InfillRoutes(service).routes(),
        *MessageRoutes(service).routes(),
        *ModelRoutes(service).routes(),
        *playground.routes(),
        *ResponseRoutes(service).routes(),
        *SessionRoutes(service, sessions).routes(),
    ]


def gates(
    keys: Sequence[str],
    free: frozenset[str],
    hosts: Sequence[str] | None,
    cors: Sequence[str],
) -> list[Middleware]:
    """What a request must pass, in order."""
    passed: list[Middleware] = []
    if hosts is not None:
        passed.append(Middleware(HostRequired, hosts=hosts, dialect=dialect_of))
    if cors:
        methods, told = ("GET", "POST", "DELETE"), ("x-request-id", "retry-after")
        allowed = Middleware(
            CORSMiddleware,
            allow_origins=cors,
            allow_methods=methods,
            allow_headers=("*",),
            expose_headers=told,
        )
        passed.append(allowed)
    if keys:
        passed.append(Middleware(KeyRequired, keys=keys, free=free, dialect=dialect_of))
    return passed


def dialect_of(path: str) -> Dialect:
    """In which what went wrong at a path is told."""
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    return NATIVE if path.startswith(_NATIVE) else OPENAI


@asynccontextmanager
async def _lifespan(sessions: Sessions, every: float, _: Starlette) -> AsyncGenerator[None]:
    async def sweep() -> None:
        while True:
            await anyio.sleep(every)
            sessions.sweep()

    async with anyio.create_task_group() as group:
        group.start_soon(sweep)
        yield
        group.cancel_scope.cancel()
    sessions.close_all()


async def _failed(request: Request, error: Exception) -> Response:
    return dialect_of(request.url.path).response(problem_of(error))


async def _misdirected(request: Request, error: Exception) -> Response:
    """There is no such route, or it does not take the method."""
    assert isinstance(error, HTTPException)
    why = f"{request.method} {request.url.path}: {error.detail}"
    response = await _failed(request, Refused(error.status_code, "NoSuchRoute", why))
    response.headers.update(error.headers or {})  # which methods it takes
    return response


async def _unheard(_request: Request, _error: Exception) -> Response:
    note_gone()
    return Response(status_code=UNHEARD)
