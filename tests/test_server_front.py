"""The front of several replicas: what a request belongs to, and what is asked twice."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
import pytest
from serving import listening
from starlette.types import Message

from agentkit_engine.server.limits import Limits
from agentkit_engine.server.scaling.affinity import Bond, bond_of
from agentkit_engine.server.scaling.front import ReplicaLost, make_front

ID = "0123456789abcdef"
START = {"type": "http.response.start", "status": 200, "headers": []}
EVENTS = {**START, "headers": [(b"content-type", b"text/event-stream")]}


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def bond(path: str, sent: bytes = b"", method: str = "POST", **headers: str) -> Bond:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return bond_of(method, path, named, sent)


@pytest.mark.parametrize(
    ("method", "path", "fields", "repeatable"),
    [
        ("GET", f"/v1/sessions/{ID}", {}, True),
        ("DELETE", f"/v1/sessions/{ID}", {}, True),
        ("POST", f"/v1/sessions/{ID}/extend", {"messages": []}, False),
        ("POST", f"/v1/sessions/{ID}/extend", {"messages": [], "after": 0}, True),
        ("POST", f"/v1/sessions/{ID}/decide", {"after": None}, False),
        ("POST", "/v1/sessions", {"id": ID}, True),
    ],
)
def test_what_is_done_in_a_session_belongs_to_it(
    method: str, path: str, fields: dict[str, Any], repeatable: bool
) -> None:
    found = bond(path, body(**fields), method)
    assert (found.key, found.strict, found.makes) == (f"session {ID}", True, "")
    assert found.repeatable == repeatable
    assert found.body == body(**fields)
    named = bond(path, body(**fields), method, x_agentkit_session="the first")
    assert named.key == "session the first"


@pytest.mark.parametrize("sent", [b"", b"{}", body(instructions="Be brief"), body(id=None)])
def test_a_session_without_an_id_is_given_one(sent: bytes) -> None:
    found = bond("/v1/sessions", sent)
    asked = json.loads(found.body)
    assert found.key == f"session {asked['id']}"
    assert found.repeatable
    assert {**json.loads(sent or b"{}"), "id": asked["id"]} == asked


def test_a_fork_belongs_to_what_it_is_forked_from() -> None:
    found = bond(f"/v1/sessions/{ID}/fork", body(id="a" * 16))
    assert (found.key, found.makes, found.strict) == (f"session {ID}", f"session {'a' * 16}", True)
    chosen = bond(f"/v1/sessions/{ID}/fork", b"")
    assert chosen.makes == f"session {json.loads(chosen.body)['id']}"


@pytest.mark.parametrize("sent", [b"[", b"[1]", body(id=3), b"\xff", b"[" * 100_000])
def test_what_is_wrong_is_sent_on_as_it_is(sent: bytes) -> None:
    for path in ("/v1/sessions", f"/v1/sessions/{ID}/fork", "/v1/completions"):
        assert bond(path, sent).body == sent


def test_requests_that_begin_alike_belong_together() -> None:
    def chat(first: str, last: str, **fields: Any) -> str:
        messages = [{"role": "user", "content": text} for text in (first, last)]
        return bond("/v1/chat/completions", body(messages=messages, **fields)).key

    long = "once upon a time " * 200
    assert chat(long, "a") == chat(long, "b") != ""
    assert chat(long, "a") != chat(f"not {long}", "a")
    assert chat(long, "a", tools=[{"name": "x"}]) != chat(long, "a")
    assert chat(long, "a", user="me") == chat("else", "b", user="me")
    assert bond("/v1/completions", body(prompt="x"), x_client_id="me").key == "client me"
    assert bond("/v1/completions", body(max_tokens=3)).key == ""
    assert not bond("/v1/completions", body(prompt="x")).strict
    assert bond("/v1/responses", body(input="x"), x_agentkit_session="me").strict


class Replicas:
    """Each answers, or is lost, as is told."""

    def __init__(self, *answers: Callable[[], AsyncGenerator[tuple[Message, ...]]]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[dict[str, Any], Bond]] = []

    async def call(self, asked: dict[str, Any], bond: Bond) -> AsyncGenerator[tuple[Message, ...]]:
        self.asked.append((asked, bond))
        async for messages in self.answers.pop(0)():
            yield messages


async def lost() -> AsyncGenerator[tuple[Message, ...]]:
    raise ReplicaLost
    yield ()


async def well() -> AsyncGenerator[tuple[Message, ...]]:
    yield (START, {"type": "http.response.body", "body": b"well"})


async def broken() -> AsyncGenerator[tuple[Message, ...]]:
    yield (EVENTS, {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    raise ReplicaLost


def asked(replicas: Replicas, method: str, path: str, **options: Any) -> httpx2.Response:
    with listening(make_front(replicas.call, limits=Limits(body_bytes=1000))) as url:
        return httpx2.request(method, f"{url}{path}", timeout=30, **options)


def test_what_was_lost_is_asked_again() -> None:
    replicas = Replicas(lost, lost, well)
    answer = asked(replicas, "POST", "/v1/sessions", json={"output": {"type": "null"}})
    assert (answer.status_code, answer.text) == (200, "well")
    assert len({bond.body for _, bond in replicas.asked}) == 1, "of the same id each time"
    scope, bond = replicas.asked[0]
    headers = dict(scope["headers"])
    assert headers[b"content-length"] == str(len(bond.body)).encode()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/v1/sessions/{ID}/extend", "native"),
        ("/v1/messages", "anthropic"),
        ("/v1/chat/completions", "openai"),
    ],
)
def test_where_it_can_not_be_it_is_told_in_the_dialect(path: str, name: str) -> None:
    tries = 1 if name == "native" else 3
    answer = asked(Replicas(*[lost] * tries), "POST", path, json={})
    assert answer.status_code in (503, 529)
    assert answer.headers["retry-after"] == "1"
    told = answer.json()
    assert (told.get("type") == "error") == (name == "anthropic")
    assert ("code" in told["error"]) == (name == "openai")
    assert ("`after`" in told["error"]["message"]) == (name == "native")


def test_a_stream_that_had_begun_ends_with_an_error() -> None:
    answer = asked(Replicas(broken), "POST", f"/v1/sessions/{ID}/decide", json={"after": 1})
    events = answer.text.split("\n\n")
    assert events[0] == "data: 1"
    assert events[1].startswith("event: error\ndata: ")
    assert json.loads(events[1].partition("data: ")[2])["error"]["type"] == "ReplicaLost"


def test_what_a_replica_never_sees() -> None:
    replicas = Replicas()
    assert asked(replicas, "POST", "/v1/completions", content=b"x" * 2000).status_code == 413
    with listening(make_front(replicas.call, api_key=["a key"])) as url:
        assert httpx2.post(f"{url}/v1/completions", json={}).status_code == 401
    assert not replicas.asked
