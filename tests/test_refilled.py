"""Rejected values: refilled where the backend can, sent back to the model where it can't."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from agentkit import (
    Agent,
    Blocked,
    CallFilled,
    Capabilities,
    Event,
    ResultMessage,
    Retry,
    tool,
)
from agentkit.testing import (
    ScriptedBackend,
    ScriptItem,
    answer,
    assert_calls,
    assert_well_formed,
    call,
    refill,
)


def even(number: int) -> int:
    if number % 2:
        raise ValueError("give an even number")
    return number


CANT = Capabilities(drafts=True, fork=True)


@tool
def book(city: str, people: int) -> str:
    """Book a table."""
    if city == "Roma":
        raise Retry("no such city", value="city")
    if people > 8:
        raise Retry("too many people", value="/people")
    return f"{people} in {city}"


async def test_only_the_rejected_value_is_filled_in_again() -> None:
    backend = ScriptedBackend(
        [call("book", city="Roma", people=2), refill(city="Rome"), answer("ok")]
    )
    events: list[Event] = []
    result = await Agent(tools=[book], backend=backend).run("go", on_event=events.append)
    assert_calls(result, [call("book", city="Roma", people=2), call("book", city="Rome", people=2)])
    assert [item.content for item in result.results] == ["no such city", "2 in Rome"]
    ((filled, rejected),) = backend.conversations[0].refills
    assert rejected == {"/city": "no such city"}
    assert getattr(filled, "tool", "") == "book"
    assert result.turns == 2
    assert [span.name for span in result.spans if span.kind == "refill"] == ["/city"]
    refilled = [event for event in events if isinstance(event, CallFilled)]
    assert [event.refills for event in refilled] == ["", "call_1"]
    assert_well_formed(result.history)


async def test_the_backend_has_seen_the_failure_when_it_refills() -> None:
    backend = ScriptedBackend(
        [call("book", city="Roma", people=2), refill(city="Rome"), answer("ok")]
    )
    await Agent(tools=[book], backend=backend).run("go")
    conversation = backend.conversations[0]
    assert [len(batch) for batch in conversation.extended] == [1, 2, 2]


async def test_one_value_after_another() -> None:
    script: list[ScriptItem] = [
        call("book", city="Roma", people=9),
        refill(city="Rome"),
        refill(people=8),
        answer("ok"),
    ]
    result = await Agent(tools=[book], backend=ScriptedBackend(script)).run("go")
    assert [item.is_error for item in result.results] == [True, True, False]


async def test_retries_are_limited_and_then_the_model_decides_anew() -> None:
    script: list[ScriptItem] = [
        call("book", city="Roma", people=1),
        refill(city="Roma"),
        answer("I give up"),
    ]
    result = await Agent(tools=[book], backend=ScriptedBackend(script), retries=1).run("go")
    assert result.output == "I give up"
    assert [item.is_error for item in result.results] == [True, True]


async def test_where_there_is_no_other_value_the_model_reads_why() -> None:
    script: list[ScriptItem] = [call("book", city="Roma", people=1), answer("sorry")]
    backend = ScriptedBackend(script)
    assert (await Agent(tools=[book], backend=backend).run("go")).output == "sorry"
    last = backend.conversations[0].messages[-1]
    assert isinstance(last, ResultMessage)
    assert last.content == "no such city"


async def test_a_backend_that_cant_refill_is_not_asked_to() -> None:
    script: list[ScriptItem] = [
        call("book", city="Roma", people=1),
        call("book", city="Rome", people=1),
        answer("ok"),
    ]
    backend = ScriptedBackend(script, capabilities=CANT)
    result = await Agent(tools=[book], backend=backend).run("go")
    assert (result.output, backend.conversations[0].refills) == ("ok", [])


async def test_a_call_of_one_argument_needs_no_name() -> None:
    @tool
    def look(city: str) -> str:
        """Look."""
        if city == "Roma":
            raise Retry("no such city")
        return city

    backend = ScriptedBackend([call("look", city="Roma"), refill(city="Rome"), answer("ok")])
    result = await Agent(tools=[look], backend=backend).run("go")
    assert result.results[-1].content == "Rome"


async def test_a_value_that_is_not_in_the_call_is_left_to_the_model() -> None:
    @tool
    def look(city: str, day: int = 1) -> str:
        """Look."""
        raise Retry("which day?", value="day")

    backend = ScriptedBackend([call("look", city="Rome"), answer("which day?")])
    assert (await Agent(tools=[look], backend=backend).run("go")).output == "which day?"
    assert backend.conversations[0].refills == []


async def test_what_a_validator_of_an_argument_rejects_is_refilled() -> None:
    @tool
    def halve(number: Annotated[int, AfterValidator(even)]) -> int:
        """Halve."""
        return number // 2

    backend = ScriptedBackend([call("halve", number=3), refill(number=4), answer("2")])
    result = await Agent(tools=[halve], backend=backend).run("go")
    ((_, rejected),) = backend.conversations[0].refills
    assert rejected == {"/number": "give an even number (got 3)"}
    assert result.results[-1].content == "2"


async def test_of_several_calls_only_the_failed_one_is_made_again() -> None:
    turn = [call("book", city="Rome", people=1), call("book", city="Roma", people=2)]
    backend = ScriptedBackend([turn, refill(city="Bari"), answer("ok")])
    result = await Agent(tools=[book], backend=backend).run("go")
    assert [item.content for item in result.results] == ["1 in Rome", "no such city", "2 in Bari"]


async def test_a_guard_of_calls_rejects_a_value_before_the_tool_runs() -> None:
    made: list[str] = []

    @tool
    def send(to: str, text: str) -> str:
        """Send."""
        made.append(to)
        return "sent"

    backend = ScriptedBackend([call("send", to="all", text="x"), refill(to="me"), answer("ok")])
    agent = Agent(tools=[send], backend=backend)

    @agent.guard_call
    def careful(context: object, made: object) -> None:
        if getattr(made, "arguments", {}).get("to") == "all":
            raise Retry("not to all", value="to")

    await agent.run("go")
    assert made == ["me"]


def test_blocked_is_an_error_that_ends_runs() -> None:
    assert Blocked("no").history == ()
