"""Which agent has the floor: its conversation, and how another comes to go on.

Knows plans, messages and the state of a run. Must not know turns.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace

from agentkit.event import HandedOff
from agentkit.message import CallMessage, Message, ResultMessage, UserMessage
from agentkit.running.deciding import close_conversation, open_conversation
from agentkit.running.performing import Outcome
from agentkit.running.plan import Plan
from agentkit.running.state import State


async def open_floor(state: State, sharing: Sequence[State] = ()) -> None:
    """A conversation with the agent that has the floor; it has seen nothing yet.

    sharing: other runs that go on from it.
    """
    started = state.elapsed()
    said = state.plan.instructions
    if callable(said):
        found = said(state.context())
        said = await found if inspect.isawaitable(found) else found
    state.instructions = said
    if selector := state.plan.selector:
        requests = [_asked(one.journal.history) for one in (state, *sharing)]
        state.tools = await selector.choose(requests, state.journal.history)
    opened = await open_conversation(state, state.plan.backend)
    state.conversation, state.capabilities = opened
    state.sent = 0
    state.span("open", state.plan.name, started)


async def hand_off(state: State, outcomes: Sequence[Outcome]) -> None:
    """Give the floor to another agent, where a call of a decision said so and went well."""
    done = {one.call.id for one in outcomes if one.result and not one.result.is_error}
    target = _target(state.plan, [one.call.tool for one in outcomes if one.call.id in done])
    if target is None:
        return
    if state.conversation is not None:
        await close_conversation(state.conversation)
        state.conversation = None
    state.give_floor(target)
    await open_floor(state)
    await state.tell(HandedOff(state.turn, target.name))


def follow_hand_offs(state: State) -> None:
    """Give the floor to the agent that had it when the calls of the history began to wait."""
    messages = _since_request(state.journal.history)
    done = {
        message.call_id
        for message in messages
        if isinstance(message, ResultMessage) and not message.is_error
    }
    for message in messages:
        if isinstance(message, CallMessage):
            went_well = [call.tool for call in message.calls if call.id in done]
            if target := _target(state.plan, went_well):
                state.give_floor(target)


def _target(plan: Plan, tools: Sequence[str]) -> Plan | None:
    """Who goes on after a decision whose calls of these tools went well; None: nobody else."""
    for tool in tools:
        if tool in plan.handoffs:
            # what is kept, stopped and watched stays the business of the agent that was asked
            return replace(
                plan.handoffs[tool](), stop=plan.stop, store=plan.store, telemetry=plan.telemetry
            )
    return None


def _asked(messages: Sequence[Message]) -> str:
    """The request; of a run that goes on, the one that it began with."""
    asked = [message.text for message in messages if isinstance(message, UserMessage)]
    return asked[-1] if asked else ""


def _since_request(messages: Sequence[Message]) -> Sequence[Message]:
    asked = [at for at, message in enumerate(messages) if isinstance(message, UserMessage)]
    return messages[asked[-1] :] if asked else messages
