"""The routes: a turn of a chat, and how many tokens a chat is.

Knows HTTP, and who does what is asked. Must not know the engine's decisions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.compiling import compiled
from agentkit_engine.server.chat.anthropic.asking import asked_of
from agentkit_engine.server.chat.anthropic.counting import prompt_tokens
from agentkit_engine.server.chat.anthropic.dialect import ANTHROPIC
from agentkit_engine.server.chat.anthropic.told import MessageEvents, message_json, warmed_json
from agentkit_engine.server.chat.anthropic.wire import Asking, Counting
from agentkit_engine.server.chat.asked import Asked
from agentkit_engine.server.chat.models import require_model
from agentkit_engine.server.chat.turns import heard_session, refusing, take_turn
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service, json_response


class MessageRoutes:
    """Messages as Anthropic's clients ask for them."""

    def __init__(self, service: Service) -> None:
        self._service, self._model = service, service.model

    def routes(self) -> list[Route]:
        """All of them."""
        refuses = (*REFUSALS, 404)
        creating = About(
            summary="Makes a message",
            room="Chat",
            takes=Asking,
            events={"": dict[str, Any]},
            refuses=refuses,
        )
        counting = About(
            summary="Counts the tokens of a chat", room="Chat", takes=Counting, refuses=refuses
        )
        path, post = "/v1/messages", ["POST"]
        return [
            DescribedRoute(path, self._create, methods=post, about=creating),
            DescribedRoute(f"{path}/count_tokens", self._count, methods=post, about=counting),
        ]

    async def _create(self, request: Request) -> Response:
        form = await self._service.form(request, Asking)
        asked = self._asked(form)
        if form.max_tokens == 0:
            if form.stream:
                why = "with 0 nothing is said, so there is nothing to stream; leave out `stream`"
                raise Refused(400, "InvalidRequest", why, "max_tokens")
            warm = partial(self._warmed, asked)
            return json_response(200, await self._service.answer(request, warm))
        if form.stream:
            return self._service.stream(partial(self._streamed, asked), ANTHROPIC)
        return json_response(200, await self._service.answer(request, partial(self._whole, asked)))

    async def _count(self, request: Request) -> Response:
        asked = self._asked(await self._service.form(request, Counting))
        counted = await self._service.answer(request, partial(self._counted, asked))
        return json_response(200, {"input_tokens": counted})

    def _asked(self, form: Counting) -> Asked:
        require_model(self._service, form.model)
        return asked_of(form, limits=self._service.limits)

    async def _whole(self, asked: Asked) -> dict[str, Any]:
        [turned] = await take_turn(self._service, asked)
        return message_json(turned, model=self._model)

    async def _streamed(self, asked: Asked, tell: Tell) -> None:
        counted = await self._counted(asked)  # the first event tells it already
        events = MessageEvents(tell, model=self._model, prompt_tokens=counted)
        [turned] = await take_turn(self._service, asked, events.hear)
        events.finish(turned)

    async def _warmed(self, asked: Asked) -> dict[str, Any]:
        """Encodes the chat and compiles what may be filled in behind it."""
        engine = self._service.engine
        calls = {tool.name: tool.parameters for tool in asked.tools if tool.name in asked.callable}
        with refusing(asked):
            await compiled(partial(engine.prepare, calls, answer=asked.output))
            (await heard_session(engine, asked)).close()
        return warmed_json(await self._counted(asked), model=self._model)

    async def _counted(self, asked: Asked) -> int:
        count = partial(prompt_tokens, self._service.engine, asked)
        with refusing(asked):
            return await anyio.to_thread.run_sync(count, abandon_on_cancel=True)
