"""Calls that wait: for a human, or to be finished elsewhere; runs that pause and are resumed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from loops import add

from agentkit import (
    Agent,
    Approve,
    CallPending,
    Deferred,
    Deny,
    Event,
    Finish,
    History,
    NotAnswered,
    Pending,
    Resume,
    RunContext,
    RunError,
    RunResult,
    Verdict,
    approve_when,
    argument,
    dump_messages,
    load_messages,
    named,
    tool,
)
from agentkit.testing import ScriptedBackend, answer, assert_well_formed, call


@tool(approval=True)
def remove(path: str) -> str:
    """Remove a file."""
    return f"removed {path}"


@tool(deferred=True)
def order(item: str) -> str:
    """Order; a warehouse finishes it."""
    raise AssertionError("never called")


def agent_of(*script: Any, **options: Any) -> Agent[None, str]:
    return Agent(tools=[add, remove, order], backend=ScriptedBackend(script), **options)


def told(result: RunResult[Any]) -> list[tuple[str, str, bool]]:
    return [(item.call_id, item.content, item.is_error) for item in result.results]


async def paused(*turn: Any, **options: Any) -> RunResult[str]:
    result = await agent_of(list(turn), **options).run("go")
    assert result.status == "paused"
    return result


async def test_a_run_pauses_where_nobody_approves_and_other_calls_are_made() -> None:
    result = await paused(call("remove", path="a"), call("add", a=1, b=2))
    (pending,) = result.pending
    assert (pending.kind, pending.call.id, pending.call.arguments) == (
        *("approval", "call_1"),
        {"path": "a"},
    )
    assert told(result) == [("call_2", "3", False)]
    with pytest.raises(NotAnswered, match=r"it is paused .*call_1 remove: approval"):
        _ = result.output


@pytest.mark.parametrize(
    ("verdict", "content", "is_error"),
    [
        (Approve(), "removed a", False),
        (
            Approve({"path": "b"}),
            '(The user changed the arguments to {"path":"b"}.) removed b',
            False,
        ),
        (Deny("keep it"), "The user denied this call: keep it", True),
        (Finish({"done": 1}), '{"done":1}', False),
        (Finish("it was gone", is_error=True), "it was gone", True),
    ],
)  # fmt: skip
async def test_a_paused_run_is_resumed_with_a_verdict(
    verdict: Verdict, content: str, is_error: bool
) -> None:
    first = await paused(call("remove", path="a"), call("add", a=1, b=2))
    history = load_messages(dump_messages(first.history))  # as if another process went on
    last = await agent_of(answer("ok")).run(Resume({"call_1": verdict}), history=history)
    assert (last.status, last.output) == ("answered", "ok")
    assert told(last) == [("call_1", content, is_error)]
    assert last.history[: len(history)] == history
    assert_well_formed(last.history)


async def test_calls_without_a_verdict_wait_on() -> None:
    first = await paused(call("remove", path="a"), call("remove", path="b"))
    second = await agent_of().run(Resume({"call_2": Approve()}), history=first.history)
    assert [item.call.id for item in second.pending] == ["call_1"]
    third = await agent_of(answer("ok")).run(Resume({"call_1": Deny()}), history=second.history)
    assert told(third) == [("call_1", "The user denied this call.", True)]
    assert_well_formed(third.history)


async def test_a_deferred_call_is_finished_elsewhere() -> None:
    first = await paused(call("order", item="tea"))
    assert first.pending[0].kind == "deferred"
    last = await agent_of(answer("ok")).run(Resume({"call_1": Finish(7)}), history=first.history)
    assert told(last) == [("call_1", "7", False)]


async def test_a_tool_may_defer_itself_and_leave_a_note() -> None:
    @tool
    def build(name: str) -> str:
        """Build."""
        raise Deferred(f"job of {name}")

    backend = ScriptedBackend([call("build", name="x"), answer("ok")])
    agent = Agent(tools=[build], backend=backend)
    first = await agent.run("go")
    assert first.pending == (Pending(first.calls[0], "deferred", "job of x"),)
    last = await agent.run(Resume({"call_1": Finish("built")}), history=first.history)
    assert last.output == "ok"


async def test_one_who_approves_is_asked_at_once_and_other_calls_go_on() -> None:
    added = anyio.Event()
    asked: list[Pending] = []

    async def approve(context: RunContext[Any], pending: Pending) -> Verdict:
        asked.append(pending)
        assert context.call == pending.call
        await added.wait()  # would hang if the other call waited for us
        return Approve()

    @tool
    async def plus(a: int) -> int:
        """Add one."""
        added.set()
        return a + 1

    backend = ScriptedBackend([[call("remove", path="a"), call("plus", a=1)], answer("ok")])
    events: list[Event] = []
    result = await Agent(tools=[remove, plus], backend=backend).run(
        "go", approve=approve, on_event=events.append
    )
    assert told(result) == [("call_1", "removed a", False), ("call_2", "2", False)]
    assert [event.pending for event in events if isinstance(event, CallPending)] == asked


async def test_policies_say_what_needs_approval_and_why() -> None:
    policy = approve_when(named("a*") & (argument("a") > 10), "large sums")
    agent = agent_of([call("add", a=1, b=1), call("add", a=11, b=1)], policies=[policy])
    result = await agent.run("go")
    assert [(item.call.id, item.why) for item in result.pending] == [("call_2", "large sums")]


async def test_a_request_is_refused_while_calls_wait() -> None:
    first = await paused(call("remove", path="a"))
    with pytest.raises(RunError, match=r"calls of the history wait \(call_1\)"):
        await agent_of().run("something else", history=first.history)


@pytest.mark.parametrize("ids", [["call_9"], ["call_1", "x"]])
async def test_verdicts_on_other_calls_are_refused(ids: list[str]) -> None:
    first = await paused(call("remove", path="a"))
    with pytest.raises(RunError, match="the calls that wait are"):
        await agent_of().run(Resume(dict.fromkeys(ids, Approve())), history=first.history)


async def test_something_else_is_no_verdict() -> None:
    said: Any = True
    waiting = await paused(call("remove", path="a"))
    with pytest.raises(RunError, match=r"True is no verdict on 'call_1'; give `Approve\(\)`"):
        await agent_of().run(Resume({"call_1": said}), history=waiting.history)
    with pytest.raises(RunError, match="True is no verdict on 'call_1'") as caught:
        await agent_of(call("remove", path="a")).run("go", approve=lambda _, pending: said)
    assert_well_formed(caught.value.history)


async def test_nothing_can_be_resumed_where_nothing_waits() -> None:
    history: History = (await agent_of(answer("x")).run("go")).history
    with pytest.raises(RunError, match="the calls that wait are none"):
        await agent_of().run(Resume({"call_1": Approve()}), history=history)


async def test_a_call_finished_elsewhere_can_not_be_approved() -> None:
    first = await paused(call("order", item="tea"))
    with pytest.raises(RunError, match=r"'order', which is finished elsewhere.*Finish\(value\)"):
        await agent_of().run(Resume({"call_1": Approve()}), history=first.history)


async def test_a_value_that_is_no_json_finishes_nothing() -> None:
    first = await paused(call("order", item="tea"))
    with pytest.raises(RunError, match="can't be written as JSON") as caught:
        await agent_of().run(Resume({"call_1": Finish(object())}), history=first.history)
    assert caught.value.history[: len(first.history)] == first.history
