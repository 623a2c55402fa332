"""Makes the calls of one decision: checks, approvals, side by side or in turn, results in order.

Knows plans, tools and the state of a run. Must not know how decisions come about, or what follows.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from anyio.abc import TaskGroup

from agentkit.backend import Decision, ProposedCall
from agentkit.errors import LimitReached, RunError
from agentkit.event import CallFilled, CallFinished, CallPending
from agentkit.message import Call, CallMessage, ResultMessage
from agentkit.policies.condition import Proposal
from agentkit.result import Approve, Deny, Finish, Pending, Verdict
from agentkit.running.ahead import Ahead, Begun
from agentkit.running.asking import no_verdict
from agentkit.running.groups import owned_group
from agentkit.running.journal import unfinished
from agentkit.running.limits import check_calls
from agentkit.running.performing import Outcome, failed, perform, rejected_by, succeeded
from agentkit.running.state import State
from agentkit.running.writing import Unwritable, to_text
from agentkit.signals import Retry

DENIED = "The user denied this call"


class Calls:
    """The calls of one decision, from the first that begins to the last result.

    Attributes:
        outcomes: how each ended, in the order of the decision; those that never ended are missing.
    """

    def __init__(self, state: State, *, refills: str = "") -> None:
        """
        Args:
            refills: the id of the call of which these are the refilled ones.
        """
        self._state = state
        self._refills = refills
        self._listed: list[Call] = []  # those that began before the decision was there
        self._open: list[Call] = []  # without a result so far
        self._results: dict[str, ResultMessage] = {}
        self._error: Exception | None = None
        self.outcomes: list[Outcome] = []

    async def make(self, decision: Decision, ahead: Ahead | None = None) -> list[Outcome]:
        """Make the calls of a decision, those that have begun already included.

        Raises:
            LimitReached: a stop policy allows no more calls; none of these is made.
            Blocked: a guard refuses one.
        """
        if self._error is not None:  # of a call that began early: no other is made
            raise self._error
        state = self._state
        early = ahead.settled if ahead else []
        check_calls(state, len(decision.calls) - len(early))
        calls = [begun.call for begun in early]
        calls += [state.fresh_call(proposed) for proposed in decision.calls[len(early) :]]
        self._record(calls)
        if state.listener is not None:
            rest = zip(calls[len(early) :], decision.calls[len(early) :], strict=True)
            for call, proposed in rest:
                sure = proposed.confidence
                await state.tell(CallFilled(state.turn, call, sure, decision, self._refills))
        started = state.elapsed()
        await self._all(decision, calls, early, ahead)
        state.tool_seconds += state.elapsed() - started
        if self._error is not None:
            raise self._error
        return self.outcomes

    def ahead(self, group: TaskGroup) -> Ahead:
        """What begins calls of this decision before it is there, as tasks of `group`."""
        return Ahead(group, settle=self._settle, guess=self._guess, perform=self._try)

    def close(self) -> None:
        """Put what is done into the history; no call of it is left without a result.

        Also where the run was cancelled: finished work stays.
        """
        journal = self._state.journal
        if self._listed:  # begun early, and the decision never came
            journal.add(CallMessage(tuple(self._listed)))
            self._listed = []
        waiting = {outcome.call.id for outcome in self.outcomes if outcome.pending}
        ended = [
            self._results.get(call.id) or unfinished([call])[0]
            for call in self._open
            if call.id not in waiting
        ]
        self._open = []
        journal.add(*ended)

    async def go_on(self, calls: Sequence[Call], verdicts: dict[str, Verdict]) -> list[Outcome]:
        """Make calls that waited, as was decided on them; those without a verdict wait on."""
        self._open = list(calls)
        tasks = [partial(self._resumed, call, verdicts.get(call.id)) for call in calls]
        await self._side_by_side(tasks)
        self._order(calls)
        if self._error is not None:
            raise self._error
        return self.outcomes

    def _settle(self, ahead: Ahead, proposed: ProposedCall) -> Begun | None:
        """Begin a settled call in earnest; None where it has to wait for the decision."""
        state = self._state
        tool = state.tools.get(proposed.tool)
        if tool is None or tool.sequential or tool.deferred or proposed.problem:
            return None
        if tool.held:
            return None
        if proposed.tool in state.plan.handoffs or state.plan.approvals:
            return None
        try:
            check_calls(state, 1)
        except LimitReached:
            return None  # the decision will run into it, and tell
        state.spent.calls += 1
        call = state.fresh_call(proposed)
        self._listed.append(call)
        self._open.append(call)
        guess = ahead.adopt(proposed)
        return ahead.begin(Begun(call), partial(self._early, proposed=proposed, guess=guess))

    def _guess(self, proposed: ProposedCall) -> Call | None:
        """The call to try on a guess, where its tool has no effects."""
        tool = self._state.tools.get(proposed.tool)
        if tool is None or not tool.pure or tool.sequential or tool.held:
            return None
        if proposed.problem or self._state.plan.approvals:
            return None
        return Call("guess", proposed.tool, proposed.arguments)

    async def _try(self, call: Call) -> Outcome:
        """Make a call that nobody hears of; the context has no run, so it reports to none."""
        state = self._state
        context = replace(state.context(call), run=None)
        return await perform(call, state.tools, context, retry=state.plan.retry)

    def _record(self, calls: list[Call]) -> None:
        state = self._state
        state.spent.calls += len(calls) - len(self._listed)
        self._listed = []
        self._open = list(calls)
        state.journal.add(CallMessage(tuple(calls)))

    async def _all(
        self, decision: Decision, calls: list[Call], early: list[Begun], ahead: Ahead | None
    ) -> None:
        tools = self._state.tools
        in_turn = any(call.tool in tools and tools[call.tool].sequential for call in calls)
        tasks = [partial(self._awaited, begun) for begun in early]
        for call, proposed in zip(calls[len(early) :], decision.calls[len(early) :], strict=True):
            # a guess began before those that it would come behind
            adopts = ahead is not None and not in_turn and not proposed.problem
            guess = ahead.adopt(proposed) if ahead is not None and adopts else None
            tasks.append(partial(self._one_held, call, proposed, decision, guess))
        if ahead is not None:
            ahead.forget()
        if len(tasks) == 1:
            await tasks[0]()
        elif in_turn:
            for task in tasks:
                if self._error is None:
                    await task()
        else:
            await self._side_by_side(tasks)
        self._order(calls)

    async def _side_by_side(self, tasks: Sequence[partial[Any]]) -> None:
        async with owned_group() as group:
            for task in tasks[1:]:
                group.start_soon(task)
            await tasks[0]()  # one task fewer to start

    def _order(self, calls: Sequence[Call]) -> None:
        place = {call.id: number for number, call in enumerate(calls)}
        self.outcomes.sort(key=lambda outcome: place[outcome.call.id])

    async def _awaited(self, begun: Begun) -> None:
        self.outcomes.append(await begun.wait())

    async def _one_held(
        self, call: Call, proposed: ProposedCall, decision: Decision, guess: Begun | None
    ) -> None:
        """Make a call unless it has to be approved first, or is finished elsewhere."""
        try:
            pending = self._held(call, proposed, decision)
            if pending is None:
                self.outcomes.append(await self._one(call, proposed=proposed, guess=guess))
            elif (verdict := await self._asked(pending)) is not None:
                await self._decided(call, verdict, proposed=proposed)
            else:
                await self._wait(pending)
        except Exception as error:  # a guard's or a hook's: it ends the run, behind its siblings
            self._error = self._error or error

    def _held(self, call: Call, proposed: ProposedCall, decision: Decision) -> Pending | None:
        state = self._state
        tool = state.tools.get(call.tool)
        if tool is None or proposed.problem:
            return None
        if tool.deferred:
            return Pending(call, "deferred")
        conditions = [(policy.when, policy.why) for policy in state.plan.approvals]
        if tool.approval_when is not None:
            conditions.append((tool.approval_when, tool.approval_when.text))
        for when, why in conditions:
            if when.test(Proposal(state.context(call), decision, proposed)):
                return Pending(call, "approval", why)
        return Pending(call, "approval", "every call needs approval") if tool.approval else None

    async def _asked(self, pending: Pending) -> Verdict | None:
        """What the one who approves says at once; None where the run has to wait for it."""
        if pending.kind != "approval" or self._state.approve is None:
            return None
        await self._state.tell(CallPending(self._state.turn, pending))
        verdict = self._state.approve(self._state.context(pending.call), pending)
        return await verdict if inspect.isawaitable(verdict) else verdict

    async def _wait(self, pending: Pending) -> None:
        self.outcomes.append(Outcome(pending.call, None, pending=pending))
        if pending.kind == "deferred" or self._state.approve is None:
            await self._state.tell(CallPending(self._state.turn, pending))

    async def _resumed(self, call: Call, verdict: Verdict | None) -> None:
        try:
            await self._decided(call, verdict)
        except Exception as error:  # as in `_one_held`
            self._error = self._error or error

    async def _decided(
        self, call: Call, verdict: Verdict | None, *, proposed: ProposedCall | None = None
    ) -> None:
        """Do with a call what was decided on it."""
        match verdict:
            case None:
                await self._wait(self._state.pending(call))
            case Approve(arguments=None):
                self.outcomes.append(await self._one(call, proposed=proposed))
            case Approve() as approved:
                arguments = approved.arguments or {}
                outcome = await self._one(Call(call.id, call.tool, arguments))
                self._finish(_told_of(outcome, call, arguments))
            case Deny(why=why):
                self._finish(failed(call, f"{DENIED}: {why}" if why else f"{DENIED}."))
            case Finish(value=value, is_error=is_error):
                try:
                    text = to_text(value)
                except Unwritable as error:
                    raise RunError(f"{verdict!r} of {call.id!r}: {error}") from error
                self._finish(failed(call, text) if is_error else succeeded(call, text))
            case _:
                raise no_verdict(call, verdict)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self._results[outcome.call.id] = outcome.result
        self.outcomes.append(outcome)

    async def _early(self, call: Call, *, proposed: ProposedCall, guess: Begun | None) -> Outcome:
        try:
            return await self._one(call, proposed=proposed, guess=guess, early=True)
        except Exception as error:  # a guard's or a hook's: told once the decision is there
            self._error = self._error or error
            return Outcome(call, unfinished([call])[0])

    async def _one(
        self,
        call: Call,
        *,
        proposed: ProposedCall | None = None,
        guess: Begun | None = None,
        early: bool = False,
    ) -> Outcome:
        """Make one call, with guards and hooks around it; the caller puts the outcome away."""
        state, started = self._state, self._state.elapsed()
        if early and proposed is not None:
            await state.tell(CallFilled(state.turn, call, proposed.confidence, None, early=True))
        state.at_work.add(call.id)
        try:
            outcome = await self._guarded(call, proposed, guess)
        except BaseException:  # cancelled, most of all: it is told how far this had come
            state.span("call", call.tool, started, call=call, failed=True)
            raise
        finally:
            state.at_work.discard(call.id)
            if guess is not None:
                guess.scope.cancel()  # it may be at work still, where a guard refused the call
        if outcome.result is not None:
            self._results[call.id] = outcome.result
            state.spent.failures += outcome.result.is_error
            for hooks in state.plan.hooks:
                await hooks.after_call(state.context(call), call, outcome.result)
            state.span("call", call.tool, started, call=call, failed=outcome.result.is_error)
            await state.tell(
                CallFinished(state.turn, call, outcome.result, state.elapsed() - started)
            )
        elif outcome.pending is not None:
            await state.tell(CallPending(state.turn, outcome.pending))
        return outcome

    async def _guarded(
        self, call: Call, proposed: ProposedCall | None, guess: Begun | None
    ) -> Outcome:
        state, plan = self._state, self._state.plan
        if proposed is not None and proposed.problem:
            return failed(call, f"This call can't be made: {proposed.problem}. Call it again.")
        try:
            for guard in plan.call_guards:
                found = guard(state.context(call), call)
                if inspect.isawaitable(found):
                    await found
            for hooks in plan.hooks:
                await hooks.before_call(state.context(call), call)
        except Retry as refusal:
            return failed(call, refusal.why, rejected_by(refusal, call))
        tool = state.tools.get(call.tool)
        if tool is None:
            return await perform(call, state.tools)  # which says what tools there are
        context = state.context(call) if tool.context else None
        with state.watched.call(call, turn=state.turn, description=tool.description) as record:
            if guess is not None:
                outcome = _as(call, await guess.wait())
            else:
                outcome = await perform(call, state.tools, context, retry=plan.retry)
            if outcome.result is not None:
                record.finished(outcome.result)
        return outcome


def _as(call: Call, outcome: Outcome) -> Outcome:
    """The outcome of a guess, as that of the call it turned out to be."""
    if outcome.result is None:
        return Outcome(call, None, pending=outcome.pending and replace(outcome.pending, call=call))
    return replace(outcome, call=call, result=replace(outcome.result, call_id=call.id))


def _told_of(outcome: Outcome, call: Call, arguments: dict[str, Any]) -> Outcome:
    """An outcome that says that the user changed the arguments, which the history still has."""
    if outcome.result is None:
        return outcome
    said = f"(The user changed the arguments to {to_text(arguments)}.) {outcome.result.content}"
    return replace(outcome, call=call, result=replace(outcome.result, content=said))
