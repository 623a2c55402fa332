"""The routes of responses.

Knows what a response asks for, what is told of it and what is kept. Must not know how a turn is
taken.

    POST   /v1/responses        takes a turn; streams its events where asked to
    GET    /v1/responses/{id}   one that is kept, as it was told
    DELETE /v1/responses/{id}   forgets it
"""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.chat.asked import Turned
from agentkit_engine.server.chat.models import require_model
from agentkit_engine.server.chat.openai.logprobs import logprobs_json
from agentkit_engine.server.chat.openai.responses_asked import asked_of
from agentkit_engine.server.chat.openai.responses_events import NAMES, ResponseEvents
from agentkit_engine.server.chat.openai.responses_items import Chat
from agentkit_engine.server.chat.openai.responses_kept import KeptResponses
from agentkit_engine.server.chat.openai.responses_told import Told
from agentkit_engine.server.chat.openai.responses_wire import ResponseForm
from agentkit_engine.server.chat.openai.told import JSON
from agentkit_engine.server.chat.turns import Hear, take_turn
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service, json_response


class ResponseRoutes:
    """Responses, and the last ones that were given."""

    def __init__(self, service: Service) -> None:
        self._service = service
        limits = service.limits
        self._kept = KeptResponses(most=limits.responses, most_bytes=limits.responses_bytes)

    def routes(self) -> list[Route]:
        """All of them."""
        one = "/v1/responses/{id}"
        about = About(
            summary="Makes a response",
            room="Chat",
            takes=ResponseForm,
            events=dict.fromkeys(NAMES, dict[str, Any]),
            refuses=(*REFUSALS, 404),
        )
        reading = About(summary="Tells a response again", room="Chat", refuses=(400, 404))
        deleting = About(summary="Forgets a response", room="Chat", refuses=(404,))
        return [
            DescribedRoute("/v1/responses", self._create, methods=["POST"], about=about),
            DescribedRoute(one, self._read, about=reading),
            DescribedRoute(one, self._delete, methods=["DELETE"], about=deleting),
        ]

    async def _create(self, request: Request) -> Response:
        form = await self._service.form(request, ResponseForm)
        require_model(self._service, form.model)
        turn = _Turn(self._service, self._kept, form)
        if not form.stream:
            return json_response(200, await self._service.answer(request, turn.take))
        events = ResponseEvents(turn.told)

        async def streamed(tell: Tell) -> None:
            events.finish(tell, await turn.take(partial(events.hear, tell)))

        return self._service.stream(streamed, events.dialect)

    async def _read(self, request: Request) -> Response:
        if request.query_params.get("stream", "false") != "false":
            why = "stream is not supported of a response that has ended; leave it out"
            raise Refused(400, "UnsupportedParameter", why, "stream")
        return json_response(200, self._kept.find(request.path_params["id"]).told)

    async def _delete(self, request: Request) -> Response:
        id = request.path_params["id"]
        self._kept.drop(id)
        return json_response(200, {"id": id, "object": "response", "deleted": True})


class _Turn:
    """One turn: the chat before it, what is asked for, and what is told of it.

    Raises:
        Refused: there is no chat, it goes on from what is not kept, or something else can't be
            honoured; names the field.
    """

    def __init__(self, service: Service, kept: KeptResponses, form: ResponseForm) -> None:
        self._service, self._kept, self._form = service, kept, form
        earlier = form.previous_response_id
        if form.input is None and earlier is None:
            why = "input is missing; send a text, or a list of items"
            raise Refused(400, "MissingRequiredParameter", why, "input")
        before = Chat() if earlier is None else kept.before(earlier)
        self._chat = before.followed_by(form.input or ())
        if not self._chat.messages:
            why = "input has nothing to answer; add a message"
            raise Refused(400, "InvalidRequest", why, "input")
        self._asked = asked_of(form, self._chat, limits=service.limits)
        self.told = Told(form, model=service.model)

    async def take(self, hear: Hear | None = None) -> JSON:
        """The whole response, which is kept before its client is told of the end."""
        [turned] = await take_turn(self._service, self._asked, hear)
        response = self.told.ended(turned, await self._logprobs(turned))
        if response["store"]:
            self._kept.keep(response, self._chat.answered(turned))
        return response

    async def _logprobs(self, turned: Turned) -> JSON | None:
        """Of the answer's tokens; worked out beside the event loop."""
        if self._form.likely is None:
            return None
        end = self._service.engine.runtime.checkpoint.dialect.end
        work = partial(logprobs_json, turned, likely=self._form.likely, end=end)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
