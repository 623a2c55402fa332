"""A run as events: their order, leaving early, errors, and a reader that is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_type

import anyio
import anyio.lowlevel
import pytest
from loops import add, agent_of

from agentkit import (
    Agent,
    AnswerDraft,
    Answered,
    BackendError,
    CallFilled,
    CallFinished,
    DraftCanvas,
    EmptyRequest,
    Event,
    EventStream,
    History,
    LimitReached,
    ModelSettings,
    RunError,
    RunFinished,
    TurnStarted,
    max_turns,
    tool,
)
from agentkit.testing import ScriptedBackend, ScriptedCall, answer, call, drafted


async def collect(stream: EventStream[Any]) -> list[Event]:
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
    assert filled.decision is not None
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

            conversation.decide = spied  # type: ignore[assignment, method-assign]
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


# --- readers that are slow


async def test_a_reader_that_stops_reading_makes_the_run_wait() -> None:
    decided: list[int] = []

    def turn(_: History) -> ScriptedCall:
        decided.append(1)
        return call("add", a=1, b=len(decided))

    stream = agent_of(*[turn] * 200, answer("done"), stop=max_turns(300)).stream("go")
    async with stream as events:
        await anext(events)
        for _ in range(3000):
            await anyio.lowlevel.checkpoint()
        ahead = len(decided)
        assert 0 < ahead < 64  # no more than the buffer holds events
        rest = kinds([event async for event in events])
    assert rest.count("CallFinished") == 200


async def test_of_the_drafts_a_slow_reader_gets_the_latest_before_what_comes_next() -> None:
    words = [f"word {number}" for number in range(200)]
    script = [drafted(answer(words[-1]), *map(answer, words[:-1]))]
    seen: list[Event] = []
    async with agent_of(*script).stream("go") as events:
        seen.append(await anext(events))
        for _ in range(500):  # the decision is over by now, as far as its events have room
            await anyio.lowlevel.checkpoint()
        seen += [event async for event in events]
    drafts = [event for event in seen if isinstance(event, AnswerDraft)]
    canvases = [event for event in seen if isinstance(event, DraftCanvas)]
    assert (drafts[-1].text, canvases[-1].draft.step) == ("word 199", 200)
    assert len(drafts) + len(canvases) < 80
    numbers = [int(draft.text.removeprefix("word ")) for draft in drafts]
    assert numbers == sorted(numbers)
    assert kinds(seen[-3:]) == ["Answered", "TurnFinished", "RunFinished"]


# --- answers as they are written


@dataclass
class Trip:
    city: str
    days: int


async def test_the_drafts_of_an_answer_are_outputs_at_any_time() -> None:
    drafts = [Trip("", 0), Trip("Rome", 0), Trip("Rome", 3)]
    written = [answer(trip) for trip in drafts]
    backend = ScriptedBackend([drafted(written[-1], written[0], answer('{"city": 1}'), written[1])])
    agent = Agent(output=Trip, backend=backend)
    events = await collect(agent.stream("where to?"))
    values = [event.value for event in events if isinstance(event, AnswerDraft)]
    assert values == drafts  # what is none, which no backend with a guarantee writes, is not told


async def test_a_draft_that_reads_as_the_one_before_is_not_told_again() -> None:
    turn = drafted(answer("no"), answer("n"), answer("n"), answer("no"), answer("n"))
    agent = Agent(backend=ScriptedBackend([turn]))
    async with agent.stream("go") as events:
        seen = [event.text async for event in events if isinstance(event, AnswerDraft)]
    assert seen == ["n", "no", "n", "no"]


# --- on_event


async def test_what_hears_events_may_be_sync_or_async() -> None:
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(event)

    for on_event in (heard.append, hear):
        heard.clear()
        agent = agent_of(call("add", a=1, b=2), answer("3"))
        result = await agent.run("1 + 2?", on_event=on_event)
        last = heard[-1]
        assert isinstance(last, RunFinished)
        assert last.result is result
        assert kinds(heard).count("TurnStarted") == 2


@pytest.mark.parametrize("error", [KeyError("mine"), ExceptionGroup("mine", [ValueError()])])
@pytest.mark.parametrize("at", ["TurnStarted", "CallFinished", "RunFinished"])
async def test_an_error_of_what_hears_events_ends_the_run(error: Exception, at: str) -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), answer("3")])

    def hear(event: Event) -> None:
        if type(event).__name__ == at:
            raise error

    alone = asyncio.all_tasks()
    with pytest.raises(type(error)) as caught:
        await Agent(tools=[add], backend=backend).run("go", on_event=hear)
    assert caught.value is error
    assert all(conversation.closed for conversation in backend.conversations)
    assert asyncio.all_tasks() == alone


def test_run_sync_tells_its_events_too() -> None:
    heard: list[Event] = []
    agent_of(answer("x")).run_sync("go", on_event=heard.append)
    assert kinds(heard)[-1] == "RunFinished"
