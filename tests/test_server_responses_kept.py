"""Responses that are kept: gone on from, read again, forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import openai
import pytest
from responding import CALLS, HELLO, NOTE, Read, calls_of, client_of, used
from serving import Served, serving

from agentkit_engine import Engine
from agentkit_engine.server.chat.openai.responses_items import Chat
from agentkit_engine.server.chat.openai.responses_kept import KeptResponses
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Refused


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(responses=4)) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def create(client: openai.OpenAI) -> Callable[..., Any]:
    return partial(client.responses.create, model="default")


def test_a_response_is_gone_on_from(create: Callable[..., Any], client: openai.OpenAI) -> None:
    first = create(input=HELLO, instructions="be brief")
    second = create(input="and in Lagos?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    chat: list[Any] = [
        {"role": "user", "content": HELLO},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"role": "user", "content": [{"type": "input_text", "text": "and in Lagos?"}]},
    ]
    whole = create(input=chat)  # the instructions do not carry over
    assert used(second).input_tokens == used(whole).input_tokens
    assert second.output_text == whole.output_text
    third = Read(create(input="?", previous_response_id=second.id, stream=True)).response
    assert used(third).input_tokens > used(second).input_tokens
    assert client.responses.retrieve(third.id) == third


def test_results_are_sent_back(create: Callable[..., Any]) -> None:
    tools = {"tools": [NOTE]}
    first = create(**CALLS | tools, parallel_tool_calls=True, temperature=1.0)
    calls = calls_of(first)
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"{n} degrees"}
        for n, call in enumerate(calls)
    ]
    after = create(input=results, previous_response_id=first.id, **tools)
    chat = [
        {"type": "message", "role": "user", "content": HELLO},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "?"}]},
        *(call.model_dump(exclude_none=True) for call in calls),
        *results,
    ]
    whole = create(input=chat, **tools)
    assert used(after).input_tokens == used(whole).input_tokens
    assert [one.arguments for one in calls_of(after)] == [one.arguments for one in calls_of(whole)]
    assert after.output_text == whole.output_text


def test_arguments_that_are_no_object_are_kept_too(create: Callable[..., Any]) -> None:
    either = {"anyOf": [{"type": "string", "maxLength": 4}]}
    odd = {"type": "function", "name": "odd", "parameters": either}
    response = create(input=HELLO, tools=[odd], tool_choice="required")
    assert isinstance(json.loads(response.output[0].arguments), str)
    assert create(input="?", previous_response_id=response.id).output_text


def test_a_response_is_kept_while_there_is_room(
    create: Callable[..., Any], client: openai.OpenAI
) -> None:
    kept = create(**CALLS)
    assert client.responses.retrieve(kept.id) == kept
    with pytest.raises(openai.BadRequestError, match="stream is not supported"):
        client.responses.retrieve(kept.id, stream=True)
    client.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError, match=kept.id):
        client.responses.retrieve(kept.id)
    with pytest.raises(openai.NotFoundError, match=kept.id):
        client.responses.delete(kept.id)
    unkept = create(input=HELLO, store=False)
    with pytest.raises(openai.NotFoundError, match=unkept.id):
        client.responses.retrieve(unkept.id)
    with pytest.raises(openai.BadRequestError) as refused:
        create(input=HELLO, previous_response_id=unkept.id)
    assert refused.value.code == "previous_response_not_found"
    assert refused.value.param == "previous_response_id"
    first, *others = [create(input=HELLO) for _ in range(5)]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert [client.responses.retrieve(one.id).id for one in others] == [one.id for one in others]


def test_what_is_kept_is_bounded_in_bytes() -> None:
    def told(id: str, size: int) -> dict[str, Any]:
        return {"id": id, "output": "." * size}

    kept = KeptResponses(most=100, most_bytes=900)
    kept.keep(told("a", 300), Chat())
    kept.keep(told("b", 300), Chat())
    assert kept.find("a").told["id"] == "a"  # which is now the last that was asked for
    kept.keep(told("c", 300), Chat())
    with pytest.raises(Refused, match="'b' not found"):
        kept.before("b")
    kept.drop("c")
    kept.keep(told("d", 300), Chat())
    assert len(kept) == 2
    kept.keep(told("e", 2000), Chat())
    assert len(kept) == 0
    kept.keep(told("f", 300), Chat(messages=({"role": "user", "content": "." * 700},)))
    assert len(kept) == 0
