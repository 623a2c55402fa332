"""POST /v1/edit/completions: a part of a text written anew.

Knows the JSON of such a request. Must not know how a hole is filled. No other server has it: names
that /v1/completions has as well mean the same.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from agentkit_engine.server.chat.asked import new_id
from agentkit_engine.server.copilot.completions import usage_json
from agentkit_engine.server.copilot.hole import Filled, Found, Hole, Old
from agentkit_engine.server.copilot.wire import CopilotForm, Count, Positive, at_most
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused


def _pair(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class EditForm(CopilotForm):
    """The body.

    span: the first character of the part and the one behind its last; or as `start` and `end`.
    keep: the share of the old part's tokens that the model is shown first, as a hint.
    pattern: that the new part matches from end to end.
    max_tokens: of the new part; by default twice those of the old one, 16 at least.
    """

    unheard: ClassVar = {"stream": (False,)}

    text: str
    span: Annotated[tuple[Count, Count], BeforeValidator(_pair)] | None = None
    start: Count | None = None
    end: Count | None = None
    keep: Annotated[float, Field(ge=0, le=1)] = 0.0
    pattern: str | None = None
    max_tokens: Positive | None = None
    n: Positive | None = None
    name: str = ""

    def part(self) -> tuple[int, int]:
        """Where the part lies.

        Raises:
            Refused: that is not said, or not in the text.
        """
        span = self.span
        if span is None and self.start is not None and self.end is not None:
            span = self.start, self.end
        if span is None:
            why = "say where the part lies: by span, or by start and end"
            raise Refused(400, "InvalidRequest", why, "span")
        if not span[0] <= span[1] <= len(self.text):
            length = len(self.text)
            why = f"the span {list(span)} does not lie in a text of {length} characters"
            raise Refused(400, "InvalidRequest", why, "span" if self.span else "end")
        return span


def hole_of(form: EditForm, limits: Limits) -> Hole:
    """What is asked for.

    Raises:
        Refused: something can't be honoured, or is more than is let; names the field.
    """
    form.require_heard(limits)
    start, end = form.part()
    choices = form.n or 1
    at_most("n", choices, limits.choices)
    return Hole(
        before=form.text[:start],
        behind=form.text[end:],
        name=form.name,
        old=Old(text=form.text[start:end], keep=form.keep),
        pattern=form.pattern,
        max_tokens=min(form.max_tokens, limits.tokens) if form.max_tokens else None,
        choices=choices,
        stop=tuple(form.stop or ()),
        options=form.options(),
    )


def edit_json(hole: Hole, model: str, found: Found) -> dict[str, Any]:
    """The new texts, and what is new in them."""
    return {
        "id": new_id("edit-"),
        "object": "edit_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(hole, place, filled) for place, filled in enumerate(found.filled)],
        "usage": usage_json([found]),
    }


def _choice(hole: Hole, place: int, filled: Filled) -> dict[str, Any]:
    start = len(hole.before)
    return {
        "index": place,
        "text": hole.before + filled.text + hole.behind,
        "new": filled.text,
        "span": [start, start + len(filled.text)],
        "finish_reason": filled.reason,
    }
