"""What ends a run before its answer: stop policies, deadlines and the limits of single tools."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from loops import add, fail

from agentkit import (
    Agent,
    CallMessage,
    DefinitionError,
    History,
    LimitReached,
    ModelSettings,
    ResultMessage,
    Retry,
    Stop,
    max_calls,
    max_failures,
    max_forwards,
    max_seconds,
    max_tokens,
    max_turns,
    tool,
)
from agentkit.context import Spent
from agentkit.testing import (
    ScriptedAnswer,
    ScriptedBackend,
    ScriptItem,
    answer,
    assert_well_formed,
    call,
    refill,
)

MEND = r"raise it, or go on with `history=error\.history`"
ADD = call("add", a=1, b=2)


def agent_of(*script: ScriptItem, **options: Any) -> tuple[Agent, ScriptedBackend]:
    backend = ScriptedBackend(script)
    return Agent(tools=[add, fail, hang], backend=backend, **options), backend


@tool(timeout=None)
async def hang() -> None:
    """Never end."""
    await anyio.sleep_forever()


def contents(history: History) -> list[str]:
    return [message.content for message in history if isinstance(message, ResultMessage)]


# --- each policy


@pytest.mark.parametrize(
    ("stop", "decided", "made", "limit"),
    [
        (max_turns(3), 3, 3, "3 turns"),
        (max_calls(2), 3, 2, "2 calls"),
        (max_failures(1), 2, 2, "1 failed calls"),
        (max_forwards(6), 3, 3, "6 forwards"),
        (max_tokens(5), 3, 2, "5 tokens"),
    ],
    ids=["turns", "calls", "failures", "forwards", "tokens"],
)
async def test_a_run_ends_at_its_limit_and_not_before(
    stop: Stop, decided: int, made: int, limit: str
) -> None:
    """What is decided and goes past the limit is not made."""
    settings = ModelSettings(steps=2)  # forwards a turn; a call is two tokens
    script = [call("fail", text=str(number)) for number in range(9)]
    failing = "failed" in limit
    agent, backend = agent_of(*(script if failing else [ADD] * 9), stop=stop, settings=settings)
    with pytest.raises(LimitReached, match=f"the limit of {limit} is reached; {MEND}") as caught:
        await agent.run("go")
    assert 9 - backend.remaining == decided
    assert sum(isinstance(item, CallMessage) for item in caught.value.history) == made
    assert caught.value.turn == max(decided, made + 1)
    assert_well_formed(caught.value.history)


@pytest.mark.parametrize(
    "stop",
    [max_turns(2), max_calls(1), max_failures(0), max_forwards(2), max_tokens(3), max_seconds(99)],
)
async def test_a_run_that_takes_as_much_as_it_may_is_answered(stop: Stop) -> None:
    agent, _ = agent_of(ADD, answer("3"), stop=stop)
    assert (await agent.run("1 + 2?")).answer == "3"


async def test_no_call_of_a_decision_that_would_go_past_the_limit_is_made() -> None:
    agent, _ = agent_of(ADD, [ADD, ADD, ADD], stop=max_calls(3))
    with pytest.raises(LimitReached, match=f"turn 2 asked for 3 calls: .*; {MEND}") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["3"]
    going_on, _ = agent_of(answer("enough"))
    again = await going_on.run("go on", history=caught.value.history)
    assert again.answer == "enough"


async def test_without_a_policy_a_run_may_take_eight_turns() -> None:
    agent, backend = agent_of(*[ADD] * 9)
    with pytest.raises(LimitReached, match="the limit of 8 turns is reached") as caught:
        await agent.run("go")
    assert backend.remaining == 1
    assert (caught.value.turn, caught.value.results[0].content) == (9, "3")


@pytest.mark.parametrize(
    "make",
    [lambda: max_turns(0), lambda: max_calls(-1), lambda: max_failures(-1),
     lambda: max_forwards(0), lambda: max_tokens(0), lambda: max_seconds(0),
     lambda: max_seconds(math.inf), lambda: max_seconds(math.nan)],
)  # fmt: skip
def test_a_limit_that_is_none_is_refused(make: Callable[[], Stop]) -> None:
    with pytest.raises(DefinitionError, match=r"max_[a-z]+\(.*\) is (too small|no limit); give"):
        make()


# --- put together

TURNS, CALLS = max_turns(2), max_calls(3)


@pytest.mark.parametrize(("turns", "calls"), [(2, 3), (3, 3), (2, 4), (3, 4)])
def test_either_or_both_end_a_run(turns: int, calls: int) -> None:
    spent = Spent(turns=turns, calls=calls)
    past = [bool(one.check(spent)) for one in (TURNS, CALLS)]
    either, both = TURNS | CALLS, TURNS & CALLS
    assert bool(either.check(spent)) is any(past)
    assert bool(both.check(spent)) is all(past)
    assert bool((both | TURNS).check(spent)) is past[0]
    assert bool((either & TURNS).check(spent)) is past[0]


def test_what_either_and_both_say() -> None:
    spent = Spent(turns=3, calls=4)
    turns, calls = "the limit of 2 turns is reached", "the limit of 3 calls is reached"
    assert (TURNS | CALLS).check(spent) == turns
    assert (TURNS & CALLS).check(spent) == f"{turns} and {calls}"


def test_when_a_run_is_cancelled() -> None:
    assert (max_seconds(5) | max_seconds(2) | TURNS).seconds == 2
    assert TURNS.seconds is None
    # what one alone would have cancelled may go on until the other says so too
    assert (max_seconds(5) & TURNS).seconds is None


async def test_both_end_a_run_only_together() -> None:
    agent, backend = agent_of(ADD, ADD, ADD, ADD, stop=max_turns(1) & max_calls(2))
    with pytest.raises(LimitReached, match="1 turns is reached and the limit of 2 calls"):
        await agent.run("go")
    assert backend.remaining == 1


async def test_a_policy_of_ones_own() -> None:
    odd = Stop(lambda spent: "three is a crowd" if spent.turns == 3 else "")
    agent, _ = agent_of(ADD, ADD, ADD, stop=odd)
    with pytest.raises(LimitReached, match="no answer after 2 turns: three is a crowd"):
        await agent.run("go")


# --- time


async def test_a_deadline_in_the_middle_of_a_decision() -> None:
    async def thinking(_: History) -> ScriptedAnswer:
        await anyio.sleep_forever()
        return answer("never")

    agent, backend = agent_of(thinking, stop=max_seconds(0.01))
    with pytest.raises(LimitReached, match=r"0\.01 s were over in turn 1; raise the limit, or"):
        await agent.run("go")
    assert backend.conversations[0].closed


async def test_a_deadline_in_the_middle_of_a_tool_keeps_what_was_done() -> None:
    agent, _ = agent_of(ADD, [ADD, call("hang")], stop=max_seconds(0.05) | max_turns(9))
    with pytest.raises(LimitReached, match=r"0\.05 s were over in turn 2") as caught:
        await agent.run("go")
    assert contents(caught.value.history)[:2] == ["3", "3"]
    assert "The run ended before hang finished" in contents(caught.value.history)[2]
    assert_well_formed(caught.value.history)


async def test_a_deadline_does_not_wait_for_a_thread() -> None:
    going_on = threading.Event()

    @tool(timeout=None)
    def stuck() -> None:
        going_on.wait()

    backend = ScriptedBackend([call("stuck")])
    with pytest.raises(LimitReached):
        await Agent(tools=[stuck], backend=backend, stop=max_seconds(0.01)).run("go")
    going_on.set()


async def test_a_limit_of_the_callers_is_no_limit_of_the_run() -> None:
    agent, _ = agent_of(call("hang"), stop=max_seconds(99))
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await agent.run("go")


async def test_each_tool_has_its_own_time() -> None:
    @tool(timeout=0.01)
    async def slow() -> None:
        await anyio.sleep_forever()

    backend = ScriptedBackend([[call("slow"), ADD], answer("without it")])
    result = await Agent(tools=[slow, add], backend=backend).run("go")
    given_up, done = result.results
    assert given_up.is_error
    assert "slow did not finish within 0.01 s and was given up" in given_up.content
    assert (done.content, result.answer) == ("3", "without it")


# --- what counts


async def test_what_a_sub_agent_spends_counts() -> None:
    asked = ScriptedBackend([ADD, ADD, answer("three")])
    helper = Agent(tools=[add], backend=asked, name="helper")
    backend = ScriptedBackend([call("helper", request="1 + 2?"), answer("never")])
    agent = Agent(tools=[helper.as_tool()], backend=backend, stop=max_forwards(4))
    with pytest.raises(LimitReached, match="the limit of 4 forwards is reached") as caught:
        await agent.run("go")
    assert contents(caught.value.history) == ["three"]
    assert backend.remaining == 1


async def test_what_a_sub_agent_spent_for_nothing_counts_too() -> None:
    helper = Agent(
        tools=[add], backend=ScriptedBackend([ADD] * 9), name="helper", stop=max_turns(3)
    )
    backend = ScriptedBackend([call("helper", request="1 + 2?"), answer("never")])
    agent = Agent(tools=[helper.as_tool()], backend=backend, stop=max_forwards(4))
    with pytest.raises(LimitReached, match="the limit of 4 forwards is reached") as caught:
        await agent.run("go")
    assert "the limit of 3 turns is reached" in contents(caught.value.history)[0]


async def test_a_value_filled_in_again_takes_a_forward_and_no_turn() -> None:
    @tool
    def book(day: int) -> str:
        if day < 3:
            raise Retry("that day is taken", value="day")
        return "booked"

    def booking(stop: Stop) -> Agent:
        script: list[ScriptItem] = [
            call("book", day=1),
            refill(day=2),
            refill(day=3),
            answer("done"),
        ]
        return Agent(tools=[book], backend=ScriptedBackend(script), stop=stop)

    assert (await booking(max_turns(2) & max_forwards(1)).run("go")).answer == "done"
    with pytest.raises(LimitReached, match="the limit of 2 forwards is reached") as caught:
        await booking(max_forwards(2)).run("go")
    assert contents(caught.value.history) == ["that day is taken"] * 2


@dataclass
class Trip:
    day: int


async def test_an_answer_filled_in_again_takes_a_forward_too() -> None:
    backend = ScriptedBackend([answer({"day": 1}), refill(day=2)])
    agent = Agent(output=Trip, backend=backend, stop=max_forwards(1))

    @agent.guard_output
    def later(context: object, output: Trip) -> None:
        if output.day < 2:
            raise Retry("that day is taken", value="day")

    with pytest.raises(LimitReached, match="the limit of 1 forwards is reached") as caught:
        await agent.run("go")
    assert_well_formed(caught.value.history)


def test_time_limits_that_both_have_to_pass_last_as_long_as_the_longer() -> None:
    assert (max_seconds(1) & max_seconds(2)).seconds == 2
    assert (max_seconds(1) | max_seconds(2)).seconds == 1
    assert (max_seconds(1) & max_turns(2)).seconds is None
