"""Toolsets made of toolsets: the laws they follow, and that nothing but what was said changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import (
    Agent,
    Approve,
    DefinitionError,
    Resume,
    RunContext,
    Tool,
    Toolset,
    approve_when,
    argument,
    choice,
    named,
    tool,
)
from agentkit.testing import ScriptedBackend, answer, call, drafted


@tool(pure=True, timeout=7)
async def look(key: str, depth: int = 1) -> str:
    """Look something up.

    Args:
        key: What to look up.
    """
    return key * depth


@tool(sequential=True, max_result=500)
def write(ctx: RunContext[str], text: str) -> str:
    """Write something down."""
    return f"{ctx.deps}: {text} in {threading.current_thread().name}"


KINDS: tuple[Tool[..., Any], ...] = (look, write)
NAMES = st.text("abc_", min_size=1, max_size=3)


@st.composite
def toolsets(draw: st.DrawFn, name: str = "set") -> Toolset:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    return Toolset(name, [draw(st.sampled_from(KINDS)).changed(name=one) for one in names])


def shape(toolset: Toolset) -> list[Any]:
    """All that is to be seen of a toolset; of conditions their words."""
    return [
        {
            **vars(one),
            "around": sorted(type(wrapper).__name__ for wrapper in one.around),
            "approval_when": getattr(one.approval_when, "text", None),
        }
        for one in toolset
    ]


def names(toolset: Toolset) -> list[str]:
    return [one.name for one in toolset]


def outcome(make: Callable[[], Toolset]) -> Any:
    """The shape of what is made, or that it can't be."""
    try:
        return shape(make())
    except DefinitionError:
        return DefinitionError


# Each way on its own, for laws that hold of all of them.
WAYS: dict[str, Callable[[Toolset], Toolset]] = {
    "prefixed": lambda some: some.prefixed("p_"),
    "renamed": lambda some: some.renamed(lambda name: f"{name}-x"),
    "filtered": lambda some: some.filtered(lambda one: one.is_async),
    "without": lambda some: some.without(lambda one: one.is_async),
    "needing_approval": lambda some: some.needing_approval(),
    "needing_approval_when": lambda some: some.needing_approval(when=argument("key").is_("x")),
    "timed": lambda some: some.timed(3),
    "cached": lambda some: some.cached(),
    "limited": lambda some: some.limited(concurrent=1),
}


@given(toolsets("a"), toolsets("b"), toolsets("c"))
def test_combining_is_associative(a: Toolset, b: Toolset, c: Toolset) -> None:
    assert outcome(lambda: (a + b) + c) == outcome(lambda: a + (b + c))


@given(toolsets("left"), toolsets("right"))
def test_names_stay_unique_or_both_toolsets_are_named(left: Toolset, right: Toolset) -> None:
    common = {*names(left)} & {*names(right)}
    if not common:
        assert names(left + right) == names(left) + names(right)
        assert (left + right).name == "left+right"
        return
    with pytest.raises(DefinitionError, match="'left' and 'right' both have a tool") as caught:
        _ = left + right
    assert any(repr(name) in str(caught.value) for name in common)
    assert names(left + right.prefixed("right_"))  # the mend that is told


@given(toolsets(), NAMES, NAMES)
def test_filtering_after_a_prefix_is_a_prefix_after_filtering(
    some: Toolset, prefix: str, start: str
) -> None:
    pattern = f"{start}*"
    assert outcome(lambda: some.prefixed(prefix).filtered(f"{prefix}{pattern}")) == outcome(
        lambda: some.filtered(pattern).prefixed(prefix)
    )


@given(toolsets(), NAMES)
def test_a_filter_and_its_opposite_are_the_whole(some: Toolset, start: str) -> None:
    def picks(one: Tool[..., Any]) -> bool:
        return one.name.startswith(start)

    kept, left = some.filtered(picks), some.without(picks)
    assert {*names(kept)} | {*names(left)} == {*names(some)}
    assert not {*names(kept)} & {*names(left)}
    assert shape(kept.filtered(picks)) == shape(kept)


