"""POST /infill, as llama.cpp's server has it, for its editor plugins.

Knows that API's JSON. Must not know how a hole is filled.

Samplers that it names are left aside, and so is how long it wants a prompt to be cached: what
is encoded is kept as long as there is room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from agentkit_engine.server.chat.openai.dialect import OPENAI
from agentkit_engine.server.copilot.hole import File, Filled, Found, Hole
from agentkit_engine.server.copilot.wire import CopilotForm
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.connection import Tell

# What ends such a stream is an event that says so.
LLAMA = replace(OPENAI, last=b"")
_STOPPED = {"stop": "eos", "length": "limit"}


def _listed(value: object) -> object:
    return tuple(cast("list[object]", value or ())) if isinstance(value, list | None) else value


class Extra(BaseModel):
    """Another text."""

    text: str
    filename: Annotated[str, Field(validation_alias=AliasChoices("filename", "name"))] = ""


class InfillForm(CopilotForm):
    """The body.

    prompt: where the hole's own text has begun, in the line that is typed.
    n_predict: tokens at most; -1 leaves it to the server, 0 encodes what is before the hole.
    id_slot: who asks, if it is no less than 0.
    """

    input_prefix: str
    input_suffix: str
    input_extra: Annotated[tuple[Extra, ...], BeforeValidator(_listed)] = ()
    prompt: str = ""
    n_predict: Annotated[int, Field(ge=-1)] = -1
    id_slot: int = -1

    @property
    def warms(self) -> bool:
        """Whether nothing is to be filled in yet."""
        return self.n_predict == 0


def hole_of(form: InfillForm, limits: Limits) -> Hole:
    """What is asked for.

    Raises:
        Refused: something is more than is let; names the field.
    """
    form.require_heard(limits)
    return Hole(
        before=form.input_prefix + form.prompt,
        behind=form.input_suffix,
        files=tuple(File(name=one.filename, text=one.text) for one in form.input_extra),
        max_tokens=min(form.n_predict, limits.tokens) if form.n_predict > 0 else None,
        stop=tuple(form.stop or ()),
        options=form.options(),
    )


@dataclass(frozen=True, slots=True)
class Predicting:
    """How one filling is told."""

    form: InfillForm
    model: str

    def whole(self, found: Found) -> dict[str, Any]:
        """All of it, at once."""
        [filled] = found.filled
        return {
            "content": filled.text,
            **self._stopped(found.prompt_tokens, filled.tokens),
            "tokens_cached": found.cached_tokens,
            "stop_type": "word" if filled.stopped_by else _STOPPED[filled.reason],
            "stopping_word": filled.stopped_by or "",
            "timings": _timings(filled, found.prompt_tokens),
        }

    def more(self, tell: Tell, _: int, text: str) -> None:
        """More of it."""
        tell("", {"index": 0, "content": text, "stop": False})

    def end(self, tell: Tell, found: Found) -> None:
        """What comes behind all that is said."""
        tell("", {**self.whole(found), "content": ""})

    def warmed(self, tokens: int) -> dict[str, Any]:
        """That the model has read what is before the hole."""
        ended = {"stop_type": "limit", "stopping_word": "", "timings": {}}
        return {"content": "", **self._stopped(tokens, 0), **ended}

    def _stopped(self, read: int, written: int) -> dict[str, Any]:
        return {
            "index": 0,
            "id_slot": self.form.id_slot,
            "stop": True,
            "model": self.model,
            "tokens_predicted": written,
            "tokens_evaluated": read,
            "truncated": False,
        }


def _timings(filled: Filled, read: int) -> dict[str, float]:
    """Milliseconds: of reading what is before the hole, and of all that came then."""
    filling = filled.filling
    reading, writing = 1000 * filling.timings.encode, 1000 * filling.elapsed
    return {
        "prompt_n": read,
        "prompt_ms": reading,
        "prompt_per_token_ms": reading / max(1, read),
        "prompt_per_second": _rate(read, reading),
        "predicted_n": filled.tokens,
        "predicted_ms": writing,
        "predicted_per_token_ms": writing / max(1, filled.tokens),
        "predicted_per_second": _rate(filled.tokens, writing),
    }


def _rate(count: int, milliseconds: float) -> float:
    return 1000 * count / milliseconds if milliseconds else 0.0
