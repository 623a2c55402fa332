"""What a run tells those it calls: tools, instructions, guards, hooks and policies.

Knows messages and what a run has spent. Must not know how a run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from agentkit.message import Call, History

Deps = TypeVar("Deps", default=None)


@dataclass(slots=True)
class Spent:
    """What a run has used up so far; stop policies look at it.

    turns: decisions made, refills not counted. calls: made, refused ones included. failures: calls
    that ended in an error. forwards: decoder forwards. passes: causal passes over what was filled
    in. tokens: filled in or written. seconds: since the run began.
    """

    turns: int = 0
    calls: int = 0
    failures: int = 0
    forwards: int = 0
    passes: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, forwards: int, passes: int, tokens: int) -> None:
        """Count what a model did."""
        self.forwards += forwards
        self.passes += passes
        self.tokens += tokens

    def plus(self, *, turns: int = 0, calls: int = 0, forwards: int = 0, tokens: int = 0) -> Spent:
        """What it would be with so much more."""
        return Spent(
            self.turns + turns,
            self.calls + calls,
            self.failures,
            self.forwards + forwards,
            self.passes,
            self.tokens + tokens,
            self.seconds,
        )


class Inside(Protocol):
    """What a context knows of the run behind it."""

    @property
    def history(self) -> History: ...

    @property
    def over(self) -> bool: ...

    @property
    def approve(self) -> Any: ...

    async def report(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None: ...

    def report_from_thread(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)  # slots and generics make `RunContext[X](...)` fail
class RunContext(Generic[Deps]):
    """The run that something is asked or called for.

    A tool whose parameter is annotated `RunContext[...]` is given it; no model sees that parameter.

    deps: as given to the run. agent: the agent's name. request: what was asked. turn: from 1; 0
    before the first. call: the call being made, within a tool or a guard of calls. spent: so far.
    metadata: a dict of the run's own, for those who want to leave each other notes.
    run: the run behind it; None where a tool is called without one.
    """

    deps: Deps
    agent: str = "agent"
    request: str = ""
    turn: int = 0
    call: Call | None = None
    spent: Spent = field(default_factory=Spent)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    run: Inside | None = field(default=None, repr=False, compare=False)

    @property
    def history(self) -> History:
        """The messages so far."""
        return () if self.run is None else self.run.history

    @property
    def over(self) -> bool:
        """Whether the run has ended: a plain function in its thread should give up then."""
        return self.run is not None and self.run.over

    async def report(
        self, message: str, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Tell how far the call is: `await ctx.report("reading", done=3, total=10)`."""
        if self.run is not None and self.call is not None:
            await self.run.report(self.call, message, done, total)

    def report_sync(
        self, message: str, *, done: float | None = None, total: float | None = None
    ) -> None:
        """`report` for a tool that is a plain function, which runs in a thread of its own."""
        if self.run is not None and self.call is not None and not self.run.over:
            self.run.report_from_thread(self.call, message, done, total)
