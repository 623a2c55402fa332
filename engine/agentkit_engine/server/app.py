"""Routes: which request asks for what, and who may ask.

Knows HTTP, the wire's forms and sessions by id. Must not know what the engine does for them.

    GET    /healthz                   {"status": "ok"}; needs no key
    POST   /v1/sessions               makes a session from instructions, tools and messages
    POST   /v1/sessions/{id}/extend   adds messages
    POST   /v1/sessions/{id}/decide   adds messages and decides; streams drafts where asked to
    POST   /v1/sessions/{id}/refill   fills rejected values again
    POST   /v1/sessions/{id}/fork     a second session that goes on from here
    DELETE /v1/sessions/{id}          closes it, and ends what is under way in it

A closed connection ends what it asked for before the model's next forward.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit_engine.engine import Engine
from agentkit_engine.errors import EngineBusy, EngineError
from agentkit_engine.filling.outcome import Draft
from agentkit_engine.server.connection import EventStream, Tell, read_body, while_connected
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.sessions import Held, Sessions
from agentkit_engine.server.wire import (
    Deciding,
    Drafts,
    Extending,
    Forking,
    Form,
    Opening,
    Refilling,
    Refused,
    decision_json,
    problem,
    read_form,
    refilled_json,
    write_json,
)

Answer: TypeAlias = tuple[int, Any]

# What every session of this server can do, as `agentkit.backend.Capabilities` names it.
_CAPABILITIES = {"guaranteed": True, "drafts": True, "refill": True, "fork": True}
_OPEN = {"/healthz"}
_SWEEPS = 4  # in the time after which a session goes
_NOBODY = 499  # as logs have it; no client reads it


def make_app(
    engine: Engine, *, api_key: str | None = None, limits: Limits | None = None
) -> Starlette:
    """The application, for any ASGI server; its sessions are at `app.state.sessions`.

    Args:
        engine: stays the caller's to close.
        api_key: that every request but `/healthz` must bear; None: whoever can connect may ask.
    """
    limits = limits or Limits()
    sessions = Sessions(engine, limits=limits)
    app = Starlette(
        routes=[Route("/healthz", _healthz), *SessionRoutes(engine, sessions, limits).routes()],
        middleware=[Middleware(KeyRequired, key=api_key)] if api_key else [],
        exception_handlers={
            Refused: _failed,
            EngineError: _failed,
            HTTPException: _misdirected,
            ClientDisconnect: _unheard,
            Exception: _failed,
        },
        lifespan=partial(_lifespan, sessions, limits.idle_seconds / _SWEEPS),
    )
    app.state.sessions = sessions
    return app


class SessionRoutes:
    """What is done in sessions by id."""

    def __init__(self, engine: Engine, sessions: Sessions, limits: Limits) -> None:
        self._sessions, self._limits = sessions, limits
        self._model = engine.runtime.checkpoint.name

    def routes(self) -> list[Route]:
        """All of them."""
        one = "/v1/sessions/{id}"
        return [
            self._post("/v1/sessions", Opening, self._create),
            self._post(f"{one}/extend", Extending, self._extend),
            Route(f"{one}/decide", self._decide, methods=["POST"]),
            self._post(f"{one}/refill", Refilling, self._refill),
            self._post(f"{one}/fork", Forking, self._fork),
            Route(one, self._delete, methods=["DELETE"]),
        ]

    def _post(
        self, path: str, form: type[Form], work: Callable[[str, Form], Awaitable[Answer]]
    ) -> Route:
        """A route: what `work` makes of the session's id and the form that was sent."""

        async def endpoint(request: Request) -> Response:
            asked = await self._asked(request, form)
            doing = partial(work, request.path_params.get("id", ""), asked)
            status, value = await while_connected(request, doing)
            return _json(status, value)

        return Route(path, endpoint, methods=["POST"])

    async def _asked(self, request: Request, form: type[Form]) -> Form:
        return read_form(form, await read_body(request, most=self._limits.body_bytes))

    async def _create(self, _: str, opening: Opening) -> Answer:
        return 201, self._told(await self._sessions.create(opening))

    async def _extend(self, id: str, more: Extending) -> Answer:
        async with self._sessions.using(id) as held:
            await held.extend(more)
            return 200, {"messages": held.messages}

    async def _decide(self, request: Request) -> Response:
        asked, id = await self._asked(request, Deciding), request.path_params["id"]

        async def decided(tell: Tell | None = None) -> Any:
            async with self._sessions.using(id) as held:
                drafts = Drafts(held.note)

                def draw(draft: Draft) -> None:
                    if tell is not None:
                        tell("draft", drafts.json(draft))

                await held.extend(asked)
                decision = await held.decide(asked.settings, draw if tell else None)
                return decision_json(decision, held.note, model=self._model)

        async def streamed(tell: Tell) -> None:
            tell("decision", await decided(tell))

        if asked.stream:
            return EventStream(streamed)
        return _json(200, await while_connected(request, decided))

    async def _refill(self, id: str, asked: Refilling) -> Answer:
        async with self._sessions.using(id) as held:
            await held.extend(asked)
            tool, filling = await held.refill(asked.origin, asked.rejected, asked.settings)
            return 200, refilled_json(filling, tool, held.note, model=self._model)

    async def _fork(self, id: str, forking: Forking) -> Answer:
        return 201, self._told(await self._sessions.fork(id, forking))

    async def _delete(self, request: Request) -> Response:
        self._sessions.close(request.path_params["id"])
        return Response(status_code=204)

    def _told(self, held: Held) -> dict[str, Any]:
        return {
            "id": held.id,
            "messages": held.messages,
            "model": self._model,
            "capabilities": _CAPABILITIES,
        }


class KeyRequired:
    """Lets through who bears the key: `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app, self._wanted = app, f"bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN and not self._borne(scope):
            why = "the key is missing or wrong; send it as 'Authorization: Bearer KEY'"
            response = _json(*problem(Refused(401, "Unauthorized", why)))
            response.headers["www-authenticate"] = "Bearer"
            return await response(scope, receive, send)
        return await self._app(scope, receive, send)

    def _borne(self, scope: Scope) -> bool:
        sent: bytes = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = sent.partition(b" ")
        # in a time that tells nothing of how much of it is right
        return hmac.compare_digest(b"%s %s" % (scheme.lower(), key.strip()), self._wanted)


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
    return _json(200, {"status": "ok"})


async def _failed(_: Request, error: Exception) -> Response:
    response = _json(*problem(error))
    if response.status_code in (413, 415):
        response.headers["connection"] = "close"  # the rest of the body is not read
    if isinstance(error, EngineBusy):
        response.headers["retry-after"] = "1"
    return response


async def _misdirected(request: Request, error: Exception) -> Response:
    """There is no such route, or it does not take the method."""
    assert isinstance(error, HTTPException)
    why = f"{request.method} {request.url.path}: {error.detail}"
    return _json(*problem(Refused(error.status_code, "NoSuchRoute", why)))


async def _unheard(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_NOBODY)


def _json(status: int, value: Any) -> Response:
    return Response(write_json(value), status, media_type="application/json")
