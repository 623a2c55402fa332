"""The loop: turns, calls side by side, errors that lose nothing, cancelling at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, assert_type

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentkit.run
from agentkit import (
    Agent,
    AgentKitError,
    AnswerMessage,
    BackendError,
    Call,
    CallMessage,
    Capabilities,
    ContextTooLong,
    Conversation,
    Decision,
    DefinitionError,
    EmptyRequest,
    EmptyTurn,
    History,
    Message,
    ProposedCall,
    RepeatedFailure,
    ResultMessage,
    RunError,
    RunResult,
    Timings,
    Toolset,
    ToolSpec,
    TurnLimitReached,
    UserMessage,
    dump_messages,
    load_messages,
    tool,
)
from agentkit.testing import ScriptedBackend, ScriptItem, answer, call


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail(text: str = "no") -> str:
    """Fail."""
    raise ValueError(text)


def agent_of(*script: ScriptItem, **options: Any) -> Agent:
    return Agent(tools=[add, fail], backend=ScriptedBackend(script), **options)


def check_well_formed(history: Sequence[Message]) -> None:
    """Every call has one result, right after it and in order."""
    rest = list(history)
    while rest:
        message = rest.pop(0)
        assert not isinstance(message, ResultMessage)
        if isinstance(message, CallMessage):
            results = [rest.pop(0) for _ in message.calls]
            found = [item.call_id for item in results if isinstance(item, ResultMessage)]
            assert found == [item.id for item in message.calls]


# --- turns


async def test_an_answer_at_once() -> None:
    result = await agent_of(answer("hello")).run("hi")
    assert_type(result, RunResult)
    assert result.answer == "hello"
    assert result.messages == (UserMessage("hi"), AnswerMessage("hello"))
    assert result.history == result.messages == result.new_messages
    assert (result.turns, result.calls, result.results) == (1, (), ())


async def test_a_call_then_an_answer() -> None:
    result = await agent_of(call("add", a=1, b=2), answer("3")).run("1 + 2?", steps=4)
    made = Call("call_1", "add", {"a": 1, "b": 2})
    outcome = ResultMessage("call_1", "add", "3")
    assert result.messages == (
        UserMessage("1 + 2?"),
        CallMessage((made,)),
        outcome,
        AnswerMessage("3"),
    )
    assert (result.calls, result.results) == ((made,), (outcome,))
    assert result.turns == len(result.decisions) == 2
    assert result.forwards == 8
    assert result.tokens == sum(decision.tokens for decision in result.decisions)
    assert result.timings.keys() == {"encode", "denoise", "lattice", "tool"}
    assert result.timings["tool"] > 0


def test_run_sync() -> None:
    assert agent_of(answer("hello")).run_sync("hi").answer == "hello"


async def test_run_sync_refuses_inside_a_running_loop() -> None:
    agent = agent_of(answer("hello"))
    with pytest.raises(RunError, match=r"write `await agent.run\(...\)`"):
        agent.run_sync("hi")
    assert (await agent.run("hi")).answer == "hello"


async def test_figures_are_summed_over_the_turns() -> None:
    decisions = [
        Decision((ProposedCall("add", {"a": 1, "b": 1}),), None, {}, 1, 5, Timings(0.1, 0.2, 0.3)),
        Decision((), "2", {}, 2, 7, Timings(0.1, 0.2, 0.3)),
    ]
    result = await Agent(tools=[add], backend=Fixed(decisions)).run("1 + 1?")
    assert (result.forwards, result.tokens) == (3, 12)
    phases = [result.timings[phase] for phase in ("encode", "denoise", "lattice")]
    assert phases == pytest.approx([0.2, 0.4, 0.6])


class Fixed:
    """A backend of given decisions, whose pieces a test may replace."""

    capabilities = Capabilities()

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = list(decisions)

    async def open(self, *, instructions: str, tools: Sequence[ToolSpec]) -> Conversation:
        return FixedConversation(self)

    async def aclose(self) -> None:
        raise AssertionError("an agent closes no backend")


class FixedConversation:
    def __init__(self, backend: Fixed) -> None:
        self.backend = backend

    async def extend(self, messages: Sequence[Message]) -> None: ...

    async def decide(self, *, steps: int, on_draft: object = None) -> Decision:
        return self.backend.decisions.pop(0)

    def fork(self) -> Conversation:
        raise BackendError("this backend can't fork")

    async def aclose(self) -> None: ...


# --- history


async def test_each_message_is_sent_once_and_only_new_ones_each_turn() -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), call("fail"), answer("3")])
    result = await Agent(tools=[add, fail], backend=backend).run("1 + 2?")
    [conversation] = backend.conversations
    assert [len(batch) for batch in conversation.extended] == [1, 2, 2]
    assert conversation.messages == result.messages[:-1]


async def test_a_second_run_goes_on_where_the_first_ended() -> None:
    backend = ScriptedBackend(
        [call("add", a=1, b=2), answer("3"), call("add", a=3, b=3), answer("6")]
    )
    agent = Agent(tools=[add], backend=backend)
    first = await agent.run("1 + 2?")
    second = await agent.run("and twice that?", history=first.history)
    assert second.messages[: len(first.messages)] == first.messages
    assert second.new_messages[0] == UserMessage("and twice that?")
    assert [made.id for made in second.calls] == ["call_2"]
    assert [made.arguments for made in second.calls] == [{"a": 3, "b": 3}]
    assert second.turns == 2
    assert backend.conversations[1].extended[0] == (*first.messages, second.new_messages[0])
    check_well_formed(second.messages)


async def test_a_history_survives_json() -> None:
    agent = agent_of(call("add", a=1, b=2), answer("3"), answer("still 3"))
    first = await agent.run("1 + 2?")
    second = await agent.run("sure?", history=load_messages(dump_messages(first.messages)))
    assert second.messages[:-2] == first.messages


async def test_call_ids_stay_unique_in_any_history() -> None:
    history = (
        UserMessage("x"),
        CallMessage((Call("call_2", "add", {}),)),
        ResultMessage("call_2", "add", "1"),
    )
    script: list[ScriptItem] = [[call("add", a=1, b=1), call("add", a=2, b=2)], answer("done")]
    result = await agent_of(*script).run("again", history=history)
    assert [made.id for made in result.calls] == ["call_3", "call_4"]


async def test_the_history_given_is_not_touched() -> None:
    history: list[Message] = [UserMessage("x"), AnswerMessage("y")]
    await agent_of(answer("z")).run("again", history=history)
    assert history == [UserMessage("x"), AnswerMessage("y")]


@given(
    st.lists(
        st.sampled_from(
            [
                call("add", a=1, b=2),
                call("add", a="x"),
                call("fail"),
                call("gone"),
                [call("fail"), call("add", a=2, b=2), call("fail")],
            ]
        ),
        max_size=10,
    )
)
def test_whatever_happens_the_history_is_whole(script: list[ScriptItem]) -> None:
    backend = ScriptedBackend([*script, answer("done")])
    history: History
    try:
        history = Agent(tools=[add, fail], backend=backend).run_sync("go").messages
    except (TurnLimitReached, RepeatedFailure) as error:
        history = error.history
    check_well_formed(history)
    [conversation] = backend.conversations
    assert conversation.closed
    assert conversation.messages == history[: len(conversation.messages)]
    assert all(len(batch) > 0 for batch in conversation.extended)


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
    agent = agent_of(call("add", a=1, b=1), call("add", a=2, b=2), answer("late"), max_turns=2)
    with pytest.raises(
        TurnLimitReached, match="no answer after 2 turns; raise `max_turns`"
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
        async def open(self, *, instructions: str, tools: Sequence[ToolSpec]) -> Conversation:
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

    monkeypatch.setattr(agentkit.run, "_CLOSING_SECONDS", 0.01)
    for aclose in (broken, hanging):
        monkeypatch.setattr(FixedConversation, "aclose", aclose)
        result = await Agent(backend=Fixed([Decision(answer="hello")])).run("hi")
        assert result.answer == "hello"
    assert "could not be closed" in caplog.text
    assert "did not close within" in caplog.text


async def test_an_unknown_backend_is_told_with_those_there_are() -> None:
    with pytest.raises(BackendError, match="no backend is named 'nothing'; known: 'embedded'"):
        await Agent(backend="nothing").run("hi")


# --- definition


def test_plain_functions_toolsets_and_tools_may_be_mixed() -> None:
    def plain(a: int) -> int:
        """Plain."""
        return a

    agent = Agent(tools=[plain, Toolset("pair", [add, fail])], name="mixed")
    assert [made.name for made in agent.tools] == ["plain", "add", "fail"]
    assert repr(agent) == "Agent(name='mixed', tools=['plain', 'add', 'fail'])"


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"two tools are named 'add'.*rename one"):
        Agent(tools=[add, tool(lambda: 1, name="add")])


@pytest.mark.parametrize("options", [{"max_turns": 0}, {"steps": 0}, {"steps": -1}])
def test_numbers_below_one_are_refused(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(DefinitionError, match=f"{name}=.* is too small; give 1 or more"):
        Agent(**options)


async def test_steps_of_a_run_are_checked_too() -> None:
    with pytest.raises(DefinitionError, match="steps=0"):
        await agent_of(answer("x")).run("hi", steps=0)


def test_something_else_is_no_backend() -> None:
    backend: Any = 3
    with pytest.raises(DefinitionError, match="backend=3 is no backend"):
        Agent(backend=backend)


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
    return Agent(tools=[nap, add, fail], backend=backend, steps=2), backend


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
    for error in (EmptyRequest, EmptyTurn, TurnLimitReached, RepeatedFailure, BackendError):
        assert issubclass(error, AgentKitError)
        assert error("why").history == ()
