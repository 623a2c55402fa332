"""An agent at a restaurants' front desk: it books tables, each with a human's approval.

agentkit chat examples/desk.py:agent --deps diary
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from agentkit import Agent, Retry, RunContext, approve_when, ask_when, confidence, named

PEOPLE = 40  # that a restaurant seats in an evening


@dataclass
class Diary:
    """The bookings of an evening: city -> how many people come."""

    booked: dict[str, int] = field(default_factory=dict[str, int])

    def left(self, city: str) -> int:
        """The seats that are free in a city."""
        return PEOPLE - self.booked.get(city, 0)


def diary() -> Diary:
    """An evening that has begun well: `--deps diary`."""
    return Diary({"Lisbon": 36, "Oslo": 4})


agent = Agent[Diary, str](
    name="desk",
    policies=[
        ask_when(confidence("city") < 0.3),
        approve_when(named("book_table"), "a booking is binding"),
    ],
)


@agent.tool
def book_table(context: RunContext[Diary], city: str, people: Annotated[int, Field(ge=1)]) -> str:
    """Book a table.

    Args:
        city: The city.
        people: How many people.
    """
    left = context.deps.left(city)
    if people > left:
        raise Retry(f"{city} has {left} seats left", value="people")
    context.deps.booked[city] = context.deps.booked.get(city, 0) + people
    return f"Booked: a table for {people} in {city}"


@agent.tool
def seats_left(context: RunContext[Diary], city: str) -> int:
    """Say how many seats are free.

    Args:
        city: The city.
    """
    return context.deps.left(city)
