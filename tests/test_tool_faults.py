"""Tools at their worst, in real runs: what they do is told, and nothing else is harmed."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentkit import Agent, DefinitionError, ModelSettings, ResultMessage, tool
from agentkit.defining.tool import DEFAULT_MAX_RESULT, AnyTool
from agentkit.testing import ScriptedBackend, answer, assert_well_formed, call


@tool
async def well() -> str:
    """A tool that works, beside those that don't."""
    await anyio.lowlevel.checkpoint()
    return "well"


async def results_of(*tools: AnyTool) -> tuple[ResultMessage, ...]:
    """What the calls of these tools gave, made in one decision with one that works."""
    turn = [*(call(made.name) for made in tools), call("well")]
    backend = ScriptedBackend([turn, answer("done")])
    agent = Agent(tools=[*tools, well], backend=backend)
    result = await agent.run("go", settings=ModelSettings(max_calls=len(turn)))
    assert result.answer == "done"
    assert result.results[-1].content == "well"
    assert_well_formed(result)
    assert len(result.results) == len(turn)
    return tuple(result.results[:-1])


def both_ways(make: Callable[[], Any], **options: Any) -> tuple[AnyTool, AnyTool]:
    """A tool that runs in a thread and one in the event loop, which return what `make` makes."""

    async def in_loop() -> Any:
        return make()

    return tool(make, name="in_thread", **options), tool(in_loop, **options)


# --- floods


async def test_a_hundred_megabytes_are_cut_with_a_note() -> None:
    flood = "x" * 100_000_000
    for result in await results_of(*both_ways(lambda: flood)):
        assert not result.is_error
        kept, note = result.content.split("\n")
        assert kept == flood[:DEFAULT_MAX_RESULT]
        assert "the first 100,000 of 100,000,000 characters" in note


@pytest.mark.parametrize("value", ["x" * 100, [1] * 100, {"a": "ü" * 99}, 10**99])
async def test_a_tool_has_a_cap_of_its_own(value: Any) -> None:
    for result in await results_of(*both_ways(lambda: value, max_result=10)):
        kept, note = result.content.split("\n")
        assert len(kept) == 10
        assert note.startswith("[Cut: these are the first 10 of ")


async def test_what_is_just_as_long_as_the_cap_is_left_alone() -> None:
    for result in await results_of(*both_ways(lambda: "x" * 10, max_result=10)):
        assert result.content == "x" * 10


@pytest.mark.parametrize("limit", [0, -1])
def test_a_cap_that_leaves_nothing_is_refused(limit: int) -> None:
    with pytest.raises(DefinitionError, match="leaves nothing to read"):
        tool(lambda: "x", name="f", max_result=limit)


# --- odd values


class Shy:
    """Says nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@dataclass
class Ring:
    next: Ring | None = None


def ring() -> Ring:
    one = Ring()
    one.next = one
    return one


def broken_generator() -> Iterator[int]:
    yield 1
    raise OSError("the tape tore")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Shy, "can't be written as JSON"),
        (lambda: {"a": [Shy()]}, "can't be written as JSON"),
        (lambda: {Shy(): 1}, "can't be written as JSON"),
        (ring, "can't be written as JSON"),
        (lambda: (0 for _ in itertools.count()), "a generator that gives more than 100,000"),
        (broken_generator, "the tape tore"),
        (lambda: [float("nan")], "can't be written as JSON"),
        (lambda: b"\x89PNG\xff", "can't be written as JSON"),
    ],
    ids=["shy", "shy inside", "shy key", "ring", "endless", "torn", "nan", "bytes"],
)
async def test_a_value_that_is_no_json_is_told(make: Callable[[], Any], why: str) -> None:
    # behind a plain function: a generator function itself is no tool
    for result in await results_of(*both_ways(lambda: make())):
        assert result.is_error
        assert why in result.content


async def test_a_generator_that_ends_is_a_list() -> None:
    for result in await results_of(*both_ways(lambda: (i * i for i in range(4)))):
        assert (result.content, result.is_error) == ("[0,1,4,9]", False)


async def test_a_huge_number_is_written_or_told() -> None:
    for result in await results_of(*both_ways(lambda: [10**5000])):
        assert result.is_error or json.loads(result.content, parse_int=len) == [5001]


class Mute(Exception):
    """An error whose own words raise."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class MuteExit(SystemExit, Mute):
    pass


