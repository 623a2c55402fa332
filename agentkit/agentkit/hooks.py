"""Hooks: a look at a run from within, before and after each turn, call and answer.

Knows contexts, messages and decisions. Subclass and override what is of interest. An exception from
a hook ends the run; `Retry` from `before_call` and `before_answer` does what it does in a guard.
"""

from __future__ import annotations

from typing import Any, Generic

from agentkit.backend import Decision
from agentkit.context import Deps, RunContext
from agentkit.message import Call, ResultMessage


class Hooks(Generic[Deps]):
    """Hears of a run as it goes; each method is awaited before the run goes on."""

    async def before_turn(self, context: RunContext[Deps]) -> None:
        """A turn is about to begin."""

    async def after_turn(self, context: RunContext[Deps], decision: Decision) -> None:
        """All of a turn is done and in the history."""

    async def before_call(self, context: RunContext[Deps], call: Call) -> None:
        """A call is about to be made."""

    async def after_call(
        self, context: RunContext[Deps], call: Call, result: ResultMessage
    ) -> None:
        """A call came to its end, good or bad."""

    async def before_answer(self, context: RunContext[Deps], output: Any) -> None:
        """The output passed every check and is about to be given."""
