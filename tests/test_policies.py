"""Policies on doubtful decisions: ask the user, let another model decide, compose conditions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agentkit import (
    Agent,
    AnswerMessage,
    Condition,
    Decision,
    DefinitionError,
    Escalated,
    Event,
    ProposedCall,
    RunContext,
    always,
    approve_when,
    argument,
    ask_when,
    choice,
    confidence,
    escalate_to,
    named,
    tool,
    where,
)
from agentkit.policies.condition import Proposal
from agentkit.testing import (
    ScriptedBackend,
    ScriptItem,
    answer,
    assert_not_called,
    assert_well_formed,
    call,
)


@tool
def book(city: str, people: int) -> str:
    """Book."""
    return f"{people} in {city}"


def holds(condition: Condition, **about: Any) -> bool:
    proposed = ProposedCall(
        about.get("tool", "book"), about.get("arguments", {}), about.get("sure", {})
    )
    decision = Decision((proposed,), choice=about.get("choice", {}))
    return condition.test(Proposal(RunContext[Any](deps=about.get("deps")), decision, proposed))


@pytest.mark.parametrize(
    ("condition", "about", "expected"),
    [
        (confidence < 0.6, {"sure": {"/a": 0.9, "/b": 0.5}}, True),
        (confidence < 0.6, {"sure": {"/a": 0.9, "/b": 0.7}}, False),
        (confidence < 0.6, {}, False),  # nothing is known
        (confidence("a") >= 0.9, {"sure": {"/a": 0.9, "/b": 0.5}}, True),
        (confidence("/c/d") <= 0.9, {"sure": {"/c/d": 0.9}}, True),
        (confidence("z") < 1, {"sure": {"/a": 0.9}}, False),
        (choice < 0.5, {"choice": {"book": 0.4}}, True),
        (argument("n") > 3, {"arguments": {"n": 4}}, True),
        (argument("n") > 3, {"arguments": {"n": "x"}}, False),  # they don't compare
        (argument("n").is_("x"), {"arguments": {"n": "x"}}, True),
        (named("book", "x_*"), {"tool": "x_y"}, True),
        (named("book", "x_*"), {"tool": "bookx"}, False),
        (always, {}, True),
        (~always, {}, False),
        (always & ~always, {}, False),
        (always | ~always, {}, True),
        (where(lambda context, call: context.deps == call.tool), {"deps": "book"}, True),
    ],
)
def test_conditions(condition: Condition, about: dict[str, Any], expected: bool) -> None:
    assert holds(condition, **about) is expected


def test_a_condition_says_itself_in_words() -> None:
    condition = (confidence("city") < 0.6) & ~named("x") | (argument("n") > 3)
    assert condition.text == "confidence in 'city' < 0.6 and not tool 'x' or argument 'n' > 3"


def test_conditions_are_not_combined_by_words() -> None:
    with pytest.raises(DefinitionError, match="combine conditions with `&`, `\\|` and `~`"):
        _ = (confidence < 0.6) and named("book")
    with pytest.raises(DefinitionError, match=r"'confidence > 0.2' is neither true nor false"):
        _ = 0.2 < confidence < 0.6


@pytest.mark.parametrize("policy", [ask_when, approve_when, partial(escalate_to, "x")])
def test_something_else_is_no_condition(policy: Callable[..., Any]) -> None:
    compared: Any = argument("city")
    with pytest.raises(DefinitionError, match=r"False is no condition; .*\.is_\('Rome'\)"):
        policy(when=compared == "Rome")


async def test_a_doubtful_value_is_asked_about_and_nothing_is_called() -> None:
    script: list[ScriptItem] = [
        call("book", city="Roma", people=2).sure(city=0.4),
        answer("booked"),
    ]
    backend = ScriptedBackend(script)
    agent = Agent(tools=[book], backend=backend, policies=[ask_when(confidence < 0.6)])
    result = await agent.run("a table")
    assert (result.status, result.answer) == (
        "asked",
        'Which city do you mean? I read "Roma", but am only 40% sure.',
    )
    assert_not_called(result)
    assert result.history[-1] == AnswerMessage(result.answer)
    assert (await agent.run("Rome", history=result.history)).output == "booked"
    assert_well_formed(result.history)


def asked(made: ProposedCall) -> str:
    return f"{made.tool}?"


@pytest.mark.parametrize("question", ["Sure?", asked])
async def test_the_question_may_be_given(question: Any) -> None:
    backend = ScriptedBackend([call("book", city="Rome", people=1)])
    agent = Agent(tools=[book], backend=backend, policies=[ask_when(always, question)])
    assert (await agent.run("go")).answer in {"Sure?", "book?"}


async def test_another_backend_decides_a_doubtful_turn() -> None:
    small = ScriptedBackend([call("book", city="Roma", people=2).sure(city=0.2), answer("small")])
    large = ScriptedBackend([call("book", city="Rome", people=2)])
    events: list[Event] = []
    agent = Agent(
        tools=[book],
        backend=small,
        policies=[escalate_to(large, when=confidence < 0.5)],
        instructions="Be brief.",
    )
    result = await agent.run("go", on_event=events.append)
    assert (result.results[0].content, result.output) == ("2 in Rome", "small")
    assert len(result.decisions) == 3
    assert result.turns == 2
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    assert escalated.why == "confidence < 0.5"
    (conversation,) = large.conversations
    assert conversation.closed
    assert (conversation.instructions, conversation.messages) == ("Be brief.", result.history[:1])


async def test_a_decision_without_doubt_is_not_escalated() -> None:
    small = ScriptedBackend([call("book", city="Rome", people=2), answer("small")])
    large = ScriptedBackend([])
    agent = Agent(tools=[book], backend=small, policies=[escalate_to(large)])
    assert (await agent.run("go")).output == "small"
    assert large.conversations == []