@pytest.mark.parametrize("error", [Mute(), MuteExit(), ExceptionGroup("several", [Mute()])])
async def test_an_error_that_can_not_be_read_is_told_by_its_name(error: BaseException) -> None:
    def fail() -> None:
        raise error

    for result in await results_of(*both_ways(fail)):
        assert result.is_error
        assert type(error).__name__ in result.content


# --- tools that hang


async def test_whatever_hangs_is_given_up_and_the_rest_goes_on() -> None:
    release = threading.Event()

    @tool(timeout=0.05)
    async def in_loop() -> None:
        await anyio.sleep_forever()

    @tool(timeout=0.05)
    def in_thread() -> None:
        release.wait()

    @tool(timeout=0.05)
    async def in_process() -> None:
        await anyio.run_process([sys.executable, "-c", "import time; time.sleep(60)"])

    @tool(timeout=0.05)
    async def in_block() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("while it was given up")

    try:
        late = await results_of(in_loop, in_thread, in_process, in_block)
    finally:
        release.set()
    for result in late[:3]:
        assert result.is_error
        assert "did not finish within 0.05 s" in result.content
    assert "OSError: while it was given up" in late[3].content


async def test_two_hundred_calls_at_once_of_all_kinds() -> None:
    release = threading.Event()

    @tool(timeout=30)
    def plain(number: int) -> int:
        return number

    @tool
    async def gentle(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        return number

    @tool(timeout=0.2)
    def stuck(number: int) -> None:
        release.wait()

    @tool(max_result=100)
    def flood(number: int) -> str:
        return f"{number} " * 100_000

    @tool
    def rude(number: int) -> None:
        raise SystemExit(number)

    kinds: list[AnyTool] = [plain, gentle, stuck, flood, rude]
    turn = [call(kinds[number % 5].name, number=number) for number in range(200)]
    backend = ScriptedBackend([turn, answer("done")])
    try:
        result = await Agent(tools=kinds, backend=backend).run(
            "go", settings=ModelSettings(max_calls=200)
        )
    finally:
        release.set()
    assert result.answer == "done"
    assert_well_formed(result)
    contents = [(one.content, one.is_error) for one in result.results]
    for number in range(0, 200, 5):
        assert contents[number] == (str(number), False)
        assert contents[number + 1] == (str(number + 1), False)
        assert "did not finish" in contents[number + 2][0]
        assert contents[number + 3][0].startswith(f"{number + 3} ")
        assert len(contents[number + 3][0]) < 250
        assert f"SystemExit: {number + 4}." in contents[number + 4][0]


# --- the process around them

EXITING = """
import sys, threading
import anyio
from agentkit import Agent, tool
from agentkit.testing import ScriptedBackend, answer, call

@tool(timeout=None)
def hang(hung: int) -> None:
    started.release()
    threading.Event().wait()

started = threading.Semaphore(0)

async def main() -> None:
    backend = ScriptedBackend([[call("hang", hung=n) for n in range(3)], answer("never")])
    async with anyio.create_task_group() as group:
        group.start_soon(Agent(tools=[hang], backend=backend).run, "go")
        for _ in range(3):
            await anyio.to_thread.run_sync(started.acquire)
        print("hung", flush=True)
        LEAVE

anyio.run(main)
print("left")
"""


def test_a_process_with_hung_tools_exits_when_its_run_is_cancelled() -> None:
    program = EXITING.replace("LEAVE", "group.cancel_scope.cancel()")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "hung\nleft\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX's")
def test_a_process_with_hung_tools_exits_when_it_is_interrupted() -> None:
    program = EXITING.replace("LEAVE", "await anyio.sleep_forever()")
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hung\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
