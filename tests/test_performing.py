"""Running one call: whatever a tool does, a result message comes back."""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Call, ResultMessage, Tool, tool
from agentkit.running.performing import perform
from agentkit.running.writing import to_text


async def run(made: Tool[..., Any], **arguments: Any) -> ResultMessage:
    outcome = await perform(Call("call_1", made.name, arguments), {made.name: made})
    assert outcome.result is not None
    result = outcome.result
    assert (result.call_id, result.tool) == ("call_1", made.name)
    return result


def ok(content: str, name: str = "f") -> ResultMessage:
    return ResultMessage("call_1", name, content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        ("", ""),
        (None, "null"),
        (3, "3"),
        (True, "true"),
        ([1, "ü"], '[1,"ü"]'),
        ({"a": {"b": (1, 2)}}, '{"a":{"b":[1,2]}}'),
        (2**70, str(2**70)),
    ],
)
async def test_a_string_is_told_as_it_is_and_anything_else_as_compact_json(
    value: Any, text: str
) -> None:
    def f() -> Any:
        return value

    async def g() -> Any:
        return value

    assert await run(tool(f)) == ok(text)
    assert await run(tool(g)) == ok(text, "g")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("aü\n", max_size=2), inner),
    max_leaves=5,
)


@given(json_values)
def test_the_text_of_a_json_value_reads_back_equal(value: Any) -> None:
    assert json.loads(to_text(value)) == value


def cyclic() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    "make",
    [
        cyclic,
        deep,
        object,
        lambda: b"\xff",
        lambda: [math.nan],
        lambda: math.inf,
        lambda: "\ud800",
        lambda: {"a": ["\ud800"]},
        lambda: {("a", 1): object()},
        lambda: threading.Lock(),
    ],
    ids=["cyclic", "deep", "object", "bytes", "nan", "inf", "surrogate", "nested", "key", "lock"],
)
async def test_a_result_that_can_not_be_written_is_told(make: Any) -> None:
    def f() -> Any:
        return make()

    async def g() -> Any:
        return make()

    for function in (f, g):
        result = await run(tool(function))
        assert result.is_error
        assert "can't be written as JSON" in result.content
        assert "return text, numbers, lists or dicts" in result.content


@dataclass
class Place:
    city: str


async def test_arguments_arrive_converted() -> None:
    @tool
    def f(place: Place, days: int = 2) -> str:
        return f"{place.city} {days}"

    assert await run(f, place={"city": "Ulm"}) == ok("Ulm 2")


async def test_arguments_that_do_not_fit_are_told_with_pointer_and_mend() -> None:
    @tool
    def f(place: Place, days: int) -> str:
        raise AssertionError("not to be called")

    result = await run(f, place={}, days="soon", x=1)
    assert result.is_error
    assert "Invalid arguments for f: " in result.content
    assert "/place/city: is required" in result.content
    assert "/days: Input should be a valid integer" in result.content
    assert "(got 'soon')" in result.content
    assert "/x: is not known here; leave it out" in result.content
    assert result.content.endswith("Correct them and call again.")


async def test_many_problems_are_cut_short() -> None:
    @tool
    def f(numbers: list[int]) -> str:
        raise AssertionError("not to be called")

    result = await run(f, numbers=["x" * 1000] * 50)
    assert "and 45 more" in result.content
    assert len(result.content) < 1500


@pytest.mark.parametrize("arguments", [{"a": object()}, {"a": "\ud800"}, [1], None])
async def test_arguments_that_are_no_json_object_are_told(arguments: Any) -> None:
    @tool
    def f(a: Any) -> str:
        raise AssertionError("not to be called")

    result = (await perform(Call("call_1", "f", arguments), {"f": f})).result
    assert result is not None
    assert result.is_error
    assert "Invalid arguments for f" in result.content


