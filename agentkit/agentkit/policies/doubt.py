"""What is done about a decision before it is carried out: escalate, ask back, have it approved.

    Agent(policies=[
        escalate_to(big_model, when=confidence < 0.6),
        ask_when(confidence("city") < 0.8),
        approve_when(named("delete_*")),
    ])

Knows conditions and backends; must not know how a run follows a policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agentkit.backend import Backend, ProposedCall
from agentkit.errors import DefinitionError
from agentkit.pointer import names_in, value_at
from agentkit.policies.condition import Condition, confidence

Question: TypeAlias = Callable[[ProposedCall], str]


@dataclass(frozen=True, slots=True)
class AskPolicy:
    """Where a call meets the condition, nothing is called and the user is asked."""

    when: Condition
    question: Question


@dataclass(frozen=True, slots=True)
class EscalatePolicy:
    """Where a call meets the condition, another backend decides on the same messages."""

    when: Condition
    backend: Backend | str


@dataclass(frozen=True, slots=True)
class ApprovePolicy:
    """Where a call meets the condition, it waits for a human."""

    when: Condition
    why: str


Policy: TypeAlias = AskPolicy | EscalatePolicy | ApprovePolicy


def ask_when(when: Condition, question: str | Question | None = None) -> AskPolicy:
    """Ask the user instead of making a call of which this holds.

    question: what is asked; by default the least certain value and what it was read as.

    Raises:
        DefinitionError: `when` is no condition; so do the others.
    """
    _check_condition("ask_when", when)
    if question is None:
        return AskPolicy(when, _doubtful)
    if isinstance(question, str):
        text = question
        return AskPolicy(when, lambda _: text)
    return AskPolicy(when, question)


def escalate_to(backend: Backend | str, *, when: Condition = confidence < 0.5) -> EscalatePolicy:
    """Let another backend decide the turn where the condition holds of a call."""
    _check_condition("escalate_to", when)
    return EscalatePolicy(when, backend)


def approve_when(when: Condition, why: str | None = None) -> ApprovePolicy:
    """Have a human approve the calls of which this holds; `why` is what they read."""
    _check_condition("approve_when", when)
    return ApprovePolicy(when, why or when.text)


def _check_condition(policy: str, when: object) -> None:
    if not isinstance(when, Condition):
        raise DefinitionError(
            f"{policy}: {when!r} is no condition; give one such as `confidence < 0.6`, "
            "`named('delete_*')` or `argument('city').is_('Rome')`"
        )


def _doubtful(call: ProposedCall) -> str:
    if not call.confidence:
        return f"Shall I call {call.tool} with {_said(call.arguments)}?"
    pointer, share = min(call.confidence.items(), key=lambda item: item[1])
    value = value_at(pointer, call.arguments)
    name = " ".join(names_in(pointer)).replace("_", " ") or call.tool
    return f"Which {name} do you mean? I read {_said(value)}, but am only {share:.0%} sure."


def _said(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
