"""Results that are kept: which calls are equal, what is never kept, who makes what others want."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import date
from typing import Any

import anyio
import pytest
from clocks import in_no_time, in_several_loops
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from agentkit import Agent, RunContext, Tool, Toolset, tool
from agentkit.message import Call
from agentkit.policies.caching import Cache
from agentkit.running.performing import Outcome, perform
from agentkit.testing import ScriptedBackend, answer, call


class Counted:
    """Two pure tools, an async one that takes a second and a plain one; counts their calls."""

    def __init__(self) -> None:
        self.made: list[Any] = []

        @tool(pure=True)
        async def slow(a: int, b: int = 2, c: dict[str, int] | None = None) -> dict[str, int]:
            await anyio.sleep(1)
            self.made.append((a, b))
            return {"sum": a + b, "call": len(self.made)}

        @tool(pure=True)
        def plain(key: str) -> list[str]:
            self.made.append((key, threading.current_thread().name))
            return [key]

        self.tools = Toolset("counted", [slow, plain])


async def ask(toolset: Toolset, *script: Any, deps: Any = None, request: str = "go") -> Any:
    agent = Agent(tools=[toolset], backend=ScriptedBackend([*script, answer("Done")]))
    return await agent.run(request, deps=deps)


def contents(result: Any) -> list[str]:
    return [one.content for one in result.results]


async def direct(toolset: Toolset, name: str, **arguments: Any) -> Outcome:
    return await perform(Call("c", name, arguments), {one.name: one for one in toolset})


def test_equal_calls_run_once_at_the_same_time_and_later_in_other_runs() -> None:
    counted = Counted()
    kept = counted.tools.cached()

    async def main() -> None:
        first = await ask(kept, [call("slow", a=1), call("slow", a=1, b=2), call("slow", a=2)])
        again = await ask(kept, call("slow", b=2, a=1))
        assert contents(first)[0] == contents(first)[1] == contents(again)[0]
        assert anyio.current_time() == 1  # the two others side by side, the last at once

    in_no_time(main)
    assert sorted(counted.made) == [(1, 2), (2, 2)]


async def test_a_plain_function_still_runs_in_a_thread_of_its_own() -> None:
    counted = Counted()
    result = await ask(counted.tools.cached(), [call("plain", key="k"), call("plain", key="k")])
    assert contents(result) == ['["k"]', '["k"]']
    assert counted.made == [("k", "agentkit tool")]


def test_tools_of_one_toolset_do_not_mix_up_their_results() -> None:
    @tool(pure=True)
    async def one(key: str) -> str:
        return f"one {key}"

    kept = Toolset("both", [one, one.changed(name="two")]).cached()
    renamed = kept.renamed({"one": "two", "two": "one"})  # each keeps its own results

    async def main() -> None:
        for name in ("one", "two"):
            assert (await direct(kept, name, key="k")).result is not None
        await direct(renamed, "one", key="k")

    in_no_time(main)
    cache: Any = kept.tools[0].around[0]
    assert len(cache.cache) == 2


def test_what_is_not_pure_or_takes_the_context_is_never_kept() -> None:
    made: list[str] = []

    @tool
    async def act(key: str) -> str:
        made.append(key)
        return key

    @tool(pure=True)
    async def mine(ctx: RunContext[str], key: str) -> str:
        made.append(ctx.deps)
        return ctx.deps

    kept = Toolset("open", [act, mine]).cached()

    async def main() -> None:
        await ask(kept, call("act", key="k"), call("act", key="k"))
        for name in ("Ann", "Ben"):
            assert contents(await ask(kept, call("mine", key="k"), deps=name)) == [name]

    in_no_time(main)
    assert made == ["k", "k", "Ann", "Ben"]


def test_errors_are_shared_by_those_who_wait_and_not_kept() -> None:
    made: list[str] = []

    @tool(pure=True)
    async def fail(key: str) -> str:
        await anyio.sleep(1)
        made.append(key)
        raise OSError("no line")

    kept = Toolset("bad", [fail]).cached()

    async def main() -> None:
        result = await ask(kept, [call("fail", key="k"), call("fail", key="k")])
        assert [one.is_error for one in result.results] == [True, True]
        assert contents(result)[0] == contents(result)[1]
        assert len(made) == 1
        await ask(kept, call("fail", key="k"))
        assert len(made) == 2

    in_no_time(main)


def test_a_result_lasts_as_long_as_was_said() -> None:
    counted = Counted()
    kept = counted.tools.cached(ttl=60)

    async def main() -> None:
        for pause in (0, 59, 2, 59):  # made after 1 s, kept until 61
            await anyio.sleep(pause)
            await direct(kept, "slow", a=1)

    in_no_time(main)
    assert len(counted.made) == 2


def test_the_one_not_used_for_longest_makes_room() -> None:
    counted = Counted()
    kept = counted.tools.cached(most=2)

    async def main() -> None:
        for a in (1, 2, 1, 3, 1, 2):
            await direct(kept, "slow", a=a)

    in_no_time(main)
    assert [a for a, _ in counted.made] == [1, 2, 3, 2]


def test_a_cancelled_waiter_leaves_the_one_who_works_alone() -> None:
    counted = Counted()
    kept = counted.tools.cached()
    results: list[Outcome] = []

    async def work() -> None:
        results.append(await direct(kept, "slow", a=1))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await anyio.sleep(0.5)
            with anyio.move_on_after(0.1) as scope:
                await direct(kept, "slow", a=1)
            assert scope.cancelled_caught
            group.start_soon(work)
        assert anyio.current_time() == 1

    in_no_time(main)
    assert len(counted.made) == 1
    assert results[0] == results[1]


@pytest.mark.parametrize("waiters", [0, 1, 3])
def test_where_the_one_who_works_is_cancelled_another_goes_on(waiters: int) -> None:
    counted = Counted()
    kept = counted.tools.cached()
    results: list[Outcome] = []

    async def work() -> None:
        results.append(await direct(kept, "slow", a=1))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            worker = anyio.CancelScope()

            async def cancelled() -> None:
                with worker:
                    await work()

            group.start_soon(cancelled)
            await anyio.sleep(0.5)
            for _ in range(waiters):
                group.start_soon(work)
            await anyio.sleep(0.1)
            worker.cancel()
        await work()

    in_no_time(main)
    assert len(counted.made) == 1
    assert len(results) == waiters + 1


def test_one_who_works_for_too_long_is_given_up_by_all() -> None:
    @tool(pure=True, timeout=5)
    async def hang(key: str) -> None:
        await anyio.sleep_forever()

    kept = Toolset("slow", [hang]).cached()

    async def main() -> None:
        result = await ask(kept, [call("hang", key="k"), call("hang", key="k")])
        assert all("did not finish within 5 s" in text for text in contents(result))

    in_no_time(main)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def shuffled(value: Any, reverse: bool) -> Any:
    """The same JSON value, its keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(one, reverse) for key, one in sorted(value.items(), reverse=reverse)}
    return [shuffled(one, reverse) for one in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=40)  # the first import of jsonschema takes its time
