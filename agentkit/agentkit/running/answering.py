"""Reads an answer as the agent's output, and has it checked.

Knows outputs, guards and the state of a run. Must not know how an answer came about.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.defining.output import OutputProblem
from agentkit.errors import InvalidOutput
from agentkit.event import AnswerRejected
from agentkit.message import AnswerMessage, FeedbackMessage
from agentkit.pointer import pointer_of
from agentkit.running.state import State
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


class Answers:
    """The answers of one run, which may be rejected only so often."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rejections = 0

    async def take(self, text: str) -> Accepted | Rejected:
        """Put an answer into the history, and say what it makes, or why it won't do.

        Raises:
            InvalidOutput: it won't do either, and there were enough of them.
            Blocked: a guard refuses it for good.
        """
        state = self._state
        state.journal.add(AnswerMessage(text))
        found = await _read(state, text)
        if isinstance(found, Rejected):
            self._rejections += 1
            if self._rejections > state.plan.retries:
                raise InvalidOutput(
                    f"the answer failed its checks {self._rejections} times, at last with: "
                    f"{found.why}"
                )
            state.journal.add(FeedbackMessage(f"{_sentence(found.why)} Answer again."))
            await state.tell(AnswerRejected(state.turn, text, found.why))
        return found


def _sentence(why: str) -> str:
    return f"This answer won't do: {why.rstrip('.')}."


async def _read(state: State, text: str) -> Accepted | Rejected:
    declared = state.plan.output
    try:
        output = declared.read(text)
        context = state.context()
        for guard in state.plan.output_guards:
            found = guard(context, output)
            found = await found if inspect.isawaitable(found) else found
            output = output if found is None else found
        for hooks in state.plan.hooks:
            await hooks.before_answer(context, output)
    except OutputProblem as problem:
        return Rejected(str(problem), problem.problems)
    except Retry as refusal:
        return Rejected(refusal.why, _blamed(refusal))
    return Accepted(output)


def _blamed(refusal: Retry) -> dict[str, str]:
    if refusal.value is None:
        return {}
    named = refusal.value.startswith("/")
    return {refusal.value if named else pointer_of(refusal.value): refusal.why}
