"""Responses that can't be had: each is refused before anything is told, and names its field."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import openai
import pytest
from responding import HELLO, WEATHER, client_of
from serving import Served, serving

from agentkit_engine import Engine

UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [WEATHER, {"type": "web_search"}]}, "tools.1.type"),
    ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "http://x"}]}, "tools.0.type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type"),
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"top_p": 0.5}, "top_p"),
    ({"truncation": "auto"}, "truncation"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": [5]}, "input.0"),
    ({"input": [{"content": "x"}]}, "input.0.role"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
    ({"input": [{"role": "user"}]}, "input.0.content"),
    ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
    (
        {"input": [{"type": "function_call", "name": "x", "arguments": "{}"}]},
        "input.0.call_id",
    ),
    (
        {"input": [{"type": "function_call", "call_id": "1", "name": "x", "arguments": "["}]},
        "input.0.arguments",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]},
        "input.0.call_id",
    ),
    ({"tools": [{"type": "function"}]}, "tools.0.name"),
    ({"tools": [WEATHER, WEATHER]}, "tools.1.name"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
    (
        {
            "text": {
                "format": {"type": "json_schema", "schema": {"type": "string", "minLength": -1}}
            }
        },
        "text.format.schema",
    ),
    ({"tools": [{**WEATHER, "parameters": {"not": {}}}]}, "tools.0.parameters"),
    ({"tools": [{**WEATHER, "parameters": {"$ref": "#/nowhere"}}]}, "tools.0.parameters"),
    ({"temperature": 3}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"metadata": {"x": "y" * 513}}, "metadata.x"),
    ({"input": "long " * 2000}, "input"),
]


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def create(client: openai.OpenAI) -> Callable[..., Any]:
    return partial(client.responses.create, model="default")


@pytest.mark.parametrize(("asked", "param"), UNSUPPORTED + WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_had_is_named(
    create: Callable[..., Any], asked: dict[str, Any], param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(input=HELLO, stream=stream, extra_body=asked)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_unknown_models_are_refused_and_unknown_fields_ignored(
    create: Callable[..., Any], client: openai.OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9") as refused:
        client.responses.create(model="gpt-9", input=HELLO)
    assert refused.value.code == "model_not_found"
    more = {
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "service_tier": "auto",
        "colour": "red",
        "top_p": 1.0,
    }
    said = create(input=[{"role": "user", "content": HELLO, "colour": "red"}], extra_body=more)
    assert said.output_text == create(input=HELLO).output_text
