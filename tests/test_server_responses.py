"""Responses, whole and streamed, asked for by OpenAI's own client of the real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import Response, ResponseOutputMessage
from responding import CALLS, HELLO, Read, Trip, calls_of, client_of, used
from serving import Served, held_forwards, serving, until

from agentkit_engine import Engine


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


def test_a_text_is_answered(create: Callable[..., Any]) -> None:
    asked = {"input": HELLO, "instructions": "be brief", "metadata": {"run": "7"}}
    response = create(**asked, max_output_tokens=5)
    assert isinstance(response, Response)
    assert response.output_text.strip()
    assert [item.type for item in response.output] == ["message"]
    assert (response.instructions, response.metadata) == ("be brief", {"run": "7"})
    assert (response.error, response.max_output_tokens) == (None, 5)
    usage = used(response)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens > used(create(input=HELLO)).input_tokens
    assert create(**asked, max_output_tokens=5).output_text == response.output_text


def test_words_are_incomplete_only_where_they_meet_their_limit(create: Callable[..., Any]) -> None:
    cut = {True: 0, False: 0}
    for n in range(4):
        for most in (1, 100, None):
            limit = {} if most is None else {"max_output_tokens": most}
            response = create(input=f"{HELLO} {n}", **limit)
            full = response.model_extra["agentkit"]["full"]
            incomplete = response.status == "incomplete"
            assert incomplete == (full and most == 1)
            assert response.output[0].status == response.status
            if incomplete:
                assert response.incomplete_details.reason == "max_output_tokens"
                last = Read(create(input=f"{HELLO} {n}", **limit, stream=True))
                assert last.names[-1] == "response.incomplete"
            cut[incomplete] += 1
    assert all(cut.values())


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "note"}),
        ({"type": "function", "name": "note"}, {"note"}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "weather"}],
            },
            {"weather"},
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_must_be_called_is_called(
    create: Callable[..., Any], choice: Any, names: set[str], stream: bool
) -> None:
    for n in range(3):
        asked = {**CALLS, "input": f"{HELLO} {n}", "tool_choice": choice, "stream": stream}
        told = create(**asked)
        response = Read(told).response if stream else told
        [call] = calls_of(response)
        assert call.name in names
        assert response.status == "completed"
        assert response.output_text == ""


def test_nothing_is_called_where_nothing_may_be(create: Callable[..., Any]) -> None:
    response = create(**CALLS | {"tool_choice": "none"})
    assert calls_of(response) == []
    assert response.output_text
    assert used(response).input_tokens > used(create(input=HELLO)).input_tokens  # told of the tools


def test_several_are_called_only_where_a_client_says_so(create: Callable[..., Any]) -> None:
    most = 0
    for n in range(8):
        asked = CALLS | {"input": f"{HELLO} {n}", "temperature": 1.0}
        assert len(calls_of(create(**asked, parallel_tool_calls=False))) == 1
        read = Read(create(**asked, parallel_tool_calls=True, stream=True))
        most = max(most, len(calls_of(read.response)))
        assert read.names.count("response.function_call_arguments.done") == len(
            read.response.output
        )
    assert most > 1


def test_an_answer_by_a_schema_is_parsed(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="default", input=HELLO, text_format=Trip)
    assert isinstance(parsed.output_parsed, Trip)
    assert parsed.status == "completed"
    with client.responses.stream(model="default", input=HELLO, text_format=Trip) as stream:
        names = [event.type for event in stream]
        last = stream.get_final_response()
    assert last.output_parsed == parsed.output_parsed
    assert names.count("response.output_text.delta") == 1  # of JSON nothing is certain before
    for format in ({"type": "json_object"}, Trip.model_json_schema()):
        if "properties" in format:
            format = {"type": "json_schema", "name": "trip", "schema": format, "strict": True}
        asked: Any = {"format": format}
        said = client.responses.create(model="default", input=HELLO, text=asked).output_text
        assert isinstance(json.loads(said), dict)


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_schema_holds_beside_tools(create: Callable[..., Any], choice: str) -> None:
    format = {"type": "json_schema", "name": "trip", "schema": Trip.model_json_schema()}
    for n in range(4):
        asked = {**CALLS, "tool_choice": choice, "temperature": 1.0, "input": f"{HELLO} {n}"}
        response = create(**asked, text={"format": format})
        if calls_of(response):
            assert choice != "none"
        else:
            assert choice != "required"
            Trip.model_validate_json(response.output_text)


def test_a_stream_tells_in_pieces_what_it_tells_as_a_whole(create: Callable[..., Any]) -> None:
    read = Read(create(input=HELLO, stream=True))
    assert list(dict.fromkeys(read.names)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{read.response.status}",
    ]
    assert read.response.output_text == create(input=HELLO).output_text
    assert used(read.response).output_tokens > 0
    assert max(Read(create(input=f"{HELLO} {n}", stream=True)).deltas for n in range(8)) > 1


def test_probabilities_are_told_where_they_are_asked_for(create: Callable[..., Any]) -> None:
    asked = {"input": HELLO, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = create(**asked)
    [part] = response.output[0].content
    said = b"".join(bytes(token.bytes or ()) for token in part.logprobs)
    assert said.decode() == part.text
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in part.logprobs)
    read = Read(create(**asked, stream=True))
    [streamed] = read.response.output
    assert isinstance(streamed, ResponseOutputMessage)
    assert streamed.content == [part]


def test_what_the_system_says_later_is_said(create: Callable[..., Any]) -> None:
    system = {"role": "developer", "content": "be brief"}
    user = {"role": "user", "content": HELLO}
    first = create(input=[system, user])
    assert first.output_text == create(input=HELLO, instructions="be brief").output_text
    assert used(create(input=[user, system])).input_tokens > used(create(input=HELLO)).input_tokens


def test_a_failure_behind_the_first_event_is_an_event(
    engine: Engine, create: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser, forwards = engine.runtime.denoiser, count()
    original = denoiser.denoise

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(forwards) % 2:
            raise RuntimeError("the model broke")
        return original(*arguments, **options)

    monkeypatch.setattr(denoiser, "denoise", failing)
    broken = 0
    for n in range(8):
        try:
            *_, last = create(input=f"{HELLO} {n}", stream=True)
        except openai.InternalServerError:
            continue
        broken += last.type == "response.failed"
        if last.type == "response.failed":
            assert last.response.status == "failed"
            assert last.response.error.code == "server_error"
            assert "broke" not in last.response.error.message
    assert broken


def test_a_stream_that_is_left_ends_its_work(engine: Engine, server: Served) -> None:
    body = {"model": "default", "input": HELLO, "stream": True}
    with held_forwards(engine) as holding:
        with (
            httpx2.Client() as client,
            pytest.raises(httpx2.TimeoutException),
        ):
            client.post(f"{server.url}/v1/responses", json=body, timeout=0.5)
        until(holding.reached.is_set)
        until(lambda: server.app.state.service.working == 0)
        holding.gate.set()
        assert holding.forwards == 1
