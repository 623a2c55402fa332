"""`GET /v1/sessions/{id}`: how a session stands, all its life, without touching it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import httpx2
import pytest
from serving import Served, held_forwards, serving
from tiny import WEATHER

from agentkit_engine import Engine

TOOL = WEATHER["function"]
HELLO = {"role": "user", "content": "is it warm in Paris?"}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    ],
}


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.sessions.close_all()


def made(client: httpx2.Client, **opening: Any) -> str:
    told = client.post("/v1/sessions", json={"tools": [TOOL], **opening})
    assert told.status_code == 201, told.text
    return f"/v1/sessions/{told.json()['id']}"


def seen(client: httpx2.Client, path: str) -> dict[str, Any]:
    response = client.get(path)
    assert response.status_code == 200, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


def test_a_session_tells_what_another_could_be_made_of(client: httpx2.Client) -> None:
    output = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    path = made(client, instructions="Be brief", output=output, messages=[HELLO])
    client.post(f"{path}/extend", json={"messages": [CALLED]})
    found = seen(client, path)
    assert found["messages"] == 2
    assert found["chat"] == [HELLO, CALLED]
    names = ("instructions", "tools", "output")
    again = made(client, messages=found["chat"], **{name: found[name] for name in names})
    other = seen(client, again)
    assert all(other[name] == found[name] for name in (*names, "chat", "model", "capabilities"))
    assert other["id"] != found["id"]


def test_a_session_is_followed_from_its_making_to_its_end(client: httpx2.Client) -> None:
    path = made(client)
    assert seen(client, path)["chat"] == []
    client.post(f"{path}/decide", json={"messages": [HELLO]})
    fork = client.post(f"{path}/fork", json={"messages": 0}).json()["id"]
    assert seen(client, path)["messages"] == 1
    assert seen(client, f"/v1/sessions/{fork}")["messages"] == 0
    client.post(f"{path}/extend", json={"after": 0})
    assert seen(client, path)["messages"] == 0
    client.delete(path)
    assert client.get(path).status_code == 410
    assert client.get("/v1/sessions/there-is-no-such-one").status_code == 404


def test_looking_is_no_use_of_a_session(client: httpx2.Client, server: Served) -> None:
    path = made(client)
    [held] = server.sessions._held.values()
    held.made -= 10
    held.used -= 5
    first, second = seen(client, path), seen(client, path)
    assert 10 <= first["age"] <= second["age"]
    assert 5 <= first["idle"] <= second["idle"] < first["age"]
    assert not first["busy"]
    client.post(f"{path}/extend", json={})
    assert seen(client, path)["idle"] < 5


def test_a_session_at_work_says_so_at_once(
    engine: Engine, client: httpx2.Client, server: Served
) -> None:
    path = made(client, messages=[HELLO])
    url = client.base_url.join(f"{path}/decide")
    with held_forwards(engine) as holding:
        decide = threading.Thread(target=lambda: httpx2.post(url, json={}, timeout=60))
        decide.start()
        assert holding.reached.wait(60)
        found = seen(client, path)
        assert (found["busy"], found["idle"]) == (True, 0)
        holding.gate.set()
        decide.join()
    assert not seen(client, path)["busy"]


def test_nobody_is_told_of_the_sessions_of_others(client: httpx2.Client) -> None:
    made(client)
    response = client.get("/v1/sessions")
    assert (response.status_code, response.json()["error"]["type"]) == (405, "NoSuchRoute")
