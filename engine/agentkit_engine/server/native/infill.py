"""The native route of fillings: a template filled behind a context, and nothing kept.

Knows the form of what is asked and of what is answered. Must not know how a template is filled.

    POST /v1/infill   fills a template or a schema; streams drafts where asked to
"""

from __future__ import annotations

from functools import partial

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.filling.outcome import Draft
from agentkit_engine.server.native.answers import DraftJSON, FillingJSON, draft_json, filling_json
from agentkit_engine.server.native.bounds import check_infilling
from agentkit_engine.server.native.infilling import Infilling
from agentkit_engine.server.native.wire import NATIVE, chat_messages
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.service import Service, json_response
from agentkit_engine.session import Session

_MORE = """
The template says what is filled: a JSON value by a schema, one of some choices, text by a pattern,
free text, a hole between two texts, or a part of a text written anew. What it says holds in every
answer and every draft.
"""


class InfillRoutes:
    """Templates filled."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """All of them."""
        about = About(
            summary="Fills a template",
            room="Native",
            more=_MORE,
            takes=Infilling,
            gives={200: FillingJSON},
            events={"draft": DraftJSON, "filling": FillingJSON},
            refuses=REFUSALS,
        )
        return [DescribedRoute("/v1/infill", self._infill, methods=["POST"], about=about)]

    async def _infill(self, request: Request) -> Response:
        asked = await self._service.form(request, Infilling)
        known = self._service.engine.runtime.denoiser.vocab_size
        check_infilling(asked, self._service.limits, vocabulary=known)

        async def streamed(tell: Tell) -> None:
            tell("filling", await self._filled(asked, tell))

        if asked.stream:
            return self._service.stream(streamed, NATIVE)
        filling = await self._service.answer(request, partial(self._filled, asked))
        return json_response(200, filling)

    async def _filled(self, asked: Infilling, tell: Tell | None = None) -> FillingJSON:
        def draw(draft: Draft) -> None:
            if tell is not None:
                tell("draft", draft_json(draft))

        service, template = self._service, asked.asked()
        session = await anyio.to_thread.run_sync(self._opened, asked, abandon_on_cancel=True)
        try:
            if asked.messages:
                await session.extend(*chat_messages(asked.messages))
            filling = await session.infill(
                template, width=asked.width, on_draft=draw if tell else None, **asked.options()
            )
        finally:
            session.close()
        service.meter.filled(filling)
        # what the model believed is worked out now, which takes longer than others should wait
        write = partial(filling_json, filling, model=service.model)
        return await anyio.to_thread.run_sync(write, abandon_on_cancel=True)

    def _opened(self, asked: Infilling) -> Session:
        engine = self._service.engine
        if asked.text is None:
            return engine.session(instructions=asked.instructions)
        return engine.document(asked.text)
