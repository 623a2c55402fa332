"""One run: calls side by side, errors that lose nothing, cancelling at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from loops import Fixed, FixedConversation, add, agent_of, check_well_formed, fail

import agentkit.running.deciding
from agentkit import (
    Agent,
    AgentKitError,
    AnswerMessage,
    BackendError,
    Call,
    ContextTooLong,
    Conversation,
    Decision,
    EmptyRequest,
    EmptyTurn,
    History,
    LimitReached,
    ModelSettings,
    RepeatedFailure,
    ResultMessage,
    RunError,
    UserMessage,
    max_turns,
    tool,
)
from agentkit.testing import ScriptedBackend, answer, call

# --- calls


async def test_calls_of_one_turn_run_side_by_side_and_results_keep_their_order() -> None:
    second_ran = anyio.Event()

    @tool
    async def first() -> str:
        await second_ran.wait()  # would hang if calls ran one after the other
        return "1"

    @tool
    async def second() -> str:
        second_ran.set()
        return "2"

    backend = ScriptedBackend([[call("first"), call("second")], answer("done")])
    result = await Agent(tools=[first, second], backend=backend).run("both")
    assert [outcome.content for outcome in result.results] == ["1", "2"]
    check_well_formed(result.messages)


async def test_a_failing_call_leaves_the_others_alone() -> None:
    turn = [call("fail"), call("add", a=1, b=2), call("gone"), call("add", a="x")]
    result = await agent_of(turn, answer("done")).run("all")
    assert [outcome.is_error for outcome in result.results] == [True, False, True, True]
    assert result.answer == "done"


async def test_a_failure_is_sent_back_to_the_model() -> None:
    backend = ScriptedBackend([call("fail", text="too hot"), answer("sorry")])
    await Agent(tools=[fail], backend=backend).run("go")
    last = backend.conversations[0].messages[-1]
    assert isinstance(last, ResultMessage)
    assert last.is_error
    assert "too hot" in last.content


# --- what ends a run


async def test_the_turn_limit_carries_history_and_last_results() -> None:
    agent = agent_of(
        call("add", a=1, b=1), call("add", a=2, b=2), answer("late"), stop=max_turns(2)
    )
    with pytest.raises(
        LimitReached, match="no answer after 2 turns: the limit of 2 turns is reached"
    ) as caught:
        await agent.run("go")
    assert [result.content for result in caught.value.results] == ["4"]
    assert caught.value.history[-1] == caught.value.results[-1]
    assert len(caught.value.history) == 5
    going_on = await agent.run("go on", history=caught.value.history)
    assert going_on.answer == "late"


async def test_the_same_failing_call_ends_the_run_at_the_third_time() -> None:
    other = call("fail", text="b")
    script = [call("fail", text="a"), other, call("fail", text="a"), call("fail", text="a")]
    with pytest.raises(RepeatedFailure) as caught:
        await agent_of(*script, answer("never")).run("go")
    message = str(caught.value)
    assert "'fail' was called 3 times" in message
    assert '{"text": "a"}' in message
    assert "ValueError: a" in message
    assert (caught.value.times, caught.value.call) == (3, Call("call_4", "fail", {"text": "a"}))
    assert len(caught.value.history) == 9


async def test_equal_calls_of_one_turn_count_once() -> None:
    turn = [call("fail")] * 5
    assert (await agent_of(turn, turn, answer("done")).run("go")).answer == "done"


async def test_a_call_that_worked_in_between_may_fail_again() -> None:
    outcomes = iter([False, False, True, False, False])

    @tool
    def flaky() -> str:
        if not next(outcomes):
            raise OSError("not yet")
        return "yes"

    backend = ScriptedBackend([*[call("flaky")] * 5, answer("done")])
    assert (await Agent(tools=[flaky], backend=backend).run("go")).answer == "done"


@pytest.mark.parametrize("text", ["", " \n"])
async def test_a_turn_with_nothing_in_it_ends_the_run(text: str) -> None:
    with pytest.raises(EmptyTurn, match="turn 2 produced neither call nor answer") as caught:
        await agent_of(call("add", a=1, b=1), answer(text)).run("go")
    assert len(caught.value.history) == 3


@pytest.mark.parametrize("request_", ["", "  \n\t"])
async def test_an_empty_request_is_refused(request_: str) -> None:
    history = (UserMessage("x"), AnswerMessage("y"))
    with pytest.raises(EmptyRequest) as caught:
        await agent_of().run(request_, history=history)
    assert caught.value.history == history


@pytest.mark.parametrize("request_", [None, 3, b"hi", "\ud800"])
async def test_a_request_that_is_no_text_is_refused(request_: Any) -> None:
    with pytest.raises(RunError, match="the request"):
        await agent_of().run(request_)


async def test_a_history_of_something_else_is_refused() -> None:
    history: Any = [{"role": "user", "text": "hi"}]
    with pytest.raises(RunError, match=r"history\[0\] is of type 'dict'.*load_messages"):
        await agent_of().run("hi", history=history)


@pytest.mark.parametrize("error", [OSError("unplugged"), ExceptionGroup("two", [OSError()])])
async def test_a_failing_backend_is_a_backend_error_with_cause_and_history(
    error: Exception,
) -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), error])
    with pytest.raises(BackendError, match=f"the backend failed: {type(error).__name__}") as caught:
        await Agent(tools=[add], backend=backend).run("go")
    assert caught.value.__cause__ is error
    assert len(caught.value.history) == 3
    assert backend.conversations[0].closed


async def test_an_error_of_the_engine_comes_as_it_is_and_with_the_history() -> None:
    error = ContextTooLong(300, 256)
    with pytest.raises(ContextTooLong) as caught:
        await agent_of(call("add", a=1, b=2), error).run("go")
    assert caught.value is error
    assert len(vars(caught.value)["history"]) == 3


async def test_a_backend_that_does_not_open_is_told() -> None:
    class Shut(Fixed):
        async def open(self, **options: Any) -> Conversation:
            raise OSError("shut")

    with pytest.raises(BackendError, match="shut") as caught:
        await Agent(backend=Shut([])).run("go")
    assert caught.value.history == (UserMessage("go"),)


async def test_a_conversation_that_does_not_close_spoils_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: FixedConversation) -> None:
        raise OSError("stuck")

    async def hanging(self: FixedConversation) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(agentkit.running.deciding, "_CLOSING_SECONDS", 0.01)
    for aclose in (broken, hanging):
        monkeypatch.setattr(FixedConversation, "aclose", aclose)
        result = await Agent(backend=Fixed([Decision(answer="hello")])).run("hi")
        assert result.answer == "hello"
    assert "could not be closed" in caplog.text
    assert "did not close within" in caplog.text


async def test_an_unknown_backend_is_told_with_those_there_are() -> None:
    with pytest.raises(BackendError, match="no backend is named 'nothing'; "):
        await Agent(backend="nothing").run("hi")


# --- overlapping and cancelling


async def test_runs_of_one_agent_may_overlap() -> None:
    def echo(messages: History) -> Any:
        first = messages[0]
        assert isinstance(first, UserMessage)
        return answer(first.text)

    agent = agent_of(*[echo] * 20)
    results: dict[str, str] = {}

    async def one(text: str) -> None:
        results[text] = (await agent.run(text)).answer

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, str(number))
    assert results == {str(number): str(number) for number in range(20)}


@tool
async def nap() -> str:
    """Take some turns of the event loop."""
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    return "rested"


def napping() -> tuple[Agent, ScriptedBackend]:
    turn = [call("nap"), call("add", a=1, b=2), call("nap")]
    backend = ScriptedBackend([turn, turn, call("fail"), answer("done")])
    return Agent(tools=[nap, add, fail], backend=backend, settings=ModelSettings(steps=2)), backend


async def ticks(number: int) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


async def run_plainly(agent: Agent, _: list[History]) -> None:
    await agent.run("go")


async def run_as_stream(agent: Agent, histories: list[History]) -> None:
    events = agent.stream("go")
    try:
        async with events:
            async for _ in events:
                pass
    finally:
        histories.append(events.history)


Way = Callable[[Agent, list[History]], Awaitable[None]]


@pytest.mark.parametrize("way", [run_plainly, run_as_stream])
@pytest.mark.parametrize("natively", [False, True], ids=["scope", "task"])
async def test_cancelling_at_any_point_ends_the_run_and_loses_nothing(
    way: Way, natively: bool
) -> None:
    alone = asyncio.all_tasks()
    cancelled = 0
    for number in range(100):
        agent, backend = napping()
        histories: list[History] = []
        task: list[asyncio.Task[Any] | None] = []

        async def target() -> None:
            task.append(asyncio.current_task())  # noqa: B023  awaited within the iteration
            await way(agent, histories)  # noqa: B023

        async with anyio.create_task_group() as group:
            group.start_soon(target)
            await ticks(number)
            if not natively:
                group.cancel_scope.cancel()
            elif task and task[0] is not None:
                task[0].cancel()
        cancelled += backend.remaining > 0
        assert asyncio.all_tasks() == alone
        for conversation in backend.conversations:
            assert conversation.closed
        for history in histories:
            check_well_formed(history)
    assert cancelled > 10


async def test_cancelling_keeps_finished_work() -> None:
    hanging = anyio.Event()

    @tool(timeout=None)
    async def hang() -> None:
        hanging.set()
        await anyio.sleep_forever()

    backend = ScriptedBackend([call("add", a=1, b=1), [call("add", a=2, b=2), call("hang")]])
    events = Agent(tools=[add, hang], backend=backend).stream("go")
    with anyio.CancelScope() as scope:
        async with events:
            async for event in events:
                done = isinstance(event, agentkit.CallFinished) and event.result.content == "4"
                if done and hanging.is_set():
                    scope.cancel()
    contents = [item.content for item in events.history if isinstance(item, ResultMessage)]
    assert contents[:2] == ["2", "4"]
    assert "The run ended before hang finished" in contents[2]
    check_well_formed(events.history)


async def test_a_run_ends_in_a_time_limit_of_the_callers() -> None:
    @tool(timeout=None)
    async def hang() -> None:
        await anyio.sleep_forever()

    async def within_anyio(agent: Agent) -> None:
        with anyio.fail_after(0.01):
            await agent.run("go")

    async def within_asyncio(agent: Agent) -> None:
        async with asyncio.timeout(0.01):
            await agent.run("go")

    for limited in (within_anyio, within_asyncio):
        backend = ScriptedBackend([call("hang")])
        with pytest.raises(TimeoutError):
            await limited(Agent(tools=[hang], backend=backend))
        assert backend.conversations[0].closed


def test_every_error_of_a_run_is_of_the_one_tree() -> None:
    for error in (EmptyRequest, EmptyTurn, LimitReached, RepeatedFailure, BackendError):
        assert issubclass(error, AgentKitError)
        assert error("why").history == ()
