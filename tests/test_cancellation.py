"""A run that is cancelled: at any point, in any way, it ends at once and loses nothing."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit import (
    Agent,
    AgentKitError,
    AnswerMessage,
    Cancellation,
    Decision,
    Deferred,
    History,
    LimitReached,
    ModelSettings,
    ResultMessage,
    Retry,
    RunContext,
    RunResult,
    UserMessage,
    max_seconds,
    tool,
)
from agentkit.defining.tool import AnyTool
from agentkit.stores.memory import MemoryStore
from agentkit.testing import (
    ScriptedAnswer,
    ScriptedBackend,
    ScriptedConversation,
    answer,
    assert_well_formed,
    call,
    drafted,
    refill,
)

POINTS = 1000

# --- one run with everything in it, cancelled anywhere


@tool
async def nap(times: int = 3) -> str:
    """Take some turns of the event loop."""
    for _ in range(times):
        await anyio.lowlevel.checkpoint()
    return "rested"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers, in a thread."""
    return a + b


@tool(pure=True)
async def look(where: str) -> str:
    """Look somewhere, without effects."""
    await anyio.lowlevel.checkpoint()
    return f"nothing in {where}"


@tool(pure=True)
def peek(where: str) -> str:
    """Look somewhere, in a thread."""
    return f"nothing in {where}"


@tool
async def book(day: int) -> str:
    """Book a day; the third is taken."""
    await anyio.lowlevel.checkpoint()
    if day == 3:
        raise Retry("that day is taken", value="day")
    return "booked"


@tool
async def reporting(context: RunContext) -> str:
    """Tell how far it is."""
    for done in range(3):
        await context.report("working", done=done, total=3)
    return "done"


@tool(timeout=None)
async def hang() -> None:
    """Never end."""
    await anyio.sleep_forever()


SETTINGS = ModelSettings(steps=2, max_calls=4)


class Leisurely(ScriptedBackend):
    """Gives way to the event loop before it closes a conversation."""

    async def open(self, **options: Any) -> ScriptedConversation:
        conversation = await super().open(**options)
        close = conversation.aclose

        async def aclose() -> None:
            await anyio.lowlevel.checkpoint()
            await close()

        conversation.aclose = aclose  # type: ignore[method-assign]
        return conversation


@dataclass
class Scene:
    """An agent that does all there is, and what shows whether it ended well."""

    agent: Agent
    backends: tuple[ScriptedBackend, ...]
    store: MemoryStore

    @classmethod
    def made(cls, **options: Any) -> Scene:
        sub = Leisurely([[call("nap"), call("add", a=4, b=4)], answer("eight")])
        helper = Agent(tools=[nap, add], backend=sub, name="helper", settings=SETTINGS)
        early = [call("nap"), call("add", a=1, b=2), call("reporting")]
        guess = [call("look", where="here"), call("peek", where="there")]
        backend = Leisurely([
            drafted(early, early, early, settled=[1, 2]),
            drafted(guess, call("look", where="nowhere"), guess),
            call("book", day=3),
            refill(day=4),
            [call("helper", request="2 * 4?"), call("nap")],
            [call("nap"), call("hang")],
            answer("never"),
        ])  # fmt: skip
        store = MemoryStore()
        tools: list[AnyTool] = [nap, add, look, peek, book, reporting, hang, helper.as_tool()]
        agent = Agent(tools=tools, backend=backend, store=store, settings=SETTINGS, **options)
        return cls(agent, (backend, sub), store)

    async def check(self, alone: set[Any], history: History | None = None) -> History:
        """Nothing is left over, and what the store has holds together."""
        await settled(alone)
        for backend in self.backends:
            assert all(conversation.closed for conversation in backend.conversations)
        kept = await self.store.load("talk")
        assert_well_formed(kept)
        if history is not None:
            assert_well_formed(history)
            assert history == kept or (not kept and len(history) <= 1)
        return kept


