"""What may go wrong around a run, and that it comes out where it belongs.

A tool's failure is for the model to read; that of a backend, a store, a guard, a hook or a watcher
ends the run, with all that was done in its history.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from loops import Fixed, add, fail

from agentkit import (
    Agent,
    BackendError,
    Blocked,
    Call,
    Decision,
    EventStream,
    History,
    Hooks,
    ProposedCall,
    RepeatedFailure,
    ResultMessage,
    Retry,
    RunContext,
    StoreError,
    tool,
)
from agentkit.message import Message
from agentkit.observing.watcher import Unwatched
from agentkit.stores.memory import MemoryStore
from agentkit.testing import ScriptedBackend, ScriptedConversation, answer, assert_well_formed, call

ADD = call("add", a=1, b=2)


def contents(history: History) -> list[str]:
    return [message.content for message in history if isinstance(message, ResultMessage)]


async def read(stream: EventStream) -> None:
    async with stream as events:
        async for _ in events:
            pass


# --- tools


def cyclic() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> Any:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


def endless() -> Any:
    return endless()


class Odd(BaseException):
    """Neither an error nor an exit."""


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (lambda: math.nan, "can't be written as JSON"),
    "bytes": (lambda: b"\xff", "can't be written as JSON"),
    "object": (object, "can't be written as JSON"),
    "cycle": (cyclic, "can't be written as JSON"),
    "depth": (deep, "can't be written as JSON"),
    "surrogate": (lambda: "\ud800", "can't be written as JSON"),
    "recursion": (endless, "RecursionError"),
    "exit": (raising(SystemExit(3)), "SystemExit: 3"),
    "generator": (raising(GeneratorExit()), "GeneratorExit"),
    "stop": (raising(StopIteration()), "StopIteration"),
    "cancelled": (raising(asyncio.CancelledError()), "it was cancelled from within"),
    "base": (raising(Odd("odd")), "Odd: odd"),
    "group": (raising(ExceptionGroup("two", [OSError("one")])), "ExceptionGroup: two"),
    "memory": (raising(MemoryError()), "MemoryError"),
    "assertion": (raising(AssertionError()), "AssertionError"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("where", ["thread", "loop"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
async def test_a_tool_that_fails_is_told_to_the_model(name: str, where: str, beside: bool) -> None:
    work, why = FAULTS[name]

    @tool(name="broken")
    def in_thread() -> Any:
        return work()

    @tool(name="broken")
    async def in_loop() -> Any:
        return work()

    turn = [call("broken"), ADD] if beside else call("broken")
    backend = ScriptedBackend([turn, answer("without it")])
    tools = [in_thread if where == "thread" else in_loop, add]
    result = await Agent(tools=tools, backend=backend).run("go")
    assert result.answer == "without it"
    assert result.results[0].is_error
    assert why in result.results[0].content
    assert contents(result.history)[1:] == (["3"] if beside else [])
    assert_well_formed(result)


@pytest.mark.parametrize("where", ["thread", "loop"])
def test_an_interrupt_ends_the_run_and_leaves_nothing_open(where: str) -> None:
    @tool(name="broken")
    def in_thread() -> None:
        raise KeyboardInterrupt

    @tool(name="broken")
    async def in_loop() -> None:
        raise KeyboardInterrupt

    store = MemoryStore()
    for turn in (call("broken"), [ADD, call("broken")]):
        backend = ScriptedBackend([turn])
        tools = [in_thread if where == "thread" else in_loop, add]
        with pytest.raises(KeyboardInterrupt):
            Agent(tools=tools, backend=backend, store=store).run_sync("go", conversation="talk")
        assert backend.conversations[0].closed
    assert_well_formed(anyio.run(store.load, "talk"))


async def test_a_flood_of_output_comes_whole_where_no_cap_is_wanted() -> None:
    flood = "x" * 10_000_000

    @tool(max_result=None)
    def text() -> str:
        return flood

    @tool(max_result=None)
    async def numbers() -> list[int]:
        return list(range(200_000))

    turn = [call("text"), call("numbers")]
    backend = ScriptedBackend([turn, answer("read")])
    result = await Agent(tools=[text, numbers], backend=backend).run("go")
    assert contents(result.history)[0] == flood
    assert json.loads(contents(result.history)[1])[-1] == 199_999


async def test_tasks_that_a_tool_starts_are_its_own() -> None:
    @tool
    async def parallel() -> str:
        async def work() -> None:
            await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            group.start_soon(work)
        return "both"

    @tool
    async def broken() -> None:
        async def work() -> None:
            raise OSError("one of them")

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(work)

    @tool(timeout=0.01)
    async def hung() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)

    alone = asyncio.all_tasks()
    turn = [call("parallel"), call("broken"), call("hung")]
    backend = ScriptedBackend([turn, answer("done")])
    result = await Agent(tools=[parallel, broken, hung], backend=backend).run("go")
    both, one, late = contents(result.history)
    assert both == "both"
    assert "broken failed: ExceptionGroup" in one
    assert "hung did not finish within 0.01 s" in late
    assert asyncio.all_tasks() == alone


# --- guards and hooks


class Raising(Hooks[Any]):
    """Raises `error` at one point."""

    def __init__(self, at: str, error: Exception) -> None:
        async def broken(*_: Any) -> None:
            raise error

        setattr(self, at, broken)


POINTS = ["before_turn", "after_turn", "before_call", "after_call", "before_answer"]


@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("error", [KeyError("mine"), Blocked("no")])
async def test_an_error_of_a_hook_ends_the_run_as_it_is(at: str, error: Exception) -> None:
    store = MemoryStore()
    backend = ScriptedBackend([[ADD, ADD], answer("3")])
    agent = Agent(tools=[add], backend=backend, hooks=[Raising(at, error)], store=store)
    with pytest.raises(type(error)) as caught:
        await agent.run("go", conversation="talk")
    assert caught.value is error
    kept = await store.load("talk")
    assert_well_formed(kept)
    assert contents(kept) == [] if at == "before_turn" else len(contents(kept)) == 2
    if isinstance(error, Blocked):
        assert error.history == kept
    assert backend.conversations[0].closed


async def test_a_hook_may_refuse_a_call_or_an_answer_like_a_guard() -> None:
    class Strict(Hooks[Any]):
        async def before_call(self, context: RunContext[Any], call: Call) -> None:
            if call.arguments["a"] == 1:
                raise Retry("not one")

        async def before_answer(self, context: RunContext[Any], output: Any) -> None:
            if output == "3":
                raise Retry("in words")

    backend = ScriptedBackend([ADD, call("add", a=2, b=2), answer("3"), answer("four")])
    agent = Agent(tools=[add], backend=backend, hooks=[Strict()])
    result = await agent.run("go")
    assert contents(result.history) == ["not one", "4"]
    assert result.answer == "four"


@pytest.mark.parametrize("kind", ["input", "call", "output"])
async def test_an_error_of_a_guard_ends_the_run_as_it_is(kind: str) -> None:
    error = KeyError("mine")

    def guard(context: RunContext, about: object) -> None:
        raise error

    backend = ScriptedBackend([[ADD, ADD], answer("3")])
    agent = Agent(tools=[add], backend=backend)
    getattr(agent, f"guard_{kind}")(guard)
    stream = agent.stream("go")
    with pytest.raises(KeyError) as caught:
        await read(stream)
    assert caught.value is error
    assert_well_formed(stream.history)
    assert all(conversation.closed for conversation in backend.conversations)


async def test_calls_that_come_one_after_the_other_stop_at_the_one_that_ends_the_run() -> None:
    made: list[str] = []

    @tool(sequential=True)
    async def write(text: str) -> str:
        made.append(text)
        return "written"

    turn = [call("write", text=text) for text in "abc"]
    agent = Agent(tools=[write], backend=ScriptedBackend([turn]))

    @agent.guard_call
    def refuse(context: RunContext, call: Call) -> None:
        if call.arguments["text"] == "b":
            raise Blocked("not that one")

    with pytest.raises(Blocked) as caught:
        await agent.run("go")
    assert made == ["a"]
    assert contents(caught.value.history)[0] == "written"
    assert_well_formed(caught.value.history)


# --- backends


def proposed(tool: str, **arguments: Any) -> ProposedCall:
    return ProposedCall(tool, arguments)


async def test_a_tool_that_is_not_there_is_told_with_those_that_are() -> None:
    decisions = [Decision((proposed("gone"), proposed("add", a=1, b=2))), Decision((), "done")]
    result = await Agent(tools=[add, fail], backend=Fixed(decisions)).run("go")
    assert contents(result.history) == ["There is no tool 'gone'. Tools: add, fail.", "3"]


async def test_calls_made_twice_are_two_calls() -> None:
    twice = proposed("add", a=1, b=2)
    decisions = [Decision((twice, twice)), Decision((twice,)), Decision((), "done")]
    result = await Agent(tools=[add], backend=Fixed(decisions)).run("go")
    assert [one.id for one in result.calls] == ["call_1", "call_2", "call_3"]
    assert contents(result.history) == ["3", "3", "3"]
    assert_well_formed(result)


async def test_calls_win_over_an_answer() -> None:
    decisions = [Decision((proposed("add", a=1, b=2),), "or not"), Decision((), "3")]
    result = await Agent(tools=[add], backend=Fixed(decisions)).run("go")
    assert (contents(result.history), result.answer) == (["3"], "3")


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2, "a": 3}, cyclic(), {1, 2}, b"\xff", "\ud800", math.nan],
    ids=lambda value: type(value).__name__,
)
async def test_arguments_that_are_no_json_are_told_to_the_model(value: Any) -> None:
    decisions = [Decision((proposed("add", a=value, b=2),)), Decision((), "done")]
    result = await Agent(tools=[add], backend=Fixed(decisions)).run("go")
    assert result.results[0].is_error
    assert "Invalid arguments for add" in result.results[0].content
    again = [Decision((proposed("add", a=value, b=2),))] * 3
    with pytest.raises(RepeatedFailure, match="'add' was called 3 times"):
        await Agent(tools=[add], backend=Fixed(again)).run("go")


async def test_a_backend_that_stops_forking_leaves_nothing_open() -> None:
    class Tired(ScriptedBackend):
        async def open(self, **options: Any) -> ScriptedConversation:
            conversation = await super().open(**options)
            fork = conversation.fork

            def tired() -> ScriptedConversation:
                if len(self.conversations) == 2:
                    raise OSError("no memory left")
                return fork()

            conversation.fork = tired  # type: ignore[method-assign]
            return conversation

    backend = Tired([answer("never")])
    with pytest.raises(BackendError, match="no memory left"):
        await Agent(backend=backend).branch(["one", "two", "three"])
    assert [one.closed for one in backend.conversations] == [True, True]


# --- stores


class Failing(MemoryStore):
    """Fails to load, or at the second message and behind."""

    def __init__(self, at: str, error: Exception) -> None:
        super().__init__()
        self.at, self.error = at, error

    async def load(self, key: str) -> History:
        if self.at == "load":
            raise self.error
        return await super().load(key)

    async def append(self, key: str, messages: Sequence[Message], *, at: int) -> None:
        if self.at == "append" and at:
            raise self.error
        await super().append(key, messages, at=at)


@pytest.mark.parametrize("at", ["load", "append"])
@pytest.mark.parametrize("error", [OSError("disk full"), StoreError("disk full")])
async def test_a_store_that_fails_ends_the_run(at: str, error: Exception) -> None:
    backend = ScriptedBackend([ADD, answer("3")])
    agent = Agent(tools=[add], backend=backend, store=Failing(at, error))
    with pytest.raises(StoreError, match="disk full") as caught:
        await agent.run("go", conversation="talk")
    assert caught.value is error or caught.value.__cause__ is error
    history = vars(caught.value)["history"]
    assert contents(history) == (["3"] if at == "append" else [])
    assert_well_formed(history)
    assert all(conversation.closed for conversation in backend.conversations)


async def test_an_error_of_the_run_goes_before_that_of_its_store(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Failing("append", OSError("disk full"))
    backend = ScriptedBackend([call("fail")])
    agent = Agent(tools=[fail], backend=backend, store=store, same_failures=1)
    with pytest.raises(RepeatedFailure) as caught:
        await agent.run("go", conversation="talk")
    assert len(contents(caught.value.history)) == 1
    assert "could not be kept" in caplog.text


# --- watchers


@pytest.mark.parametrize("at", ["run", "decide", "decided", "call", "finished", "ended"])
async def test_an_error_of_a_watcher_ends_the_run_as_it_is(at: str) -> None:
    error = KeyError("mine")

    class Broken(Unwatched):
        pass

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    setattr(Broken, at, broken)
    backend = ScriptedBackend([[ADD, ADD], answer("3")])
    agent = Agent(tools=[add], backend=backend, telemetry=Broken())
    stream = agent.stream("go")
    with pytest.raises(KeyError) as caught:
        await read(stream)
    assert caught.value is error
    assert_well_formed(stream.history)
    assert all(conversation.closed for conversation in backend.conversations)
