"""POST /v1/completions, as OpenAI has it: text that goes on, or that fills a hole.

Knows that API's JSON. Must not know how a hole is filled.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

from pydantic import BeforeValidator, Field

from agentkit_engine.filling.outcome import Token
from agentkit_engine.server.chat.asked import new_id
from agentkit_engine.server.copilot.hole import File, Filled, Found, Hole
from agentkit_engine.server.copilot.sentinels import marked
from agentkit_engine.server.copilot.wire import CopilotForm, Positive, StreamOptions, at_most
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.problems import Refused

_USUAL = 16  # tokens, as that API has it
_NEVER = -9999.0  # what the API says of a token that can't be


def _texts(value: object) -> object:
    if value is None or isinstance(value, str):
        return (value or "",)
    if not isinstance(value, list):
        return value
    texts = cast("list[object]", value)
    if any(isinstance(text, int | list) for text in texts):
        raise ValueError("tokens can't be read here; send text")
    return tuple(texts)


class CompletionForm(CopilotForm):
    """The body; `prompt` may mark the hole itself, where there is no `suffix`.

    name: of the file that the hole is in; no other server knows it.
    """

    unheard: ClassVar = {
        "top_p": (1,),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logit_bias": ({},),
    }

    prompt: Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1)] = ("",)
    suffix: str | None = None
    name: str = ""
    max_tokens: Positive | None = None
    n: Positive | None = None
    best_of: Positive | None = None
    echo: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def usage(self) -> bool:
        """Whether a stream tells what it took."""
        return bool(self.stream_options and self.stream_options.include_usage)


def holes_of(form: CompletionForm, limits: Limits) -> list[Hole]:
    """What is asked for, prompt by prompt.

    Raises:
        Refused: something can't be honoured, or is more than is let; names the field.
    """
    form.require_heard(limits)
    choices = form.n or 1
    at_most("best_of", form.best_of or choices, choices)
    at_most("n" if choices > 1 else "prompt", choices * len(form.prompt), limits.choices)
    if form.echo and form.logprobs is not None:
        why = "logprobs are of what is filled in, and not of a prompt; ask for them without echo"
        raise Refused(400, "UnsupportedParameter", why, "logprobs")
    most = min(form.max_tokens or _USUAL, limits.tokens)
    holes: list[Hole] = []
    for prompt in form.prompt:
        found = marked(prompt) if form.suffix is None else None
        files: tuple[File, ...] = found.files if found else ()
        holes.append(
            Hole(
                before=found.before if found else prompt,
                behind=found.behind if found else form.suffix or "",
                name=form.name or (found.name if found else ""),
                files=files,
                max_tokens=most,
                choices=choices,
                stop=tuple(form.stop or ()),
                likeliest=form.logprobs,
                options=form.options(),
            )
        )
    return holes


@dataclass(frozen=True, slots=True)
class Completing:
    """How one completion is told."""

    form: CompletionForm
    model: str
    id: str
    created: int

    @classmethod
    def of(cls, form: CompletionForm, model: str) -> Completing:
        """With an id of its own."""
        return cls(form, model, new_id("cmpl-"), int(time.time()))

    def whole(self, found: Sequence[Found]) -> dict[str, Any]:
        """All of it, at once."""
        choices = [
            self._choice(place, self._echo(place) + filled.text, filled)
            for place, filled in enumerate(filled for one in found for filled in one.filled)
        ]
        return self._told(choices, {"usage": usage_json(found)})

    def more(self, tell: Tell, place: int, text: str) -> None:
        """More of one choice."""
        tell("", self._told([self._choice(place, text, None)]))

    def begin(self, tell: Tell) -> None:
        """What comes before all that is said."""
        for place in range(len(self.form.prompt) * (self.form.n or 1)):
            if self._echo(place):
                self.more(tell, place, self._echo(place))

    def end(self, tell: Tell, found: Sequence[Found]) -> None:
        """What comes behind it."""
        for place, filled in enumerate(filled for one in found for filled in one.filled):
            tell("", self._told([self._choice(place, "", filled)]))
        if self.form.usage:
            tell("", self._told([], {"usage": usage_json(found)}))

    def _echo(self, place: int) -> str:
        return self.form.prompt[place // (self.form.n or 1)] if self.form.echo else ""

    def _choice(self, place: int, text: str, filled: Filled | None) -> dict[str, Any]:
        """More of a choice; what came of it is known in the end."""
        likely = filled and self.form.logprobs is not None
        return {
            "text": text,
            "index": place,
            "logprobs": _logprobs(filled.said) if filled and likely else None,
            "finish_reason": filled.reason if filled else None,
        }

    def _told(self, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> Any:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **(more or {}),
        }


def _logprobs(said: Sequence[Token]) -> dict[str, list[Any]]:
    """How probable each token was among all texts that fit there, as that API has it."""
    texts = [token.text.decode(errors="replace") for token in said]
    ends = list(itertools.accumulate(map(len, texts)))
    return {
        "tokens": texts,
        "token_logprobs": [max(token.nats, _NEVER) for token in said],
        "top_logprobs": [
            {text.decode(errors="replace"): max(nats, _NEVER) for text, nats in token.likeliest}
            for token in said
        ],
        "text_offset": [0, *ends][: len(texts)],
    }


def usage_json(found: Sequence[Found]) -> dict[str, Any]:
    """What was read and written, in tokens."""
    read = sum(one.prompt_tokens for one in found)
    written = sum(filled.tokens for one in found for filled in one.filled)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens for one in found)},
    }