async def settled(alone: set[Any]) -> None:
    """No task is left but those of `alone`; a thread's last word to the loop may be on its way."""
    for _ in range(3):
        if asyncio.all_tasks() == alone:
            return
        await anyio.lowlevel.checkpoint()
    assert asyncio.all_tasks() == alone


async def ticks(number: int) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


Watch = Callable[[Agent, Cancellation | None], Coroutine[Any, Any, History]]


async def plainly(agent: Agent, stop: Cancellation | None) -> History:
    result = await agent.run("go", conversation="talk", cancellation=stop)
    assert result.status == "cancelled"
    return result.history


async def as_stream(agent: Agent, stop: Cancellation | None) -> History:
    events = agent.stream("go", conversation="talk", cancellation=stop)
    async with events:
        async for _ in events:
            pass
    return events.history


async def turn_by_turn(agent: Agent, stop: Cancellation | None) -> History:
    turns = agent.iterate("go", conversation="talk", cancellation=stop)
    async with turns:
        async for _ in turns:
            pass
    return turns.history


WATCHES = (plainly, as_stream, turn_by_turn)


async def cancelled_as_task(
    scene: Scene, watch: Watch, after: int, *, again: tuple[int, ...] = ()
) -> None:
    task: list[asyncio.Task[Any]] = []

    async def target() -> None:
        current = asyncio.current_task()
        assert current is not None
        task.append(current)
        await watch(scene.agent, None)

    async with anyio.create_task_group() as group:
        group.start_soon(target)
        await anyio.lowlevel.checkpoint()
        for wait in (after, *again):
            await ticks(wait)
            task[0].cancel()


async def cancelled_impatiently(scene: Scene, watch: Watch, after: int) -> None:
    await cancelled_as_task(scene, watch, after, again=(after % 4, after % 2))


async def cancelled_as_scope(scene: Scene, watch: Watch, after: int) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(watch, scene.agent, None)
        await ticks(after)
        group.cancel_scope.cancel()


async def cancelled_from_the_loop(scene: Scene, watch: Watch, after: int) -> History | None:
    stop = Cancellation()
    found: list[History | None] = []

    async def target() -> None:
        found.append(await watch(scene.agent, stop))

    async with anyio.create_task_group() as group:
        group.start_soon(target)
        await ticks(after)
        stop.cancel("enough")
    return found[0]


async def cancelled_from_a_thread(scene: Scene, watch: Watch, after: int) -> History | None:
    stop = Cancellation()
    found: list[History | None] = []

    async def target() -> None:
        found.append(await watch(scene.agent, stop))

    thread = threading.Thread(target=stop.cancel)
    async with anyio.create_task_group() as group:
        group.start_soon(target)
        await ticks(after)
        thread.start()
    thread.join()
    return found[0]


