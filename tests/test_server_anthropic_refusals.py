"""What Anthropic's messages refuse, and how its official client hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import ToolParam
from anthropic_model import CALLS, HELLO, NOTE, SAID, Model
from serving import Served, held_forwards, serving

from agentkit_engine import Engine
from agentkit_engine.server.chat.anthropic.asking import asked_of
from agentkit_engine.server.chat.anthropic.dialect import ANTHROPIC
from agentkit_engine.server.chat.anthropic.wire import Asking
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.problems import Problem, Refused

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "data": "x", "media_type": "text/plain"}}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "21 C"}


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(body_bytes=20_000, tools=4)) as served:
        yield served


@pytest.fixture(scope="module")
def model(server: Served) -> Model:
    return Model(server)


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def after_a_call(*blocks: Any) -> dict[str, Any]:
    called = {"role": "assistant", "content": [USE]}
    return {"messages": [HELLO, called, {"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        ({"max_tokens": -1}, "max_tokens", "greater"),
        ({"max_tokens": "many"}, "max_tokens", "integer"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'user'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role", "`system`"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "array"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content", "nothing"),
        (user({"type": "text"}), "messages.0.content.0.text.text", "required"),
        (user({"type": "text", "text": "x"}, IMAGE), "messages.0.content.1", "'image'"),
        (user(DOCUMENT), "messages.0.content.0", "'document'"),
        (user(USE), "messages.0.content.0", "assistant's"),
        (user(RESULT), "messages.0.content.0.tool_result.tool_use_id", "'t1'"),
        (after_a_call({"type": "text", "text": "so?"}), "messages.2", "'t1'"),
        (
            after_a_call({**RESULT, "content": [IMAGE]}),
            "messages.2.content.0.tool_result.content.0",
            "'image'",
        ),
        (
            after_a_call(RESULT, RESULT),
            "messages.2.content.1.tool_result.tool_use_id",
            "waits",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": [RESULT]}]},
            "messages.1.content.0",
            "user's",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "It is"}]},
            "messages.1",
            "end with a user's",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": [{"type": "thinking"}]}]},
            "messages.1.content.0",
            "'thinking'",
        ),
        ({"system": [IMAGE]}, "system.0", "'image'"),
        ({"tools": [{"name": "web_search", "type": "web_search_20250305"}]}, "tools.0.type", "own"),
        ({"tools": [{"name": "x"}]}, "tools.0.input_schema", "required"),
        ({"tools": [{"name": "x", "input_schema": {}}]}, "tools.0.input_schema", "object"),
        ({"tools": [{"name": "", "input_schema": {"type": "object"}}]}, "tools.0.name", "1"),
        ({"tools": [NOTE, NOTE]}, "tools.1.name", "'note'"),
        ({"tools": [NOTE] * 5}, "tools", "4"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "on offer"),
        ({"tools": [NOTE], "tool_choice": {"type": "tool"}}, "tool_choice.name", "'note'"),
        ({"tools": [NOTE], "tool_choice": {"type": "must"}}, "tool_choice.type", "'any'"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type", "not think"),
        ({"stop_sequences": [""]}, "stop_sequences.0", "1"),
        ({"temperature": 2}, "temperature", "1"),
        ({"temperature": 1, "top_k": 5}, "top_k", "leave it out"),
        ({"temperature": 1, "top_p": 0.5}, "top_p", "leave it out"),
        ({"output_format": {"type": "xml"}}, "output_format.type", "json_schema"),
        ({"container": {"skills": []}}, "container", "leave it out"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers", "leave it out"),
        ({"thread": {"type": "create"}}, "thread", "all messages"),
        ({"max_tokens": 0, "stream": True}, "max_tokens", "stream"),
    ],
)
def test_what_can_t_be_done_is_refused_by_its_field(
    model: Model, asked: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        model.create(max_tokens=10, messages=[HELLO], extra_body=asked)
    error = refused.value
    assert error.type == "invalid_request_error"
    assert str(error.api_message).startswith(f"{field}: ")
    assert said in str(error.api_message)


def test_a_schema_that_can_t_be_guaranteed_is_named(model: Model) -> None:
    bad: Any = {"type": "object", "patternProperties": {"(?=a)": {"type": "string"}}}
    tools = [NOTE, {"name": "bad", "input_schema": bad}]
    with pytest.raises(anthropic.BadRequestError, match=r"tools\.1\.input_schema"):
        model.create(**SAID, tools=tools)
    format = {"type": "json_schema", "schema": {"type": "string", "pattern": "(?=a)"}}
    with pytest.raises(anthropic.BadRequestError, match=r"output_config\.format\.schema"):
        list(model.events(**SAID, output_config={"format": format}))


def test_a_schema_that_refers_to_nothing_is_named(model: Model) -> None:
    bad: Any = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}
    tools: list[ToolParam] = [NOTE, {"name": "bad", "input_schema": bad}]
    for ask in (
        lambda: model.count(**SAID, tools=tools),
        lambda: model.create(**SAID, tools=tools),
        lambda: model.create(**SAID | {"max_tokens": 0}, tools=tools),
        lambda: list(model.events(**SAID, tools=tools)),
    ):
        with pytest.raises(anthropic.BadRequestError, match=r"tools\.1\.input_schema.*nowhere"):
            ask()


def test_what_means_nothing_here_is_ignored(model: Model) -> None:
    ignored = {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "thinking": {"type": "adaptive"},
        "top_k": 5,
        "stop_sequences": None,
        "tools": None,
        "output_config": {"effort": "low"},
        "cache_control": {"type": "ephemeral"},
        "not_invented_yet": 1,
    }
    assert model.create(**SAID, extra_body=ignored).content == model.create(**SAID).content


def test_a_chat_that_is_too_long_is_told_as_clients_expect_it(model: Model) -> None:
    long: dict[str, Any] = {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "word " * 600}],
    }
    for ask in (lambda: model.create(**long), lambda: list(model.events(**long))):
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            ask()
    assert model.count(**long) > 600  # which it still counts


def test_errors_have_the_client_s_classes(model: Model, server: Served, engine: Engine) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        model.client.messages.create(model="claude", **SAID)
    assert unknown.value.type == "not_found_error"
    assert repr(model.name) in str(unknown.value.api_message)
    with pytest.raises(anthropic.NotFoundError):
        model.client.messages.batches.retrieve("none")
    with pytest.raises(anthropic.RequestTooLargeError) as large:
        model.create(max_tokens=9, messages=[{"role": "user", "content": "x" * 30_000}])
    assert extract(large.value) == "request_too_large"
    with serving(engine, api_key="s3cret") as locked:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            Model(locked).create(**SAID)
        assert refused.value.type == "authentication_error"
        assert Model(locked, api_key="s3cret").create(**SAID).content
        by_header = {"x-api-key": "s3cret", "content-type": "application/json"}
        body = {"model": model.name, **SAID}
        answered = httpx2.post(f"{locked.url}/v1/messages", json=body, headers=by_header)
        assert answered.status_code == 200


def extract(error: anthropic.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    return str(error.body["error"]["type"])


def test_a_server_that_is_full_is_overloaded(engine: Engine) -> None:
    limits = Limits(requests=1, queue=0)
    with serving(engine, limits=limits) as served, ThreadPoolExecutor(1) as pool:
        model = Model(served)
        with held_forwards(engine) as holding:
            first = pool.submit(model.create, **SAID)
            assert holding.reached.wait(60)
            with pytest.raises(anthropic.OverloadedError) as full:
                model.create(**SAID)
        assert first.result().content
        assert full.value.type == "overloaded_error"
        assert int(full.value.response.headers["retry-after"]) >= 1


def test_what_takes_too_long_is_timed_out(engine: Engine) -> None:
    with serving(engine, limits=Limits(seconds=0.05)) as served, held_forwards(engine):
        with pytest.raises(anthropic.DeadlineExceededError) as late:
            Model(served).create(**SAID)
        assert late.value.type == "timeout_error"


@pytest.mark.parametrize(
    ("status", "kind", "becomes", "type"),
    [
        (400, "InvalidJSON", 400, "invalid_request_error"),
        (405, "NoSuchRoute", 405, "invalid_request_error"),
        (415, "UnsupportedMediaType", 400, "invalid_request_error"),
        (422, "UnsupportedSchema", 400, "invalid_request_error"),
        (429, "RateLimited", 429, "rate_limit_error"),
        (429, "EngineBusy", 529, "overloaded_error"),
        (503, "ShuttingDown", 529, "overloaded_error"),
        (500, "InternalError", 500, "api_error"),
    ],
)
def test_each_problem_has_its_type(status: int, kind: str, becomes: int, type: str) -> None:
    problem = Problem(status=status, kind=kind, message="why", notes=("and how",))
    response = ANTHROPIC.response(problem)
    assert response.status_code == becomes
    told = json.loads(bytes(response.body))
    assert told["type"] == "error"
    assert told["error"] == {"type": type, "message": "why\nand how"}


def test_an_error_within_a_stream_is_its_last_event(model: Model, server: Served) -> None:
    meter = server.app.state.service.meter
    original: Callable[[Any], None] = meter.filled

    def failing(_: Any) -> None:
        raise RuntimeError("the meter is broken")

    meter.filled = failing
    try:
        with pytest.raises(anthropic.APIStatusError) as failed:
            list(model.events(**CALLS))
    finally:
        meter.filled = original
    assert failed.value.type == "api_error"
    assert "broken" not in str(failed.value)


def test_a_request_is_told_by_its_id(model: Model) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        model.create(max_tokens=10, messages=[])
    assert isinstance(refused.value.body, dict)
    assert refused.value.request_id == refused.value.body["request_id"] is not None
    assert model.create(**SAID)._request_id not in (None, refused.value.request_id)


def asked(*messages: Any) -> list[dict[str, Any]]:
    form = Asking.model_validate({"model": "m", "max_tokens": 1, "messages": list(messages)})
    return list(asked_of(form, limits=Limits()).messages)


def test_results_stand_behind_their_calls_in_the_calls_order() -> None:
    uses = [{**USE, "id": id, "input": {"n": n}} for n, id in enumerate(("a", "b"))]
    chat = asked(
        HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "I look"}, *uses]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "well?"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2", "is_error": True},
                {"type": "tool_result", "tool_use_id": "a"},
            ],
        },
    )
    assert chat[1]["content"] == "I look"
    assert [call["function"]["arguments"] for call in chat[1]["tool_calls"]] == [{"n": 0}, {"n": 1}]
    assert chat[2:] == [
        {"role": "tool", "name": "weather", "content": ""},
        {"role": "tool", "name": "weather", "content": "error: 2"},
        {"role": "user", "content": "well?"},
    ]


def test_messages_of_one_role_become_one() -> None:
    first = {"role": "assistant", "content": "a"}
    second = {"role": "assistant", "content": [{"type": "text", "text": "b"}, USE]}
    chat = asked(HELLO, HELLO, first, second, {"role": "user", "content": [RESULT]})
    assert [message["role"] for message in chat] == ["user", "assistant", "tool"]
    assert chat[0]["content"] == f"{HELLO['content']}\n\n{HELLO['content']}"
    assert (chat[1]["content"], len(chat[1]["tool_calls"])) == ("a\n\nb", 1)


def test_a_call_without_a_result_is_refused_where_it_is_missed() -> None:
    other = {**USE, "id": "t2"}
    with pytest.raises(Refused, match="'t2'") as refused:
        asked(
            HELLO,
            {"role": "assistant", "content": [USE, other]},
            {"role": "user", "content": [RESULT]},
        )
    assert refused.value.field == "messages.2"
