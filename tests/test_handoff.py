"""Agents that work together: as tools of each other, and by giving the floor away."""

from __future__ import annotations

from typing import Any, cast

import pytest
from loops import add

from agentkit import (
    Agent,
    Approve,
    DefinitionError,
    Event,
    HandedOff,
    LimitReached,
    ModelSettings,
    Pending,
    Resume,
    RunContext,
    Verdict,
    ask_when,
    confidence,
    handoff,
    max_forwards,
    tool,
)
from agentkit.testing import ScriptedBackend, ScriptItem, answer, assert_well_formed, call


@tool
def whoami(context: RunContext[str]) -> str:
    """Say who is asked."""
    return f"{context.agent} for {context.deps}"


# --- as a tool


async def test_an_agent_is_a_tool_of_another_and_shares_its_deps() -> None:
    inner = Agent[str](
        tools=[whoami], backend=ScriptedBackend([call("whoami"), answer("42")]), name="maths",
        description="Does sums.",
    )  # fmt: skip
    backend = ScriptedBackend([call("maths", request="6 * 7?"), answer("It is 42")])
    outer = Agent[str](tools=[inner.as_tool()], backend=backend)
    (spec,) = outer.plan().specs
    assert (spec.name, spec.description) == ("maths", "Does sums.")
    assert list(spec.parameters["properties"]) == ["request"]
    result = await outer.run("go", deps="Ann")
    assert [item.content for item in result.results] == ["42"]
    assert result.output == "It is 42"


async def test_what_the_inner_agent_spends_counts_for_the_outer_one() -> None:
    inner = Agent(backend=ScriptedBackend([answer("x")] * 9), name="inner")
    script: list[ScriptItem] = [call("inner", request="a")] * 9
    agent = Agent(tools=[inner.as_tool()], backend=ScriptedBackend(script), stop=max_forwards(5))
    with pytest.raises(LimitReached, match="the limit of 5 forwards is reached") as caught:
        await agent.run("go")
    assert caught.value.turn == 4  # three of ours and three of the inner one's are too many


async def test_an_inner_agent_asks_the_same_human() -> None:
    @tool(approval=True)
    def remove(path: str) -> str:
        """Remove."""
        return f"removed {path}"

    def approve(context: RunContext[Any], pending: Pending) -> Verdict:
        return Approve()

    inner = Agent(
        tools=[remove], name="inner",
        backend=ScriptedBackend([call("remove", path="a"), answer("done")]),
    )  # fmt: skip
    outer = Agent(
        tools=[inner.as_tool()], backend=ScriptedBackend([call("inner", request="a"), answer("ok")])
    )
    assert (await outer.run("go", approve=approve)).results[0].content == "done"


async def test_an_inner_agent_that_pauses_is_a_failed_call_that_says_so() -> None:
    @tool(approval=True)
    def remove(path: str) -> str:
        """Remove."""
        return path

    inner = Agent(tools=[remove], name="inner", backend=ScriptedBackend([call("remove", path="a")]))
    outer = Agent(
        tools=[inner.as_tool()], backend=ScriptedBackend([call("inner", request="a"), answer("ok")])
    )
    (failed,) = (await outer.run("go")).results
    assert failed.is_error
    assert "the run has no output: it is paused" in failed.content


async def test_what_an_inner_agent_asks_back_is_what_the_call_gives() -> None:
    doubtful = call("add", a=1, b=2).sure(a=0.1)
    inner = Agent(
        tools=[add],
        name="inner",
        policies=[ask_when(confidence < 0.6, "Which one?")],
        backend=ScriptedBackend([doubtful]),
    )
    outer = Agent(
        tools=[inner.as_tool()], backend=ScriptedBackend([call("inner", request="a"), answer("ok")])
    )
    (asked,) = (await outer.run("go")).results
    assert (asked.content, asked.is_error) == ("Which one?", False)


# --- by giving the floor away


