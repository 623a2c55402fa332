"""Calls that begin before their decision is there because they have settled."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from drafting import SEVERAL, Marks, Written, contents, draft, heard_by, proposed

from agentkit import (
    Agent,
    BackendError,
    Blocked,
    Call,
    CallFilled,
    CallFinished,
    Decision,
    DraftCanvas,
    LimitReached,
    RunContext,
    always,
    approve_when,
    ask_when,
    confidence,
    escalate_to,
    max_calls,
    tool,
)
from agentkit.backend import OnDraft
from agentkit.testing import (
    ScriptedBackend,
    ScriptItem,
    answer,
    assert_called,
    assert_calls,
    assert_well_formed,
    call,
    drafted,
)


async def test_a_settled_call_ends_before_its_decision_does() -> None:
    marks = Marks()
    marks.go.set()
    calls = proposed("fetch", what="a"), proposed("fetch", what="b")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=1))
        await marks.ended.wait()  # would hang if the call waited for us
        marks.seen.append("decided")
        return Decision(calls)

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    events, result = await heard_by(agent)
    assert marks.seen == ["begin a", "end a", "decided", "begin b", "end b"]
    assert_calls(result, [call("fetch", what="a"), call("fetch", what="b")])
    assert contents(result.history) == ["got a", "got b"]
    assert_well_formed(result)
    filled = [event for event in events if isinstance(event, CallFilled)]
    assert [(event.early, event.decision is None) for event in filled] == [
        (True, True),
        (False, False),
    ]


async def test_events_show_that_it_did() -> None:
    early = [call("fetch", what="a"), call("fetch", what="b")]
    marks = Marks()
    marks.go.set()
    backend = ScriptedBackend([drafted(early, *[early] * 6, settled=1), answer("done")])
    agent = Agent(tools=[marks.fetch], backend=backend, settings=SEVERAL)
    events, _ = await heard_by(agent)
    finished = next(n for n, event in enumerate(events) if isinstance(event, CallFinished))
    drawn_last = [
        event.draft.step == event.draft.steps if isinstance(event, DraftCanvas) else False
        for event in events
    ].index(True)
    assert finished < drawn_last


async def test_a_call_that_has_begun_is_not_begun_again() -> None:
    marks = Marks()
    marks.go.set()
    early = [call("fetch", what="a"), call("fetch", what="b")]
    script: list[ScriptItem] = [
        drafted(early, early[:1], early, early, settled=[1, 1, 2]),
        answer("done"),
    ]
    agent = Agent(tools=[marks.fetch], backend=ScriptedBackend(script), settings=SEVERAL)
    result = await agent.run("go")
    assert sorted(mark for mark in marks.seen if "begin" in mark) == ["begin a", "begin b"]
    assert [one.id for one in result.calls] == ["call_1", "call_2"]


@pytest.mark.parametrize(
    "policy",
    [ask_when(confidence < 0.1), escalate_to("nobody", when=confidence < 0.1),
     approve_when(~always)],
    ids=["ask", "escalate", "approve"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fetch", "look"])
async def test_where_a_policy_has_a_say_nothing_begins_before_the_decision(
    policy: Any, kind: str
) -> None:
    marks = Marks()
    marks.go.set()
    calls = proposed(kind, what="a"), proposed(kind, what="b")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=1))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        marks.seen.append("decided")
        return Decision(calls)

    tools = [marks.fetch, marks.look]
    agent = Agent(tools=tools, backend=Written(turn), policies=[policy], settings=SEVERAL)
    await agent.run("go")
    assert marks.seen[0] == "decided"
    assert len(marks.seen) == 5


async def test_calls_that_must_wait_hold_back_those_behind_them() -> None:
    marks = Marks()
    marks.go.set()
    order: list[str] = []

    @tool(sequential=True)
    async def alone() -> str:
        order.append("alone")
        return "alone"

    calls = proposed("alone"), proposed("fetch", what="behind")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=2))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert not order
        assert not marks.seen
        return Decision(calls)

    agent = Agent(tools=[alone, marks.fetch], backend=Written(turn), settings=SEVERAL)
    assert contents((await agent.run("go")).history) == ["alone", "got behind"]


async def test_a_failing_backend_leaves_what_had_begun_in_the_history() -> None:
    marks = Marks()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch"), proposed("fetch"), settled=1))
        await marks.begun.wait()
        marks.go.set()  # it is at work still
        raise OSError("unplugged")

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    with pytest.raises(BackendError, match="unplugged") as caught:
        await agent.run("go")
    assert_called(caught.value.history, "fetch")
    assert contents(caught.value.history) == ["got it"]
    assert_well_formed(caught.value.history)


@pytest.mark.parametrize("decided", [(), ("b",), ("b", "a")])
async def test_a_decision_that_takes_back_what_had_settled_is_the_backends_fault(
    decided: tuple[str, ...],
) -> None:
    marks = Marks()
    marks.go.set()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch", what="a"), settled=1))
        await marks.ended.wait()
        return Decision(tuple(proposed("fetch", what=what) for what in decided), "or an answer")

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)
    with pytest.raises(BackendError, match="had settled, but the decision begins with") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["got a"]
    assert_well_formed(caught.value.history)


async def test_a_limit_holds_for_calls_that_begin_early() -> None:
    marks = Marks()
    marks.go.set()
    calls = tuple(proposed("fetch", what=what) for what in "abc")

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(*calls, settled=3))
        return Decision(calls)

    backend = Written(turn)
    agent = Agent(tools=[marks.fetch], backend=backend, settings=SEVERAL, stop=max_calls(2))
    with pytest.raises(LimitReached, match="the limit of 2 calls is reached") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["got a", "got b"]
    assert_well_formed(caught.value.history)


async def test_a_guard_that_refuses_an_early_call_ends_the_run_before_others_are_made() -> None:
    marks = Marks()
    marks.go.set()
    asked = anyio.Event()

    async def turn(on_draft: OnDraft) -> Decision:
        on_draft(draft(proposed("fetch", what="a"), settled=1))
        await asked.wait()
        await anyio.lowlevel.checkpoint()
        return Decision((proposed("fetch", what="a"), proposed("fetch", what="b")))

    agent = Agent(tools=[marks.fetch], backend=Written(turn), settings=SEVERAL)

    @agent.guard_call
    def refuse(context: RunContext, call: Call) -> None:
        if call.arguments["what"] == "a":
            asked.set()
            raise Blocked("not today")

    with pytest.raises(Blocked, match="not today") as caught:
        await agent.run("go")
    assert marks.seen == []
    assert_well_formed(caught.value.history)
