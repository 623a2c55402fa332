"""Reads an answer as the agent's output, and has it checked.

Knows outputs and guards. Must not know what happens to an answer that won't do.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.defining.output import OutputProblem
from agentkit.running.state import State
from agentkit.running.writing import pointer_of
from agentkit.signals import Retry


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer that will do, and the output it makes."""

    output: Any


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that won't; `values` are JSON pointers of what is to blame -> why."""

    why: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])


async def read_answer(state: State, text: str) -> Accepted | Rejected:
    """What an answer makes, or why it won't do.

    Raises:
        Blocked: a guard refuses it for good.
    """
    declared = state.plan.output
    try:
        output = declared.read(text)
        context = state.context()
        for guard in state.plan.output_guards:
            found = guard(context, output)
            found = await found if inspect.isawaitable(found) else found
            output = output if found is None else found
    except OutputProblem as problem:
        return Rejected(str(problem), problem.problems)
    except Retry as refusal:
        return Rejected(refusal.why, _blamed(refusal))
    for hooks in state.plan.hooks:
        await hooks.before_answer(context, output)
    return Accepted(output)


def _blamed(refusal: Retry) -> dict[str, str]:
    if refusal.value is None:
        return {}
    named = refusal.value.startswith("/")
    return {refusal.value if named else pointer_of(refusal.value): refusal.why}
