"""The copilot's routes: holes in texts, in the words of four APIs.

Knows which API asks for what, and who asks. Must not know how a hole is filled.

    POST /v1/completions       goes on, or fills a hole; as OpenAI has it
    POST /v1/fim/completions   fills a hole; as Mistral has it
    POST /infill               fills a hole, or only reads what is before it; as llama.cpp has it
    POST /v1/edit/completions  writes a part of a text anew
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.chat.models import require_model
from agentkit_engine.server.chat.openai.dialect import OPENAI
from agentkit_engine.server.copilot import editing, fim, llama
from agentkit_engine.server.copilot.completions import Completing, CompletionForm, holes_of
from agentkit_engine.server.copilot.editing import EditForm
from agentkit_engine.server.copilot.filling import Filler
from agentkit_engine.server.copilot.fim import Answering, FimForm
from agentkit_engine.server.copilot.hole import Found, Hear, Hole
from agentkit_engine.server.copilot.llama import LLAMA, InfillForm, Predicting
from agentkit_engine.server.copilot.newest import Newest
from agentkit_engine.server.copilot.wire import CopilotForm
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.described import REFUSALS, About, DescribedRoute
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.service import Service, json_response
from agentkit_engine.server.transport.together import together

Form = TypeVar("Form", bound=CopilotForm)
Streamed: TypeAlias = Callable[[Tell], Awaitable[None]]


class CopilotRoutes:
    """Where holes are filled."""

    def __init__(self, service: Service) -> None:
        self._service, self._limits, self._model = service, service.limits, service.model
        self._filler, self._newest = Filler(service), Newest()

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            _route("/infill", self._infill, "Fills a hole, as llama.cpp has it", InfillForm),
            _route(
                "/v1/completions", self._completions, "Goes on, or fills a hole", CompletionForm
            ),
            _route("/v1/edit/completions", self._edit, "Writes a part anew", EditForm),
            _route("/v1/fim/completions", self._fim, "Fills a hole, as Mistral has it", FimForm),
        ]

    async def _completions(self, request: Request) -> Response:
        form = await self._form(request, CompletionForm)
        holes, said = holes_of(form, self._limits), Completing.of(form, self._model)

        async def answered() -> Any:
            return said.whole(await self._all(holes))

        async def streamed(tell: Tell) -> None:
            said.begin(tell)
            said.end(tell, await self._all(holes, partial(said.more, tell)))

        return await self._told(request, form.user, answered, form.stream and streamed)

    async def _fim(self, request: Request) -> Response:
        form = await self._form(request, FimForm)
        hole, said = fim.hole_of(form, self._limits), Answering.of(self._model)

        async def answered() -> Any:
            return said.whole(await self._filler.fill(hole))

        async def streamed(tell: Tell) -> None:
            said.end(tell, await self._filler.fill(hole, partial(said.more, tell)))

        return await self._told(request, form.user, answered, form.stream and streamed)

    async def _infill(self, request: Request) -> Response:
        form = await self._service.form(request, InfillForm)  # whatever model it names
        hole, said = llama.hole_of(form, self._limits), Predicting(form, self._model)
        if form.warms:
            return await self._warmed(request, hole, said)

        async def answered() -> Any:
            return said.whole(await self._filler.fill(hole))

        async def streamed(tell: Tell) -> None:
            said.end(tell, await self._filler.fill(hole, partial(said.more, tell)))

        who = form.user or (str(form.id_slot) if form.id_slot >= 0 else None)
        return await self._told(request, who, answered, form.stream and streamed, LLAMA)

    async def _warmed(self, request: Request, hole: Hole, said: Predicting) -> Response:
        """Ends nothing, as whoever asks for this does not wait for it instead."""

        async def answered() -> Any:
            return said.warmed(await self._filler.warm(hole))

        async def streamed(tell: Tell) -> None:
            tell("", await answered())

        if said.form.stream:
            return self._service.stream(streamed, LLAMA)
        return json_response(200, await self._service.answer(request, answered))

    async def _edit(self, request: Request) -> Response:
        form = await self._form(request, EditForm)
        hole = editing.hole_of(form, self._limits)

        async def answered() -> Any:
            return editing.edit_json(hole, self._model, await self._filler.fill(hole))

        return await self._told(request, form.user, answered)

    async def _form(self, request: Request, kind: type[Form]) -> Form:
        """What is asked of the model that is served."""
        form = await self._service.form(request, kind)
        if form.model is not None:
            require_model(self._service, form.model)
        return form

    async def _all(self, holes: Sequence[Hole], hear: Hear | None = None) -> list[Found]:
        """All holes, together; choices are counted through."""

        def heard(number: int, choice: int, text: str) -> None:
            if hear:
                hear(number * holes[number].choices + choice, text)

        works: list[Callable[[], Awaitable[Found]]] = [
            partial(self._filler.fill, hole, partial(heard, number) if hear else None)
            for number, hole in enumerate(holes)
        ]
        return await together(works)

    async def _told(
        self,
        request: Request,
        user: str | None,
        answered: Callable[[], Awaitable[Any]],
        streamed: Streamed | Literal[False] | None = None,
        dialect: Dialect = OPENAI,
    ) -> Response:
        """What was asked for, or a stream of it; what the same client has asked for before ends."""
        newest = partial(self._newest.run, _client(request, user))
        if streamed:
            return self._service.stream(streamed, dialect, within=newest)
        return json_response(200, await newest(partial(self._service.answer, request, answered)))


def _route(
    path: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    summary: str,
    takes: type[CopilotForm],
) -> Route:
    about = About(
        summary=summary,
        room="Copilot",
        takes=takes,
        events={} if takes is EditForm else {"": dict[str, Any]},
        refuses=(*REFUSALS, 404, 409),
    )
    return DescribedRoute(path, endpoint, methods=["POST"], about=about)


def _client(request: Request, user: str | None) -> Hashable | None:
    """Who asks: somebody with this key, who says who he is. None where he does not."""
    who = request.headers.get("x-client-id") or user
    headers = request.headers
    key = headers.get("authorization") or headers.get("x-api-key")
    return (key, who) if who else None
