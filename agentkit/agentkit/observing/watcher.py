"""The seam between a run and whoever measures it: what is begun, what came of it, how it failed.

Knows messages, decisions and results; must not know who watches, nor how a run goes on. What a run
does happens inside context managers, so that a watcher sees errors and cancellation too; they never
swallow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, Self, TypeAlias

from agentkit.backend import Decision, ModelSettings
from agentkit.message import Call, Message, ResultMessage
from agentkit.result import RunResult

DecisionKind: TypeAlias = Literal["decide", "refill", "escalate"]


class WatchedDecision(Protocol):
    """A decision being made."""

    def decided(self, decision: Decision) -> None:
        """What the model decided. Not said of a decision that failed."""
        ...


class WatchedCall(Protocol):
    """A call being made."""

    def finished(self, result: ResultMessage) -> None:
        """What came of it, good or bad. Not said of a call that was cut off."""
        ...


class WatchedRun(Protocol):
    """A run going on. Its parts may be watched from any of its tasks."""

    def decide(
        self,
        turn: int,
        *,
        kind: DecisionKind = "decide",
        settings: ModelSettings = ModelSettings(),
    ) -> AbstractContextManager[WatchedDecision]:
        """Around `extend` and `decide`, or a refill, of one conversation."""
        ...

    def call(
        self, call: Call, *, turn: int = 0, description: str = ""
    ) -> AbstractContextManager[WatchedCall]:
        """Around the work of one tool that there is, in the task that does it.

        description: the tool's.
        """
        ...

    def ended(self, result: RunResult[Any]) -> None:
        """What came of the run. Not said of one that failed."""
        ...


class Watcher(Protocol):
    """Watches runs; one may watch any number at once, in several threads.

    A context manager is entered and left in one task.
    """

    def run(
        self,
        agent: str,
        *,
        description: str = "",
        conversation: str | None = None,
        messages: Sequence[Message] = (),
    ) -> AbstractContextManager[WatchedRun]:
        """Around a whole run.

        agent: its name. conversation: its key in the store. messages: the history it starts from,
        the request included.
        """
        ...


class Unwatched:
    """Watches nothing, at next to no cost: a run that nobody measures needs no other path."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def run(
        self,
        agent: str,
        *,
        description: str = "",
        conversation: str | None = None,
        messages: Sequence[Message] = (),
    ) -> Self:
        return self

    def decide(
        self,
        turn: int,
        *,
        kind: DecisionKind = "decide",
        settings: ModelSettings = ModelSettings(),
    ) -> Self:
        return self

    def call(self, call: Call, *, turn: int = 0, description: str = "") -> Self:
        return self

    def decided(self, decision: Decision) -> None:
        pass

    def finished(self, result: ResultMessage) -> None:
        pass

    def ended(self, result: RunResult[Any]) -> None:
        pass


UNWATCHED = Unwatched()
"""The one watcher that watches nothing."""
