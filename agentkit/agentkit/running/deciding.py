"""Asks a backend what is to be done, and follows the policies on doubtful decisions.

Knows the backend protocol, policies and the state of a run. Must not know how calls are made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio
import anyio.to_thread

from agentkit.backend import (
    Backend,
    Capabilities,
    Conversation,
    Decision,
    Draft,
    OnDraft,
    ProposedCall,
)
from agentkit.backends import resolve_backend
from agentkit.errors import AgentKitError, BackendError, EngineError
from agentkit.event import AnswerDraft, DraftCanvas, Escalated
from agentkit.policies.condition import Proposal
from agentkit.policies.doubt import EscalatePolicy
from agentkit.running.ahead import Ahead
from agentkit.running.state import State

_CLOSING_SECONDS = 5.0
_log = logging.getLogger("agentkit")


class backend_errors:  # noqa: N801  read as a statement: `with backend_errors():`
    """What a backend raises that is none of ours becomes a `BackendError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, AgentKitError):
            raise BackendError(f"the backend failed: {type(error).__name__}: {error}") from error


async def backend_of(named: Backend | str) -> Backend:
    """The backend itself, made now where only its name was given."""
    if not isinstance(named, str):
        return named
    return await anyio.to_thread.run_sync(resolve_backend, named, abandon_on_cancel=True)


async def open_conversation(
    state: State, backend: Backend | str
) -> tuple[Conversation, Capabilities]:
    """A conversation with the tools and the output of the agent that has the floor."""
    with backend_errors():
        model = await backend_of(backend)
        conversation = await model.open(
            instructions=state.instructions,
            tools=state.specs,
            output=state.plan.output.schema,
        )
        return conversation, model.capabilities


async def close_conversation(conversation: Conversation) -> None:
    """Close it, also where the run is cancelled; a backend that hangs is not waited for."""
    with anyio.CancelScope(shield=True):
        # In a task of its own: the shield does not keep off a `task.cancel()` that comes meanwhile.
        async with anyio.create_task_group() as group:
            group.start_soon(_close, conversation)


async def _close(conversation: Conversation) -> None:
    with anyio.move_on_after(_CLOSING_SECONDS, shield=True) as scope:
        try:
            await conversation.aclose()
        except Exception:
            _log.warning("a conversation could not be closed", exc_info=True)
    if scope.cancelled_caught:
        _log.warning("a conversation did not close within %g s", _CLOSING_SECONDS)


async def catch_up(state: State) -> Conversation:
    """The conversation, with all messages of the history in it."""
    conversation = state.conversation
    assert conversation is not None
    if state.sent < len(state.journal):
        started = state.elapsed()
        with backend_errors():
            await conversation.extend(state.journal.since(state.sent))
        state.sent = len(state.journal)
        state.span("encode", "extend", started)
    return conversation


async def decide(state: State, ahead: Ahead | None) -> Decision:
    """The next decision, and what the policies make of it."""
    conversation, settings = await catch_up(state), state.settings
    started = state.elapsed()
    with state.watched.decide(state.turn, settings=settings) as record:
        with backend_errors():
            on_draft = _on_draft(state, ahead)
            decision = await conversation.decide(settings=settings, on_draft=on_draft)
        record.decided(decision)
    state.account(decision)
    state.span("decide", _said(decision), started, decision=decision)
    state.refillable = state.capabilities.refill
    for policy in state.plan.escalations:
        if _doubted(state, decision, policy):
            decision = await _escalated(state, decision, policy)
    return decision


async def refill(
    state: State,
    filled: ProposedCall | Decision,
    rejected: Mapping[str, str],
) -> Decision | None:
    """Rejected values, filled in again; None where there are no other valid ones."""
    conversation, settings = await catch_up(state), state.settings
    started = state.elapsed()
    try:
        with state.watched.decide(state.turn, kind="refill", settings=settings) as record:
            with backend_errors():
                decision = await conversation.refill(filled, rejected, settings=settings)
            record.decided(decision)
    except EngineError as error:
        _log.info("nothing was refilled: %s", error)
        return None
    state.account(decision)
    state.span("refill", ", ".join(rejected), started, decision=decision)
    return decision


def question_about(state: State, decision: Decision) -> str | None:
    """What a policy wants asked instead of making the calls."""
    for policy in state.plan.asks:
        for proposed in decision.calls:
            if policy.when.test(Proposal(state.context(), decision, proposed)):
                return policy.question(proposed)
    return None


def _doubted(state: State, decision: Decision, policy: EscalatePolicy) -> bool:
    context = state.context()
    return any(policy.when.test(Proposal(context, decision, call)) for call in decision.calls)


async def _escalated(state: State, decision: Decision, policy: EscalatePolicy) -> Decision:
    """What the other backend decides behind the same messages."""
    settings = state.settings
    await state.tell(Escalated(state.turn, decision, policy.when.text))
    state.refillable = False  # the conversation that could do so is about to be closed
    other, _ = await open_conversation(state, policy.backend)
    try:
        started = state.elapsed()
        with state.watched.decide(state.turn, kind="escalate", settings=settings) as record:
            with backend_errors():
                await other.extend(state.journal.history)
                decision = await other.decide(settings=settings)
            record.decided(decision)
    finally:
        await close_conversation(other)
    state.account(decision)
    state.span("decide", _said(decision), started, decision=decision)
    return decision


def _on_draft(state: State, ahead: Ahead | None) -> OnDraft | None:
    """Hands drafts to those who listen, and to the calls that may begin ahead."""
    listener, turn = state.listener, state.turn
    if listener is None and ahead is None:  # the backend need not draw what nobody looks at
        return None
    output = state.plan.output
    told: str | None = None

    def hear(draft: Draft) -> None:
        nonlocal told
        if ahead is not None:
            ahead.hear(draft)
        if listener is None:
            return
        listener.draft(DraftCanvas(turn, draft))
        if draft.answer is not None and draft.step and draft.answer != told:
            told = draft.answer
            value = draft.answer if output.schema is None else output.partial(draft.answer)
            if value is not None:
                listener.draft(AnswerDraft(turn, draft.answer, value))

    return hear


def _said(decision: Decision) -> str:
    return ", ".join(call.tool for call in decision.calls) or "answer"
