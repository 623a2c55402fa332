"""The remote backend: as the embedded one, with a server in between that may go at any time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from serving import Served, held_forwards, serving, until
from tiny import WEATHER

from agentkit import (
    Agent,
    BackendError,
    Call,
    CallMessage,
    Capabilities,
    ContextTooLong,
    Conversation,
    EngineBusy,
    History,
    LimitReached,
    Message,
    ModelSettings,
    ResultMessage,
    ToolSpec,
    UnsatisfiableSchema,
    UnsupportedSchema,
    UserMessage,
    max_turns,
    tool,
)
from agentkit.backend import Backend, Decision, Draft
from agentkit.backends.embedded import EmbeddedBackend
from agentkit.backends.remote import RemoteBackend
from agentkit.errors import TemplateError
from agentkit_engine import Engine
from agentkit_engine.server.limits import Limits

TOOL = ToolSpec("weather", "the weather of a city", WEATHER["function"]["parameters"])
CLOCK = ToolSpec(
    "clock", "what time it is", {"type": "object", "properties": {"zone": {"enum": ["a", "b"]}}}
)
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["a", "b"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
}
HELLO = UserMessage("is it warm in Paris?")
MANY = ModelSettings(steps=40, temperature=1.0)


@pytest.fixture(scope="module")
def embedded(tiny_folder: Path) -> Generator[EmbeddedBackend]:
    backend = EmbeddedBackend(tiny_folder, device="cpu")
    costs: Any = backend.engine.runtime.costs
    costs.cheaper_apart = never  # whatever is cheaper on this machine at the time
    yield backend
    backend.engine.close()


@pytest.fixture(scope="module")
def engine(embedded: EmbeddedBackend) -> Engine:
    return embedded.engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture
def remote(server: Served) -> Generator[RemoteBackend]:
    yield RemoteBackend(server.url)
    assert len(server.sessions) == 0, "a session was left behind"


def never(*_: object) -> bool:
    return False


@asynccontextmanager
async def talking(
    backend: Backend,
    *messages: Message,
    tools: Sequence[ToolSpec] = (TOOL, CLOCK),
    output: dict[str, Any] | None = None,
) -> AsyncGenerator[Conversation]:
    conversation = await backend.open(instructions="Be brief", tools=tools, output=output)
    try:
        await conversation.extend(messages)
        yield conversation
    finally:
        await conversation.aclose()


def calls_of(decision: Decision | Draft) -> list[tuple[str, dict[str, Any]]]:
    return [(call.tool, call.arguments) for call in decision.calls]


def check_alike(here: Decision, there: Decision) -> None:
    """What was decided, told, and known of it; only how long it took may differ."""
    assert calls_of(here) == calls_of(there)
    assert here.answer == there.answer
    assert there.choice == pytest.approx(dict(here.choice), abs=1e-4)
    for one, other in zip(here.calls, there.calls, strict=True):
        assert other.confidence == pytest.approx(dict(one.confidence), abs=1e-4)
    counted = ("forwards", "passes", "tokens", "prompt_tokens", "model")
    assert [getattr(here, name) for name in counted] == [getattr(there, name) for name in counted]


def said(decision: Decision, turn: int) -> list[Message]:
    """What the loop appends once a decision's calls were made."""
    calls = tuple(
        Call(f"{turn}.{number}", call.tool, call.arguments)
        for number, call in enumerate(decision.calls)
    )
    results = [ResultMessage(call.id, call.tool, "21 degrees") for call in calls]
    return [CallMessage(calls), *results] if calls else [UserMessage("Go on.")]


@pytest.mark.parametrize("output", [None, ANSWER])
async def test_it_decides_as_the_embedded_backend_does(
    embedded: EmbeddedBackend, remote: RemoteBackend, output: dict[str, Any] | None
) -> None:
    settings = ModelSettings(steps=2, max_calls=2, seed=3, temperature=1.0)
    async with (
        talking(embedded, HELLO, output=output) as here,
        talking(remote, HELLO, output=output) as there,
    ):
        for turn in range(3):
            asked = replace(settings, seed=turn)
            decision = await here.decide(settings=asked)
            check_alike(decision, await there.decide(settings=asked))
            for one in (here, there):
                await one.extend(said(decision, turn))


async def test_drafts_are_those_of_the_embedded_backend_in_order(
    embedded: EmbeddedBackend, remote: RemoteBackend
) -> None:
    here: list[Draft] = []
    there: list[Draft] = []
    settings = ModelSettings(steps=3)
    async with talking(embedded, HELLO, tools=[TOOL], output=ANSWER) as one:
        await one.decide(settings=settings, on_draft=here.append)
    loop = threading.get_ident()
    seen: set[int] = set()

    def draw(draft: Draft) -> None:
        seen.add(threading.get_ident())
        there.append(draft)

    async with talking(remote, HELLO, tools=[TOOL], output=ANSWER) as other:
        await other.decide(settings=settings, on_draft=draw)
    assert there == here
    assert len(there) > 1
    assert seen == {loop}


