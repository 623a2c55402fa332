"""The example that the documents use: an agent at a front desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, Resume
from agentkit.terminal.loading import load_agent, load_deps
from agentkit.testing import ScriptedBackend, ScriptItem, answer, call, refill

DESK = f"{Path(__file__).parents[1] / 'examples' / 'desk.py'}:agent"


@pytest.fixture
def diary() -> Any:
    return load_deps(DESK, "diary")


def desk(*script: ScriptItem) -> Agent[Any, Any]:
    return load_agent(DESK).with_backend(ScriptedBackend(script))


def test_a_booking_waits_for_approval(diary: Any) -> None:
    agent = desk(call("book_table", city="Oslo", people=2), answer("Booked."))
    paused = agent.run_sync("Book a table for two in Oslo", deps=diary)
    assert [pending.why for pending in paused.pending] == ["a booking is binding"]
    assert diary.left("Oslo") == 36
    verdicts = Resume({pending.call.id: Approve() for pending in paused.pending})
    result = agent.run_sync(verdicts, deps=diary, history=paused.history)
    assert result.output == "Booked."
    assert diary.left("Oslo") == 34


def test_a_booking_that_does_not_fit_is_filled_in_again(diary: Any) -> None:
    agent = desk(call("book_table", city="Lisbon", people=9), refill(people=4), answer("Booked."))

    def approve(*_: object) -> Approve:
        return Approve()

    result = agent.run_sync("Book a table in Lisbon", deps=diary, approve=approve)
    assert [outcome.content for outcome in result.results] == [
        "Lisbon has 4 seats left",
        "Booked: a table for 4 in Lisbon",
    ]


def test_a_city_that_was_hardly_read_is_asked_for(diary: Any) -> None:
    asked = desk(call("seats_left", city="Ljub").sure(city=0.2)).run_sync("Seats?", deps=diary)
    assert asked.status == "asked"
    assert "Which city" in asked.answer


def test_seats_that_are_left_are_counted(diary: Any) -> None:
    result = desk(call("seats_left", city="Lisbon"), answer("4")).run_sync("Seats?", deps=diary)
    assert [outcome.content for outcome in result.results] == ["4"]