async def test_an_unknown_tool_is_told_with_those_there_are() -> None:
    known = {name: tool(lambda: 1, name=name) for name in ("add", "sub")}
    result = (await perform(Call("call_1", "mul", {}), known)).result
    assert result is not None
    assert result == ResultMessage(
        "call_1", "mul", "There is no tool 'mul'. Tools: add, sub.", is_error=True
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such city."),
        KeyError("city"),
        TimeoutError("the socket"),
        ExceptionGroup("several", [ValueError("no such city")]),
        SystemExit(3),
        GeneratorExit("early"),
        StopIteration("dry"),
        StopAsyncIteration("dry"),
        asyncio.CancelledError(),
        RecursionError("deep"),
        BaseException("base"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_tool_that_raises_is_told(error: BaseException) -> None:
    def f() -> None:
        raise error

    async def g() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    for function in (f, g):
        result = await run(tool(function))
        assert result.is_error
        assert result.content.startswith(f"{function.__name__} failed: ")


async def test_the_reason_and_the_mend_are_told() -> None:
    @tool
    def f() -> None:
        raise ValueError("no such city.")

    result = await run(f)
    assert result.content == (
        "f failed: ValueError: no such city. Call it with other arguments, or answer without it."
    )


async def test_a_long_reason_is_cut_short() -> None:
    @tool
    def f() -> None:
        raise ValueError("x" * 10_000)

    assert len((await run(f)).content) < 1200


async def test_a_hung_tool_is_given_up_at_its_timeout() -> None:
    release = threading.Event()

    @tool(timeout=0.02)
    def blocked() -> None:
        release.wait()

    @tool(timeout=0.02)
    async def sleeping() -> None:
        await anyio.sleep_forever()

    try:
        for made in (blocked, sleeping):
            result = await run(made)
            assert result.is_error
            assert "did not finish within 0.02 s" in result.content
    finally:
        release.set()


async def test_a_result_that_hangs_while_it_is_written_is_given_up_too() -> None:
    release = threading.Event()

    @tool(timeout=0.02)
    def f() -> Any:
        return (release.wait() for _ in range(1))

    try:
        assert "did not finish" in (await run(f)).content
    finally:
        release.set()


async def test_without_a_timeout_a_tool_may_take_its_time() -> None:
    @tool(timeout=None)
    async def f() -> str:
        await anyio.sleep(0.01)
        return "done"

    assert await run(f) == ok("done")


async def test_cancelling_from_outside_goes_through() -> None:
    release = threading.Event()
    started = anyio.Event()

    @tool
    async def waiting() -> None:
        started.set()
        await anyio.sleep_forever()

    @tool
    def blocked() -> None:
        anyio.from_thread.run_sync(started.set, token=token)
        release.wait()

    token = anyio.lowlevel.current_token()
    try:
        for made in (waiting, blocked):
            started = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(run, made)
                await started.wait()
                group.cancel_scope.cancel()
    finally:
        release.set()


async def test_keyboard_interrupt_goes_through() -> None:
    @tool
    async def f() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await run(f)


async def test_a_tool_runs_in_a_thread_with_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")

    @tool
    def f() -> list[Any]:
        return [variable.get(), threading.current_thread() is threading.main_thread()]

    assert await run(f) == ok('["here",false]')


async def test_a_tool_may_run_its_own_event_loop() -> None:
    async def inner() -> str:
        await anyio.to_thread.run_sync(time.sleep, 0)
        return "inside"

    @tool
    def f() -> str:
        return anyio.run(inner)

    assert await run(f) == ok("inside")


async def test_a_plain_function_may_hand_out_a_coroutine() -> None:
    async def inner() -> int:
        await anyio.lowlevel.checkpoint()
        return 3

    @tool
    def f() -> Coroutine[Any, Any, int]:
        return inner()

    assert await run(f) == ok("3")


def test_a_hung_tool_does_not_keep_the_process_from_exiting() -> None:
    program = """
import threading
from agentkit import Agent, tool
from agentkit.testing import ScriptedBackend, answer, call

@tool(timeout=0.05)
def hang() -> None:
    threading.Event().wait()

backend = ScriptedBackend([call("hang"), answer("well")])
print(Agent(tools=[hang], backend=backend).run_sync("go").answer)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "well\n"
