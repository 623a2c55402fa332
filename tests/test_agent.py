"""An agent: its definition, its turns, and the history that grows from run to run."""

from __future__ import annotations

from typing import Any, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import Fixed, add, agent_of, check_well_formed, fail
from tenacity import stop_after_attempt

from agentkit import (
    Agent,
    AnswerMessage,
    Call,
    CallMessage,
    Decision,
    DefinitionError,
    History,
    Hooks,
    LimitReached,
    Message,
    ModelSettings,
    ProposedCall,
    RepeatedFailure,
    ResultMessage,
    RunError,
    RunResult,
    Timings,
    Toolset,
    UserMessage,
    ask_when,
    confidence,
    dump_messages,
    load_messages,
    max_turns,
    tool,
)
from agentkit.testing import ScriptedBackend, ScriptItem, answer, call

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


@pytest.mark.parametrize("options", [{"retries": -1}, {"same_failures": 0}])
def test_numbers_that_are_too_small_are_refused(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(DefinitionError, match=f"{name}=.* is too small; give [01] or more"):
        Agent(**options)


@pytest.mark.parametrize("name", ["steps", "max_calls", "max_tokens"])
def test_settings_below_one_are_refused(name: str) -> None:
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(DefinitionError, match=f"{name}=0 is too small; give 1 or more"):
        ModelSettings(**settings)


def test_something_else_is_no_backend() -> None:
    backend: Any = 3
    with pytest.raises(DefinitionError, match="backend=3 is no backend"):
        Agent(backend=backend)


@pytest.mark.parametrize(
    ("part", "mend"),
    [
        ({"instructions": 3}, "agent 'desk': instructions=3 won't do; give text, or a function"),
        ({"tools": add}, r"tools=Tool\('add'\) is one; give a list"),
        ({"policies": [confidence < 0.6]}, r"policies=Condition\(text='confidence < 0.6'\) won't"),
        ({"policies": ask_when(confidence < 0.6)}, "policies=AskPolicy.* is one; give a list"),
        ({"stop": 8}, r"stop=8 won't do; give a stop policy, such as `max_turns\(8\)`"),
        ({"settings": {"steps": 3}}, r"settings=.* won't do; give `ModelSettings\(...\)`"),
        ({"hooks": [Hooks]}, "hooks=.* won't do; give an object of a subclass"),
        ({"input_guards": ["x"]}, "input_guards='x' won't do; give a function"),
        ({"store": "chats.db"}, r"store='chats.db' won't do; .*`SQLiteStore\(path\)`"),
        ({"telemetry": True}, r"telemetry=True won't do; give `Telemetry\(\)`"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(part: dict[str, Any], mend: str) -> None:
    with pytest.raises(DefinitionError, match=mend):
        Agent(name="desk", **part)


# --- turns


async def test_an_answer_at_once() -> None:
    result = await agent_of(answer("hello")).run("hi")
    assert_type(result, RunResult)
    assert result.answer == "hello"
    assert result.messages == (UserMessage("hi"), AnswerMessage("hello"))
    assert result.history == result.messages == result.new_messages
    assert (result.turns, result.calls, result.results) == (1, (), ())


async def test_a_call_then_an_answer() -> None:
    result = await agent_of(call("add", a=1, b=2), answer("3")).run(
        "1 + 2?", settings=ModelSettings(steps=4)
    )
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
    assert result.timings.keys() == {"encode", "denoise", "verify", "lattice", "tool"}
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


async def test_a_run_has_limits_and_retries_of_its_own() -> None:
    tries = 0

    def flaky() -> str:
        """Work the second time."""
        nonlocal tries
        tries += 1
        if tries % 2:
            raise ConnectionError("busy")
        return "there"

    agent = Agent(
        tools=[flaky], backend=ScriptedBackend([call("flaky"), answer("x")] * 3), name="desk"
    )
    assert (await agent.run("go")).results[0].is_error
    patient = await agent.run("go", retry=stop_after_attempt(2))
    assert [result.content for result in patient.results] == ["there"]
    with pytest.raises(LimitReached, match="the limit of 1 turns is reached"):
        await agent.run("go", stop=max_turns(1))
    with pytest.raises(DefinitionError, match="a run of agent 'desk': retry=3 is no retry policy"):
        await agent.run("go", retry=3)  # type: ignore[arg-type]


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
    except (LimitReached, RepeatedFailure) as error:
        history = error.history
    check_well_formed(history)
    [conversation] = backend.conversations
    assert conversation.closed
    assert conversation.messages == history[: len(conversation.messages)]
    assert all(len(batch) > 0 for batch in conversation.extended)


async def test_a_toolset_that_changes_is_followed_by_the_next_run() -> None:
    toolset = Toolset("grows", [add])
    backend = ScriptedBackend([answer("one"), answer("two")])
    agent = Agent(tools=[toolset], backend=backend)
    await agent.run("go")
    object.__setattr__(toolset, "tools", (add, fail))  # as that of an MCP server does
    await agent.run("go")
    offered = [[spec.name for spec in one.tools] for one in backend.conversations]
    assert offered == [["add"], ["add", "fail"]]
