"""Chat completions by the official client, over real HTTP: words, tools, schemas, probabilities."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from itertools import product
from random import Random
from typing import Any

import httpx2
import jsonschema
import openai
import pytest
from completing import HELLO, TOOLS, asked, calls_of, refusal, require_valid, said, streamed
from responding import client_of
from serving import Served, serving
from test_fuzz import random_schema

from agentkit_engine import Engine
from agentkit_engine.errors import CanvasTooShort, UnsatisfiableSchema
from agentkit_engine.filling import beliefs
from agentkit_engine.filling.solution import confidences
from agentkit_engine.server.stopping import cut

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 4}},
    "required": ["city"],
}


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


# Words


def test_an_answer_tells_its_words_what_they_took_and_how_sure_the_model_is(
    client: openai.OpenAI, server: Served
) -> None:
    made = asked(client, user="someone", metadata={"a": "b"}, extra_body={"no_such_field": 1})
    assert made.object == "chat.completion"
    assert made.model == server.app.state.service.model
    [choice] = made.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.content.strip()
    assert choice.message.tool_calls is None
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    about = made.model_extra["agentkit"] if made.model_extra else {}
    assert about["forwards"] >= 1
    [told] = about["choices"]
    assert told["choice"] == {"": 1.0}
    assert 0 <= told["confidence"][""] <= 1
    assert set(told["timings"]) == {"encode", "denoise", "verify", "lattice"}


def test_a_prompt_that_was_read_before_is_told_as_cached(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "what is on my list?"}]
    cached = [
        (made.usage.prompt_tokens, made.usage.prompt_tokens_details.cached_tokens)
        for made in (asked(client, messages=messages) for _ in range(2))
        if made.usage and made.usage.prompt_tokens_details
    ]
    [(prompt, first), (_, second)] = cached
    assert first is not None
    assert first < prompt
    assert second == prompt


def test_a_stream_says_the_same_and_ends_with_its_reason_and_its_usage(
    client: openai.OpenAI,
) -> None:
    whole = asked(client)
    chunks = streamed(client, stream_options={"include_usage": True})
    assert said(chunks) == whole.choices[0].message.content
    assert sum(bool(one.delta.content) for chunk in chunks for one in chunk.choices) > 1
    first, *_, last, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert usage.choices == []
    assert usage.usage is not None
    assert whole.usage is not None
    assert usage.usage.prompt_tokens == whole.usage.prompt_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert usage.model_extra is not None
    assert usage.model_extra["agentkit"]["forwards"] >= 1
    assert all(chunk.usage is None for chunk in streamed(client))


def test_a_stream_is_events_without_names_and_ends_with_done(server: Served) -> None:
    body = {"model": "default", "messages": [HELLO], "stream": True}
    response = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events)


def test_words_end_before_a_stop_text_wherever_drafts_break_it(client: openai.OpenAI) -> None:
    text = asked(client, max_tokens=10).choices[0].message.content or ""
    for start, size in product(range(0, len(text), 2), (1, 3)):
        stop = [text[start : start + size], "never said"]
        wanted, by = cut(text, stop)
        chunks = streamed(client, max_tokens=10, stop=stop)
        assert by == stop[0]
        assert said(chunks) == wanted
        assert chunks[-1].choices[0].finish_reason == "stop"
    whole = asked(client, max_tokens=10, stop=text[1:3])
    assert whole.choices[0].message.content == cut(text, [text[1:3]])[0]


def test_a_stop_text_found_in_a_beginning_is_the_one_found_in_the_whole() -> None:
    random = Random(8)
    for _ in range(500):
        text = "".join(random.choices("ab", k=12))
        stop = ["".join(random.choices("ab", k=random.randint(1, 4))) for _ in range(3)]
        whole = cut(text, stop)
        for size in range(len(text)):
            found = cut(text[:size], stop)
            assert found[1] is None or found == whole


def test_few_tokens_are_an_answer_of_few_tokens(client: openai.OpenAI) -> None:
    made = asked(client, max_completion_tokens=2, logprobs=True)
    [choice] = made.choices
    assert choice.logprobs is not None
    assert len(choice.logprobs.content or []) <= 2
    assert choice.finish_reason == "length"
    as_before = asked(client, max_tokens=2)
    assert as_before.choices[0].message.content == choice.message.content


def test_each_of_n_answers_has_a_seed_of_its_own(client: openai.OpenAI) -> None:
    made = asked(client, n=3, temperature=1.0, seed=7)
    texts = [choice.message.content for choice in made.choices]
    assert len(set(texts)) == 3
    alone = [asked(client, temperature=1.0, seed=7 + k) for k in range(3)]
    assert texts == [one.choices[0].message.content for one in alone]
    chunks = streamed(client, n=3, temperature=1.0, seed=7)
    assert [said(chunks, choice) for choice in range(3)] == texts
    other = asked(client, temperature=1.0)  # without a seed each is another, and tells it
    assert other.model_extra is not None
    [about] = other.model_extra["agentkit"]["choices"]
    again = asked(client, temperature=1.0, seed=about["seed"])
    assert again.choices[0].message.content == other.choices[0].message.content


def test_a_banned_token_is_not_said_and_a_preferred_one_is(
    client: openai.OpenAI, engine: Engine
) -> None:
    before = asked(client, logprobs=True, max_tokens=4).choices[0]
    assert before.logprobs is not None
    first = bytes((before.logprobs.content or [])[0].bytes or [])
    token = engine.vocabulary.token_bytes.index(first)
    banned = asked(client, logit_bias={str(token): -100}, max_tokens=4).choices[0].message.content
    assert not (banned or "").startswith(first.decode())
    wanted = engine.vocabulary.token_bytes.index(b"z")
    preferred = asked(client, logit_bias={str(wanted): 100}, max_tokens=4)
    assert preferred.choices[0].message.content == "zzzz"


# Tools


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "add"}),
        ({"type": "function", "function": {"name": "add"}}, {"add"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
            {"weather"},
        ),
    ],
)
def test_a_choice_of_tools_is_kept_to_and_arguments_satisfy_their_schema(
    client: openai.OpenAI, choice: Any, names: set[str]
) -> None:
    made = asked(client, tools=TOOLS, tool_choice=choice)
    [(name, arguments)] = calls_of(made)
    assert name in names
    require_valid([(name, arguments)])
    assert made.choices[0].finish_reason == "tool_calls"
    assert made.choices[0].message.content is None
    assert made.model_extra is not None
    [about] = made.model_extra["agentkit"]["choices"]
    assert set(about["choice"]) <= {*names, ""}
    [call] = made.choices[0].message.tool_calls or []
    assert [one["id"] for one in about["calls"]] == [call.id]
    chunks = streamed(client, tools=TOOLS, tool_choice=choice)
    deltas = [d for c in chunks for one in c.choices for d in one.delta.tool_calls or []]
    functions = [delta.function for delta in deltas if delta.function]
    assert {one.name for one in functions if one.name} == {name}
    assert json.loads("".join(one.arguments or "" for one in functions)) == arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_no_tool_is_called_where_none_may_be(client: openai.OpenAI) -> None:
    made = asked(client, tools=TOOLS, tool_choice="none")
    assert calls_of(made) == []
    assert made.choices[0].message.content


def test_whether_to_call_is_the_model_s_choice(client: openai.OpenAI) -> None:
    for text in ("is it warm?", "add milk", "hello"):
        messages = [{"role": "user", "content": text}]
        made = asked(client, messages=messages, tools=TOOLS, tool_choice="auto")
        calls = calls_of(made)
        require_valid(calls)
        assert len(calls) <= 1
        assert bool(calls) != bool(made.choices[0].message.content)


def test_several_calls_come_where_they_are_allowed(client: openai.OpenAI) -> None:
    many = asked(client, tools=TOOLS, tool_choice="required", parallel_tool_calls=True)
    require_valid(calls_of(many))
    assert len(calls_of(many)) > 1
    assert len({call.id for call in many.choices[0].message.tool_calls or []}) > 1
    for parallel in ({}, {"parallel_tool_calls": False}):
        [one] = calls_of(asked(client, tools=TOOLS, tool_choice="required", **parallel))
        require_valid([one])


def test_a_tool_without_parameters_takes_none(client: openai.OpenAI) -> None:
    ping = {"type": "function", "function": {"name": "ping"}}
    assert calls_of(asked(client, tools=[ping], tool_choice="required")) == [("ping", {})]


def test_a_result_belongs_to_the_call_that_it_names(client: openai.OpenAI) -> None:
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    parts = [{"type": "text", "text": "20"}, {"type": "text", "text": "degrees"}]
    chat = [
        {"role": "developer", "content": "Be brief"},
        HELLO,
        called,
        {"role": "tool", "tool_call_id": "call_1", "content": parts},
    ]
    assert asked(client, messages=chat, tools=TOOLS).choices
    chat[-1] = {"role": "tool", "tool_call_id": "call_2", "content": "20"}
    refused = refusal(client, messages=chat, tools=TOOLS)
    assert refused.param == "messages.3.tool_call_id"
    assert "'call_1'" in refused.message
    called["tool_calls"] = [
        {"id": "x", "type": "function", "function": {"name": "weather", "arguments": "[1"}}
    ]
    broken = refusal(client, messages=[HELLO, called])
    assert broken.param == "messages.1.tool_calls.0.function.arguments"


# Schemas


def test_every_answer_satisfies_its_schema_streamed_or_not(
    client: openai.OpenAI, engine: Engine
) -> None:
    random, tried = Random(31), 0
    while tried < 16:
        schema = random_schema(random)
        try:
            engine.prepare({}, answer=schema)
        except (CanvasTooShort, UnsatisfiableSchema):
            continue
        tried += 1
        format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        more = {"temperature": 1.0, "seed": tried} if tried % 2 else {}
        whole = asked(client, response_format=format_, **more).choices[0]
        chunks = streamed(client, response_format=format_, **more)
        assert said(chunks) == whole.message.content, schema
        assert whole.finish_reason == "stop"
        jsonschema.validate(json.loads(whole.message.content or ""), schema)


def test_random_tools_are_called_as_their_schemas_say(
    client: openai.OpenAI, engine: Engine
) -> None:
    random, tried = Random(13), 0
    while tried < 8:
        properties = {"a": random_schema(random, 1), "b": random_schema(random, 1)}
        schema = {"type": "object", "properties": properties, "required": ["a"]}
        try:
            engine.prepare({"f": schema})
        except (CanvasTooShort, UnsatisfiableSchema):
            continue
        tried += 1
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        more: dict[str, Any] = {"tools": [tool], "tool_choice": "required", "seed": tried}
        [(_, arguments)] = calls_of(asked(client, **more))
        jsonschema.validate(arguments, schema)
        chunks = streamed(client, **more)
        deltas = [d for c in chunks for one in c.choices for d in one.delta.tool_calls or []]
        told = "".join(d.function.arguments or "" for d in deltas if d.function)
        assert json.loads(told) == arguments


def test_any_object_is_one(client: openai.OpenAI) -> None:
    made = asked(client, response_format={"type": "json_object"})
    assert isinstance(json.loads(made.choices[0].message.content or ""), dict)
    words = asked(client, response_format={"type": "text"})
    assert words.choices[0].message.content == asked(client).choices[0].message.content


def test_how_sure_the_model_is_is_worked_out_beside_the_event_loop(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def noted(*arguments: Any) -> dict[str, float]:
        threads.append(threading.current_thread().name)
        return confidences(*arguments)

    monkeypatch.setattr(beliefs, "confidences", noted)
    format_: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    asked(client, response_format=format_)
    asked(client, tools=TOOLS, tool_choice="required")
    streamed(client, tools=TOOLS, tool_choice="required")
    assert threads
    assert all("worker" in name for name in threads)


def test_a_stop_text_does_not_cut_json(client: openai.OpenAI) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    made = asked(client, response_format=format_, stop=["}", '"'], max_tokens=1)
    jsonschema.validate(json.loads(made.choices[0].message.content or ""), CITY)


# Probabilities


def test_the_tokens_of_an_answer_are_told_with_their_probabilities(client: openai.OpenAI) -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    for more in ({}, {"response_format": format_}, {"temperature": 1.0, "seed": 3}):
        made = asked(client, logprobs=True, top_logprobs=4, **more).choices[0]
        assert made.logprobs is not None
        tokens = made.logprobs.content or []
        told = b"".join(bytes(token.bytes or []) for token in tokens)
        assert told.decode() == made.message.content
        assert all(token.logprob <= 0 for token in tokens)
        for token in tokens:
            likeliest = [one.logprob for one in token.top_logprobs]
            assert likeliest == sorted(likeliest, reverse=True)
            assert len(likeliest) <= 4
            assert not likeliest or token.logprob <= likeliest[0] + 1e-9
        assert any(token.top_logprobs for token in tokens)
        chunks = streamed(client, logprobs=True, top_logprobs=4, **more)
        nats = [one.logprobs for chunk in chunks for one in chunk.choices if one.logprobs]
        assert [token for one in nats for token in one.content or []] == tokens
