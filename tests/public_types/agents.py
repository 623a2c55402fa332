"""What a user of agents sees of their types. Read by type checkers, never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from agentkit import Agent, RunResult
from agentkit.context import RunContext
from agentkit.defining.output import output_type


class Booking(BaseModel):
    city: str


class Refusal(BaseModel):
    why: str


@dataclass
class Database:
    url: str


class Other:
    pass


def instructed(context: RunContext[Database]) -> str:
    return context.deps.url


async def an_agent_answers_in_words_by_default() -> None:
    agent = Agent()
    assert_type(agent, Agent[None, str])
    result = await agent.run("hello")
    assert_type(result, RunResult[str])
    assert_type(result.output, str)


async def the_output_is_what_was_declared() -> None:
    assert_type(Agent(output=Booking), Agent[None, Booking])
    assert_type(Agent(output=list[int]), Agent[None, list[int]])
    assert_type((await Agent(output=Booking).run("book")).output, Booking)
    assert_type(Agent(output=Booking).run_sync("book").output, Booking)
    assert_type(Agent(output=output_type({"type": "object"})), Agent[None, Any])
    Agent[None, Booking](output=Refusal)  # type: ignore[arg-type]


async def a_union_is_a_sequence_or_written_out() -> None:
    listed = Agent[None, Booking | Refusal](output=[Booking, Refusal])
    assert_type((await listed.run("book")).output, Booking | Refusal)
    assert_type(Agent[None, Booking | str](output=Booking | str), Agent[None, Booking | str])
    chosen = Agent[None, Literal["yes", "no"]](output=Literal["yes", "no"])
    assert_type((await chosen.run("sure?")).output, Literal["yes", "no"])


async def deps_are_checked_where_a_run_begins() -> None:
    agent = Agent[Database, Booking](output=Booking, instructions=instructed)
    result = await agent.run("book", deps=Database("db"))
    assert_type(result.output, Booking)
    await agent.run("book", deps=Other())  # type: ignore[arg-type]
    agent.run_sync("book", deps=Other())  # type: ignore[arg-type]
    await Agent().run("hello", deps=Other())  # type: ignore[arg-type]
    await agent.run("book")  # pyright: ignore[reportArgumentType]  mypy takes the default for any type


def instructions_take_the_context_of_the_deps() -> None:
    assert_type(Agent(instructions=instructed), Agent[Database, str])
    Agent[Other](instructions=instructed)  # type: ignore[arg-type]


async def a_tool_of_an_agent_keeps_its_types() -> None:
    agent = Agent[Database]()

    @agent.tool
    def find(context: RunContext[Database], name: str) -> int:
        return len(context.deps.url + name)

    @agent.tool(pure=True)
    async def look_up(context: RunContext[Database], key: str) -> float:
        return len(context.deps.url + key)

    context = RunContext(deps=Database("db"))
    assert_type(context, RunContext[Database])
    assert_type(find(context, "x"), int)
    assert_type(await look_up(context, key="x"), float)
    find(context, 1)  # type: ignore[arg-type]
    find(RunContext(deps=Other()), "x")  # type: ignore[arg-type]
