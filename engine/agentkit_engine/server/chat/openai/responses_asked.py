"""The turn that `/v1/responses` asks for.

Knows its fields, and which of them can't be honoured. Must not know how a turn is taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from agentkit_engine.filling.settings import DecidingOptions
from agentkit_engine.server.chat.asked import Asked
from agentkit_engine.server.chat.openai.responses_items import Chat
from agentkit_engine.server.chat.openai.responses_wire import ResponseForm
from agentkit_engine.server.chat.openai.tools import (
    Function,
    offer_of,
    output_of,
    schema_place,
)
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused

_SEEDS = 2**31
# What can't be had, but for the values that ask for nothing; and what to do instead.
_UNHEARD: Mapping[str, tuple[tuple[object, ...], str]] = {
    "background": ((False,), "leave it out, and read the stream"),
    "conversation": ((), "go on from a response with 'previous_response_id'"),
    "prompt": ((), "send what it says as 'instructions' and 'input'"),
    "context_management": (([],), "send a shorter 'input'"),
    "top_p": ((1,), "leave it out, or set 'temperature'"),
    "truncation": (("disabled",), "leave it out; a chat that is too long is refused"),
}


def asked_of(form: ResponseForm, chat: Chat, *, limits: Limits) -> Asked:
    """The turn that is asked for, behind a chat.

    Raises:
        Refused: something can't be honoured, or is more than is let; names the field.
    """
    _require_heard(form)
    offer = offer_of(
        _functions(form), form.tool_choice, parallel=form.parallel_tool_calls, limits=limits
    )
    instructions, messages = chat.headed(form.instructions or "")
    format = form.text.format if form.text else None
    return Asked(
        instructions=instructions,
        messages=messages,
        place="input",
        tools=offer.tools,
        callable=offer.callable,
        must_call=offer.must_call,
        output=output_of(format, "text.format"),
        output_place=schema_place(format, "text.format"),
        options={**_options(form, limits), "max_calls": offer.most},
    )


def _require_heard(form: ResponseForm) -> None:
    for name, (harmless, mend) in _UNHEARD.items():
        value = getattr(form, name)
        if value is not None and value not in harmless:
            why = f"{name} is not supported; {mend}"
            raise Refused(400, "UnsupportedParameter", why, name)


def _functions(form: ResponseForm) -> list[tuple[str, Function]]:
    """The functions on offer, each with its place in the body."""
    found: list[tuple[str, Function]] = []
    for number, tool in enumerate(form.tools or ()):
        place = f"tools.{number}"
        if tool.type != "function":
            why = f"tools of type {tool.type!r} are not supported; only functions are"
            raise Refused(400, "UnsupportedValue", why, f"{place}.type")
        if not tool.name:
            why = "this function has no name"
            raise Refused(400, "MissingRequiredParameter", why, f"{place}.name")
        about = tool.model_dump(include={"name", "description", "parameters"})
        found.append((place, Function(**about)))
    return found


def _options(form: ResponseForm, limits: Limits) -> DecidingOptions:
    """What is said of the denoising. Without a temperature the likeliest is answered."""
    options = DecidingOptions()
    if form.temperature:
        options["temperature"] = form.temperature
        options["seed"] = secrets.randbelow(_SEEDS)
    if form.max_output_tokens is not None:
        options["answer_tokens"] = min(form.max_output_tokens, limits.tokens)
    return options
