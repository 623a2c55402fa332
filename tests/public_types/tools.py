"""What a user of tools and outputs sees of their types. Read by type checkers, never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_type

from agentkit import Selection, Tool, Toolset, argument, best_tools, tool
from agentkit.context import RunContext
from agentkit.defining.output import OutputType, output_type


@dataclass
class Booking:
    city: str


@dataclass
class Refusal:
    why: str


@tool
def add(a: int, b: int = 1) -> float:
    return a + b


@tool(name="look-up", pure=True, timeout=None)
async def look_up(context: RunContext[Booking], key: str) -> list[str]:
    return [context.deps.city, key]


def parameters_and_result_are_those_of_the_function() -> None:
    assert_type(add(1, b=2), float)
    assert_type(add.function(1), float)
    assert_type(tool(add.function, sequential=True)(1), float)
    add("1")  # type: ignore[arg-type]
    add(c=1)  # type: ignore[call-arg]


async def an_async_tool_is_awaited(context: RunContext[Booking]) -> None:
    assert_type(await look_up(context, "key"), list[str])
    await look_up(context, 1)  # type: ignore[arg-type]
    await look_up(context.deps, "key")  # type: ignore[arg-type]


def options_are_known() -> None:
    tool(add.function, prue=True)  # type: ignore[call-overload]
    tool(add.function, timeout="1")  # type: ignore[call-overload]


async def a_tool_of_a_schema_takes_any_arguments() -> None:
    async def answer(**arguments: Any) -> bool:
        return bool(arguments)

    made = Tool.from_schema("answer", "Answers.", {"type": "object"}, answer, timeout=1)
    assert_type(await made(any="thing"), bool)


def an_output_is_read_as_what_was_declared() -> None:
    assert_type(output_type(str).read(""), str)
    assert_type(output_type(Booking).read(""), Booking)
    assert_type(output_type(Booking).partial(""), Booking | None)
    assert_type(output_type(list[int]).read(""), list[int])
    assert_type(output_type({"type": "object"}).read(""), Any)
    assert_type(output_type(output_type(Booking)), OutputType[Booking])
    chosen: OutputType[Literal["yes", "no"]] = output_type(Literal["yes", "no"])
    either: OutputType[Booking | Refusal] = output_type([Booking, Refusal])
    other: OutputType[Booking] = output_type(Refusal)  # type: ignore[arg-type]
    del chosen, either, other


def what_is_made_of_toolsets_is_a_toolset() -> None:
    files = Toolset("files", [add, look_up])
    made = files.filtered("a*", lambda one: one.pure).renamed({"add": "plus"}).renamed(str.lower)
    assert_type(made + files.prefixed("fs_"), Toolset)
    assert_type(files.needing_approval("add", when=argument("a") > 3).timed(None), Toolset)
    assert_type(files.cached(ttl=60).limited(5, seconds=1, per="tool", full="refuse"), Toolset)
    files.limited(5, per="agent")  # type: ignore[arg-type]
    files + add  # type: ignore[operator]
    assert_type(add.changed(name="plus")(1), float)
    add.changed(nmae="plus")  # type: ignore[call-arg]


async def tools_are_chosen_by_words_and_vectors() -> None:
    def embed(texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text))] for text in texts]

    assert_type(best_tools(3, always=["add"], embed=embed), Selection)
    best_tools(embed=len)  # type: ignore[arg-type]