async def test_another_agent_goes_on_with_the_whole_conversation() -> None:
    desk = ScriptedBackend([call("add", a=1, b=1), answer(7)])
    second = Agent(
        tools=[add], output=int, backend=desk, name="accounts", instructions="You do accounts."
    )
    first = ScriptedBackend([call("hand_off_to_accounts")])
    agent = Agent(tools=[handoff(second)], backend=first, name="reception")
    events: list[Event] = []
    result = await agent.run("my bill?", on_event=events.append)
    assert (result.agent, result.value) == ("accounts", 7)  # of the other agent's type
    assert [event.agent for event in events if isinstance(event, HandedOff)] == ["accounts"]
    (conversation,) = desk.conversations
    assert conversation.instructions == "You do accounts."
    assert conversation.messages == result.history[:-1]
    assert [conversation.closed for conversation in first.conversations] == [True]
    assert result.turns == 3
    assert_well_formed(result.history)


async def test_a_hand_off_may_be_handed_back() -> None:
    desk = Agent(backend=ScriptedBackend([answer("at the desk")]), name="desk")
    back = Agent(
        tools=[handoff(desk)], backend=ScriptedBackend([call("hand_off_to_desk")]), name="back"
    )
    front = Agent(
        tools=[handoff(back)], backend=ScriptedBackend([call("hand_off_to_back")]), name="desk"
    )
    result = await front.run("go")
    assert (result.agent, result.output) == ("desk", "at the desk")
    assert [item.content for item in result.results] == [
        "back goes on with the conversation.", "desk goes on with the conversation.",
    ]  # fmt: skip


async def test_a_paused_run_goes_on_with_the_agent_that_had_the_floor() -> None:
    @tool(approval=True)
    def remove(path: str) -> str:
        """Remove."""
        return f"removed {path}"

    desk = Agent(
        tools=[remove],
        name="desk",
        backend=ScriptedBackend([call("remove", path="a")]),
        settings=ModelSettings(steps=3),
    )
    front = Agent(
        tools=[handoff(desk)],
        name="front",
        backend=ScriptedBackend([answer("x"), call("hand_off_to_desk")]),
        settings=ModelSettings(steps=1),
    )
    earlier = await front.run("hello")
    paused = await front.run("remove a", history=earlier.history)
    assert (paused.status, paused.agent) == ("paused", "desk")
    (waiting,) = paused.pending
    model = ScriptedBackend([answer("done")])
    again = Agent(tools=[handoff(desk.with_backend(model))], name="front", backend=model)
    resume = Resume({waiting.call.id: Approve()})
    done = await again.run(resume, history=paused.history)
    assert (done.agent, done.output) == ("desk", "done")
    assert done.results[-1].content == "removed a"
    assert_well_formed(done.history)


async def test_the_other_agent_has_its_own_settings_unless_the_run_says_some() -> None:
    model = ScriptedBackend([call("hand_off_to_desk"), answer("x")] * 2)
    desk = Agent(name="desk", backend=model, settings=ModelSettings(steps=3, max_calls=2))
    front = Agent(tools=[handoff(desk)], backend=model, settings=ModelSettings(steps=1))
    await front.run("go")
    await front.run("go", settings=ModelSettings(steps=5))
    seen = [one for conversation in model.conversations for one in conversation.settings]
    assert [one.steps for one in seen] == [1, 3, 5, 5]


def test_an_agent_itself_is_no_tool() -> None:
    with pytest.raises(
        DefinitionError, match=r"Agent\(name='inner'.*is no tool; give its `as_tool"
    ):
        Agent(tools=[cast(Any, Agent(name="inner"))])


async def test_a_name_that_is_no_tool_name_is_refused() -> None:
    agent = Agent(name="help desk")
    with pytest.raises(DefinitionError, match="'hand_off_to_help desk' is no tool name"):
        handoff(agent)
    with pytest.raises(DefinitionError, match="'help desk' is no tool name"):
        agent.as_tool()
