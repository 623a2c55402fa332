"""Limits of calls: never more than they say, first come, first served, and nobody is left out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from clocks import in_no_time, in_several_loops
from hypothesis import given
from hypothesis import strategies as st
from tenacity import AsyncRetrying, stop_after_attempt, wait_fixed

from agentkit import Agent, Toolset, tool
from agentkit.policies.limiting import Gate, Rate, TooManyCalls
from agentkit.testing import ScriptedBackend, answer, call


class Log:
    """Tools that take a second each, and when their calls began and ended."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.begun: list[float] = []
        self.inside = self.most = 0

        @tool
        async def fetch(page: int) -> int:
            self.begun.append(anyio.current_time())
            self.inside += 1
            self.most = max(self.most, self.inside)
            await anyio.sleep(seconds)
            self.inside -= 1
            return page

        self.tools = Toolset("web", [fetch, fetch.changed(name="other")])


async def ask(toolset: Toolset, *script: Any, **options: Any) -> Any:
    agent = Agent(tools=[toolset], backend=ScriptedBackend([*script, answer("Done")]), **options)
    return await agent.run("go")


def fetches(count: int, name: str = "fetch") -> list[Any]:
    return [call(name, page=page) for page in range(count)]


def test_calls_wait_for_their_turn() -> None:
    log = Log()

    async def main() -> None:
        result = await ask(log.tools.limited(2, seconds=10), fetches(5))
        assert [one.content for one in result.results] == ["0", "1", "2", "3", "4"]

    in_no_time(main)
    assert log.begun == [0, 0, 10, 10, 20]


def test_so_many_go_on_at_once() -> None:
    log = Log()

    async def main() -> None:
        await ask(log.tools.limited(concurrent=2), fetches(5))

    in_no_time(main)
    assert (log.begun, log.most) == ([0, 0, 1, 1, 2], 2)


@pytest.mark.parametrize(("per", "begun"), [("toolset", [0, 1, 2, 3]), ("tool", [0, 0, 1, 1])])
def test_a_limit_is_of_all_the_tools_or_of_each(per: Any, begun: list[float]) -> None:
    log = Log(seconds=0)

    async def main() -> None:
        limited = log.tools.limited(1, seconds=1, per=per)
        await ask(limited, [*fetches(2), *fetches(2, "other")])

    in_no_time(main)
    assert log.begun == begun


def test_a_limit_holds_for_all_runs_together() -> None:
    log = Log()
    limited = log.tools.limited(concurrent=1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask, limited, fetches(2))

    in_no_time(main)
    assert (len(log.begun), log.most) == (6, 1)


def test_a_call_that_may_not_wait_says_when_it_can_be_made() -> None:
    log = Log()

    async def main() -> None:
        result = await ask(log.tools.limited(1, seconds=30, full="refuse"), fetches(2))
        assert result.results[1].content.startswith(
            "fetch failed: TooManyCalls: the limit is 1 calls in 30 s; the next may be made in 30 s"
        )
        result = await ask(log.tools.limited(concurrent=1, full="refuse"), fetches(2))
        assert "1 calls are going on, and no more may" in result.results[1].content

    in_no_time(main)
    assert len(log.begun) == 2


def test_a_retry_policy_tries_a_refused_call_again() -> None:
    log = Log(seconds=0)
    policy = AsyncRetrying(stop=stop_after_attempt(9), wait=wait_fixed(4), sleep=anyio.sleep)

    async def main() -> None:
        limited = log.tools.limited(1, seconds=10, full="refuse").timed(None)
        result = await ask(limited, fetches(2), retry=policy)
        assert not any(one.is_error for one in result.results)

    in_no_time(main)
    assert log.begun == [0, 12]


def test_waiting_counts_for_the_timeout() -> None:
    log = Log()

    async def main() -> None:
        result = await ask(log.tools.limited(1, seconds=60).timed(5), fetches(2))
        assert "fetch did not finish within 5 s" in result.results[1].content

    in_no_time(main)
    assert log.begun == [0]