WAYS = (
    cancelled_as_task,
    cancelled_impatiently,
    cancelled_as_scope,
    cancelled_from_the_loop,
    cancelled_from_a_thread,
)


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("way", WAYS)
async def test_at_any_point_a_run_ends_at_once_and_loses_nothing(way: Any, watch: Watch) -> None:
    chance = random.Random(f"{way.__name__} {watch.__name__}")
    lengths: set[int] = set()
    for _ in range(POINTS // (len(WAYS) * len(WATCHES)) + 1):
        alone = asyncio.all_tasks()
        scene = Scene.made()
        history = await way(scene, watch, chance.randrange(0, 120))
        lengths.add(len(await scene.check(alone, history)))
    assert len(lengths) > 4  # early and late


async def test_a_deadline_may_pass_at_any_point(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random("deadline")
    lengths: set[int] = set()
    for _ in range(50):
        alone = asyncio.all_tasks()
        scene = Scene.made(stop=max_seconds(chance.uniform(1e-6, 0.02)))
        with pytest.raises(LimitReached, match=r"s (were|are) over") as caught:
            await scene.agent.run("go", conversation="talk")
        lengths.add(len(await scene.check(alone, caught.value.history)))
    assert len(lengths) > 2


# --- what is left of it


def contents(history: History) -> list[str]:
    return [message.content for message in history if isinstance(message, ResultMessage)]


async def test_the_result_says_why_and_holds_what_was_done() -> None:
    stop = Cancellation()

    @tool
    async def enough() -> str:
        stop.cancel("the user closed the window")
        await anyio.lowlevel.checkpoint()
        raise AssertionError("cancelled by now")

    turn = [call("nap", times=0), call("enough")]
    backend = ScriptedBackend([call("add", a=1, b=1), turn, answer("never")])
    store = MemoryStore()
    agent = Agent(tools=[add, nap, enough], backend=backend, store=store)
    result = await agent.run("go", conversation="talk", cancellation=stop)
    assert (result.status, result.reason) == ("cancelled", "the user closed the window")
    assert contents(result.history)[:2] == ["2", "rested"]
    assert "The run ended before enough finished" in contents(result.history)[2]
    assert await store.load("talk") == result.history
    assert_well_formed(result)
    assert (result.turns, len(result.decisions)) == (2, 2)


async def test_a_stream_ends_with_the_result_of_the_cancelled_run() -> None:
    stop = Cancellation()
    agent = Agent(tools=[hang], backend=ScriptedBackend([call("hang")]))
    async with agent.stream("go", cancellation=stop) as events:
        async for event in events:
            if type(event).__name__ == "CallFilled":
                stop.cancel("enough")
    assert (events.result.status, events.result.reason) == ("cancelled", "enough")


async def test_a_conversation_goes_on_behind_what_was_cancelled() -> None:
    stop = Cancellation()

    async def thinking(_: History) -> ScriptedAnswer:
        stop.cancel()
        await anyio.sleep_forever()
        return answer("never")

    backend = ScriptedBackend([thinking, answer("here again")])
    agent = Agent(backend=backend, store=MemoryStore())
    await agent.run("one", conversation="talk", cancellation=stop)
    result = await agent.run("two", conversation="talk")
    assert result.messages == (UserMessage("one"), UserMessage("two"), AnswerMessage("here again"))


async def test_one_cancellation_ends_all_the_runs_it_was_given_to_now_and_later() -> None:
    stop = Cancellation()
    agent = Agent(tools=[hang], backend=ScriptedBackend([call("hang")] * 3))
    results: list[RunResult[str]] = []

    async def one() -> None:
        results.append(await agent.run("go", cancellation=stop))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
        await ticks(10)
        stop.cancel("the first reason")
        stop.cancel("counts")
    later = await Agent(backend=Prompt()).run("go", cancellation=stop)
    assert [(one.status, one.reason) for one in [*results, later]] == [
        ("cancelled", "the first reason")
    ] * 4


class Prompt(ScriptedBackend):
    """Answers without ever giving way to the event loop."""

    def __init__(self) -> None:
        super().__init__([])

    async def open(self, **options: Any) -> Any:
        conversation = await super().open(**options)

        async def extend(messages: object) -> None: ...

        async def decide(**options: Any) -> Decision:
            return Decision((), "at once")

        conversation.extend = extend  # type: ignore[method-assign]
        conversation.decide = decide  # type: ignore[method-assign]
        return conversation


async def test_a_cancellation_of_a_run_that_is_over_does_nothing() -> None:
    stop = Cancellation()
    result = await Agent(backend=ScriptedBackend([answer("x")])).run("go", cancellation=stop)
    stop.cancel()
    assert result.status == "answered"


def test_runs_in_several_event_loops_end_together() -> None:
    stop = Cancellation()
    agent = Agent(tools=[hang], backend=ScriptedBackend([call("hang")] * 2))
    begun = threading.Barrier(3)
    found: list[RunResult[str]] = []

    @agent.guard_call
    def met(context: RunContext, call: object) -> None:
        begun.wait()

    def in_a_loop_of_its_own() -> None:
        found.append(agent.run_sync("go", cancellation=stop))

    threads = [threading.Thread(target=in_a_loop_of_its_own) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait()
    stop.cancel("both")
    for thread in threads:
        thread.join()
    assert [(one.status, one.reason) for one in found] == [("cancelled", "both")] * 2


async def test_a_hung_thread_is_left_behind() -> None:
    stop, going_on, begun = Cancellation(), threading.Event(), threading.Event()

    @tool(timeout=None)
    def stuck() -> str:
        begun.set()
        stop.cancel("from the tool's own thread")
        going_on.wait()
        return "too late"

    agent = Agent(tools=[stuck], backend=ScriptedBackend([call("stuck")]))
    result = await agent.run("go", cancellation=stop)
    assert begun.is_set()
    assert result.status == "cancelled"
    assert "The run ended before stuck finished" in contents(result.history)[0]
    going_on.set()


async def test_calls_that_wait_for_someone_else_go_on_waiting() -> None:
    stop = Cancellation()

    @tool
    async def order() -> str:
        raise Deferred("ticket 7")

    @tool(approval=True)
    def pay() -> str:
        return "paid"

    @tool
    async def enough() -> None:
        await ticks(5)
        stop.cancel()
        await anyio.sleep_forever()

    script = [[call("order"), call("pay"), call("enough")]]
    agent = Agent(tools=[order, pay, enough], backend=ScriptedBackend(script))
    result = await agent.run("go", cancellation=stop)
    assert [one.call.tool for one in result.pending] == ["order", "pay"]
    assert len(contents(result.history)) == 1
    assert_well_formed(result)


async def test_what_settled_calls_did_stays_where_the_decision_never_came() -> None:
    stop = Cancellation()
    early = [call("nap", times=0), call("hang")]

    @tool
    async def enough() -> None: ...

    script = [drafted([*early, call("enough")], *[early] * 9, settled=2)]
    backend = ScriptedBackend(script)
    agent = Agent(tools=[nap, hang, enough], backend=backend, settings=SETTINGS)
    async with agent.stream("go", cancellation=stop) as events:
        async for event in events:
            if type(event).__name__ == "CallFinished":
                stop.cancel()
    assert not events.result.decisions
    assert contents(events.result.history)[0] == "rested"
    assert_well_formed(events.result)


async def test_branches_are_cancelled_together() -> None:
    alone = asyncio.all_tasks()
    for after in range(30):
        backend = ScriptedBackend([call("nap"), call("nap"), call("hang"), call("hang")])
        agent = Agent(tools=[nap, hang], backend=backend)
        async with anyio.create_task_group() as group:
            group.start_soon(agent.branch, ["one", "two"])
            await ticks(after)
            group.cancel_scope.cancel()
        assert asyncio.all_tasks() == alone
        assert all(conversation.closed for conversation in backend.conversations)


async def test_a_store_that_fails_does_not_keep_a_run_from_being_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = Cancellation()

    class Full(MemoryStore):
        async def append(self, key: str, messages: Any, *, at: int) -> None:
            if at:
                raise OSError("disk full")
            await super().append(key, messages, at=at)

    @tool
    async def enough() -> None:
        stop.cancel("enough")
        await anyio.sleep_forever()

    agent = Agent(tools=[enough], backend=ScriptedBackend([call("enough")]), store=Full())
    result = await agent.run("go", conversation="talk", cancellation=stop)
    assert (result.status, result.reason) == ("cancelled", "enough")
    assert "could not be kept" in caplog.text


async def test_a_failure_goes_before_a_cancellation_that_came_with_it() -> None:
    stop = Cancellation()

    def fail(_: object) -> AgentKitError:
        stop.cancel()
        return AgentKitError("unplugged")

    with pytest.raises(AgentKitError, match="unplugged"):
        await Agent(backend=ScriptedBackend([fail])).run("go", cancellation=stop)