async def test_capabilities_are_known_when_a_conversation_is_open(
    remote: RemoteBackend, embedded: EmbeddedBackend
) -> None:
    assert remote.capabilities == Capabilities()
    async with talking(remote):
        assert remote.capabilities == embedded.capabilities


async def test_rejected_values_are_refilled(remote: RemoteBackend) -> None:
    async with talking(remote, HELLO, tools=[], output=ANSWER) as conversation:
        first = await conversation.decide()
        again = await conversation.refill(first, {"/city": "there is none"})
        values = [json.loads(decision.answer or "") for decision in (first, again)]
        assert {value["city"] for value in values} == {"a", "b"}
        assert len({value["warm"] for value in values}) == 1
        with pytest.raises(UnsatisfiableSchema):
            await conversation.refill(again, {"/city": "there is none"})
        with pytest.raises(TemplateError, match="/town"):
            await conversation.refill(first, {"/town": "there is none"})
        with pytest.raises(BackendError, match="only what this backend has filled in"):
            await conversation.refill(Decision(answer="{}"), {"/city": ""})


async def test_a_refilled_call_keeps_what_is_known_of_its_other_values(
    remote: RemoteBackend,
) -> None:
    async with talking(remote, HELLO, tools=[replace(TOOL, parameters=ANSWER)]) as conversation:
        decision = await conversation.decide()
        [call] = decision.calls
        again = await conversation.refill(call, {"/city": "there is none"})
        [other] = again.calls
    assert (other.tool, other.arguments["warm"]) == ("weather", call.arguments["warm"])
    assert other.arguments["city"] != call.arguments["city"]
    assert set(other.confidence) == set(call.confidence)


async def test_forks_go_their_own_ways(embedded: EmbeddedBackend, remote: RemoteBackend) -> None:
    more = UserMessage("9 9 9")
    async with talking(embedded, HELLO) as one, talking(embedded, HELLO, more) as two:
        expected = [await one.decide(), await two.decide()]
    async with talking(remote, HELLO) as conversation:
        early = conversation.fork()  # has no session yet
        await conversation.decide()
        late = conversation.fork()
        late_twin = late.fork()
        await conversation.extend([more])
        check_alike(expected[1], await conversation.decide())  # the parent has gone on
        check_alike(expected[0], await early.decide())
        check_alike(expected[0], await late.decide())
        await conversation.aclose()
        check_alike(expected[0], await late_twin.decide())  # there is nothing left to fork
        for one in (early, late, late_twin):
            await one.aclose()


async def test_a_conversation_and_its_forks_name_one_session_to_be_routed_by(
    remote: RemoteBackend,
) -> None:
    asked: list[tuple[str, str | None]] = []

    async def note(request: httpx2.Request) -> None:
        asked.append((request.url.path, request.headers.get("x-agentkit-session")))

    client = await remote._service._client.get()
    client.event_hooks = {"request": [note]}
    async with talking(remote, HELLO) as conversation:
        await conversation.decide(on_draft=lambda _: None)
        twin = conversation.fork()
        await twin.decide()
        await twin.aclose()
    [route] = {route for _, route in asked}
    paths = [path for path, _ in asked]
    assert paths[:2] == ["/v1/sessions", f"/v1/sessions/{route}/decide"]
    assert f"/v1/sessions/{route}/fork" in paths


async def test_a_session_the_server_has_closed_is_made_anew(
    embedded: EmbeddedBackend, remote: RemoteBackend, server: Served
) -> None:
    async with talking(embedded, HELLO) as here, talking(remote, HELLO) as there:
        first = await here.decide()
        check_alike(first, await there.decide())
        server.sessions.close_all()
        for one in (here, there):
            await one.extend(said(first, 0))
        second, mended = await here.decide(), await there.decide()
        assert calls_of(second) == calls_of(mended)
        assert second.answer == mended.answer
        server.sessions.close_all()
        filled = mended.calls[0] if mended.calls else mended
        with pytest.raises(TemplateError, match="decide again"):  # it knows not what was filled in
            await there.refill(filled, {"": "no"})


async def test_a_server_started_anew_is_met_again(engine: Engine) -> None:
    with serving(engine) as served:
        port = served.port
        backend = RemoteBackend(served.url)
        conversation = await backend.open(instructions="", tools=[TOOL])
        await conversation.extend([HELLO])
        first = await conversation.decide()
    with serving(engine, port=port) as served:
        assert calls_of(await conversation.decide()) == calls_of(first)
        assert len(served.sessions) == 1
        await conversation.aclose()
        assert len(served.sessions) == 0
    await backend.aclose()


@pytest.mark.parametrize("listening", [False, True])
async def test_cancelling_ends_the_work_on_the_server_before_its_next_forward(
    engine: Engine, server: Served, remote: RemoteBackend, listening: bool
) -> None:
    scheduler = engine.runtime.scheduler
    async with talking(remote, HELLO) as conversation:
        await conversation.decide()
        [held] = server.sessions._held.values()

        drafts: list[Draft] = []

        async def decide() -> None:
            hear = drafts.append if listening else None
            await conversation.decide(settings=MANY, on_draft=hear)

        with held_forwards(engine) as holding:
            async with anyio.create_task_group() as group:
                group.start_soon(decide)
                await anyio.to_thread.run_sync(holding.reached.wait)
                group.cancel_scope.cancel()
            await anyio.to_thread.run_sync(until, lambda: not held.waiting)
            holding.gate.set()
            await anyio.to_thread.run_sync(until, lambda: scheduler.statistics.queue == 0)
            assert holding.forwards == 1


