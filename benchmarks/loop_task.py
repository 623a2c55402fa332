"""The task that every framework is given: one typed tool, and a model that takes no time.

It runs inside the framework's own environment, so it knows the standard library alone. Must not
know any framework. What is measured is the CPU time from the model's answer to the next question
to it: reading its call, checking the arguments, running the tool, writing the result down, and
building the next request. What the model's answer costs to make is left out for all alike.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any, Literal, TypedDict, TypeVar

__all__ = ["ANSWER", "ARGUMENTS", "INSTRUCTIONS", "REQUEST", "Asked", "Task", "Told", "serve"]

INSTRUCTIONS = "You are terse."
REQUEST = "What will the weather be?"
ANSWER = "It will be cold."
ARGUMENTS: dict[str, Any] = {"city": "Oslo", "days": 3, "unit": "c"}

R = TypeVar("R")


class Asked(TypedDict):
    """A run: so many turns that call the tool, so many calls in each, and then the answer."""

    turns: int
    calls: int


class Told(TypedDict):
    """CPU milliseconds of each turn, and of the whole run."""

    turns: list[float]
    run: float


class Task:
    """One run after another: what the model says in it, and when it was asked."""

    def __init__(self) -> None:
        self._asked: Asked = {"turns": 0, "calls": 0}
        self._entered: list[float] = []
        self._left: list[float] = []
        self._ids = self._made = 0

    def model(self, say: Callable[[int], R]) -> R:
        """The model, entered: `say` makes its answer, of so many calls; of none, the last one."""
        self._entered.append(process_time())
        more = len(self._entered) <= self._asked["turns"]
        said = say(self._asked["calls"] if more else 0)
        self._left.append(process_time())
        return said

    def call_id(self) -> str:
        """An id that no other call of this process has."""
        self._ids += 1
        return f"call_{self._ids}"

    def forecast(self, city: str, days: int, unit: str) -> dict[str, Any]:
        """What the tool gives back."""
        self._made += 1
        return {"city": city, "days": days, "temperature": 7, "unit": unit}

    async def get_weather(
        self, city: str, days: int, unit: Literal["c", "f"] = "c"
    ) -> dict[str, Any]:
        """Give the weather forecast.

        Args:
            city: The city's name.
            days: How many days ahead.
            unit: Celsius or Fahrenheit.
        """
        return self.forecast(city, days, unit)

    async def measure(self, run: Callable[[], Awaitable[str]], asked: Asked) -> Told:
        """What one run takes.

        Raises:
            RuntimeError: the framework did not do all that was asked of it.
        """
        self._asked = asked
        self._entered.clear()
        self._left.clear()
        self._made = 0
        began = process_time()
        answer = await run()
        ended = process_time()
        done = (len(self._entered) - 1, self._made, answer)
        wanted = (asked["turns"], asked["turns"] * asked["calls"], ANSWER)
        if done != wanted:
            raise RuntimeError(f"turns, calls and answer were {done}, not {wanted}")
        gaps = zip(self._left, self._entered[1:], strict=False)
        return {
            "turns": [(entered - left) * 1000 for left, entered in gaps],
            "run": (ended - began) * 1000,
        }


def serve(task: Task, run: Callable[[], Awaitable[str]], version: str) -> None:
    """Answer on standard output, a line of JSON each, what is asked on standard input."""
    # what a framework prints goes elsewhere
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(what: object) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    async def answer() -> None:
        tell({"version": version})
        for line in sys.stdin:  # waits, and so holds the loop up; nothing else is to run in it
            tell(await task.measure(run, json.loads(line)))

    asyncio.run(answer())
