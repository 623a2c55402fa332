"""A run turn by turn: each turn is begun when it is asked for, and leaving ends the run."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest
from loops import agent_of

from agentkit import (
    Agent,
    Approve,
    History,
    LimitReached,
    Resume,
    Retry,
    RunError,
    Turn,
    max_turns,
    tool,
)
from agentkit.testing import ScriptedBackend, ScriptedCall, answer, call

ADD = call("add", a=1, b=2)


async def ticks(number: int) -> None:
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


async def test_what_happened_in_each_turn() -> None:
    agent = agent_of([ADD, call("fail", text="too hot")], answer("3"), answer("three"))

    @agent.guard_output
    def in_words(context: object, text: str) -> None:
        if text.isdigit():
            raise Retry("write it as a word")

    async with agent.iterate("1 + 2?") as turns:
        seen = [turn async for turn in turns]
    first, second, third = seen
    assert [one.number for one in seen] == [1, 2, 3]
    assert [one.tool for one in first.calls] == ["add", "fail"]
    assert first.results["call_1"].content == "3"
    assert first.results["call_2"].is_error
    assert (second.answer, second.rejected) == (None, ["write it as a word"])
    assert (third.answer, turns.result.answer) == ("three", "three")
    assert turns.history == turns.result.history


async def test_no_turn_is_decided_before_it_is_asked_for() -> None:
    decided: list[int] = []

    def decide(messages: History) -> ScriptedCall:
        decided.append(len(messages))
        return ADD

    async with agent_of(decide, decide, decide, answer("3")).iterate("go") as turns:
        await ticks(50)
        assert decided == []
        for number in (1, 2, 3):
            await anext(turns)
            await ticks(50)
            assert len(decided) == number


async def test_the_history_is_whole_between_two_turns() -> None:
    lengths: list[int] = []
    async with agent_of(ADD, [ADD, ADD], answer("3")).iterate("go") as turns:
        async for _ in turns:
            lengths.append(len(turns.history))  # noqa: PERF401
    assert lengths == [3, 6, 7]


async def test_leaving_between_two_turns_ends_the_run() -> None:
    alone = asyncio.all_tasks()
    backend = ScriptedBackend([call("nothing"), answer("never")])
    turns = Agent(backend=backend).iterate("go")
    async with turns:
        async for _ in turns:
            break
    assert backend.remaining == 1
    assert backend.conversations[0].closed
    assert asyncio.all_tasks() == alone
    with pytest.raises(RunError, match="the run has no result"):
        _ = turns.result
    assert (await Agent(backend=backend).run("go on", history=turns.history)).answer == "never"


async def test_an_error_comes_behind_the_turns_before_it() -> None:
    seen: list[Turn] = []

    async def watch() -> None:
        async with agent_of(ADD, ADD, stop=max_turns(1)).iterate("go") as turns:
            async for turn in turns:
                seen.append(turn)  # noqa: PERF401  what came before the error counts

    with pytest.raises(LimitReached):
        await watch()
    assert [turn.results["call_1"].content for turn in seen] == ["3"]


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    error = KeyError("mine")

    async def watch() -> None:
        async with agent_of(ADD, answer("3")).iterate("go") as turns:
            async for _ in turns:
                raise error

    with pytest.raises(KeyError) as caught:
        await watch()
    assert caught.value is error


async def test_calls_that_are_resumed_stand_in_the_turn_they_precede() -> None:
    @tool(approval=True)
    def pay() -> str:
        return "paid"

    agent = Agent(tools=[pay], backend=ScriptedBackend([call("pay"), answer("done")]))
    async with agent.iterate("go") as turns:
        (waiting,) = [turn async for turn in turns]
    assert [one.call.tool for one in waiting.pending] == ["pay"]
    resume = Resume({"call_1": Approve()})
    async with agent.iterate(resume, history=turns.history) as turns:
        (turn,) = [turn async for turn in turns]
    assert turn.results["call_1"].content == "paid"
    assert (turn.number, turn.answer) == (1, "done")
