"""Outputs: answers read as a type, checked by guards, refilled or sent back where they won't do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from loops import add
from pydantic import BaseModel, Field

from agentkit import (
    Agent,
    AnswerMessage,
    AnswerRejected,
    Blocked,
    Capabilities,
    Event,
    FeedbackMessage,
    InvalidOutput,
    Retry,
    RunContext,
    output_type,
)
from agentkit.testing import ScriptedBackend, ScriptItem, answer, assert_well_formed, call, refill


class Booking(BaseModel):
    city: str
    people: int = Field(ge=1)


@dataclass
class Refusal:
    why: str


async def test_an_answer_is_read_as_the_output_type() -> None:
    backend = ScriptedBackend([call("add", a=1, b=2), answer({"city": "Rome", "people": 3})])
    result = await Agent(tools=[add], output=Booking, backend=backend).run("go")
    assert result.output == Booking(city="Rome", people=3)
    assert result.answer == '{"city":"Rome","people":3}'
    opened = backend.conversations[0].output
    assert opened is not None
    assert opened["properties"]["people"] == {"type": "integer", "minimum": 1}


async def test_one_of_several_types() -> None:
    agent: Agent[None, Booking | Refusal] = Agent(
        output=[Booking, Refusal], backend=ScriptedBackend([answer({"why": "full"})])
    )
    assert (await agent.run("go")).output == Refusal("full")


async def test_a_json_schema_gives_the_json_value() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "integer"}}
    agent = Agent(output=output_type(schema), backend=ScriptedBackend([answer([1, 2])]))
    assert (await agent.run("go")).output == [1, 2]


async def test_an_answer_that_does_not_fit_is_sent_back_to_a_backend_that_cant_refill() -> None:
    backend = ScriptedBackend(
        [answer({"city": "Rome", "people": 0}), answer({"city": "Rome", "people": 2})],
        capabilities=Capabilities(),
    )
    events: list[Event] = []
    result = await Agent(output=Booking, backend=backend).run("go", on_event=events.append)
    assert result.output.people == 2
    _, first, feedback, last = result.history
    assert isinstance(feedback, FeedbackMessage)
    assert "/people" in feedback.text
    assert isinstance(first, AnswerMessage)
    assert isinstance(last, AnswerMessage)
    assert sum(isinstance(event, AnswerRejected) for event in events) == 1
    assert backend.conversations[0].messages == result.history[:-1]
    assert_well_formed(result.history)


async def test_only_the_value_that_does_not_fit_is_refilled() -> None:
    backend = ScriptedBackend([answer({"city": "Rome", "people": 0}), refill(people=2)])
    result = await Agent(output=Booking, backend=backend).run("go")
    assert result.output == Booking(city="Rome", people=2)
    ((_, rejected),) = backend.conversations[0].refills
    assert list(rejected) == ["/people"]
    assert result.turns == 1


async def test_answers_that_never_fit_end_the_run_with_what_was_wrong() -> None:
    backend = ScriptedBackend([answer("{}")] * 3, capabilities=Capabilities())
    with pytest.raises(InvalidOutput, match=r"failed its checks 3 times.*/city: is required") as e:
        await Agent(output=Booking, backend=backend).run("go")
    assert len(e.value.history) == 6


async def test_a_guard_of_outputs_may_send_back_replace_and_refuse() -> None:
    agent: Agent[str, str] = Agent(
        backend=ScriptedBackend([answer("short"), answer("long enough"), answer("secret")])
    )

    @agent.guard_output
    async def check(context: RunContext[str], output: str) -> str:
        if len(output) < 6:
            raise Retry("say more")
        if "secret" in output:
            raise Blocked("that is secret")
        return f"{output}, {context.deps}"

    assert (await agent.run("go", deps="friend")).output == "long enough, friend"
    with pytest.raises(Blocked, match="that is secret") as caught:
        await agent.run("go", deps="foe")
    assert len(caught.value.history) == 2


async def test_a_guard_may_name_the_value_of_an_output() -> None:
    backend = ScriptedBackend([answer({"city": "Roma", "people": 1}), refill(city="Rome")])
    agent = Agent(output=Booking, backend=backend)

    @agent.guard_output
    def check(context: object, output: Booking) -> None:
        if output.city == "Roma":
            raise Retry("no such city", value="city")

    assert (await agent.run("go")).output.city == "Rome"


async def test_rejections_of_all_turns_count_together() -> None:
    script: list[ScriptItem] = [answer("{}"), call("add", a=1, b=1), answer("{}"), answer("{}")]
    backend = ScriptedBackend(script, capabilities=Capabilities())
    with pytest.raises(InvalidOutput, match="3 times"):
        await Agent(tools=[add], output=Booking, backend=backend).run("go")
