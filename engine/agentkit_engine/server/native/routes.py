"""The native routes: sessions by id.

Knows the wire's forms and sessions by id. Must not know what the engine does for them.

    POST   /v1/sessions               makes a session from instructions, tools and messages
    POST   /v1/sessions/{id}/extend   adds messages
    POST   /v1/sessions/{id}/decide   adds messages and decides; streams drafts where asked to
    POST   /v1/sessions/{id}/refill   fills rejected values again
    POST   /v1/sessions/{id}/fork     a second session that goes on from here
    DELETE /v1/sessions/{id}          closes it, and ends what is under way in it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.filling.outcome import Draft
from agentkit_engine.server.native.sessions import Held, Sessions
from agentkit_engine.server.native.wire import (
    NATIVE,
    Deciding,
    Drafts,
    Extending,
    Forking,
    Opening,
    Refilling,
    decision_json,
    refilled_json,
)
from agentkit_engine.server.transport.bodies import Form
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.service import Service, json_response

Answer: TypeAlias = tuple[int, Any]

# What every session of this server can do, as `agentkit.backend.Capabilities` names it.
_CAPABILITIES = {"guaranteed": True, "drafts": True, "refill": True, "fork": True}


class SessionRoutes:
    """What is done in sessions by id."""

    def __init__(self, service: Service, sessions: Sessions) -> None:
        self._service, self._sessions = service, sessions
        self._model = service.model

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
            asked = await self._service.form(request, form)
            doing = partial(work, request.path_params.get("id", ""), asked)
            return json_response(*await self._service.answer(request, doing))

        return Route(path, endpoint, methods=["POST"])

    async def _create(self, _: str, opening: Opening) -> Answer:
        return 201, self._told(await self._sessions.create(opening))

    async def _extend(self, id: str, more: Extending) -> Answer:
        async with self._sessions.using(id) as held:
            await held.extend(more)
            return 200, {"messages": held.messages}

    async def _decide(self, request: Request) -> Response:
        asked, id = await self._service.form(request, Deciding), request.path_params["id"]

        async def decided(tell: Tell | None = None) -> Any:
            async with self._sessions.using(id) as held:
                drafts = Drafts(held.note)

                def draw(draft: Draft) -> None:
                    if tell is not None:
                        tell("draft", drafts.json(draft))

                await held.extend(asked)
                decision = await held.decide(asked.settings, draw if tell else None)
                self._service.meter.filled(decision)
                return decision_json(decision, held.note, model=self._model)

        async def streamed(tell: Tell) -> None:
            tell("decision", await decided(tell))

        if asked.stream:
            return self._service.stream(streamed, NATIVE)
        return json_response(200, await self._service.answer(request, decided))

    async def _refill(self, id: str, asked: Refilling) -> Answer:
        async with self._sessions.using(id) as held:
            await held.extend(asked)
            tool, filling = await held.refill(asked.origin, asked.rejected, asked.settings)
            self._service.meter.filled(filling)
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
