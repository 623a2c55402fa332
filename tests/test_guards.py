"""Guards and hooks: what looks at a run from within, and what it may stop."""

from __future__ import annotations

from typing import Any

import pytest
from loops import add

from agentkit import (
    Agent,
    Blocked,
    Call,
    Decision,
    DefinitionError,
    Hooks,
    ResultMessage,
    Retry,
    RunContext,
    RunError,
    UserMessage,
)
from agentkit.testing import ScriptedBackend, answer, assert_not_called, call


class Diary(Hooks[str]):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def before_turn(self, context: RunContext[str]) -> None:
        self.seen.append(f"turn {context.turn} for {context.deps}")

    async def after_turn(self, context: RunContext[str], decision: Decision) -> None:
        self.seen.append(f"after {context.turn}: {len(decision.calls)} calls")

    async def before_call(self, context: RunContext[str], call: Call) -> None:
        assert context.call == call
        self.seen.append(f"before {call.id}")

    async def after_call(self, context: RunContext[str], call: Call, result: ResultMessage) -> None:
        self.seen.append(f"{call.id} gave {result.content}")

    async def before_answer(self, context: RunContext[str], output: Any) -> None:
        self.seen.append(f"answer {output}")


async def test_hooks_hear_of_all_in_order() -> None:
    diary = Diary()
    backend = ScriptedBackend([call("add", a=1, b=2), answer("3")])
    await Agent[str](tools=[add], backend=backend, hooks=[diary]).run("go", deps="Ann")
    assert diary.seen == [
        "turn 1 for Ann", "before call_1", "call_1 gave 3", "after 1: 1 calls",
        "turn 2 for Ann", "answer 3", "after 2: 0 calls",
    ]  # fmt: skip


async def test_a_guard_of_requests_refuses_before_the_model_is_asked() -> None:
    backend = ScriptedBackend([answer("x")])
    agent = Agent(backend=backend)

    @agent.guard_input
    async def polite(context: object, request: str) -> None:
        if "damn" in request:
            raise Blocked("mind your language")

    with pytest.raises(Blocked, match="mind your language") as caught:
        await agent.run("damn")
    assert caught.value.history == (UserMessage("damn"),)
    assert backend.conversations == []
    assert (await agent.run("please")).output == "x"


@pytest.mark.parametrize("where", ["guard", "hook"])
async def test_retry_where_nothing_can_be_tried_again_ends_the_run_and_says_so(where: str) -> None:
    class Strict(Hooks[None]):
        async def before_turn(self, context: RunContext[None]) -> None:
            raise Retry("no")

    def guard(context: object, request: str) -> None:
        raise Retry("no")

    agent = Agent(
        backend=ScriptedBackend([]),
        hooks=[Strict()] if where == "hook" else [],
        input_guards=[guard] if where == "guard" else [],
    )
    with pytest.raises(RunError, match=r"nothing can be tried again.*raise `Blocked") as caught:
        await agent.run("hi")
    assert caught.value.history == (UserMessage("hi"),)


async def test_a_guard_of_calls_ends_the_run_behind_the_other_calls() -> None:
    turn = [call("add", a=1, b=2), call("add", a=100, b=2)]
    agent = Agent(tools=[add], backend=ScriptedBackend([turn]))

    @agent.guard_call
    def small(context: object, made: Call) -> None:
        if made.arguments["a"] > 10:
            raise Blocked("too large")

    with pytest.raises(Blocked, match="too large") as caught:
        await agent.run("go")
    results = [item for item in caught.value.history if isinstance(item, ResultMessage)]
    assert [item.is_error for item in results] == [False, True]


async def test_instructions_may_be_a_function_of_the_context() -> None:
    async def told(context: RunContext[str]) -> str:
        return f"You help {context.deps}."

    backend = ScriptedBackend([answer("x")])
    await Agent(instructions=told, backend=backend).run("go", deps="Ann")
    assert backend.conversations[0].instructions == "You help Ann."


async def test_tools_are_added_by_decorator_and_twice_is_once_too_often() -> None:
    agent = Agent(backend=ScriptedBackend([call("double", a=2), answer("4")]))

    @agent.tool
    def double(a: int) -> int:
        """Double."""
        return 2 * a

    assert double(3) == 6
    assert (await agent.run("go")).results[0].content == "4"
    with pytest.raises(DefinitionError, match="two tools are named 'double'"):
        agent.tool(name="double")(add.function)


async def test_a_context_carries_notes_from_one_to_another() -> None:
    agent = Agent(backend=ScriptedBackend([call("note"), answer("x")]))

    @agent.tool
    def note(context: RunContext[None]) -> str:
        """Note."""
        context.metadata["noted"] = context.turn
        return "noted"

    @agent.guard_output
    def see(context: RunContext[None], output: str) -> str:
        return f"{output}{context.metadata['noted']}"

    result = await agent.run("go")
    assert result.output == "x1"
    with pytest.raises(AssertionError):
        assert_not_called(result, "note")
