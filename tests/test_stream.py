"""A run as events: their order, leaving early, errors, and a reader that is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, assert_type

import anyio
import anyio.lowlevel
import pytest
from loops import agent_of

from agentkit import (
    Agent,
    Answered,
    BackendError,
    CallFilled,
    CallFinished,
    DraftCanvas,
    EmptyRequest,
    Event,
    EventStream,
    LimitReached,
    ModelSettings,
    RunError,
    RunFinished,
    TurnStarted,
    max_turns,
    tool,
)
from agentkit.testing import ScriptedBackend, answer, call


async def collect(stream: EventStream) -> list[Event]:
    async with stream as events:
        return [event async for event in events]


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_the_events_of_a_run_in_order() -> None:
    agent = agent_of(call("add", a=1, b=2), answer("3"))
    events = await collect(agent.stream("1 + 2?", settings=ModelSettings(steps=2)))
    assert kinds(events) == [
        "TurnStarted",
        *["DraftCanvas"] * 3,
        "CallFilled",
        "CallFinished",
        "TurnFinished",
        "TurnStarted",
        *["DraftCanvas"] * 3,
        "Answered",
        "TurnFinished",
        "RunFinished",
    ]
    assert events[0] == TurnStarted(1)
    filled, finished = events[4:6]
    assert isinstance(filled, CallFilled)
    assert isinstance(finished, CallFinished)
    assert filled.call is finished.call
    assert filled.confidence == {"/a": 1.0, "/b": 1.0}
    assert filled.decision.forwards == 2
    assert (finished.turn, finished.result.content) == (1, "3")
    answered, last = events[-3], events[-1]
    assert isinstance(answered, Answered)
    assert (answered.turn, answered.text) == (2, "3")
    assert isinstance(last, RunFinished)
    assert_type(last, RunFinished)
    assert last.result.answer == "3"
    assert last.result.decisions == (filled.decision, answered.decision)


async def test_calls_of_one_turn_are_all_filled_before_one_finishes() -> None:
    turn = [call("add", a=1, b=2), call("add", a=3, b=4)]
    events = await collect(agent_of(turn, answer("done")).stream("go"))
    assert [kind for kind in kinds(events) if kind.startswith("Call")] == [
        *["CallFilled"] * 2,
        *["CallFinished"] * 2,
    ]


async def test_a_run_that_nobody_watches_draws_nothing() -> None:
    seen: list[object] = []

    class Watched(ScriptedBackend):
        async def open(self, **options: Any) -> Any:
            conversation = await super().open(**options)
            decide = conversation.decide

            async def spied(*, settings: Any, on_draft: Any = None) -> Any:
                seen.append(on_draft)
                return await decide(settings=settings, on_draft=on_draft)

            conversation.decide = spied  # type: ignore[method-assign]
            return conversation

    await Agent(backend=Watched([answer("x")])).run("hi")
    await collect(Agent(backend=Watched([answer("x")])).stream("hi"))
    assert [on_draft is None for on_draft in seen] == [True, False]


async def test_leaving_early_ends_the_run() -> None:
    stopped = anyio.Event()

    @tool(timeout=None)
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    alone = asyncio.all_tasks()
    backend = ScriptedBackend([call("hang")])
    async with Agent(tools=[hang], backend=backend).stream("go") as events:
        async for event in events:
            if isinstance(event, CallFilled):
                await anyio.lowlevel.checkpoint()
                break
    assert backend.conversations[0].closed
    assert asyncio.all_tasks() == alone


async def test_leaving_at_once_is_fine() -> None:
    backend = ScriptedBackend([answer("x")])
    async with Agent(backend=backend).stream("go"):
        pass
    assert all(conversation.closed for conversation in backend.conversations)


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    cause = KeyError("cause")
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with agent_of(answer("x")).stream("go"):
            raise error from cause
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None


async def test_an_exception_group_in_the_block_comes_out_as_it_is() -> None:
    error = ExceptionGroup("mine", [ValueError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with agent_of(answer("x")).stream("go"):
            raise error
    assert caught.value is error


async def test_an_error_of_the_run_comes_after_its_events() -> None:
    stream = agent_of(call("add", a=1, b=2), stop=max_turns(1)).stream("go")
    seen: list[Event] = []

    async def watch() -> None:
        async with stream as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401  what came before the error counts

    with pytest.raises(LimitReached) as caught:
        await watch()
    assert kinds(seen) == [
        *("TurnStarted", "DraftCanvas", "DraftCanvas", "CallFilled", "CallFinished"),
        "TurnFinished",
    ]
    assert caught.value.history == stream.history


async def test_an_error_of_the_backend_comes_out_too() -> None:
    with pytest.raises(BackendError, match="unplugged"):
        await collect(agent_of(OSError("unplugged")).stream("go"))


async def test_a_bad_request_is_refused_before_the_stream_is_opened() -> None:
    with pytest.raises(EmptyRequest):
        agent_of().stream(" ")


async def test_after_the_last_event_the_stream_stays_empty() -> None:
    async with agent_of(answer("x")).stream("go") as events:
        assert [event async for event in events]
        assert [event async for event in events] == []


async def test_a_stream_is_opened_once_and_before_it_is_read() -> None:
    stream = agent_of(answer("x")).stream("go")
    with pytest.raises(RunError, match="open the stream first"):
        await anext(stream)
    await collect(stream)
    assert [event async for event in stream] == []
    with pytest.raises(RunError, match="opened once"):
        await collect(stream)


async def test_a_slow_reader_misses_drafts_and_nothing_else() -> None:
    calls = [call("add", a=number, b=1) for number in range(50)]
    stream = agent_of(
        *calls, answer("done"), settings=ModelSettings(steps=200), stop=max_turns(60)
    ).stream("go")
    seen: list[Event] = []
    async with stream as events:
        async for event in events:
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            seen.append(event)
    rest = [event for event in seen if not isinstance(event, DraftCanvas)]
    assert kinds(rest).count("CallFinished") == 50
    assert kinds(rest).count("TurnStarted") == 51
    assert isinstance(seen[-1], RunFinished)
    assert len(seen) - len(rest) < 51 * 201


async def test_the_history_grows_as_the_run_goes_on() -> None:
    stream = agent_of(call("add", a=1, b=2), answer("3")).stream("go")
    lengths: list[int] = [len(stream.history)]
    async with stream as events:
        async for _ in events:
            lengths.append(len(stream.history))  # noqa: PERF401
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (1, 4)
