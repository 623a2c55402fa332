"""The turn loop: extend the conversation, decide, make the calls or answer, again.

Knows the parts of a run and in which order they come; must not know any model, nor who listens.
Each turn costs what is new in it: messages are sent to the backend once, and history only grows.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from agentkit.backend import Decision, ModelSettings, ProposedCall
from agentkit.context import Spent
from agentkit.errors import AgentKitError, EmptyTurn, LimitReached, RunError, StoreError
from agentkit.event import Answered, RunFinished, TurnFinished, TurnStarted
from agentkit.message import AnswerMessage, History
from agentkit.observing.watcher import UNWATCHED
from agentkit.policies.stop import Stop
from agentkit.policies.transient import RetryPolicy, Transient, transient
from agentkit.result import Resume, RunResult
from agentkit.running.ahead import Ahead
from agentkit.running.answering import Accepted, Answers
from agentkit.running.asking import ask, checked_request, checked_verdicts
from agentkit.running.calls import Calls
from agentkit.running.cancellation import Cancellation
from agentkit.running.deciding import (
    backend_errors,
    close_conversation,
    decide,
    question_about,
    refill,
)
from agentkit.running.floor import follow_hand_offs, hand_off, open_floor
from agentkit.running.groups import owned_group
from agentkit.running.journal import Journal, store_errors
from agentkit.running.limits import Failures, check_refill, check_turn
from agentkit.running.performing import Outcome
from agentkit.running.plan import Approver, Plan
from agentkit.running.state import Listener, State
from agentkit.signals import Retry

_KEEPING_SECONDS = 5.0
_log = logging.getLogger("agentkit")


class Run:
    """One run of an agent: from a request to a result, or an error that carries the history."""

    def __init__(
        self,
        plan: Plan,
        request: str | Resume,
        *,
        deps: Any = None,
        history: Iterable[object] = (),
        conversation: str | None = None,
        settings: ModelSettings | None = None,
        stop: Stop | None = None,
        retry: RetryPolicy | Transient | None = None,
        approve: Approver | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        """Check what was asked; see `Agent.run` for what each part means.

        Raises:
            EmptyRequest: the request holds nothing but whitespace.
            RunError: the request or the history is not what a run can start from.
            DefinitionError: `stop` or `retry` is no policy.
        """
        if stop is not None:
            plan = plan.changed(stop=stop)
        if retry is not None:
            plan = plan.changed(retry=transient(retry, f"a run of agent {plan.name!r}"))
        journal = Journal(history, store=plan.store, key=conversation)
        if conversation is not None and (plan.store is None or len(journal)):
            raise RunError(
                f"conversation={conversation!r} is kept in a store, which holds its history: "
                + ("give no `history`" if plan.store else "make the agent with `store=`"),
                history=journal.history,
            )
        self._resume = request if isinstance(request, Resume) else None
        text = "" if self._resume else checked_request(request, journal.history)
        self._key = conversation
        self._cancellation = cancellation
        self._failures = Failures(plan.same_failures)
        self._state = State(
            plan, journal, deps=deps, request=text, settings=settings, approve=approve
        )
        self._answers = Answers(self._state)
        if self._resume is None and conversation is None:
            ask(journal, text)

    @property
    def history(self) -> History:
        """The messages so far. Well-formed at any time: every call that ended has its result."""
        return self._state.journal.history

    @property
    def spent(self) -> Spent:
        """What is used up so far."""
        return self._state.now_spent()

    async def go(self, listener: Listener | None = None) -> RunResult[Any]:
        """Run to the end. To be called once.

        Raises:
            RunError: the run can't go on; every error but cancellation carries `.history`.
            BackendError: the backend failed; `__cause__` says how.
            EngineError: the engine can't do what was asked.
            StoreError: the conversation can't be read or kept.
        """
        state = self._state
        state.listener = listener
        state.began()
        plan, key = state.plan, self._key
        watcher = plan.telemetry or UNWATCHED
        try:
            with watcher.run(
                plan.name, description=plan.description, conversation=key, messages=self.history
            ) as state.watched:
                result = await self._limited()
                state.watched.ended(result)
            return result
        except AgentKitError as error:
            # The engine's errors know nothing of messages, and carry them all the same.
            vars(error)["history"] = self.history
            raise
        except Retry as refusal:
            raise RunError(
                f"{refusal!r} was raised where nothing can be tried again: by a guard of the "
                "input, or a hook around turns; raise `Blocked(why)` to end the run",
                history=self.history,
            ) from refusal
        finally:
            state.over = True

    async def _limited(self) -> RunResult[Any]:
        """The run, within the time it has and for as long as nobody cancels it."""
        seconds, cancellation = self._state.plan.stop.seconds, self._cancellation
        if seconds is None and cancellation is None:
            return await self._whole()
        deadline = math.inf if seconds is None else anyio.current_time() + seconds
        with anyio.CancelScope(deadline=deadline) as scope:
            with cancellation.watching(scope) if cancellation else nullcontext():
                return await self._whole()
        if cancellation is not None and cancellation.cancelled:
            waiting = tuple(self._state.pending(call) for call in self._state.journal.waiting())
            result = self._state.result("cancelled", reason=cancellation.reason, pending=waiting)
            await self._state.tell(RunFinished(result))
            return result
        raise LimitReached(
            f"{seconds:g} s were over in turn {self._state.turn}; raise the limit, or go on with "
            "`history=error.history`",
            turn=self._state.turn,
        )

    async def _whole(self) -> RunResult[Any]:
        state = self._state
        try:
            await self._begin()
            if state.conversation is None:  # or it is a branch, and shares one
                await open_floor(state)
            result = await self._resumed() if self._resume else None
            while result is None:
                result = await self._next()
        except BaseException:
            try:
                await self._leave()
            except StoreError:
                _log.exception("what the run did could not be kept")  # its own error goes first
            raise
        await self._leave()
        await state.tell(RunFinished(result))
        return result

    async def _begin(self) -> None:
        """Read what the store has, let the guards look at the request, and ask."""
        state, plan = self._state, self._state.plan
        if self._key is not None and plan.store is not None:
            with store_errors():
                kept = await plan.store.load(self._key)
            state.journal = Journal(kept, store=plan.store, key=self._key)
            if self._resume is None:
                ask(state.journal, state.request)
        if self._resume is not None:
            follow_hand_offs(state)
        else:
            for guard in plan.input_guards:
                found = guard(state.context(), state.request)
                if inspect.isawaitable(found):
                    await found
        await state.journal.keep()

    async def share(self, others: Sequence[Run]) -> None:
        """Encode the history that all have in common once, where the backend can fork.

        To be called before any of them goes.
        """
        state = self._state
        await open_floor(state, [other._state for other in others])
        conversation = state.conversation
        assert conversation is not None
        given = state.journal.given
        try:
            with backend_errors():
                await conversation.extend(state.journal.history[:given])
                state.sent = given
                for other in others if state.capabilities.fork else ():
                    other._state.instructions = state.instructions
                    other._state.capabilities = state.capabilities
                    other._state.tools = state.tools
                    other._state.conversation = conversation.fork()
                    other._state.sent = given
        except BaseException:
            for run in (self, *others):
                await run._leave()
            raise

    async def _leave(self) -> None:
        """Let go of the conversation, and keep what is done; also where the run is cancelled."""
        state = self._state
        conversation, state.conversation = state.conversation, None
        try:
            if conversation is not None:
                await close_conversation(conversation)
        finally:
            if self._key is not None:
                with anyio.move_on_after(_KEEPING_SECONDS, shield=True):
                    await state.journal.keep()

    async def _next(self) -> RunResult[Any] | None:
        """One turn; the result, where it is the last one."""
        state = self._state
        await anyio.lowlevel.checkpoint_if_cancelled()  # a backend may never give way
        state.turn += 1
        check_turn(state)
        state.spent.turns += 1
        started = state.elapsed()
        await state.tell(TurnStarted(state.turn))
        for hooks in state.plan.hooks:
            await hooks.before_turn(state.context())
        result = await self._turn()
        for hooks in state.plan.hooks:
            await hooks.after_turn(state.context(), state.decisions[-1])
        await state.journal.keep()
        state.span("turn", f"turn {state.turn}", started)
        await state.tell(TurnFinished(state.turn))
        # the result was made within the turn, which it then did not know the length of
        return result and replace(result, spans=tuple(state.spans))

    def _goes_ahead(self) -> bool:
        """Whether calls may begin before their decision is there."""
        plan, can = self._state.plan, self._state.capabilities
        if plan.whole_decisions or not can.drafts:
            return False
        most = self._state.settings.max_calls
        return bool(plan.pure) or (can.several if most is None else most > 1)

    async def _turn(self) -> RunResult[Any] | None:
        """Decide, and do what was decided."""
        state = self._state
        calls = Calls(state)
        try:
            if self._goes_ahead():
                async with owned_group() as group:
                    decision, question = await self._decided(calls, calls.ahead(group))
            else:
                decision, question = await self._decided(calls, None)
        finally:
            calls.close()
        if not decision.calls:
            return await self._answered(decision)
        if question is not None:
            return await self._asked_back(question, decision)
        return await self._after(calls.outcomes, decision.calls)

    async def _decided(self, calls: Calls, ahead: Ahead | None) -> tuple[Decision, str | None]:
        """A decision, its calls made; or left alone, and what is to be asked instead."""
        try:
            decision = await decide(self._state, ahead)
            if ahead is not None:
                ahead.confirm(decision)
            question = question_about(self._state, decision)
            if decision.calls and question is None:
                await calls.make(decision, ahead)
        except Exception:
            if ahead is not None:
                await ahead.finish()
            raise
        return decision, question

    async def _after(
        self, outcomes: Sequence[Outcome], proposed: Sequence[ProposedCall]
    ) -> RunResult[Any] | None:
        """What follows from how the calls of a decision ended."""
        state = self._state
        pending = [outcome.pending for outcome in outcomes if outcome.pending]
        self._failures.count(outcomes)
        await state.journal.keep()
        if pending:
            why = ", ".join(f"{one.call.id} {one.call.tool}: {one.kind}" for one in pending)
            return state.result("paused", reason=why, pending=tuple(pending))
        for outcome, call in zip(outcomes, proposed, strict=True):
            paused = await self._refilled(outcome, call)
            if paused is not None:
                return paused
        await hand_off(state, outcomes)
        return None

    async def _refilled(self, outcome: Outcome, call: ProposedCall) -> RunResult[Any] | None:
        """A call that failed by its values, made again with others in their place."""
        state = self._state
        for _ in range(state.plan.retries):
            if not outcome.rejected or not state.refillable:
                return None
            check_refill(state)
            decision = await refill(state, call, outcome.rejected)
            if decision is None or not decision.calls:
                return None
            calls = Calls(state, refills=outcome.call.id)
            try:
                (outcome,) = await calls.make(decision)
            finally:
                calls.close()
            (call,) = decision.calls
            self._failures.count([outcome])
            if outcome.pending:
                return state.result(
                    "paused", reason=outcome.pending.kind, pending=(outcome.pending,)
                )
        return None

    async def _answered(self, decision: Decision) -> RunResult[Any] | None:
        """The answer, checked; refilled, or sent back to the model, where it won't do."""
        state = self._state
        while True:
            text = decision.answer
            if text is None or not text.strip():
                raise EmptyTurn(
                    f"turn {state.turn} produced neither call nor answer; ask again, or more "
                    "plainly"
                )
            found = await self._answers.take(text)
            if isinstance(found, Accepted):
                await state.tell(Answered(state.turn, text, decision))
                return state.result("answered", answer=text, value=found.output)
            again = None
            if found.values and state.refillable:
                check_refill(state)
                again = await refill(state, decision, found.values)
            if again is None:
                return None
            decision = again

    async def _asked_back(self, question: str, decision: Decision) -> RunResult[Any]:
        state = self._state
        state.journal.add(AnswerMessage(question))
        await state.tell(Answered(state.turn, question, decision))
        return state.result("asked", answer=question, reason="a policy wants to be sure")

    async def _resumed(self) -> RunResult[Any] | None:
        """Make the calls that waited, as was decided on them."""
        assert self._resume is not None
        state = self._state
        waiting, verdicts = checked_verdicts(state, self._resume)
        calls = Calls(state)
        try:
            outcomes = await calls.go_on(waiting, verdicts)
        finally:
            calls.close()
        unknown = [ProposedCall(call.tool, call.arguments) for call in waiting]
        return await self._after(outcomes, unknown)