@given(toolsets(), NAMES, NAMES)
def test_prefixes_add_up_and_renaming_back_is_nothing(some: Toolset, one: str, two: str) -> None:
    assert shape(some.prefixed(one).prefixed(two)) == shape(some.prefixed(two + one))
    back = some.prefixed(one).renamed(lambda name: name.removeprefix(one))
    assert shape(back) == shape(some)


@given(toolsets(), st.dictionaries(NAMES, NAMES, max_size=3))
def test_renaming_by_a_table_keeps_names_unique_or_names_both(
    some: Toolset, table: dict[str, str]
) -> None:
    wanted = [table.get(name, name) for name in names(some)]
    if table.keys() - {*names(some)}:
        with pytest.raises(DefinitionError, match=r"has no tool .* to rename; it has"):
            some.renamed(table)
    elif len({*wanted}) < len(wanted):
        with pytest.raises(DefinitionError, match="would both be named") as caught:
            some.renamed(table)
        assert sum(repr(name) in str(caught.value) for name in names(some)) >= 2
    else:
        assert names(some.renamed(table)) == wanted


@given(toolsets(), st.sampled_from(sorted(WAYS)), st.sampled_from(sorted(WAYS)))
def test_the_ways_commute(some: Toolset, one: str, two: str) -> None:
    first, second = WAYS[one], WAYS[two]
    if {one, two} == {"prefixed", "renamed"}:
        second = WAYS["prefixed"]
    assert shape(first(second(some))) == shape(second(first(some)))


@given(toolsets(), st.sampled_from(sorted(WAYS)))
def test_the_old_toolset_stays_as_it_is(some: Toolset, way: str) -> None:
    before = [vars(one).copy() for one in some]
    WAYS[way](some)
    assert [vars(one) for one in some] == before


@given(toolsets(), st.sampled_from(sorted(WAYS)))
def test_what_was_not_said_stays(some: Toolset, way: str) -> None:
    kept = ("function", "is_async", "context", "parameters", "description", "sequential", "retry")
    originals = {one.function: one for one in KINDS}
    for one in WAYS[way](some):
        original = originals[one.function]
        assert all(getattr(one, name) == getattr(original, name) for name in kept)
        assert one.max_result == original.max_result
        assert one.spec.parameters is original.parameters


UNMADE: list[tuple[Callable[[Toolset], Toolset], str]] = [
    (lambda some: some.filtered("raed"), r"filtered: 'raed' fits no tool of toolset 'both'"),
    (lambda some: some.without("x*"), r"without: 'x\*' fits no tool .* has 'look', 'write'"),
    (lambda some: some.needing_approval("x"), r"needing_approval: 'x' fits no tool"),
    (lambda some: some.needing_approval(when=cast(Any, True)), r"when=True is no condition"),
    (lambda some: some.prefixed("1"), r"tool function 'look' .*'1look' is no tool name"),
    (lambda some: some.timed(0), r"tool function 'look' .*timeout=0 is no limit"),
    (lambda some: some.cached(ttl=0), r"ttl=0, most=1024 keep nothing"),
    (lambda some: some.cached(most=0), r"most=0 keep nothing"),
    (lambda some: some.limited(), r"concurrent=None is no limit"),
    (lambda some: some.limited(5), r"calls=5, seconds=None is no rate; give both"),
    (lambda some: some.limited(0, seconds=1), r"calls=0, seconds=1 is no rate"),
    (lambda some: some.limited(concurrent=0), r"concurrent=0 is no limit"),
]


