"""The JSON of a chat completion that is asked for, and the turn that it asks for.

Knows fields and what can't be honoured. Must not know how a turn is taken, nor what is answered.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agentkit_engine.filling.settings import DecidingOptions
from agentkit_engine.lattice import Bias
from agentkit_engine.server.chat.asked import Asked
from agentkit_engine.server.chat.openai.messages import Message, chat_of
from agentkit_engine.server.chat.openai.tools import (
    Body,
    Function,
    offer_of,
    output_of,
    schema_place,
)
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused

_BANNED = -100.0  # what the API says bans a token
_SEEDS = 2**31
_ID = re.compile(r"[0-9]{1,9}")  # of a token
# What can't be had, but for the values that ask for nothing.
_UNHEARD: dict[str, tuple[object, ...]] = {
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "audio": (),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"], []),
    "web_search_options": (),
}

Nats = Annotated[float, Field(ge=-100, le=100)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Tool(Body):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


class StreamOptions(Body):
    """include_usage: a last event tells what all of it took."""

    include_usage: bool | None = None


class CompletionForm(Body):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: Any = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Annotated[Annotated[list[str], Field(max_length=16)] | None, BeforeValidator(_listed)] = (
        None
    )
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: Annotated[dict[str, Nats], Field(max_length=1024)] | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    web_search_options: Any = None

    @property
    def usage(self) -> bool:
        """Whether a stream tells what it took."""
        return bool(self.stream_options and self.stream_options.include_usage)


def asked_of(form: CompletionForm, *, limits: Limits, vocabulary: int) -> Asked:
    """The turn that is asked for.

    Args:
        vocabulary: how many tokens the model has.

    Raises:
        Refused: something can't be honoured, or is more than is let; names the field.
    """
    _require_heard(form)
    if (form.n or 1) > limits.choices:
        why = f"n is {form.n} and {limits.choices} answers are given at most"
        raise Refused(400, "TooManyChoices", why, "n")
    if form.top_logprobs and not form.logprobs:
        why = "top_logprobs tells more of logprobs, which are not asked for; set logprobs to true"
        raise Refused(400, "InvalidRequest", why, "top_logprobs")
    tools = [(f"tools.{k}.function", tool.function) for k, tool in enumerate(form.tools or [])]
    parallel = form.parallel_tool_calls
    offer = offer_of(tools, form.tool_choice, parallel=parallel, limits=limits)
    instructions, chat = chat_of(form.messages)
    options = _options(form, limits, vocabulary)
    return Asked(
        instructions=instructions,
        messages=chat,
        tools=offer.tools,
        callable=offer.callable,
        must_call=offer.must_call,
        output=output_of(form.response_format, "response_format"),
        output_place=schema_place(form.response_format, "response_format"),
        choices=form.n or 1,
        stop=tuple(form.stop or ()),
        options={**options, "max_calls": offer.most},
    )


def _require_heard(form: CompletionForm) -> None:
    for name, harmless in _UNHEARD.items():
        value = getattr(form, name)
        if value is not None and value not in harmless:
            why = f"{name} is not supported; leave it out"
            raise Refused(400, "UnsupportedParameter", why, name)


def _options(form: CompletionForm, limits: Limits, vocabulary: int) -> DecidingOptions:
    """What is said of the denoising. Without a temperature the likeliest is answered."""
    options = DecidingOptions()
    if form.temperature:
        options["temperature"] = form.temperature
        options["seed"] = secrets.randbelow(_SEEDS)
    if form.seed is not None:
        options["seed"] = form.seed
    most = form.max_completion_tokens or form.max_tokens
    if most is not None:
        options["answer_tokens"] = min(most, limits.tokens)
    bias = _bias(form.logit_bias or {}, vocabulary)
    if bias is not None:
        options["bias"] = bias
    return options


def _bias(nats: dict[str, float], vocabulary: int) -> Bias | None:
    for token in nats:
        if not _ID.fullmatch(token) or int(token) >= vocabulary:
            why = f"{token!r} is no token; take ids from 0 to {vocabulary - 1}"
            raise Refused(400, "InvalidRequest", why, "logit_bias")
    if not nats:
        return None
    return Bias(
        banned=frozenset(int(token) for token, more in nats.items() if more <= _BANNED),
        preferred={int(token): more for token, more in nats.items() if more > _BANNED},
    )
