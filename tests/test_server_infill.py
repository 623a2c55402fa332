"""`POST /v1/infill`: every kind of template over HTTP, streamed and not, and what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from typing import Any

import httpx2
import jsonschema
import pytest
from serving import Served, held_forwards, serving, until

from agentkit_engine import Engine, Template
from agentkit_engine.server.limits import Limits

PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["a", "b"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
}
TEXT = {"kind": "text", "max_tokens": 6}
HELLO = {"role": "user", "content": "is it warm in Paris?"}


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(steps=8, tokens=64)) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def filled(client: httpx2.Client, **asked: Any) -> dict[str, Any]:
    response = client.post("/v1/infill", json=asked)
    assert response.status_code == 200, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


def events(response: httpx2.Response) -> list[tuple[str, Any]]:
    source = httpx2.EventSource(response)
    return [(event.event, json.loads(event.data)) for event in source]


def test_a_schema_is_filled_as_the_engine_fills_it(client: httpx2.Client, engine: Engine) -> None:
    told = filled(client, schema=PLACE, instructions="Be brief", messages=[HELLO], steps=2, seed=3)
    session = engine.session(instructions="Be brief")
    session.extend_sync(HELLO)
    here = session.infill_sync(Template.json_schema(PLACE), steps=2, seed=3)
    jsonschema.validate(told["value"], PLACE)
    assert told["value"] == here.value
    assert told["text"] == here.text
    for name in ("forwards", "passes", "tokens", "prompt_tokens", "agreed"):
        assert told[name] == getattr(here, name)
    for name in ("confidence", "posterior"):
        assert told[name] == pytest.approx(dict(getattr(here, name)), abs=1e-4)
    for pointer, other in here.runners_up.items():
        assert told["runners_up"][pointer]["value"] == other.value
    assert set(told["timings"]) == {"encode", "denoise", "verify", "lattice"}
    assert told["timings"]["denoise"] > 0


def test_a_schema_is_short_for_its_template(client: httpx2.Client) -> None:
    short = filled(client, schema=PLACE)
    long = filled(client, template={"kind": "json_schema", "schema": PLACE})
    assert short["value"] == long["value"]


def test_a_text_that_is_no_chat_stands_before_what_is_filled(
    client: httpx2.Client, engine: Engine
) -> None:
    told = filled(client, template=TEXT, text="def f(")
    here = engine.document("def f(").infill_sync(Template.text(6))
    assert (told["value"], told["prompt_tokens"]) == (here.value, here.prompt_tokens)
    assert filled(client, template=TEXT)["prompt_tokens"] < told["prompt_tokens"]


@pytest.mark.parametrize(
    ("template", "same"),
    [
        ({"kind": "choice", "options": ["red", "green"]}, Template.choice(["red", "green"])),
        ({"kind": "regex", "pattern": "[ab]{2}"}, Template.regex("[ab]{2}")),
        (TEXT, Template.text(6)),
        (
            {"kind": "infill", "prefix": "a", "suffix": "b", "max_tokens": 4, "pattern": "x+"},
            Template.infill("a", "b", max_tokens=4, pattern="x+"),
        ),
        (
            {"kind": "edit", "text": "abc def", "span": [4, 7], "max_tokens": 4, "keep": 0.5},
            Template.edit("abc def", (4, 7), max_tokens=4, keep=0.5),
        ),
    ],
)
def test_every_kind_of_template_is_taken(
    client: httpx2.Client, engine: Engine, template: dict[str, Any], same: Template
) -> None:
    assert filled(client, template=template)["value"] == engine.session().infill_sync(same).value


def test_what_is_wished_for_is_heard(client: httpx2.Client, engine: Engine) -> None:
    template = {"kind": "choice", "options": ["a", "a b a b"]}
    long = filled(client, template=template, bias={"length": 50})
    short = filled(client, template=template, bias={"length": -50})
    assert (long["value"], short["value"]) == ("a b a b", "a")
    [token] = engine.runtime.checkpoint.tokenizer.encode("a", add_special_tokens=False)
    either = {"kind": "choice", "options": ["a", "b"]}
    for bias, value in (({"preferred": {str(token): 50}}, "a"), ({"banned": [token]}, "b")):
        assert filled(client, template=either, bias=bias, verify="off")["value"] == value


def test_drafts_come_before_the_filling(client: httpx2.Client) -> None:
    asked = {"schema": PLACE, "steps": 3, "verify": "off"}
    response = client.post("/v1/infill", json={**asked, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response)
    assert [name for name, _ in told] == ["draft"] * (len(told) - 1) + ["filling"]
    drafts = [value for _, value in told[:-1]]
    assert [draft["step"] for draft in drafts] == list(range(len(drafts)))
    assert {state for _, state in drafts[0]["rows"][0]["cells"]} <= {"pinned", "noise"}
    for draft in drafts[1:]:
        jsonschema.validate(json.loads(draft["answer"]), PLACE)
        for row in draft["rows"]:
            assert {state for _, state in row["cells"]} <= {"pinned", "noise", "draft", "settled"}
    assert told[-1][1]["value"] == filled(client, **asked)["value"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, None),
        ({"schema": PLACE, "template": TEXT}, None),
        ({"schema": PLACE, "text": "x", "messages": [HELLO]}, None),
        ({"schema": [1]}, "schema"),
        ({"template": {"kind": "poem"}}, "template"),
        ({"template": {"kind": "choice", "options": []}}, "template.choice.options"),
        ({"template": {**TEXT, "max_tokens": 65}}, "template.max_tokens"),
        ({"template": TEXT, "steps": 9}, "steps"),
        ({"template": TEXT, "width": 65}, "width"),
        ({"template": TEXT, "candidates": 10**9}, "candidates"),
        ({"template": TEXT, "rounds": 10**9}, "rounds"),
        ({"template": TEXT, "bias": {"preferred": {"x": 1}}}, "bias.preferred.x"),
        ({"template": TEXT, "bias": {"preferred": {"9999999": 1}}}, "bias.preferred"),
        ({"template": TEXT, "bias": {"banned": [9999999]}}, "bias.banned"),
        ({"template": TEXT, "temperature": [1]}, "temperature"),
        ({"template": TEXT, "seeds": 1}, "seeds"),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(
    client: httpx2.Client, asked: Any, field: str | None
) -> None:
    response = client.post("/v1/infill", json=asked)
    assert response.status_code == 422
    found = response.json()["error"]
    assert found["type"] == "InvalidRequest"
    assert (found["field"] or "").startswith(field or "")
    assert bool(found["field"]) == bool(field)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"template": {"kind": "edit", "text": "abc", "span": [1, 9]}}, "TemplateError"),
        ({"template": {"kind": "regex", "pattern": "(?=a)"}}, "UnsupportedSchema"),
        ({"schema": {"type": "string", "minLength": 4, "maxLength": 2}}, "UnsatisfiableSchema"),
        ({"schema": PLACE, "width": 1}, "CanvasTooShort"),
        ({"template": TEXT, "messages": [{**HELLO, "content": "word " * 600}]}, "ContextTooLong"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_can_t_do_is_told_with_its_kind(
    client: httpx2.Client, asked: Any, kind: str, stream: bool
) -> None:
    response = client.post("/v1/infill", json={**asked, "stream": stream})
    assert (response.status_code, response.json()["error"]["type"]) == (422, kind)


@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_connection_ends_the_work_before_the_next_forward(
    engine: Engine, server: Served, stream: bool
) -> None:
    body = json.dumps({"template": TEXT, "steps": 8, "temperature": 1, "stream": stream}).encode()
    head = "POST /v1/infill HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with held_forwards(engine) as holding:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            assert holding.reached.wait(60)
        scheduler = engine.runtime.scheduler
        until(lambda: server.app.state.service.working == 0)
        holding.gate.set()
        until(lambda: scheduler.statistics.queue == 0)
        assert holding.forwards == 1