@pytest.mark.parametrize(("make", "told"), UNMADE)
def test_what_can_not_be_made_says_why(make: Callable[[Toolset], Toolset], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        make(Toolset("both", [look, write]))


def test_only_toolsets_are_combined() -> None:
    with pytest.raises(TypeError):
        _ = Toolset("one", [look]) + cast(Any, "write")


async def run(toolset: Toolset | Sequence[Toolset], *script: Any, **options: Any) -> Any:
    """Run an agent that makes these calls and answers."""
    tools = [toolset] if isinstance(toolset, Toolset) else toolset
    agent = Agent(tools=tools, backend=ScriptedBackend([*script, answer("Done")]), **options)
    return await agent.run("go", deps="Ann")


async def test_a_derived_tool_is_given_the_context_and_a_thread() -> None:
    both = Toolset("both", [look, write]).prefixed("a_").limited(concurrent=1).timed(5)
    result = await run(both, call("a_write", text="hi"), call("a_look", key="k", depth=2))
    first, second = result.results
    assert first.content == "Ann: hi in agentkit tool"
    assert second.content == "kk"


async def test_a_failure_is_told_under_the_name_that_the_model_knows() -> None:
    @tool
    def broken() -> None:
        raise OSError("no disk")

    result = await run(Toolset("bad", [broken]).prefixed("fs_").cached(), call("fs_broken"))
    assert result.results[0].content.startswith("fs_broken failed: OSError: no disk.")


async def test_a_call_takes_no_longer_than_it_may() -> None:
    @tool(timeout=None)
    async def hang() -> None:
        await anyio.sleep_forever()

    result = await run(Toolset("slow", [hang]).timed(0.01), call("hang"))
    assert "hang did not finish within 0.01 s" in result.results[0].content


async def test_calls_wait_for_a_human_where_it_was_said() -> None:
    both = Toolset("both", [look, write]).needing_approval("lo*").prefixed("x_")
    result = await run(both, [call("x_look", key="k"), call("x_write", text="t")])
    assert result.status == "paused"
    assert [(one.call.tool, one.why) for one in result.pending] == [
        ("x_look", "every call needs approval")
    ]


async def test_nothing_that_may_have_to_wait_is_begun_on_a_guess() -> None:
    made: list[str] = []

    @tool(pure=True)
    async def peek(key: str) -> str:
        made.append(key)
        return key

    final, guess = call("peek", key="a"), call("peek", key="b")
    turn = drafted([final, call("peek", key="c")], [final, guess], settled=1)
    free = Toolset("free", [peek])
    await run(free, turn)
    assert {*made} >= {"a", "c"}
    made.clear()
    held = free.needing_approval(when=argument("key").is_("a"))
    result = await run(held, turn)
    assert (result.status, made) == ("paused", ["c"])


@pytest.mark.parametrize(
    ("when", "waits"),
    [
        (argument("depth") > 2, True),
        (argument("depth") > 3, False),
        (named("look"), True),  # the name it had when that was said
        (named("x_look"), False),
        (choice > 0.5, True),
        (choice < 0.5, False),
    ],
)
async def test_a_condition_says_which_calls_wait(when: Any, waits: bool) -> None:
    held = Toolset("one", [look]).needing_approval(when=when).prefixed("x_")
    result = await run(held, call("x_look", key="k", depth=3))
    assert (result.status == "paused") is waits
    if waits:
        assert result.pending[0].why == when.text


async def test_what_was_approved_is_made() -> None:
    held = Toolset("one", [look]).needing_approval(when=argument("key").is_("k"))
    backend = ScriptedBackend([call("look", key="k"), answer("Done")])
    agent = Agent(tools=[held], backend=backend)
    paused = await agent.run("go")
    resume = Resume({paused.pending[0].call.id: Approve()})
    result = await agent.run(resume, history=paused.history)
    assert result.results[0].content == "k"


@pytest.mark.parametrize(("key", "waits"), [("a", True), ("b", True), ("c", False)])
async def test_several_conditions_add_up(key: str, waits: bool) -> None:
    held = (
        Toolset("one", [look])
        .needing_approval(when=argument("key").is_("a"))
        .needing_approval(when=argument("key").is_("b"))
    )
    assert ((await run(held, call("look", key=key))).status == "paused") is waits
    always = held.needing_approval().needing_approval(when=argument("key").is_("b"))
    assert (await run(always, call("look", key=key))).status == "paused"


async def test_an_agent_s_own_policies_hold_as_well() -> None:
    held = Toolset("one", [look]).needing_approval(when=argument("key").is_("a"))
    policy = approve_when(argument("key").is_("b"), "the agent says so")
    result = await run(held, call("look", key="b"), policies=[policy])
    assert [one.why for one in result.pending] == ["the agent says so"]
