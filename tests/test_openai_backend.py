"""The OpenAI-compatible backend, against a real server on loopback and by the official client."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from chat_server import ChatServer, Hang, Raw, Said, called, chat_server, refused

from agentkit import (
    Agent,
    AnswerDraft,
    AnswerMessage,
    BackendError,
    Call,
    CallFilled,
    CallMessage,
    ContextTooLong,
    Message,
    ResultMessage,
    UserMessage,
    tool,
)
from agentkit.backend import Cell, Decision, Draft, ModelSettings, ProposedCall, Row, ToolSpec
from agentkit.backends.openai import OpenAIBackend, OpenAIConversation
from agentkit.errors import UnsupportedSchema
from agentkit.message import FeedbackMessage
from agentkit.testing import ScriptedBackend, answer, call

INTEGER = {"type": "integer"}
ADD = ToolSpec(
    "add",
    "Add two numbers.",
    {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "required": ["a", "b"]},
)
FIND = ToolSpec("find", "", {"type": "object", "properties": {"city": {"type": "string"}}})
POINT = {
    "type": "object",
    "properties": {"x": INTEGER, "label": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
}
NOTHING_LEFT = "error: this call was given up, it has no result"


@pytest.fixture(scope="module")
def running() -> Iterator[ChatServer]:
    with chat_server() as server:
        yield server


@pytest.fixture
def server(running: ChatServer, monkeypatch: pytest.MonkeyPatch) -> ChatServer:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return running


def backend_at(server: ChatServer, **options: Any) -> OpenAIBackend:
    asked: dict[str, Any] = {"base_url": server.url, "max_retries": 0, **options}
    return OpenAIBackend("small", **asked)


async def opened(
    server: ChatServer, *messages: Message, output: Any = None, **options: Any
) -> OpenAIConversation:
    conversation = await backend_at(server, **options).open(
        instructions="Be brief.", tools=[ADD, FIND], output=output
    )
    await conversation.extend(messages or [UserMessage("go")])
    return conversation


async def decided(
    server: ChatServer, settings: ModelSettings | None = None, **how: Any
) -> Decision:
    conversation = await opened(server, **how)
    return await conversation.decide(settings=settings or ModelSettings())


async def drafted(
    server: ChatServer, settings: ModelSettings | None = None, **how: Any
) -> tuple[Decision, list[Draft]]:
    conversation = await opened(server, **how)
    seen: list[Draft] = []
    decision = await conversation.decide(settings=settings or ModelSettings(), on_draft=seen.append)
    return decision, seen


def chat(server: ChatServer, number: int = -1) -> list[dict[str, Any]]:
    """The messages of a request, instructions left out."""
    return [item for item in server.requests[number]["messages"] if item["role"] != "system"]


# What is sent


async def test_the_first_request_tells_the_instructions_the_tools_and_the_user(
    server: ChatServer,
) -> None:
    server.says(Said("hello"))
    decision = await decided(server)
    assert (decision.answer, decision.calls) == ("hello", ())
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in (ADD, FIND)
    ]
    assert server.last == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "go"},
        ],
        "tools": [{"type": "function", "function": function} for function in functions],
    }


async def test_without_instructions_and_tools_neither_is_sent(server: ChatServer) -> None:
    server.says(Said("hello"))
    conversation = await backend_at(server).open(instructions="", tools=[])
    await conversation.extend([UserMessage("hi")])
    await conversation.decide(settings=ModelSettings(max_calls=1))
    assert server.last == {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


async def test_every_kind_of_message_has_its_chat_message(server: ChatServer) -> None:
    server.says(Said("ok"))
    history: list[Message] = [
        UserMessage("é?"),
        CallMessage((Call("1", "add", {"a": 1, "b": 2}), Call("2", "find", {"city": "Zürich"}))),
        ResultMessage("1", "add", "3"),
        ResultMessage("2", "find", "no such city", is_error=True),
        AnswerMessage("three"),
        FeedbackMessage("in digits"),
    ]
    await (await opened(server, *history)).decide()
    first, second = (
        {
            "id": "1",
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
        },
        {
            "id": "2",
            "type": "function",
            "function": {"name": "find", "arguments": '{"city": "Zürich"}'},
        },
    )
    assert chat(server) == [
        {"role": "user", "content": "é?"},
        {"role": "assistant", "content": None, "tool_calls": [first, second]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "tool", "tool_call_id": "2", "content": "error: no such city"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "in digits"},
    ]


async def test_each_request_is_the_last_one_and_what_is_new(server: ChatServer) -> None:
    server.says(Said(calls=(called("add", a=1, b=2),)), Said("3"))
    conversation = await opened(server)
    await conversation.decide()
    await conversation.extend([CallMessage((Call("c1", "add", {"a": 1, "b": 2}),))])
    await conversation.extend([ResultMessage("c1", "add", "3")])
    assert (await conversation.decide()).answer == "3"
    assert chat(server)[:1] == chat(server, 0)
    assert [message["role"] for message in chat(server)] == ["user", "assistant", "tool"]


async def test_calls_that_were_given_up_get_a_result_before_the_next_message(
    server: ChatServer,
) -> None:
    server.says(Said("ok"), Said("ok"))
    calls = CallMessage((Call("1", "add", {}), Call("2", "add", {}), Call("3", "add", {})))
    conversation = await opened(server, calls, ResultMessage("2", "add", "3"), UserMessage("well?"))
    await conversation.decide()
    assert [(item["role"], item["content"]) for item in chat(server)[1:]] == [
        ("tool", "3"),
        ("tool", NOTHING_LEFT),
        ("tool", NOTHING_LEFT),
        ("user", "well?"),
    ]
    await conversation.extend([ResultMessage("1", "add", "late")])
    await conversation.decide()
    told = {"role": "user", "content": "An earlier call of add gave: late"}
    assert chat(server) == [*chat(server, 0), told]


async def test_calls_at_the_end_of_a_history_get_a_result_too(server: ChatServer) -> None:
    server.says(Said("ok"))
    await (await opened(server, CallMessage((Call("1", "add", {}),)))).decide()
    assert chat(server)[-1] == {"role": "tool", "tool_call_id": "1", "content": NOTHING_LEFT}


async def test_half_a_surrogate_pair_is_escaped(server: ChatServer) -> None:
    server.says(Said("ok"))
    messages: list[Message] = [
        UserMessage("a\ud800"),
        CallMessage((Call("1", "find", {"city": "\udc80"}),)),
        ResultMessage("1", "find", "\udcff.txt"),
    ]
    await (await opened(server, *messages)).decide()
    assert [message["content"] for message in chat(server)] == ["a\\ud800", None, "\\udcff.txt"]


async def test_settings_are_sent_where_they_say_something(server: ChatServer) -> None:
    server.says(Said("ok"))
    settings = ModelSettings(
        temperature=0.0, seed=3, max_tokens=9, max_calls=1, steps=4, verify="exact"
    )
    await decided(server, settings, extra_body={"top_k": 5}, logprobs=True)
    assert {name: server.last[name] for name in set(server.last) - {"tools", "messages"}} == {
        "model": "small",
        "temperature": 0.0,
        "seed": 3,
        "max_completion_tokens": 9,
        "parallel_tool_calls": False,
        "top_k": 5,
        "logprobs": True,
    }


async def test_a_fork_shares_the_past_and_goes_its_own_way(server: ChatServer) -> None:
    server.says(Said("1"), Said("2"))
    conversation = await opened(server)
    twin = conversation.fork()
    await twin.extend([UserMessage("twin")])
    await conversation.extend([UserMessage("first")])
    await conversation.aclose()
    await twin.decide()
    assert [message["content"] for message in chat(server)] == ["go", "twin"]
    with pytest.raises(BackendError, match="closed"):
        await conversation.decide()
    with pytest.raises(BackendError, match="closed"):
        conversation.fork()


# What comes back


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_decision_with_its_figures(server: ChatServer, streamed: bool) -> None:
    server.says(Said("I add.", (called("add", a=1, b=2), called("nothing", x=[1])), "tool_calls"))
    conversation = await opened(server)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    assert decision.calls == (
        ProposedCall("add", {"a": 1, "b": 2}),
        ProposedCall("nothing", {"x": [1]}),
    )
    assert decision.answer is None
    assert (decision.prompt_tokens, decision.tokens, decision.forwards) == (11, 7, 7)
    assert decision.model == "served"
    assert decision.timings.denoise > 0 == decision.timings.encode
    assert decision.choice == {}


async def test_what_the_server_does_not_count_is_nought(server: ChatServer) -> None:
    server.says(Said("ok", usage=False))
    decision = await decided(server)
    assert (decision.prompt_tokens, decision.tokens, decision.forwards) == (0, 0, 0)


async def test_more_calls_than_allowed_are_cut(server: ChatServer) -> None:
    wanted = Said(calls=tuple(called("add", a=n, b=n) for n in range(4)))
    server.says(wanted, wanted)
    settings = ModelSettings(max_calls=2)
    decision = await decided(server, settings)
    assert [call.arguments["a"] for call in decision.calls] == [0, 1]
    again, drafts = await drafted(server, settings)
    assert again.calls == decision.calls
    assert drafts[-1].calls == decision.calls


async def test_no_arguments_at_all_are_none(server: ChatServer) -> None:
    server.says(Said(calls=(("find", ""),)))
    assert (await decided(server)).calls == (ProposedCall("find", {}),)


async def test_a_refusal_is_the_answer(server: ChatServer) -> None:
    server.says(Said(refusal="I won't."))
    assert (await decided(server)).answer == "I won't."


async def test_nothing_is_handed_on_as_nothing(server: ChatServer) -> None:
    server.says(Said(""))
    assert (await decided(server)).answer == ""


@pytest.mark.parametrize(
    ("finish", "why"), [("length", "used up its tokens"), ("content_filter", "content filter")]
)
async def test_nothing_for_a_reason_tells_it(server: ChatServer, finish: str, why: str) -> None:
    server.says(Said("", finish=finish))
    with pytest.raises(BackendError, match=why):
        await decided(server)


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


# Drafts


async def test_words_grow_chunk_by_chunk(server: ChatServer) -> None:
    server.says(Said("Hello there."))
    decision, drafts = await drafted(server)
    assert decision.answer == "Hello there."
    assert [draft.answer for draft in drafts] == [
        "Hell",
        "Hello th",
        "Hello there.",
        "Hello there.",
    ]
    assert [draft.step for draft in drafts] == [1, 2, 3, 4]
    cells = tuple(Cell(text, "settled") for text in ("Hell", "o th", "ere."))
    assert drafts[-1].rows == (Row("", cells),)


async def test_a_call_is_settled_when_the_next_has_begun(server: ChatServer) -> None:
    calls = (called("add", a=1, b=2), called("find", city="Ulm"))
    server.says(Said(calls=calls, finish="tool_calls"))
    decision, drafts = await drafted(server)
    assert all(draft.calls == decision.calls[: draft.settled] for draft in drafts)
    counts = [draft.settled for draft in drafts]
    assert counts == sorted(counts)
    assert [len(drafts[counts.index(n)].rows) for n in (0, 1, 2)] == [1, 2, 2]
    assert [row.name for row in drafts[-1].rows] == ["add", "find"]
    assert all(draft.answer is None for draft in drafts)


@pytest.mark.parametrize(
    "bad", [called("add", a="x", b=2), called("unknown"), ("add", '{"a": 1, "b": 2}}')]
)
async def test_calls_behind_an_invalid_one_are_not_started_early(
    server: ChatServer, bad: tuple[str, str]
) -> None:
    good = called("add", a=1, b=2)
    server.says(*[Said(calls=(good, bad, good))] * 3)
    decision, drafts = await drafted(server)
    assert max(draft.settled for draft in drafts) == 1
    assert len(decision.calls) == 3
    assert len(server.requests) == 1  # the first may have been started: it is not taken back


async def test_calls_that_all_have_the_number_0_are_told_apart_by_their_ids(
    server: ChatServer,
) -> None:
    deltas = tuple(
        {
            "tool_calls": [
                {"index": 0, "id": f"id{n}", "function": {"name": "add", "arguments": text}}
            ]
        }
        for n, (_, text) in enumerate([called("add", a=1, b=2), called("add", a=3, b=4)])
    )
    server.says(Said(deltas=deltas))
    decision, _ = await drafted(server)
    assert [call.arguments["a"] for call in decision.calls] == [1, 3]


async def test_calls_written_in_turns_are_kept_apart_by_their_numbers(server: ChatServer) -> None:
    def part(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "function": {"name": "add", "arguments": text}}

    texts = [(0, '{"a": 1,'), (1, '{"a": 3,'), (0, '"b": 2}'), (1, '"b": 4}')]
    server.says(Said(deltas=tuple({"tool_calls": [part(*item)]} for item in texts)))
    decision, _ = await drafted(server)
    assert [call.arguments for call in decision.calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


async def test_a_settled_call_that_goes_on_is_an_error(server: ChatServer) -> None:
    def part(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "function": {"name": "find", "arguments": text}}

    texts = [(0, "{}"), (1, "{}"), (0, '{"city": "Ulm"}')]
    server.says(Said(deltas=tuple({"tool_calls": [part(*item)]} for item in texts)))
    with pytest.raises(BackendError, match="took back"):
        await drafted(server)


async def test_drafts_of_an_answer_are_valid_at_any_time(server: ChatServer) -> None:
    text = '{"x": 12, "label": "in Zürich"}'
    server.says(Said(text))
    decision, drafts = await drafted(server, output=POINT)
    assert decision.answer == text
    read = [None if it.answer is None else json.loads(it.answer) for it in drafts]
    assert read[0] is None
    assert read[-1] == {"x": 12, "label": "in Zürich"}
    assert {tuple(value) for value in read if value} == {("x",), ("x", "label")}
    assert {"x": 12, "label": "in Z"} in read


async def test_drafts_that_no_end_makes_valid_are_not_told(server: ChatServer) -> None:
    server.says(Said('{"label": "a", "y": 2, "x": 1}'), Said('{"x": 1}'))
    _, drafts = await drafted(server, output=POINT)
    assert {draft.answer for draft in drafts} == {None, '{"x": 1}'}


async def test_a_stream_that_breaks_off_is_an_error(server: ChatServer) -> None:
    server.says(Said("Hello", broken=True))
    with pytest.raises(BackendError, match="ended the stream before"):
        await drafted(server)


async def test_an_error_in_the_stream_is_told(server: ChatServer) -> None:
    event = {"error": {"message": "out of memory", "code": 500}}
    server.says(Raw(f"data: {json.dumps(event)}\n\n", "text/event-stream"))
    with pytest.raises(BackendError, match="broke off: out of memory"):
        await drafted(server)


# Confidence

TOKENS = (
    ("<tool_call>", -0.1),
    ('{"name": "', -0.2),
    ("fi", math.log(0.9)),
    ("nd", math.log(0.5)),
    ('", "arguments": {"', -0.3),
    ("city", -9.0),
    ('": "', -9.0),
    ("Zü", math.log(0.5)),
    ('rich"', math.log(0.5)),
    (', "days":[', -9.0),
    ("1", math.log(0.25)),
    (",2", math.log(0.75)),
    ("]}}</tool_call>", -9.0),
)


@pytest.mark.parametrize("streamed", [False, True])
async def test_values_are_as_sure_as_their_tokens(server: ChatServer, streamed: bool) -> None:
    server.says(Said(calls=(called("find", city="Zürich", days=[1, 2]),), tokens=TOKENS))
    conversation = await opened(server, logprobs=True)
    decision = await conversation.decide(on_draft=(lambda _: None) if streamed else None)
    [call] = decision.calls
    assert call.confidence == pytest.approx({"/city": 0.25, "/days/0": 0.25, "/days/1": 0.75})
    assert decision.choice == pytest.approx({"find": 0.45})


async def test_two_calls_alike_are_weighed_one_after_the_other(server: ChatServer) -> None:
    def tokens(share: float) -> list[tuple[str, float]]:
        return [("add ", -0.1), ('{"a~/": ', 0.0), ("1", math.log(share)), ("}", 0.0)]

    calls = (("add", '{"a~/": 1}'),) * 2
    server.says(Said(calls=calls, tokens=(*tokens(0.9), *tokens(0.4))))
    first, second = (await decided(server, logprobs=True)).calls
    assert first.confidence == pytest.approx({"/a~0~1": 0.9})
    assert second.confidence == pytest.approx({"/a~0~1": 0.4})


async def test_of_arguments_that_are_not_among_the_tokens_nothing_is_said(
    server: ChatServer,
) -> None:
    server.says(Said(calls=(called("find", city="Ulm"),), tokens=TOKENS))
    decision = await decided(server, logprobs=True)
    assert decision.calls[0].confidence == {}
    assert decision.choice == {}


# Errors


@pytest.mark.parametrize(
    ("status", "message", "mend"),
    [
        (401, "Incorrect API key provided", "OPENAI_API_KEY"),
        (403, "not your model", "another model"),
        (404, "The model `small` does not exist", "check the model's name"),
        (429, "slow down", "raise the quota"),
        (400, '"auto" tool choice requires --tool-call-parser', "tool calling switched on"),
        (500, "it exploded", "it exploded"),
    ],
)
async def test_a_refusal_names_the_server_its_words_and_the_mend(
    server: ChatServer, status: int, message: str, mend: str
) -> None:
    server.says(refused(message, status=status))
    with pytest.raises(BackendError) as caught:
        await decided(server)
    for part in (server.url, str(status), "'small'", message, mend):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("error", "needed", "available"),
    [
        (
            refused(
                "This model's maximum context length is 8192 tokens. However, your messages "
                "resulted in 9001 tokens.",
                code="context_length_exceeded",
            ),
            9001,
            8192,
        ),
        (
            refused(
                "This model's maximum context length is 4096 tokens. However, you requested 5000 "
                "tokens (4000 in the messages, 1000 in the completion)."
            ),
            5000,
            4096,
        ),
        (
            refused(
                "the request exceeds the available context size, try increasing it",
                type="exceed_context_size_error",
                n_prompt_tokens=4000,
                n_ctx=2048,
            ),
            4000,
            2048,
        ),
    ],
)
async def test_a_conversation_too_long_is_told_as_such(
    server: ChatServer, error: Any, needed: int, available: int
) -> None:
    server.says(error)
    with pytest.raises(ContextTooLong) as caught:
        await decided(server, output=POINT)
    assert (caught.value.needed, caught.value.available) == (needed, available)
    assert len(server.requests) == 1  # asking in other words would be no use


async def test_too_long_without_figures_is_told_all_the_same(server: ChatServer) -> None:
    server.says(refused("Context length exceeded."))
    with pytest.raises(BackendError, match="too long for the model"):
        await decided(server)


async def test_something_else_than_a_completion_is_told(server: ChatServer) -> None:
    server.says(Raw("<html>Welcome</html>"), Raw('{"ok": true}', "application/json"))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"no chat completion.*`base_url`"):
            await decided(server)


async def test_no_server_is_told(server: ChatServer) -> None:
    backend = OpenAIBackend("small", base_url="http://127.0.0.1:9/v1", max_retries=0)
    conversation = await backend.open(instructions="", tools=[])
    with pytest.raises(BackendError, match=r"no connection to the server at http://127\.0\.0\.1:9"):
        await conversation.decide()


async def test_a_server_that_hangs_is_left_in_time(server: ChatServer) -> None:
    server.says(Hang())
    with pytest.raises(BackendError, match="`timeout=`"):
        await decided(server, timeout=0.05)


async def test_a_busy_server_is_asked_again(server: ChatServer) -> None:
    server.says(refused("busy", status=429), refused("broken", status=503), Said("ok"))
    assert (await decided(server, max_retries=2)).answer == "ok"


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelling_closes_the_request(server: ChatServer, streamed: bool) -> None:
    server.says(Hang(after=({"content": "Hel"},) if streamed else ()))
    conversation = await opened(server)
    drafted = anyio.Event()

    async def decide() -> None:
        await conversation.decide(on_draft=(lambda _: drafted.set()) if streamed else None)

    async with anyio.create_task_group() as group:
        group.start_soon(decide)
        await anyio.to_thread.run_sync(server.asked.wait, 5)
        if streamed:
            await drafted.wait()
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(server.left.wait, 5)


async def test_nothing_is_filled_in_again(server: ChatServer) -> None:
    conversation = await opened(server)
    assert not OpenAIBackend.capabilities.refill
    with pytest.raises(BackendError, match="decide anew"):
        await conversation.refill(ProposedCall("add", {}), {"/a": "no"})


# An agent on it


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@dataclass
class Sum:
    value: int


def agent_at(server: ChatServer, **options: Any) -> Agent[None, Any]:
    return Agent(tools=[add], backend=backend_at(server), **options)


def test_an_agent_calls_and_answers_in_one_loop_after_another(server: ChatServer) -> None:
    server.says(*[Said(calls=(called("add", a=1, b=2),)), Said('{"value": 3}')] * 2)
    agent = agent_at(server, output=Sum)
    for _ in range(2):
        result = agent.run_sync("1 + 2?")
        assert result.output == Sum(3)
        assert [message.content for message in result.results] == ["3"]
        assert chat(server)[-1]["content"] == "3"


async def test_what_can_not_be_mended_goes_to_the_model_with_its_reason(server: ChatServer) -> None:
    server.says(*[Said(calls=(("add", "oh"),))] * 3, Said(calls=(called("sub", a=1),)), Said("no"))
    result = await agent_at(server).run("1 + 2?")
    assert result.answer == "no"
    first, second = result.results
    assert first.is_error
    assert "no JSON" in first.content
    assert second.is_error
    assert "'sub'" in second.content


async def test_a_history_that_began_elsewhere_goes_on(server: ChatServer) -> None:
    elsewhere = ScriptedBackend([call("add", a=1, b=2), answer("3")])
    began = await Agent(tools=[add], backend=elsewhere).run("1 + 2?")
    server.says(Said(calls=(called("add", a=3, b=1),)), Said("4"))
    result = await agent_at(server).run("plus 1?", history=began.history)
    assert result.answer == "4"
    ids = [item["tool_calls"][0]["id"] for item in chat(server) if item.get("tool_calls")]
    answered = [item["tool_call_id"] for item in chat(server) if item["role"] == "tool"]
    assert ids == answered
    assert len(set(ids)) == 2


async def test_a_call_starts_while_the_next_is_still_written(server: ChatServer) -> None:
    started = anyio.Event()

    @tool
    async def note(text: str) -> str:
        """Note."""
        started.set()
        return text

    text = json.dumps({"text": "early"})
    begun = [
        {"tool_calls": [{"index": n, "function": {"name": "note", "arguments": text}}]}
        for n in range(2)
    ]
    server.says(Hang(after=tuple(begun)))
    settings = ModelSettings(max_calls=2)
    agent = Agent(tools=[note], backend=backend_at(server), settings=settings)
    async with agent.stream("go") as events:
        async for event in events:
            if isinstance(event, CallFilled):
                assert event.early
                break
        await started.wait()
    assert await anyio.to_thread.run_sync(server.left.wait, 5)


async def test_partial_answers_of_an_agent_are_values(server: ChatServer) -> None:
    server.says(Said('{"value": 12345678}'))
    async with agent_at(server, output=Sum).stream("go") as events:
        seen = [event.value async for event in events if isinstance(event, AnswerDraft)]
    assert seen
    assert seen[-1] == Sum(12345678)
    assert {type(value) for value in seen} == {Sum}


# Making one


def test_the_client_is_imported_when_a_backend_is_made() -> None:
    code = (
        "import sys, agentkit.backends.openai, agentkit.backends.fallback; "
        "print(*{'openai', 'httpx2', 'jsonschema'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_a_hosted_server_needs_a_key(server: ChatServer) -> None:
    with pytest.raises(BackendError, match="OPENAI_API_KEY"):
        OpenAIBackend("small")


async def test_key_and_url_come_from_the_environment(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.says(Said("ok"))
    conversation = await OpenAIBackend("small").open(instructions="", tools=[])
    await conversation.decide()
    assert server.headers[0]["authorization"] == "Bearer from-the-environment"


async def test_a_client_of_ones_own_is_used_as_it_is(server: ChatServer) -> None:
    import openai

    server.says(Said("ok"))
    async with openai.AsyncOpenAI(api_key="mine", base_url=server.url) as client:
        backend = OpenAIBackend("small", client=client)
        await (await backend.open(instructions="", tools=[])).decide()
        await backend.aclose()
        assert not client.is_closed()
    assert server.headers[0]["authorization"] == "Bearer mine"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": ""}, "name the model"),
        ({"attempts": 0}, "1 attempt"),
        ({"client": object()}, "either `client=`"),
    ],
)
def test_what_makes_no_sense_is_refused(
    server: ChatServer, options: dict[str, Any], why: str
) -> None:
    asked: dict[str, Any] = {"model": "small", "base_url": server.url, **options}
    with pytest.raises(BackendError, match=why):
        OpenAIBackend(**asked)


def test_one_backend_serves_many_event_loops(server: ChatServer) -> None:
    server.says(*[Said("ok")] * 6)
    backend = backend_at(server)

    async def twice() -> list[str | None]:
        conversation = await backend.open(instructions="", tools=[])
        return [(await conversation.decide()).answer for _ in range(2)]

    assert [anyio.run(twice) for _ in range(3)] == [["ok", "ok"]] * 3


async def test_a_closed_backend_opens_connections_anew(server: ChatServer) -> None:
    server.says(Said("1"), Said("2"))
    backend = backend_at(server)
    for expected in "12":
        conversation = await backend.open(instructions="", tools=[])
        assert (await conversation.decide()).answer == expected
        await backend.aclose()
        await backend.aclose()
