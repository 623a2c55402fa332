"""POST /v1/fim/completions, as Mistral has it: a hole, answered as a chat is.

Knows that API's JSON. Must not know how a hole is filled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from agentkit_engine.server.chat.asked import new_id
from agentkit_engine.server.copilot.completions import usage_json
from agentkit_engine.server.copilot.hole import Found, Hole
from agentkit_engine.server.copilot.wire import CopilotForm, Count, Positive
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.connection import Tell


class FimForm(CopilotForm):
    """The body."""

    unheard: ClassVar = {"top_p": (1,), "min_tokens": (0,)}

    prompt: str
    suffix: str | None = None
    max_tokens: Positive | None = None
    min_tokens: Count | None = None
    random_seed: int | None = None
    top_p: float | None = None


def hole_of(form: FimForm, limits: Limits) -> Hole:
    """What is asked for.

    Raises:
        Refused: something can't be honoured, or is more than is let; names the field.
    """
    form.require_heard(limits)
    options = form.options()
    if form.random_seed is not None:
        options["seed"] = form.random_seed
    return Hole(
        before=form.prompt,
        behind=form.suffix or "",
        max_tokens=min(form.max_tokens, limits.tokens) if form.max_tokens else None,
        stop=tuple(form.stop or ()),
        options=options,
    )


@dataclass(frozen=True, slots=True)
class Answering:
    """How one answer is told."""

    model: str
    id: str
    created: int

    @classmethod
    def of(cls, model: str) -> Answering:
        """With an id of its own."""
        return cls(model, new_id("fim-"), int(time.time()))

    def whole(self, found: Found) -> dict[str, Any]:
        """All of it, at once."""
        [filled] = found.filled
        message = {"role": "assistant", "content": filled.text, "tool_calls": None}
        choice = {"index": 0, "message": message, "finish_reason": filled.reason}
        return self._told("chat.completion", choice, usage_json([found]))

    def more(self, tell: Tell, _: int, text: str) -> None:
        """More of it."""
        tell("", self._delta(text, None, None))

    def end(self, tell: Tell, found: Found) -> None:
        """What comes behind all that is said."""
        tell("", self._delta("", found.filled[0].reason, [found]))

    def _delta(self, text: str, reason: str | None, found: Sequence[Found] | None) -> Any:
        delta = {"role": "assistant", "content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return self._told("chat.completion.chunk", choice, usage_json(found) if found else None)

    def _told(self, kind: str, choice: dict[str, Any], usage: dict[str, Any] | None) -> Any:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            **({"usage": usage} if usage else {}),
        }
