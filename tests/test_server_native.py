"""The server's sessions over plain HTTP: what is asked, refused, streamed, and left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from serving import Served, held_forwards, serving, until
from tiny import WEATHER

from agentkit_engine import AgentKitError, Engine, EngineBusy
from agentkit_engine.notes import arguments_note
from agentkit_engine.server.command import add_options, serve
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.native.wire import Forking, Opening
from agentkit_engine.server.transport.problems import Refused

TOOL = WEATHER["function"]
HELLO = {"role": "user", "content": "is it warm in Paris?"}
ID = "0123456789abcdef"


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(body_bytes=20_000)) as served:
        yield served


@pytest.fixture
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.sessions.close_all()


def opened(client: httpx2.Client, **opening: Any) -> str:
    made = client.post("/v1/sessions", json={"tools": [TOOL], **opening})
    assert made.status_code == 201, made.text
    return f"/v1/sessions/{made.json()['id']}"


def failure(response: httpx2.Response) -> dict[str, Any]:
    found = response.json()["error"]
    assert isinstance(found, dict)
    return found


def events(response: httpx2.Response) -> list[tuple[str, Any]]:
    source = httpx2.EventSource(response)
    return [(event.event, json.loads(event.data)) for event in source]


def test_a_session_is_made_grows_decides_and_is_closed(
    client: httpx2.Client, server: Served
) -> None:
    made = client.post("/v1/sessions", json={"id": ID, "instructions": "Be brief", "tools": [TOOL]})
    assert made.status_code == 201
    told = made.json()
    assert (told["id"], told["messages"]) == (ID, 0)
    assert told["capabilities"] == {
        "guaranteed": True,
        "drafts": True,
        "refill": True,
        "fork": True,
    }
    grown = client.post(f"/v1/sessions/{ID}/extend", json={"messages": [HELLO]})
    assert grown.json() == {"messages": 1}
    decision = client.post(f"/v1/sessions/{ID}/decide", json={}).json()
    assert set(decision["choice"]) == {"weather", ""}
    for call in decision["calls"]:
        jsonschema.validate(call["arguments"], TOOL["parameters"])
    assert decision["forwards"] >= 1
    assert decision["prompt_tokens"] > 0
    assert client.delete(f"/v1/sessions/{ID}").status_code == 204
    assert len(server.sessions) == 0
    gone = client.post(f"/v1/sessions/{ID}/decide", json={})
    assert (gone.status_code, failure(gone)["type"]) == (410, "SessionGone")


def test_an_unknown_session_and_an_unknown_route_are_not_found(client: httpx2.Client) -> None:
    unknown = client.post("/v1/sessions/nothing/decide", json={})
    assert (unknown.status_code, failure(unknown)["type"]) == (404, "SessionGone")
    for method, path, status in (("GET", "/v1/infill/x", 404), ("GET", "/v1/sessions", 405)):
        response = client.request(method, path)
        assert (response.status_code, failure(response)["type"]) == (status, "NoSuchRoute")
        assert response.headers.get("allow") == ("POST" if status == 405 else None)


def test_a_folder_is_known_by_its_name_alone(
    client: httpx2.Client, engine: Engine, tiny_folder: Path
) -> None:
    assert engine.runtime.checkpoint.name == str(tiny_folder)
    [model] = client.get("/v1/models").json()["data"]
    assert model["id"] == tiny_folder.name


def test_a_tool_that_refers_to_nothing_is_told_by_its_name(client: httpx2.Client) -> None:
    lost = {"name": "lost", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/x"}}}}
    told = failure(client.post("/v1/sessions", json={"tools": [TOOL, lost]}))
    assert told["type"] == "UnsupportedSchema"
    assert told["notes"] == [arguments_note("lost")]


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("", {"tools": [{"description": "nameless", "parameters": {}}]}, "tools.0.name"),
        ("", {"tools": [{"name": "a", "parameters": []}]}, "tools.0.parameters"),
        ("", {"tools": [TOOL, TOOL]}, "tools"),
        ("", {"instruction": "misspelled"}, "instruction"),
        ("", {"id": "short"}, "id"),
        ("", {"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ("/extend", {"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ("/extend", {"after": -1}, "after"),
        ("/decide", {"settings": {"steps": 0}}, "settings.steps"),
        ("/decide", {"settings": {"temperature": -1}}, "settings.temperature"),
        ("/decide", {"stream": "perhaps"}, "stream"),
        ("/refill", {"origin": "x", "rejected": {}}, "rejected"),
        ("/fork", {"messages": "all"}, "messages"),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(
    client: httpx2.Client, action: str, body: Any, field: str
) -> None:
    path = opened(client) if action else "/v1/sessions"
    response = client.post(path + action, json=body)
    assert response.status_code == 422
    found = failure(response)
    assert found["type"] == "InvalidRequest"
    assert found["field"] == field
    assert field in found["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"tools": [', "application/json", 400),
        (b'{"instructions": "\xff"}', "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"3", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b'"' + b"x" * 20_000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_none_is_refused(
    client: httpx2.Client, server: Served, content: bytes, kind: str, status: int
) -> None:
    response = client.post("/v1/sessions", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert failure(response)["message"]
    assert len(server.sessions) == 0


def test_a_body_of_unknown_length_is_read_no_further_than_its_limit(
    client: httpx2.Client, server: Served
) -> None:
    read = 0

    def endless() -> Generator[bytes]:
        nonlocal read
        for _ in range(100_000):
            read += 1000
            yield b" " * 1000

    try:
        response = client.post(
            "/v1/sessions", content=endless(), headers={"content-type": "application/json"}
        )
        assert response.status_code == 413
    except (httpx2.WriteError, httpx2.ReadError):  # the server would not hear the rest
        pass
    assert read < 100_000_000
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_engine_s_errors_keep_their_type_and_parts(
    client: httpx2.Client, server: Served
) -> None:
    bad = {"name": "bad", "parameters": {"type": "object", "patternProperties": {"(?=a)": {}}}}
    response = client.post("/v1/sessions", json={"tools": [TOOL, bad]})
    assert response.status_code == 422
    found = failure(response)
    assert found["type"] == "UnsupportedSchema"
    assert "'bad'" in found["notes"][0]
    assert len(found["arguments"]) == 3
    long = client.post(
        f"{opened(client)}/decide", json={"messages": [{"role": "user", "content": "word " * 600}]}
    )
    assert (long.status_code, failure(long)["type"]) == (422, "ContextTooLong")
    assert len(server.sessions) == 1


def test_drafts_come_before_the_decision(client: httpx2.Client) -> None:
    path = opened(client, messages=[HELLO])
    body = {"settings": {"steps": 3}, "stream": True}
    response = client.post(f"{path}/decide", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response)
    assert [name for name, _ in told] == ["draft"] * (len(told) - 1) + ["decision"]
    drafts, decision = [value for _, value in told[:-1]], told[-1][1]
    steps = [draft["step"] for draft in drafts]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert steps[-1] <= decision["forwards"]
    for draft in drafts:
        for call in draft["calls"]:
            jsonschema.validate(call["arguments"], TOOL["parameters"])
    plain = client.post(f"{path}/decide", json={"settings": {"steps": 3}}).json()
    assert [call["arguments"] for call in plain["calls"]] == [
        call["arguments"] for call in decision["calls"]
    ]


def test_what_fails_before_the_first_draft_is_no_stream(client: httpx2.Client) -> None:
    long = {"messages": [{"role": "user", "content": "word " * 600}], "stream": True}
    response = client.post(f"{opened(client)}/decide", json=long)
    assert (response.status_code, failure(response)["type"]) == (422, "ContextTooLong")


def test_sending_the_same_messages_again_adds_them_once(client: httpx2.Client) -> None:
    path = opened(client)
    more = {"after": 0, "messages": [HELLO, {"role": "assistant", "content": "Yes."}]}
    for _ in range(3):
        assert client.post(f"{path}/extend", json=more).json() == {"messages": 2}
    assert client.post(f"{path}/extend", json={"after": 1}).json() == {"messages": 1}
    behind = client.post(f"{path}/extend", json={"after": 5, "messages": [HELLO]})
    assert (behind.status_code, failure(behind)["type"]) == (409, "SessionGone")


def test_a_fork_goes_on_from_where_it_is_asked_to(client: httpx2.Client) -> None:
    path = opened(client, messages=[HELLO, {"role": "assistant", "content": "Yes."}, HELLO])
    early = client.post(f"{path}/fork", json={"messages": 1})
    assert (early.status_code, early.json()["messages"]) == (201, 1)
    whole = client.post(f"{path}/fork", json={}).json()
    assert whole["messages"] == 3
    client.delete(path)
    alone = opened(client, messages=[HELLO])
    decisions = [
        client.post(f"{one}/decide", json={}).json()
        for one in (f"/v1/sessions/{early.json()['id']}", alone)
    ]
    assert decisions[0]["choice"] == pytest.approx(decisions[1]["choice"], abs=1e-4)


def test_a_refilled_call_differs_where_it_was_rejected(client: httpx2.Client) -> None:
    city = {"type": "object", "properties": {"city": {"enum": ["a", "b"]}}, "required": ["city"]}
    path = opened(client, tools=[], output=city, messages=[HELLO])
    first = client.post(f"{path}/decide", json={}).json()
    rejected = {"/city": "no such city"}
    again = client.post(f"{path}/refill", json={"origin": first["origin"], "rejected": rejected})
    values = {json.loads(told["answer"])["city"] for told in (first, again.json())}
    assert values == {"a", "b"}
    body = {"origin": again.json()["origin"], "rejected": rejected}
    none_left = client.post(f"{path}/refill", json=body)
    assert (none_left.status_code, failure(none_left)["type"]) == (422, "UnsatisfiableSchema")
    unknown = client.post(f"{path}/refill", json={"origin": "?", "rejected": rejected})
    assert (unknown.status_code, failure(unknown)["type"]) == (422, "TemplateError")


def test_a_key_is_wanted_of_all_but_who_asks_for_health(engine: Engine) -> None:
    with serving(engine, api_key="s3cret") as served, httpx2.Client(base_url=served.url) as client:
        assert client.get("/healthz").status_code == 200
        for header in ("", "Bearer", "Bearer S3CRET", "Basic s3cret", "Bearer s3cret2", "Bearer é"):
            headers = {b"authorization": header.encode()} if header else {}
            refused = client.post("/v1/sessions", json={}, headers=headers)
            assert refused.status_code == 401, header
            assert refused.headers["www-authenticate"] == "Bearer"
            assert failure(refused)["type"] == "Unauthorized"
        for scheme in ("Bearer", "bearer"):
            bearing = {"authorization": f"{scheme} s3cret"}
            assert client.post("/v1/sessions", json={}, headers=bearing).status_code == 201


@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_connection_ends_the_work_before_the_next_forward(
    engine: Engine, server: Served, client: httpx2.Client, stream: bool
) -> None:
    path = opened(client, messages=[HELLO])
    [held] = server.sessions._held.values()
    body = json.dumps({"settings": {"steps": 40}, "stream": stream}).encode()
    head = f"POST {path}/decide HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with held_forwards(engine) as holding:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            assert holding.reached.wait(60)
        until(lambda: not held.waiting)
        holding.gate.set()
        until(lambda: engine.runtime.scheduler.statistics.queue == 0)
        assert holding.forwards == 1
    assert client.post(f"{path}/decide", json={}).status_code == 200  # the session is as it was


def test_closing_a_session_ends_what_is_under_way_in_it(
    engine: Engine, client: httpx2.Client
) -> None:
    path = opened(client, messages=[HELLO])
    found: list[httpx2.Response] = []
    with held_forwards(engine) as holding:
        decide = threading.Thread(
            target=lambda: found.append(
                httpx2.post(client.base_url.join(f"{path}/decide"), json={}, timeout=60)
            )
        )
        decide.start()
        assert holding.reached.wait(60)
        assert client.delete(path).status_code == 204
        decide.join()
    assert (found[0].status_code, failure(found[0])["type"]) == (410, "SessionGone")


async def test_the_least_recently_used_goes_where_there_are_too_many(engine: Engine) -> None:
    sessions = Sessions(engine, limits=Limits(sessions=2))
    first, second = await sessions.create(Opening()), await sessions.create(Opening())
    async with sessions.using(first.id):
        pass
    third = await sessions.create(Opening())
    assert len(sessions) == 2
    with pytest.raises(Refused, match="closed"):
        async with sessions.using(second.id):
            pass
    async with sessions.using(first.id), sessions.using(third.id):
        with pytest.raises(EngineBusy):
            await sessions.create(Opening())


async def test_a_session_nobody_asks_for_goes_in_time(engine: Engine) -> None:
    now = 0.0
    sessions = Sessions(engine, limits=Limits(idle_seconds=10), clock=lambda: now)
    idle, used, working = [await sessions.create(Opening()) for _ in range(3)]
    async with sessions.using(working.id):
        now = 9.0
        async with sessions.using(used.id):
            pass
        now = 12.0
        sessions.sweep()
        assert len(sessions) == 2
        with pytest.raises(Refused, match="closed"):
            await sessions.fork(idle.id, Forking())
    now = 23.0
    sessions.sweep()
    assert len(sessions) == 0


async def test_an_id_is_used_once(engine: Engine) -> None:
    sessions = Sessions(engine, limits=Limits())
    sessions.close(ID)  # of a session whose making was given up, and comes late
    with pytest.raises(Refused) as refused:
        await sessions.create(Opening(id=ID))
    assert (refused.value.status, refused.value.field) == (409, "id")
    assert len(sessions) == 0


async def test_a_session_whose_making_fails_is_not_left(engine: Engine) -> None:
    sessions = Sessions(engine, limits=Limits())
    long = {"role": "user", "content": "word " * 600}
    with pytest.raises(AgentKitError, match="context"):
        await sessions.create(Opening.model_validate({"messages": [long]}))
    assert len(sessions) == 0


def arguments_of(*words: str) -> Any:
    parser = ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AgentKitError, match=f"127.0.0.1:{port}.*another host or port"):
            serve(arguments_of("--model", "no/such", "--port", str(port)))


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGTERM")
def test_the_command_serves_until_it_is_told_to_end(tiny_folder: Path) -> None:
    program = (
        "import sys, argparse\n"
        "from agentkit_engine.server.command import add_options, serve\n"
        "parser = argparse.ArgumentParser(); add_options(parser)\n"
        "sys.exit(serve(parser.parse_args()))"
    )
    command = [sys.executable, "-c", program, "--model", str(tiny_folder), "--port", "0"]
    variables = {**os.environ, "AGENTKIT_API_KEY": "k"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            assert process.stderr is not None
            url = next(line for line in process.stderr if "http://127" in line).split()[-1]
            until(lambda: reachable(url))
            assert httpx2.post(f"{url}/v1/sessions", json={}).status_code == 401
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def reachable(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz").status_code == 200
    except httpx2.ConnectError:
        return False
