"""What the parts of one run share: who it is for, what it has said and spent, who listens.

Knows plans, messages and events. Must not know how a run goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from agentkit.backend import (
    Capabilities,
    Conversation,
    Decision,
    ModelSettings,
    ProposedCall,
    ToolSpec,
)
from agentkit.context import RunContext, Spent
from agentkit.errors import RunError
from agentkit.event import AnswerDraft, CallProgress, DraftCanvas, Event
from agentkit.message import Call
from agentkit.observing.watcher import UNWATCHED, WatchedRun
from agentkit.result import Pending, RunResult, Span, SpanKind, Status
from agentkit.running.journal import Journal
from agentkit.running.plan import Approver, Plan
from agentkit.running.threads import loop_here

# What a report from a thread meets where nobody listens any more: the stream was left, or the
# event loop is ending or has ended.
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, CancelledError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of a run. `event` may wait; `draft` returns at once, and may drop."""

    event: Callable[[Event], Awaitable[None]]
    draft: Callable[[DraftCanvas | AnswerDraft], None]


class State:
    """The state of one run.

    Attributes:
        plan: of the agent that has the floor; another after a hand-off.
        tools: those of them that its model sees and may call.
        settings: of its decisions.
        instructions: of that agent, as they read in this run.
        conversation: the backend's; None while there is none. sent: messages it has seen.
        refillable: whether values of the last decision can be filled in again.
        at_work: ids of the calls being made.
        over: whether the run has ended, for tools that are still in their threads.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        *,
        deps: Any,
        request: str,
        settings: ModelSettings | None,
        approve: Approver | None,
    ) -> None:
        self._asked = settings
        self.give_floor(plan)
        self.journal = journal
        self.deps = deps
        self.request = request
        self.approve = approve
        self.listener: Listener | None = None
        self.watched: WatchedRun = UNWATCHED
        self.instructions = ""
        self.conversation: Conversation | None = None
        self.capabilities = Capabilities()
        self.refillable = False
        self.sent = 0
        self.turn = 0
        self.spent = Spent()
        self.decisions: list[Decision] = []
        self.spans: list[Span] = []
        self.confidence: dict[str, dict[str, float]] = {}
        self.tool_seconds = 0.0
        self.at_work: set[str] = set()
        self.over = False
        self.metadata: dict[str, Any] = {}
        self._began = perf_counter()
        self._loop: Any = None

    def give_floor(self, plan: Plan) -> None:
        """Let an agent go on, under its own settings where the run was told none."""
        self.plan, self.tools = plan, plan.tools
        self.settings = plan.settings if self._asked is None else self._asked.over(plan.settings)

    def context(self, call: Call | None = None) -> RunContext[Any]:
        """What those are told that the run asks or calls."""
        return RunContext(
            deps=self.deps,
            agent=self.plan.name,
            request=self.request,
            turn=self.turn,
            call=call,
            spent=self.now_spent(),
            metadata=self.metadata,
            run=self,
        )

    @property
    def specs(self) -> Sequence[ToolSpec]:
        """The tools as the model sees them."""
        if self.tools is self.plan.tools:
            return self.plan.specs
        return [tool.spec for tool in self.tools.values()]

    @property
    def history(self) -> tuple[Any, ...]:
        return self.journal.history

    def now_spent(self) -> Spent:
        """What is used up, the time included."""
        self.spent.seconds = self.elapsed()
        return self.spent

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return perf_counter() - self._began

    def began(self) -> None:
        """The run begins here and now, in this event loop."""
        self._began = perf_counter()
        self._loop = anyio.lowlevel.current_token()

    async def tell(self, event: Event) -> None:
        """Let those who listen know; waits where they are behind."""
        if self.listener is not None:
            await self.listener.event(event)

    async def report(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        """A tool's progress; what a call reports that was given up, nobody hears."""
        if call.id in self.at_work:
            await self.tell(CallProgress(self.turn, call, message, done, total))

    def report_from_thread(
        self, call: Call, message: str, done: float | None, total: float | None
    ) -> None:
        """`report` from a thread of a tool, which waits for it.

        Raises:
            RunError: it was called in the event loop, which would wait for itself.
        """
        if loop_here() == self._loop:
            raise RunError(
                "`report_sync` is for tools that are plain functions; write "
                "`await context.report(...)` in an async one"
            )
        with suppress(*_GONE):
            anyio.from_thread.run(self.report, call, message, done, total, token=self._loop)

    def account(self, decision: Decision) -> None:
        """A decision was made."""
        self.decisions.append(decision)
        self.spent.add(decision.forwards, decision.passes, decision.tokens)

    def fresh_call(self, proposed: ProposedCall) -> Call:
        """A call under an id of its own."""
        call = Call(self.journal.fresh_id(), proposed.tool, proposed.arguments)
        if proposed.confidence:
            self.confidence[call.id] = dict(proposed.confidence)
        return call

    def pending(self, call: Call) -> Pending:
        """A call of the history that waits, and what for."""
        tool = self.plan.tools.get(call.tool)
        deferred = tool is not None and tool.deferred
        return Pending(call, "deferred" if deferred else "approval")

    def span(self, kind: SpanKind, name: str, started: float, **about: Any) -> None:
        """Note what has just ended; `started` is what `elapsed` said when it began."""
        self.spans.append(Span(kind, name, self.turn, started, self.elapsed() - started, **about))

    def result(self, status: Status, *, answer: str = "", **about: Any) -> RunResult[Any]:
        """What comes of the run, if it ends here."""
        timings = [decision.timings for decision in self.decisions]
        return RunResult(
            status=status,
            answer=answer,
            agent=self.plan.name,
            messages=self.journal.history,
            given=self.journal.given,
            turns=self.spent.turns,
            decisions=tuple(self.decisions),
            confidence=self.confidence,
            spans=tuple(self.spans),
            timings={
                "encode": sum(timing.encode for timing in timings),
                "denoise": sum(timing.denoise for timing in timings),
                "verify": sum(timing.verify for timing in timings),
                "lattice": sum(timing.lattice for timing in timings),
                "tool": self.tool_seconds,
            },
            **about,
        )