@given(st.lists(st.dictionaries(st.text(max_size=2), VALUES, max_size=3), max_size=4))
def test_calls_are_equal_where_their_json_is(calls: Sequence[dict[str, Any]]) -> None:
    made: list[str] = []

    async def echo(**arguments: Any) -> Any:
        made.append(json.dumps(arguments, sort_keys=True))
        return arguments

    echoing = Tool.from_schema("echo", "Echo.", {"type": "object"}, echo, pure=True)
    kept = Toolset("echo", [echoing]).cached()

    async def main() -> None:
        for arguments in calls:
            for reverse in (False, True):
                outcome = await direct(kept, "echo", **shuffled(arguments, reverse))
                assert outcome.result is not None
                assert json.loads(outcome.result.content) == arguments

    in_no_time(main)
    assert len(made) == len({*made}) == len({json.dumps(one, sort_keys=True) for one in calls})


async def test_a_secret_is_told_from_another() -> None:
    @tool(pure=True)
    async def whose(key: SecretStr) -> str:
        return key.get_secret_value()

    kept = Toolset("keys", [whose]).cached()
    assert contents(await ask(kept, call("whose", key="a"), call("whose", key="b"))) == ["a", "b"]


async def test_what_is_no_json_is_not_kept() -> None:
    made: list[date] = []

    @tool(pure=True)
    async def on(day: date) -> str:
        made.append(day)
        return str(day)

    kept = Toolset("days", [on]).cached()
    for _ in range(2):
        assert (await direct(kept, "on", day=date(2026, 1, 2))).result is not None
    assert len(made) == 2


def test_a_cache_serves_several_event_loops() -> None:
    cache: Cache[int] = Cache()
    made: list[int] = []

    async def make() -> int:
        await anyio.sleep(0.01)
        made.append(1)
        return 7

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(cache.get, "key", make)
        assert await cache.get("key", make) == 7

    in_several_loops(main, 4)
    assert 1 <= len(made) <= 4  # once in each loop at most
