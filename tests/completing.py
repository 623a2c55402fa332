"""Chat completions asked for by the official client, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tiny import WEATHER

HELLO: Any = {"role": "user", "content": "is it warm?"}
TOOLS: Any = [
    WEATHER,
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "adds to the list",
            "parameters": {
                "type": "object",
                "properties": {"item": {"enum": ["milk", "tea"]}, "count": {"type": "integer"}},
                "required": ["item"],
            },
        },
    },
]


def asked(client: openai.OpenAI, **more: Any) -> ChatCompletion:
    body: dict[str, Any] = {"model": "default", "messages": [HELLO], **more}
    made = client.chat.completions.create(**body)
    assert isinstance(made, ChatCompletion)
    return made


def streamed(client: openai.OpenAI, **more: Any) -> list[ChatCompletionChunk]:
    body: dict[str, Any] = {"model": "default", "messages": [HELLO], "stream": True, **more}
    return list(client.chat.completions.create(**body))


def said(chunks: Iterable[ChatCompletionChunk], choice: int = 0) -> str:
    """What the deltas of one choice say together."""
    deltas = [one.delta for chunk in chunks for one in chunk.choices if one.index == choice]
    return "".join(delta.content or "" for delta in deltas)


def calls_of(made: ChatCompletion) -> list[tuple[str, Any]]:
    calls = made.choices[0].message.tool_calls or []
    functions = [call.function for call in calls if call.type == "function"]
    return [(one.name, json.loads(one.arguments)) for one in functions]


def require_valid(calls: Iterable[tuple[str, Any]]) -> None:
    """Whether all are of `TOOLS`, and as those say."""
    known = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    for name, arguments in calls:
        jsonschema.validate(arguments, known[name])


def refusal(client: openai.OpenAI, **more: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        asked(client, **more)
    assert caught.value.type == "invalid_request_error"
    return caught.value
