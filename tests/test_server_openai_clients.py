"""What chat completions refuse, clients that leave, many at once, and pydantic-ai as a client."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from typing import Any, Literal

import anyio
import openai
import pytest
from completing import HELLO, TOOLS, asked, refusal, said
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, RunContext, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from responding import client_of
from serving import Served, held_forwards, serving, until
from tiny import WEATHER

from agentkit_engine import Engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


# Refusals

IMAGE = [{"type": "image_url", "image_url": {"url": "data:,"}}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_completion_tokens": -5}, "max_completion_tokens"),
        ({"stop": [1]}, "stop.0"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [WEATHER, WEATHER]}, "tools.1.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "perhaps"}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_what_can_t_be_honoured_is_named(client: openai.OpenAI, body: Any, param: str) -> None:
    messages = body.pop("messages", [HELLO])
    for stream in (False, True):
        refused = refusal(client, messages=messages, stream=stream, extra_body=body)
        assert refused.param == param
        assert refused.code


def test_a_schema_that_can_t_be_guaranteed_is_named_with_its_keyword(
    client: openai.OpenAI,
) -> None:
    bad = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}
    tool = {"type": "function", "function": {"name": "bad", "parameters": bad}}
    refused = refusal(client, tools=[WEATHER, tool], stream=True)
    assert refused.param == "tools.1.function.parameters"
    assert refused.code == "unsupported_schema"
    assert "'pattern' at '/properties/a'" in refused.message
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": bad}}
    refused = refusal(client, response_format=format_)
    assert refused.param == "response_format.json_schema.schema"
    assert "'pattern' at '/properties/a'" in refused.message
    array = {"type": "function", "function": {"name": "bad", "parameters": {"type": "array"}}}
    assert refusal(client, tools=[array]).param == "tools.0.function.parameters"


@pytest.mark.parametrize(
    ("reference", "why"),
    [("#/nowhere", "leads nowhere"), ("#/properties/a", "circle"), ("#", "endlessly")],
)
def test_a_reference_that_leads_nowhere_or_round_is_named(
    client: openai.OpenAI, reference: str, why: str
) -> None:
    bad = {"type": "object", "properties": {"a": {"$ref": reference}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "bad", "parameters": bad}}
    for stream in (False, True):
        refused = refusal(client, tools=[WEATHER, tool], stream=stream)
        assert refused.param == "tools.1.function.parameters"
        assert why in refused.message
        assert "This is about the arguments of 'bad'." in refused.message
    if reference != "#":
        return
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": bad}}
    refused = refusal(client, response_format=format_)
    assert refused.param == "response_format.json_schema.schema"


def test_a_chat_that_is_too_long_says_so(client: openai.OpenAI) -> None:
    refused = refusal(client, messages=[{"role": "user", "content": "word " * 600}], stream=True)
    assert (refused.code, refused.param) == ("context_length_exceeded", "messages")
    assert "512" in refused.message


def test_the_model_is_listed_and_another_is_not_found(
    client: openai.OpenAI, server: Served
) -> None:
    [model] = client.models.list().data
    assert model.id == server.app.state.service.model
    assert client.models.retrieve(model.id) == model
    assert asked(client, model=model.id).model == model.id
    with pytest.raises(openai.NotFoundError) as missing:
        asked(client, model="another")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    with pytest.raises(openai.NotFoundError) as lost:
        client.post("/nothing", cast_to=object)
    assert lost.value.type == "invalid_request_error"


def test_a_wrong_key_is_an_error_of_authentication(engine: Engine) -> None:
    with serving(engine, api_key="right") as served:
        for key, raised in (("wrong", openai.AuthenticationError), ("right", None)):
            client = openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0)
            if raised is None:
                assert client.models.list().data
                continue
            with pytest.raises(raised) as caught:
                client.models.list()
            assert caught.value.code == "invalid_api_key"


def test_a_chat_that_the_template_refuses_is_the_asker_s_to_mend(
    client: openai.OpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = engine.runtime.checkpoint.tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('take turns') }}")
    refused = refusal(client)
    assert (refused.param, refused.code) == ("messages", "chat_refused")
    assert "take turns" in refused.message


# Connections


@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_connection_ends_its_work_within_a_forward(
    server: Served, engine: Engine, stream: bool
) -> None:
    body = json.dumps({"model": "default", "messages": [HELLO], "stream": stream, "n": 2}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    service = server.app.state.service
    with held_forwards(engine) as held:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            assert held.reached.wait(60)
            assert service.working == 1
        until(lambda: service.working == 0)
        held.gate.set()
        until(lambda: engine.runtime.scheduler.statistics.queue == 0)
        assert held.forwards == 1


async def test_many_ask_at_once_and_each_gets_its_own(server: Served) -> None:
    found: dict[int, str | None] = {}
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:

        async def ask(seed: int) -> None:
            if seed % 2:
                events = await client.chat.completions.create(
                    model="default", messages=[HELLO], stream=True, temperature=1.0, seed=seed
                )
                found[seed] = said([chunk async for chunk in events])
            else:
                made = await client.chat.completions.create(
                    model="default", messages=[HELLO], temperature=1.0, seed=seed
                )
                found[seed] = made.choices[0].message.content

        async with anyio.create_task_group() as group:
            for seed in range(12):
                group.start_soon(ask, seed)
        alone = [
            await client.chat.completions.create(
                model="default", messages=[HELLO], temperature=1.0, seed=seed
            )
            for seed in range(12)
        ]
    assert [found[seed] for seed in range(12)] == [
        made.choices[0].message.content for made in alone
    ]


def test_the_client_s_own_parsing_and_events_work(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="default", messages=[HELLO], response_format=Booking
    )
    assert isinstance(parsed.choices[0].message.parsed, Booking)
    with client.chat.completions.stream(
        model="default", messages=[HELLO], response_format=Booking, logprobs=True
    ) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.done"} <= kinds
    assert final.choices[0].message.parsed == parsed.choices[0].message.parsed
    with client.chat.completions.stream(
        model="default", messages=[HELLO], tools=TOOLS, tool_choice="required"
    ) as events:
        assert "tool_calls.function.arguments.done" in {event.type for event in events}


# pydantic-ai


class Booking(BaseModel):
    """A table."""

    city: str = Field(max_length=6)
    people: int = Field(ge=1, le=12)
    place: Literal["inside", "terrace"]


@pytest.fixture
def model(server: Served) -> OpenAIChatModel:
    provider = OpenAIProvider(base_url=f"{server.url}/v1", api_key="any")
    return OpenAIChatModel("default", provider=provider)


@pytest.mark.parametrize("output", [NativeOutput(Booking), ToolOutput(Booking)])
async def test_pydantic_ai_s_typed_outputs_hold(model: OpenAIChatModel, output: Any) -> None:
    agent = Agent(model, output_type=output, retries=0)
    result = await agent.run("a table for two")
    assert isinstance(result.output, Booking)
    assert result.usage.input_tokens > 0
    async with agent.run_stream("a table for two") as stream:
        assert isinstance(await stream.get_output(), Booking)


async def test_pydantic_ai_calls_a_tool_and_goes_on_with_its_result(
    model: OpenAIChatModel,
) -> None:
    called: list[tuple[str, int]] = []

    def settings(context: RunContext[object]) -> ModelSettings:
        return {"tool_choice": ["free_tables"] if context.run_step == 1 else "none"}

    agent = Agent(model, output_type=NativeOutput(Booking), model_settings=settings, retries=0)

    @agent.tool_plain
    def free_tables(place: Literal["inside", "terrace"], people: int) -> str:
        """Tells how many tables are free."""
        called.append((place, people))
        return "3 tables"

    result = await agent.run("a table for two")
    assert isinstance(result.output, Booking)
    [(place, people)] = called
    assert place in ("inside", "terrace")
    assert isinstance(people, int)
    assert result.usage.requests == 2
