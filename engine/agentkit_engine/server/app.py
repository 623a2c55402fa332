"""The application: the routes of every API, and what stands before them.

Knows the rooms of the server and how they fit together. Must not know what any of them does.

    GET /healthz   {"status": "ok"}; needs no key

A closed connection ends what it asked for before the model's next forward.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.engine import Engine
from agentkit_engine.errors import EngineError
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.routes import SessionRoutes
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.native.wire import NATIVE
from agentkit_engine.server.operation.keys import KeyRequired
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused, problem_of
from agentkit_engine.server.transport.service import Service, json_response

_FREE = frozenset({"/healthz"})  # needs no key
_SWEEPS = 4  # in the time after which a session goes
_NOBODY = 499  # as logs have it; no client reads it


def make_app(
    engine: Engine,
    *,
    api_key: str | None = None,
    limits: Limits | None = None,
    model: str | None = None,
) -> Starlette:
    """The application, for any ASGI server.

    Its service is at `app.state.service`, its sessions at `app.state.sessions`.

    Args:
        engine: stays the caller's to close.
        api_key: that every request but `/healthz` must bear; None: whoever can connect may ask.
        model: what clients call the engine; by default the checkpoint's name.
    """
    limits = limits or Limits()
    service = Service(engine, limits=limits, model=model or engine.runtime.checkpoint.name)
    sessions = Sessions(engine, limits=limits)
    keys = Middleware(KeyRequired, key=api_key or "", free=_FREE, dialect=_dialect)
    app = Starlette(
        routes=[Route("/healthz", _healthz), *SessionRoutes(service, sessions).routes()],
        middleware=[keys] if api_key else [],
        exception_handlers={
            Refused: _failed,
            EngineError: _failed,
            HTTPException: _misdirected,
            ClientDisconnect: _unheard,
            Exception: _failed,
        },
        lifespan=partial(_lifespan, sessions, limits.idle_seconds / _SWEEPS),
    )
    app.state.service, app.state.sessions = service, sessions
    return app


def _dialect(path: str) -> Dialect:
    """In which what went wrong at a path is told."""
    return NATIVE


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


async def _healthz(_: Request) -> Response:
    return json_response(200, {"status": "ok"})


async def _failed(request: Request, error: Exception) -> Response:
    return _dialect(request.url.path).response(problem_of(error))


async def _misdirected(request: Request, error: Exception) -> Response:
    """There is no such route, or it does not take the method."""
    assert isinstance(error, HTTPException)
    why = f"{request.method} {request.url.path}: {error.detail}"
    return await _failed(request, Refused(error.status_code, "NoSuchRoute", why))


async def _unheard(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_NOBODY)
