"""Replies that can't be used are asked for again, and servers in words that they take.

Against a real server on loopback, and by the official client.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_server import ChatServer, Said, called, refused
from chats import ADD, POINT, backend_at, chat, decided, opened

from agentkit import AnswerMessage, BackendError, UserMessage
from agentkit.backend import ModelSettings, ProposedCall
from agentkit.errors import UnsupportedSchema

pytest_plugins = ["chat_fixtures"]

# What can't be used is asked for again


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('{"a": 1', "no JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ("[" * 4_000, "no JSON"),
    ],
)
async def test_arguments_that_are_no_object_are_asked_for_again(
    server: ChatServer, written: str, why: str, streamed: bool
) -> None:
    server.says(Said("So:", (("add", written),)), Said(calls=(called("add", a=1, b=2),)))
    conversation = await opened(server)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    assert decision.calls == (ProposedCall("add", {"a": 1, "b": 2}),)
    assert decision.tokens == 14
    _, wrote, told = chat(server)
    assert wrote["role"] == "assistant"
    assert wrote["content"].startswith(f"So:\n(called add with {written[:20]}")
    assert told["role"] == "user"
    assert why in told["content"]


async def test_corrections_are_not_remembered(server: ChatServer) -> None:
    server.says(Said(calls=(("add", "oh"),)), Said("well"), Said("fine"))
    conversation = await opened(server)
    await conversation.decide()
    await conversation.extend([AnswerMessage("well"), UserMessage("again")])
    await conversation.decide()
    assert [message["content"] for message in chat(server)] == ["go", "well", "again"]


async def test_after_the_last_attempt_the_problem_is_handed_on(server: ChatServer) -> None:
    server.says(*[Said(calls=(called("add", a=1, b=2), ("add", "oh no")))] * 2)
    decision = await decided(server, attempts=2)
    first, second = decision.calls
    assert first == ProposedCall("add", {"a": 1, "b": 2})
    assert (second.tool, second.arguments) == ("add", {})
    assert second.problem.startswith("the arguments are no JSON (")
    assert second.problem.endswith("oh no")
    assert len(server.requests) == 2


async def test_what_was_cut_off_is_not_asked_for_again(server: ChatServer) -> None:
    server.says(Said(calls=(("add", '{"a": 1'),), finish="length"))
    [call] = (await decided(server)).calls
    assert "its tokens ran out" in call.problem


# Answers of a schema


async def test_a_schema_is_asked_for_in_the_strictest_way(server: ChatServer) -> None:
    server.says(Said('{"x": 1}'))
    assert (await decided(server, output=POINT)).answer == '{"x": 1}'
    described = {"name": "answer", "schema": POINT, "strict": True}
    assert server.last["response_format"] == {"type": "json_schema", "json_schema": described}
    assert server.last["messages"][0]["content"] == "Be brief."


async def test_a_server_that_refuses_is_asked_in_a_looser_way_from_then_on(
    server: ChatServer,
) -> None:
    no = refused("response_format is not supported")
    server.says(no, no, no, Said('{"x": 1}'), Said('{"x": 2}'), Said("plain"))
    backend = backend_at(server)
    for expected in ('{"x": 1}', '{"x": 2}'):
        conversation = await backend.open(instructions="Be brief.", tools=[], output=POINT)
        await conversation.extend([UserMessage("go")])
        assert (await conversation.decide()).answer == expected
    formats = [request.get("response_format") for request in server.requests]
    assert [(item or {}).get("type") for item in formats] == [
        *["json_schema"] * 2,
        "json_object",
        *[None] * 2,
    ]
    described = [request["response_format"]["json_schema"] for request in server.requests[:2]]
    assert [item["strict"] for item in described] == [True, False]
    told = [request["messages"][0]["content"] for request in server.requests]
    assert told[:2] == ["Be brief."] * 2
    for instructions in told[2:]:
        assert instructions.startswith("Be brief.\n\nWhen you answer, write JSON")
        assert instructions.endswith(json.dumps(POINT))
    other = await backend.open(instructions="Be brief.", tools=[])
    await other.extend([UserMessage("go")])
    await other.decide()
    assert server.last["messages"][0]["content"] == "Be brief."


async def test_another_schema_is_tried_by_itself(server: ChatServer) -> None:
    server.says(refused("'const' is not permitted"), Said("1"), Said('{"x": 1}'))
    backend = backend_at(server)
    for schema, strict in (({"const": 1}, False), (POINT, True)):
        conversation = await backend.open(instructions="", tools=[], output=schema)
        await conversation.decide()
        assert server.last["response_format"]["json_schema"]["strict"] is strict


async def test_where_every_way_is_refused_the_first_refusal_is_told(server: ChatServer) -> None:
    server.says(refused("the truth"), *[refused("confusion")] * 3, refused("the truth"))
    backend = backend_at(server)
    conversation = await backend.open(instructions="", tools=[], output=POINT)
    with pytest.raises(BackendError, match="the truth"):
        await conversation.decide()
    with pytest.raises(IndexError):
        server.script[1]
    server.says(Said('{"x": 1}'))
    await conversation.decide()
    assert server.last["response_format"]["json_schema"]["strict"] is True  # nothing was learnt


async def test_the_format_to_begin_with_may_be_given(server: ChatServer) -> None:
    server.says(Said('{"x": 1}'))
    await decided(server, output=POINT, output_format="words")
    assert "response_format" not in server.last


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_not_of_the_schema_is_asked_for_again(
    server: ChatServer, streamed: bool
) -> None:
    server.says(Said("x is 1"), Said('{"x": "1"}'), Said('{"x": 1}'))
    conversation = await opened(server, output=POINT)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    assert decision.answer == '{"x": 1}'
    _, first, no_json, second, not_valid = chat(server)
    assert (first["content"], second["content"]) == ("x is 1", '{"x": "1"}')
    assert "the answer is no JSON" in no_json["content"]
    assert "at /x: '1' is not of type 'integer'" in not_valid["content"]


async def test_the_last_answer_is_handed_on_as_it_is(server: ChatServer) -> None:
    server.says(Said("no"), Said("never"))
    assert (await decided(server, output=POINT, attempts=2)).answer == "never"


async def test_a_fence_around_json_is_taken_off(server: ChatServer) -> None:
    server.says(Said('```json\n{"x": 1}\n```'))
    assert (await decided(server, output=POINT)).answer == '{"x": 1}'


async def test_calls_are_made_where_answers_have_a_schema(server: ChatServer) -> None:
    server.says(Said("I add.", (called("add", a=1, b=2),)))
    decision = await decided(server, output=POINT)
    assert [call.tool for call in decision.calls] == ["add"]
    assert len(server.requests) == 1


async def test_a_schema_that_is_none_is_refused_at_once(server: ChatServer) -> None:
    with pytest.raises(UnsupportedSchema, match=r"'/properties/x/type'.*'number one'"):
        await opened(server, output={"properties": {"x": {"type": "number one"}}})


# What a server does not know


async def test_an_older_server_is_asked_in_older_words_from_then_on(server: ChatServer) -> None:
    def old(asked: dict[str, Any]) -> Any:
        new = {"max_completion_tokens", "parallel_tool_calls", "stream_options"}
        unknown = sorted(new & set(asked))
        return refused(f"Unrecognized argument: {unknown[0]}") if unknown else Said("ok")

    server.says(*[old] * 6)
    settings = ModelSettings(max_tokens=9, max_calls=1)
    backend = backend_at(server)
    for _ in range(2):
        conversation = await backend.open(instructions="", tools=[ADD])
        decision = await conversation.decide(settings=settings, on_draft=lambda _: None)
        assert decision.answer == "ok"
    assert len(server.requests) == 5
    assert server.last["max_tokens"] == 9


async def test_what_was_asked_for_and_is_refused_is_an_error(server: ChatServer) -> None:
    server.says(refused("Unsupported value: 'temperature' must be 1", param="temperature"))
    with pytest.raises(BackendError, match=r"replied 400 .*'temperature' must be 1"):
        await decided(server, ModelSettings(temperature=0.0))
