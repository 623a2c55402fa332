"""What tools report while they work: in order, from threads too, and to nobody afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentkit import (
    Agent,
    CallProgress,
    Event,
    EventStream,
    RunContext,
    tool,
)
from agentkit.testing import ScriptedBackend, answer, call


async def collect(stream: EventStream[Any]) -> list[Event]:
    async with stream as events:
        return [event async for event in events]


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def progress(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    told = [event for event in events if isinstance(event, CallProgress)]
    return [(event.call.id, event.message, event.done, event.total) for event in told]


async def test_tools_report_how_far_they_are() -> None:
    @tool
    async def here(context: RunContext) -> str:
        await context.report("reading", done=1, total=2)
        await context.report("read")
        return "ok"

    @tool
    def in_a_thread(context: RunContext) -> str:
        context.report_sync("reading", done=1, total=2)
        context.report_sync("read")
        return "ok"

    for one in (here, in_a_thread):
        agent = Agent(tools=[one], backend=ScriptedBackend([call(one.name), answer("done")]))
        events = await collect(agent.stream("go"))
        reports = [("call_1", "reading", 1, 2), ("call_1", "read", None, None)]
        assert progress(events) == reports
        order = [kind for kind in kinds(events) if kind.startswith("Call")]
        assert order == ["CallFilled", "CallProgress", "CallProgress", "CallFinished"]
        assert (await agent.with_backend(ScriptedBackend([call(one.name), answer("done")])).run(
            "nobody listens")).answer == "done"  # fmt: skip


async def test_reporting_from_the_event_loop_as_from_a_thread_is_refused() -> None:
    @tool
    async def mistaken(context: RunContext) -> None:
        context.report_sync("would wait for itself")

    agent = Agent(tools=[mistaken], backend=ScriptedBackend([call("mistaken"), answer("x")]))
    (told,) = (await agent.run("go")).results
    assert "write `await context.report(...)`" in told.content


async def test_what_a_call_reports_that_was_given_up_nobody_hears() -> None:
    given_up, reported = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    @tool(timeout=0.01)
    def slow(context: RunContext) -> None:
        given_up.wait()
        try:
            context.report_sync("late")
        except BaseException as error:
            errors.append(error)
        reported.set()

    @tool
    async def after() -> None:
        given_up.set()
        await anyio.to_thread.run_sync(reported.wait)

    backend = ScriptedBackend([call("slow"), call("after"), answer("done")])
    events = await collect(Agent(tools=[slow, after], backend=backend).stream("go"))
    assert progress(events) == []
    assert errors == []


@pytest.mark.parametrize("how", ["left", "over"])
async def test_a_thread_that_reports_when_the_run_is_over_does_no_harm(how: str) -> None:
    begun, over, gone = threading.Event(), threading.Event(), threading.Event()
    found: list[Any] = []

    @tool(timeout=None if how == "left" else 0.01)
    def slow(context: RunContext) -> None:
        begun.set()
        over.wait()
        try:
            context.report_sync("late")
            found.append(context.over)
        except BaseException as error:
            found.append(error)
        gone.set()

    alone = asyncio.all_tasks()
    backend = ScriptedBackend([call("slow"), answer("without it")])
    async with Agent(tools=[slow], backend=backend).stream("go") as events:
        if how == "left":
            await anyio.to_thread.run_sync(begun.wait)
        else:
            assert [event async for event in events]
    over.set()
    await anyio.to_thread.run_sync(gone.wait)
    assert found == [True]
    assert asyncio.all_tasks() == alone


async def test_a_thread_that_waits_for_a_reader_is_let_go_when_the_stream_is_left() -> None:
    gone = threading.Event()

    @tool(timeout=None)
    def chatty(context: RunContext) -> None:
        try:
            while not context.over:
                context.report_sync("on and on")
        finally:
            gone.set()

    agent = Agent(tools=[chatty], backend=ScriptedBackend([call("chatty")]))
    async with agent.stream("go") as events:
        async for event in events:
            if isinstance(event, CallProgress):
                break
    await anyio.to_thread.run_sync(gone.wait)


def test_a_thread_that_reports_when_the_event_loop_is_over_does_no_harm() -> None:
    over, gone = threading.Event(), threading.Event()
    found: list[Any] = []

    @tool(timeout=0.01)
    def slow(context: RunContext) -> None:
        over.wait()
        try:
            assert context.run is not None
            assert context.call is not None
            context.run.report_from_thread(context.call, "past the check", None, None)
            found.append(context.over)
        except BaseException as error:
            found.append(error)
        gone.set()

    Agent(tools=[slow], backend=ScriptedBackend([call("slow"), answer("x")])).run_sync("go")
    over.set()
    gone.wait()
    assert found == [True]
