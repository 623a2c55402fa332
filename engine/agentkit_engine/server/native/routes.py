"""The native routes of sessions, by id.

Knows the wire's forms and sessions by id. Must not know what the engine does for them. There is no
list of sessions: an id is all that a client holds its session by, and nobody else's business.

    POST   /v1/sessions               makes a session from instructions, tools and messages
    GET    /v1/sessions/{id}          tells how it stands, and leaves it as it is
    POST   /v1/sessions/{id}/extend   adds messages
    POST   /v1/sessions/{id}/decide   adds messages and decides; streams drafts where asked to
    POST   /v1/sessions/{id}/refill   fills rejected values again
    POST   /v1/sessions/{id}/fork     a second session that goes on from here
    DELETE /v1/sessions/{id}          closes it, and ends what is under way in it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.filling.outcome import Draft
from agentkit_engine.server.beliefs import believed, believed_all
from agentkit_engine.server.native.answers import (
    CAPABILITIES,
    DecisionJSON,
    DraftJSON,
    Drafts,
    GrownJSON,
    SeenSessionJSON,
    SessionJSON,
    decision_json,
    refilled_json,
)
from agentkit_engine.server.native.bounds import check_opening, check_settings
from agentkit_engine.server.native.held import Held
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.native.wire import (
    NATIVE,
    Deciding,
    Extending,
    Forking,
    Opening,
    Refilling,
)
from agentkit_engine.server.transport.bodies import Form
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.service import Service, json_response

Answer: TypeAlias = tuple[int, Any]

_ONE = "/v1/sessions/{id}"
_GONE = (404, 410)  # there is no such session, or no more
_REFUSALS = (*REFUSALS, *_GONE, 409)  # or it has not as many messages


class SessionRoutes:
    """What is done in sessions by id."""

    def __init__(self, service: Service, sessions: Sessions) -> None:
        self._service, self._sessions = service, sessions
        self._model = service.model

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            self._post(
                "/v1/sessions",
                Opening,
                self._create,
                _about("Makes a session", Opening, {201: SessionJSON}, (*REFUSALS, 409)),
            ),
            DescribedRoute(
                _ONE,
                self._look,
                about=_about("Tells how a session stands", None, {200: SeenSessionJSON}, _GONE),
            ),
            self._post(
                f"{_ONE}/extend",
                Extending,
                self._extend,
                _about("Adds messages", Extending, {200: GrownJSON}),
            ),
            self._deciding(),
            self._post(
                f"{_ONE}/refill",
                Refilling,
                self._refill,
                _about("Fills rejected values again", Refilling, {200: DecisionJSON}),
            ),
            self._post(
                f"{_ONE}/fork",
                Forking,
                self._fork,
                _about("Makes a session that goes on from here", Forking, {201: SessionJSON}),
            ),
            DescribedRoute(
                _ONE,
                self._delete,
                methods=["DELETE"],
                about=_about("Closes a session", None, {204: None}, ()),
            ),
        ]

    def _deciding(self) -> Route:
        about = About(
            summary="Adds messages and decides: calls, or an answer",
            room="Native",
            takes=Deciding,
            gives={200: DecisionJSON},
            events={"draft": DraftJSON, "decision": DecisionJSON},
            refuses=_REFUSALS,
        )
        return DescribedRoute(f"{_ONE}/decide", self._decide, methods=["POST"], about=about)

    def _post(
        self,
        path: str,
        form: type[Form],
        work: Callable[[str, Form], Awaitable[Answer]],
        about: About,
    ) -> Route:
        """A route: what `work` makes of the session's id and the form that was sent."""

        async def endpoint(request: Request) -> Response:
            asked = await self._service.form(request, form)
            doing = partial(work, request.path_params.get("id", ""), asked)
            return json_response(*await self._service.answer(request, doing))

        return DescribedRoute(path, endpoint, methods=["POST"], about=about)

    async def _create(self, _: str, opening: Opening) -> Answer:
        check_opening(opening, self._service.limits)
        return 201, self._told(await self._sessions.create(opening))

    async def _look(self, request: Request) -> Response:
        held = await self._sessions.find(request.path_params["id"])
        age, idle = self._sessions.ages(held)
        seen: SeenSessionJSON = {
            **self._told(held),
            "instructions": held.opening.instructions,
            "tools": [tool.function for tool in held.opening.tools],
            "output": held.opening.output,
            "chat": held.chat,
            "age": age,
            "idle": idle,
            "busy": bool(held.waiting),
        }
        return json_response(200, seen)

    async def _extend(self, id: str, more: Extending) -> Answer:
        async with self._sessions.using(id) as held:
            await held.extend(more)
            grown: GrownJSON = {"messages": held.messages}
            return 200, grown

    async def _decide(self, request: Request) -> Response:
        asked, id = await self._service.form(request, Deciding), request.path_params["id"]
        check_settings(asked.settings, self._service.limits)

        async def decided(tell: Tell | None = None) -> DecisionJSON:
            async with self._sessions.using(id) as held:
                drafts = Drafts(held.note)

                def draw(draft: Draft) -> None:
                    if tell is not None:
                        tell("draft", drafts.json(draft))

                await held.extend(asked)
                decision = await held.decide(asked.settings, draw if tell else None)
                self._service.meter.filled(decision)
                await believed_all(decision)
                return decision_json(decision, held.note, model=self._model)

        async def streamed(tell: Tell) -> None:
            tell("decision", await decided(tell))

        if asked.stream:
            return self._service.stream(streamed, NATIVE)
        return json_response(200, await self._service.answer(request, decided))

    async def _refill(self, id: str, asked: Refilling) -> Answer:
        check_settings(asked.settings, self._service.limits)
        async with self._sessions.using(id) as held:
            await held.extend(asked)
            tool, filling = await held.refill(asked.origin, asked.rejected, asked.settings)
            self._service.meter.filled(filling)
            await believed(filling)
            return 200, refilled_json(filling, tool, held.note, model=self._model)

    async def _fork(self, id: str, forking: Forking) -> Answer:
        return 201, self._told(await self._sessions.fork(id, forking))

    async def _delete(self, request: Request) -> Response:
        await self._sessions.delete(request.path_params["id"])
        return Response(status_code=204)

    def _told(self, held: Held) -> SessionJSON:
        return {
            "id": held.id,
            "messages": held.messages,
            "model": self._model,
            "capabilities": CAPABILITIES,
        }


def _about(
    summary: str,
    takes: type[Any] | None,
    gives: dict[int, Any],
    refuses: Sequence[int] = _REFUSALS,
) -> About:
    return About(summary=summary, room="Native", takes=takes, gives=gives, refuses=refuses)
