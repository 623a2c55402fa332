"""Anthropic's messages, asked for by its official client of the real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from typing import Any, Literal

import anyio
import anyio.to_thread
import jsonschema
import pytest
from anthropic import beta_tool
from anthropic.types import Message, MessageParam, ToolResultBlockParam
from anthropic_model import (
    CALLS,
    HELLO,
    NOTE,
    SAID,
    SCHEMAS,
    WEATHER,
    Model,
    calls_of,
    check_calls,
    text_of,
)
from pydantic import BaseModel
from serving import Served, held_forwards, serving, until

from agentkit_engine import Engine
from agentkit_engine.server.limits import Limits


class Trip(BaseModel):
    """An answer by a schema."""

    city: Literal["Paris", "Berlin"]
    nights: int


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(calls=2)) as served:
        yield served


@pytest.fixture(scope="module")
def model(server: Served) -> Model:
    return Model(server)


def test_an_answer_in_words(model: Model) -> None:
    message = model.create(**SAID, system="Be brief")
    assert text_of(message)
    assert (message.type, message.role, message.model) == ("message", "assistant", model.name)
    assert message.id.startswith("msg_")
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens == model.count(**SAID, system="Be brief")
    assert message.usage.output_tokens > 0


def test_words_end_where_there_is_no_more_room_for_them(model: Model, engine: Engine) -> None:
    message = model.create(max_tokens=2, messages=[HELLO])
    tokens = engine.runtime.checkpoint.tokenizer.encode(text_of(message), add_special_tokens=False)
    assert len(tokens) <= 2
    assert message.stop_reason == "max_tokens"


def test_system_and_content_may_be_blocks(model: Model) -> None:
    words = {"type": "text", "text": "is it warm in Paris?", "cache_control": {"type": "ephemeral"}}
    blocks = {
        "system": [{"type": "text", "text": "Be brief"}],
        "messages": [{"role": "user", "content": [words]}],
        "max_tokens": 100,
    }
    plain = {**SAID, "system": "Be brief"}
    assert model.create(**blocks).content == model.create(**plain).content
    assert model.count(**blocks) == model.count(**plain)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_arguments_satisfy_their_schemas(model: Model, temperature: float) -> None:
    for _ in range(2):
        message = model.create(**CALLS, extra_body={"temperature": temperature})
        assert message.stop_reason == "tool_use"
        check_calls(message)


def test_a_tool_choice_holds(model: Model) -> None:
    tools = [WEATHER, NOTE]
    for name in ("weather", "note"):
        choice: Any = {"type": "tool", "name": name}
        [call] = calls_of(model.create(**SAID, tools=tools, tool_choice=choice))
        assert call.name == name
    for alone in ({}, {"disable_parallel_tool_use": True}):
        choice = {"type": "any", **alone}
        assert len(calls_of(model.create(**SAID, tools=tools, tool_choice=choice))) == 1
    choice = {"type": "any", "disable_parallel_tool_use": False}
    assert len(calls_of(model.create(**SAID, tools=tools, tool_choice=choice))) > 1
    assert text_of(model.create(**SAID, tools=tools, tool_choice={"type": "none"}))
    left = model.create(**SAID, tools=tools, tool_choice={"type": "auto"})
    assert left.stop_reason in ("tool_use", "end_turn", "max_tokens")


def test_a_call_its_result_and_what_is_said_then(model: Model) -> None:
    messages: list[MessageParam] = [HELLO]
    for turn in range(2):
        choice: Any = {"type": "any", "disable_parallel_tool_use": not turn}
        message = model.create(max_tokens=9, messages=messages, tools=[NOTE], tool_choice=choice)
        check_calls(message)
        messages.append(message.to_param())
        results: list[ToolResultBlockParam] = [
            {
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": "21 C" if turn else [{"type": "text", "text": "no such city"}],
                "is_error": not turn,
            }
            for call in calls_of(message)
        ]
        messages.append({"role": "user", "content": results})
    choice = {"type": "none"}
    answer = model.create(max_tokens=9, messages=messages, tools=[NOTE], tool_choice=choice)
    assert text_of(answer)
    assert answer.usage.input_tokens > model.count(messages=[HELLO], tools=[NOTE])


def test_the_client_s_own_tool_runner(model: Model) -> None:
    heard: list[tuple[str, int]] = []

    @beta_tool
    def forecast(city: Literal["Paris", "Berlin"], days: int) -> str:
        """The weather to come."""
        heard.append((city, days))
        return "21 C"

    runner = model.client.beta.messages.tool_runner(
        model="default",
        max_tokens=20,
        messages=[{"role": "user", "content": "is it warm?"}],
        tools=[forecast],
        tool_choice={"type": "tool", "name": "forecast"},
        max_iterations=2,
        thread=False,
    )
    for message in runner:
        assert message.stop_reason == "tool_use"
    assert [(city in ("Paris", "Berlin"), type(days)) for city, days in heard] == [(True, int)] * 2


def test_the_client_lists_the_model(model: Model) -> None:
    assert [one.id for one in model.client.models.list()] == [model.name]


def test_an_answer_by_a_schema(model: Model) -> None:
    parsed = model.client.messages.parse(model=model.name, output_format=Trip, **SAID)
    assert isinstance(parsed.parsed_output, Trip)
    assert parsed.stop_reason == "end_turn"
    schema = Trip.model_json_schema()
    format = {"type": "json_schema", "schema": schema}
    for asked in ({"output_config": {"format": format}}, {"extra_body": {"output_format": format}}):
        jsonschema.validate(json.loads(text_of(model.create(**SAID, **asked))), schema)


def test_an_answer_by_a_schema_ends_at_no_stop_text(model: Model) -> None:
    format = {"type": "json_schema", "schema": Trip.model_json_schema()}
    message = model.create(**SAID, output_config={"format": format}, stop_sequences=['"', ":"])
    Trip.model_validate_json(text_of(message))
    assert message.stop_reason == "end_turn"


def test_a_stop_text_ends_an_answer(model: Model) -> None:
    whole = text_of(model.create(**SAID))
    stop = whole[len(whole) // 2 :][:2]
    asked: dict[str, Any] = {**SAID, "stop_sequences": ["never said", stop]}
    message = model.create(**asked)
    assert text_of(message) == whole[: whole.index(stop)]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    with model.client.messages.stream(model=model.name, **asked) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [
        block.to_dict() for block in message.content
    ]
    assert (streamed.stop_reason, streamed.stop_sequence) == ("stop_sequence", stop)


def test_an_answer_that_is_nothing_but_a_stop_text_is_empty(model: Model) -> None:
    asked: dict[str, Any] = {**SAID, "stop_sequences": [text_of(model.create(**SAID))[:1]]}
    assert text_of(model.create(**asked)) == ""
    with model.client.messages.stream(model=model.name, **asked) as stream:
        assert stream.get_final_text() == ""


def test_the_events_of_an_answer_come_in_their_order(model: Model) -> None:
    first, *told = model.events(**SAID)
    assert first.type == "message_start"
    assert first.message.content == []
    assert first.message.stop_reason is None
    assert first.message.usage.input_tokens == model.count(**SAID)
    begin, *deltas, end, last, stop = told
    assert (begin.type, begin.index, begin.content_block.text) == ("content_block_start", 0, "")
    assert {(one.type, one.index, one.delta.type) for one in deltas} == {
        ("content_block_delta", 0, "text_delta")
    }
    assert (end.type, end.index, stop.type) == ("content_block_stop", 0, "message_stop")
    whole = model.create(**SAID)
    assert "".join(one.delta.text for one in deltas) == text_of(whole)
    assert (last.type, last.delta.stop_reason) == ("message_delta", whole.stop_reason)
    assert last.usage.output_tokens == whole.usage.output_tokens


def test_the_events_of_calls_come_one_call_behind_the_other(model: Model) -> None:
    first, *told, last, _ = model.events(**CALLS)
    assert first.type == "message_start"
    assert len(told) % 3 == 0
    for index in range(len(told) // 3):
        begin, delta, end = told[3 * index : 3 * index + 3]
        assert (begin.index, delta.index, end.index) == (index,) * 3
        assert begin.type == "content_block_start"
        assert (begin.content_block.type, begin.content_block.input) == ("tool_use", {})
        assert delta.delta.type == "input_json_delta"
        schema = SCHEMAS[begin.content_block.name]
        jsonschema.validate(json.loads(delta.delta.partial_json), schema)
        assert end.type == "content_block_stop"
    assert last.delta.stop_reason == "tool_use"


def test_what_is_streamed_is_what_is_answered(model: Model) -> None:
    said: list[str] = []
    with model.client.messages.stream(model=model.name, **SAID) as stream:
        said += stream.text_stream
        final = stream.get_final_message()
    whole = model.create(**SAID)
    assert "".join(said) == text_of(final) == text_of(whole)
    with model.client.messages.stream(model=model.name, **CALLS) as stream:
        final = stream.get_final_message()
    check_calls(final)
    whole = model.create(**CALLS)
    assert [(call.name, call.input) for call in calls_of(final)] == [
        (call.name, call.input) for call in calls_of(whole)
    ]
    with model.client.messages.stream(model=model.name, output_format=Trip, **SAID) as stream:
        assert isinstance(stream.get_final_message().parsed_output, Trip)


async def test_the_asynchronous_client(model: Model) -> None:
    found: list[Message] = []
    async with model.asynchronous() as client:

        async def one() -> None:
            async with client.messages.stream(model=model.name, **CALLS) as stream:
                found.append(await stream.get_final_message())

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
        assert text_of(await client.messages.create(model=model.name, **SAID))
    assert len(found) == 3
    for message in found:
        check_calls(message)


def test_tokens_are_counted_as_a_turn_reads_them(model: Model) -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "<turn|> 21 C"}
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris", "days": 2}}
    chat: dict[str, Any] = {
        "system": "Be brief",
        "tools": [WEATHER, NOTE],
        "messages": [
            HELLO,
            {"role": "assistant", "content": [{"type": "text", "text": "I look"}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "and Berlin?"}]},
        ],
    }
    read = model.create(**chat, max_tokens=10).usage.input_tokens
    assert model.count(**chat) == read
    for part in ("system", "tools"):
        assert model.count(**{name: value for name, value in chat.items() if name != part}) < read


def test_what_was_encoded_in_advance_is_found(model: Model, engine: Engine) -> None:
    chat: dict[str, Any] = {**CALLS, "system": "what nobody has said before"}
    warmed = model.create(**{**chat, "max_tokens": 0})
    assert (warmed.content, warmed.stop_reason) == ([], "max_tokens")
    assert warmed.usage.input_tokens == model.count(**chat)
    assert warmed.usage.output_tokens == 0
    encoded: list[int] = []
    denoiser = engine.runtime.denoiser
    original = denoiser.encode

    def encode(tokens: Any, **options: Any) -> Any:
        encoded.append(len(tokens))
        return original(tokens, **options)

    denoiser.encode = encode  # type: ignore[method-assign]
    try:
        model.create(**chat)
    finally:
        denoiser.encode = original  # type: ignore[method-assign]
    assert encoded == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_closed_stream_ends_the_engine_s_work(
    engine: Engine, server: Served, model: Model, stream: bool
) -> None:
    scheduler, service = engine.runtime.scheduler, server.app.state.service
    async with model.asynchronous() as client:

        async def ask() -> None:
            await client.messages.create(model=model.name, stream=stream, **CALLS)

        with held_forwards(engine) as holding:
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                assert await anyio.to_thread.run_sync(holding.reached.wait, 60)
                group.cancel_scope.cancel()
            await anyio.to_thread.run_sync(until, lambda: service.working == 0)
            holding.gate.set()
            await anyio.to_thread.run_sync(until, lambda: scheduler.statistics.queue == 0)
            assert holding.forwards == 1
    assert model.create(**SAID).content


def test_a_stream_that_is_closed_midway_ends_the_engine_s_work(
    engine: Engine, server: Served, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser, gate, forwards = engine.runtime.denoiser, threading.Event(), list[int]()
    original = denoiser.denoise

    def held_after_one(*arguments: Any, **options: Any) -> Any:
        forwards.append(len(forwards))
        assert len(forwards) == 1 or gate.wait(60)
        return original(*arguments, **options)

    monkeypatch.setattr(denoiser, "denoise", held_after_one)
    with model.client.messages.stream(model=model.name, **SAID) as stream:
        assert next(stream.text_stream)  # told while the next forward is under way
        until(lambda: len(forwards) == 2)
    until(lambda: server.app.state.service.working == 0)
    gate.set()
    until(lambda: engine.runtime.scheduler.statistics.queue == 0)
    assert len(forwards) == 2


def test_how_sure_the_model_is_is_told_beside_the_message(model: Model) -> None:
    message = model.create(**CALLS)
    [about] = message.to_dict()["agentkit"]["choices"]  # type: ignore[index]
    assert [call["id"] for call in about["calls"]] == [call.id for call in calls_of(message)]
    for call in about["calls"]:
        assert all(0 < sure <= 1 for sure in call["confidence"].values())
    told = [event.to_dict() for event in model.events(**CALLS)]
    assert told[-2]["agentkit"]["forwards"] >= 1
