"""POST /v1/chat/completions: one turn of a chat, whole or as it becomes certain.

Knows forms, turns and chunks, and brings them together. Must not know what any of them holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.chat.asked import Asked, Delta, Turned
from agentkit_engine.server.chat.models import require_model
from agentkit_engine.server.chat.openai.dialect import OPENAI
from agentkit_engine.server.chat.openai.told import JSON, Chunks, Completion
from agentkit_engine.server.chat.openai.wire import CompletionForm, asked_of
from agentkit_engine.server.chat.turns import take_turn
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.service import Service, json_response


class CompletionRoutes:
    """Chat completions."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """All of them."""
        about = About(
            summary="Completes a chat",
            room="Chat",
            takes=CompletionForm,
            events={"": dict[str, Any]},
            refuses=(*REFUSALS, 404),
        )
        path = "/v1/chat/completions"
        return [DescribedRoute(path, self._complete, methods=["POST"], about=about)]

    async def _complete(self, request: Request) -> Response:
        form = await self._service.form(request, CompletionForm)
        require_model(self._service, form.model)
        runtime = self._service.engine.runtime
        asked = asked_of(form, limits=self._service.limits, vocabulary=runtime.denoiser.vocab_size)
        completion = Completion(
            model=self._service.model,
            likely=(form.top_logprobs or 0) if form.logprobs else None,
            end=runtime.checkpoint.dialect.end,
            usage=form.usage,
        )
        if form.stream:
            chunks = Chunks(completion)
            return self._service.stream(partial(self._stream, asked, completion, chunks), OPENAI)
        return json_response(
            200, await self._service.answer(request, partial(self._whole, asked, completion))
        )

    async def _whole(self, asked: Asked, completion: Completion) -> JSON:
        turned = await take_turn(self._service, asked)
        if completion.likely is None:
            return completion.whole(turned)
        return await anyio.to_thread.run_sync(completion.whole, turned, abandon_on_cancel=True)

    async def _stream(
        self, asked: Asked, completion: Completion, chunks: Chunks, tell: Tell
    ) -> None:
        def hear(delta: Delta) -> None:
            for chunk in chunks.told(delta):
                tell("chunk", chunk)

        turned = await take_turn(self._service, asked, hear)
        for chunk in chunks.ended(turned, await _logprobs(completion, turned)):
            tell("chunk", chunk)


async def _logprobs(completion: Completion, turned: Sequence[Turned]) -> list[JSON | None]:
    """Of each choice; worked out beside the event loop."""
    if completion.likely is None:
        return [None for _ in turned]

    def work() -> list[JSON | None]:
        return [completion.logprobs(one) for one in turned]

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