async def test_no_session_is_left_behind_by_whoever_is_cancelled(
    server: Served, remote: RemoteBackend
) -> None:
    random = Random(0)

    async def talk() -> None:
        async with talking(remote, HELLO) as conversation:
            twin = conversation.fork()
            try:
                await conversation.decide(settings=MANY, on_draft=lambda _: None)
                await twin.decide(settings=MANY)
            finally:
                await twin.aclose()

    for _ in range(50):
        with anyio.move_on_after(random.choice((0.0, 0.002, 0.01, 0.03, 0.06))):
            await talk()
    await anyio.to_thread.run_sync(until, lambda: len(server.sessions) == 0)


async def test_closing_twice_is_fine_and_a_closed_conversation_says_so(
    remote: RemoteBackend, server: Served
) -> None:
    conversation = await remote.open(instructions="", tools=[TOOL])
    assert len(server.sessions) == 1
    await conversation.aclose()
    await conversation.aclose()
    assert len(server.sessions) == 0
    for use in (conversation.decide(), conversation.extend([HELLO])):
        with pytest.raises(BackendError, match="closed"):
            await use


def test_an_agent_is_given_the_server_s_url(server: Served, embedded: EmbeddedBackend) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"21 degrees in {city}"

    def history(backend: Backend | str) -> History:
        agent = Agent(tools=[weather], backend=backend, stop=max_turns(3))
        try:
            return agent.run_sync("is it warm in Paris?").history
        except LimitReached as reached:
            return reached.history

    assert history(embedded) == history(server.url)
    assert len(server.sessions) == 0


def test_one_backend_serves_one_loop_after_another_and_several_at_once(
    remote: RemoteBackend,
) -> None:
    async def once() -> list[tuple[str, dict[str, Any]]]:
        async with talking(remote, HELLO) as conversation:
            return calls_of(await conversation.decide())

    found = [asyncio.run(once()) for _ in range(2)]
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(once()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 5


async def test_engine_errors_are_raised_as_the_same_classes(remote: RemoteBackend) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=x)y"}}}
    with pytest.raises(UnsupportedSchema) as raised:
        await remote.open(instructions="", tools=[ToolSpec("bad", "", schema)])
    error = raised.value
    assert (error.keyword, error.pointer) == ("pattern", "/properties/a")
    assert "'bad'" in error.__notes__[0]
    with pytest.raises(UnsupportedSchema):
        await remote.open(instructions="", tools=[], output=schema)
    async with talking(remote, UserMessage("word " * 600)) as conversation:
        with pytest.raises(ContextTooLong) as too_long:
            await conversation.decide()
        assert too_long.value.needed > too_long.value.available > 0
        with pytest.raises(ContextTooLong):
            await conversation.decide(on_draft=lambda _: None)


async def test_a_server_with_its_hands_full_is_busy(engine: Engine) -> None:
    with serving(engine, limits=Limits(sessions=1)) as served, held_forwards(engine) as holding:
        backend = RemoteBackend(served.url)
        async with talking(backend, HELLO) as conversation, anyio.create_task_group() as group:
            group.start_soon(conversation.decide)
            await anyio.to_thread.run_sync(holding.reached.wait)
            with pytest.raises(EngineBusy) as busy:
                await backend.open(instructions="", tools=[])
            assert (busy.value.waiting, busy.value.limit) == (1, 1)
            holding.gate.set()
        await backend.aclose()


async def test_a_wrong_key_is_told_with_the_mend(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(engine, api_key="right") as served:
        for key in (None, "wrong"):
            with pytest.raises(BackendError, match="AGENTKIT_API_KEY"):
                await RemoteBackend(served.url, api_key=key).open(instructions="", tools=[])
        monkeypatch.setenv("AGENTKIT_API_KEY", "right")
        for backend in (RemoteBackend(served.url), RemoteBackend(served.url, api_key="right")):
            async with talking(backend, tools=[]):
                assert len(served.sessions) == 1
            await backend.aclose()


async def test_a_server_that_is_not_there_is_named_with_the_mend() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(BackendError, match=f"{url}.*agentkit serve"):
            await RemoteBackend(url).open(instructions="", tools=[])


async def test_a_server_of_something_else_is_told_so() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

        def do_DELETE(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            backend = RemoteBackend(f"http://127.0.0.1:{other.server_port}")
            with pytest.raises(BackendError, match="no JSON object; is that an `agentkit serve`"):
                await backend.open(instructions="", tools=[])
        finally:
            other.shutdown()
            thread.join()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:port"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(BackendError, match="is no"):
        RemoteBackend(url)