def test_what_the_cache_has_does_not_count_where_it_is_around_the_limit() -> None:
    made: list[float] = []

    @tool(pure=True)
    async def look(key: str) -> str:
        made.append(anyio.current_time())
        return key

    tools = Toolset("both", [look])
    script = [call("look", key="a"), call("look", key="a"), call("look", key="b")]

    async def main() -> None:
        await ask(tools.limited(1, seconds=10).cached(), *script)
        assert anyio.current_time() == 10
        await ask(tools.cached().limited(1, seconds=10), *script)
        assert anyio.current_time() == 30

    in_no_time(main)
    assert made == [0, 10, 10, 30]


ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.25, 1, 3]),  # after the one before
        st.sampled_from([0, 0.5, 2]),  # stays so long
        st.none() | st.sampled_from([0, 0.25, 1.5, 4]),  # gives up after so long
    ),
    max_size=20,
)


@given(ARRIVALS, st.integers(1, 3), st.sampled_from([0.5, 1, 2.5]), st.none() | st.integers(1, 3))
def test_never_more_than_the_limit_and_first_come_first_served(
    arrivals: Sequence[tuple[float, float, float | None]],
    calls: int,
    seconds: float,
    concurrent: int | None,
) -> None:
    entered: list[tuple[int, float]] = []
    ended: list[int] = []
    inside: list[int] = []

    async def pass_through(gate: Gate, number: int, stay: float, patience: float | None) -> None:
        with anyio.move_on_after(float("inf") if patience is None else patience):
            async with gate.passing():
                entered.append((number, anyio.current_time()))
                inside.append(number)
                assert concurrent is None or len(inside) <= concurrent
                try:
                    await anyio.sleep(stay)
                finally:
                    inside.remove(number)
            ended.append(number)

    async def main() -> None:
        gate = Gate(rate=Rate(calls, seconds), concurrent=concurrent)
        async with anyio.create_task_group() as group:
            for number, (pause, stay, patience) in enumerate(arrivals):
                await anyio.sleep(pause)
                group.start_soon(pass_through, gate, number, stay, patience)
        # whoever came and went, the gate is as it was
        before = anyio.current_time()
        for _ in range(calls):
            async with gate.passing():
                pass
        assert anyio.current_time() - before <= seconds

    in_no_time(main)
    times = [time for _, time in entered]
    for first, later in zip(times, times[calls:], strict=False):
        assert later - first >= seconds
    assert [number for number, _ in entered] == sorted(number for number, _ in entered)
    patient = {number for number, one in enumerate(arrivals) if one[2] is None}
    assert patient <= {*ended}


@given(st.lists(st.sampled_from([0, 0.25, 1, 2]), max_size=12), st.integers(1, 3))
def test_what_is_refused_is_what_is_too_much(pauses: Sequence[float], calls: int) -> None:
    let: list[float] = []
    refused: list[float] = []

    async def main() -> None:
        gate = Gate(rate=Rate(calls, 1), waits=False)
        for pause in pauses:
            await anyio.sleep(pause)
            try:
                async with gate.passing():
                    let.append(anyio.current_time())
            except TooManyCalls:
                refused.append(anyio.current_time())

    in_no_time(main)
    for time in refused:
        assert sum(time - 1 < one <= time for one in let) == calls
    for first, later in zip(let, let[calls:], strict=False):
        assert later - first >= 1


def test_a_gate_serves_several_event_loops() -> None:
    gate = Gate(concurrent=2)
    lock = threading.Lock()
    inside = most = passed = 0

    async def go() -> None:
        nonlocal inside, most, passed
        async with gate.passing():
            with lock:
                inside += 1
                most = max(most, inside)
            await anyio.sleep(0.001)
            with lock:
                inside -= 1
                passed += 1

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(go)

    in_several_loops(main, 4)
    assert (passed, inside) == (40, 0)
    assert most <= 2
