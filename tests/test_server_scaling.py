"""Several replicas on Ray Serve: where requests go, and what is left when a replica ends.

The replicas are real processes with real engines; they are killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from replicas import Forwards, choose_ports, counted_engine
from serving import listening, until
from tiny import WEATHER

from agentkit import Call, CallMessage, Message, ModelSettings, ResultMessage, ToolSpec, UserMessage
from agentkit.backend import Decision
from agentkit.backends.remote import RemoteBackend
from agentkit_engine.server.app import make_app
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.scaling.cluster import Cluster, Scale, cluster
from agentkit_engine.server.scaling.front import make_front

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

KEY = "a key"
TOOL = ToolSpec("weather", "the weather of a city", WEATHER["function"]["parameters"])
HELLO = {"role": "user", "content": "is it warm in Paris?"}
MANY = {"steps": 40, "temperature": 1.0}
SLOW = 0.1  # seconds of a forward, where a test makes them slow
THREE, TWO = (Scale(least=count, most=count, logs=False) for count in (3, 2))


@pytest.fixture(scope="module")
def forwards(tmp_path_factory: pytest.TempPathFactory) -> Forwards:
    return Forwards(tmp_path_factory.mktemp("forwards"))


@pytest.fixture(scope="module")
def replicas(tiny_folder: Path, forwards: Forwards) -> Generator[Cluster]:
    load = partial(counted_engine, str(tiny_folder), str(forwards.folder), SLOW)
    limits = Limits(sessions=64)
    make = partial(make_app, limits=limits, api_key=[KEY])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where replicas find `replicas`
        patch.delenv("RAY_ADDRESS", raising=False)
        choose_ports(patch)
        with cluster(load, make, scale=THREE, limits=limits) as running:
            yield running
    assert not ray.is_initialized()
    until(lambda: not forwards.living())


@pytest.fixture
def slow(forwards: Forwards) -> Generator[None]:
    forwards.slow(True)
    yield
    forwards.slow(False)


@pytest.fixture(scope="module")
def url(replicas: Cluster) -> Generator[str]:
    with listening(make_front(replicas.call, api_key=[KEY])) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str, forwards: Forwards) -> Generator[httpx2.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=120) as client:
        yield client


def opened(client: httpx2.Client, **opening: Any) -> str:
    made = client.post("/v1/sessions", json={"tools": [WEATHER["function"]], **opening})
    assert made.status_code == 201, made.text
    return f"/v1/sessions/{made.json()['id']}"


def at_work(client: httpx2.Client, forwards: Forwards, path: str, **body: Any) -> int:
    """The process that answers a decision in a session."""
    before = forwards.by_process()
    decided = client.post(f"{path}/decide", json=body)
    assert decided.status_code == 200, decided.text
    [process] = forwards.since(before)
    return process


def spread(
    client: httpx2.Client, forwards: Forwards, *, replicas: int, each: int
) -> dict[int, list[str]]:
    """Sessions by the process that they are at: so many at each of the replicas."""
    found: dict[int, list[str]] = {}

    def found_all() -> bool:
        path = opened(client, messages=[HELLO])
        found.setdefault(at_work(client, forwards, path), []).append(path)
        return len(found) == replicas and all(len(paths) >= each for paths in found.values())

    until(found_all)  # a new replica takes some time to begin
    return found


def chat(client: httpx2.Client, path: str) -> list[str]:
    seen = client.get(path)
    assert seen.status_code == 200, seen.text
    return [message["content"] for message in seen.json()["chat"]]


def test_fewer_replicas_hold_all_sessions(
    client: httpx2.Client, forwards: Forwards, replicas: Cluster
) -> None:
    at = spread(client, forwards, replicas=3, each=2)
    replicas.resize(TWO)
    until(lambda: len(forwards.living()) == 2)
    for home, paths in at.items():
        for path in paths:
            found = at_work(client, forwards, path)
            assert found == home if home in forwards.living() else found in forwards.living()
            assert chat(client, path) == [HELLO["content"]]


def test_sessions_are_spread_and_each_stays_at_its_replica(
    client: httpx2.Client, forwards: Forwards
) -> None:
    paths = [opened(client, messages=[HELLO]) for _ in range(4)]
    homes = [at_work(client, forwards, path) for path in paths]
    assert len(set(homes)) == 2
    for path, home in zip(paths, homes, strict=True):
        assert at_work(client, forwards, path) == home
        made = client.post(f"{path}/fork", json={})
        twin = f"/v1/sessions/{made.json()['id']}"
        assert at_work(client, forwards, twin) == home, "a fork stays with what it was forked from"
        for one in (path, twin):
            assert client.delete(one).status_code == 204


def test_requests_that_begin_alike_or_are_of_one_client_go_together(
    client: httpx2.Client, forwards: Forwards
) -> None:
    def answered(**body: Any) -> int:
        before = forwards.by_process()
        asked = {"model": "default", "max_completion_tokens": 4, **body}
        answer = client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        [process] = forwards.since(before)
        return process

    alike = [{"messages": [{"role": "user", "content": f"number {n}"}]} for n in range(6)]
    of_one = [{"messages": [HELLO], "user": f"user {n}"} for n in range(6)]
    for bodies in (alike, of_one):
        homes = [answered(**body) for body in bodies]
        assert len(set(homes)) == 2
        assert [answered(**body) for body in bodies] == homes


def test_errors_are_told_as_one_server_tells_them(client: httpx2.Client, url: str) -> None:
    stranger = httpx2.post(f"{url}/v1/sessions", json={})
    assert (stranger.status_code, stranger.json()["error"]["type"]) == (401, "Unauthorized")
    assert httpx2.get(f"{url}/v1/sessions/{'0' * 16}").status_code == 401
    for asked, status in (
        (
            client.post("/v1/sessions", content=b"[", headers={"content-type": "application/json"}),
            400,
        ),
        (client.post("/v1/sessions", content=b"{}", headers={"content-type": "text/plain"}), 415),
        (client.post("/v1/sessions", json={"id": 3}), 422),
        (client.post("/v1/sessions", content=b" " * 5 * 2**20), 413),
        (client.get("/v1/sessions/unknown"), 404),
        (client.get("/nowhere"), 404),
        (client.post("/v1/messages", json={}), 400),
    ):
        assert asked.status_code == status, asked.text
        assert "error" in asked.json()
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_session_streams_and_closes_as_in_one_process(client: httpx2.Client) -> None:
    path = opened(client, messages=[HELLO])
    body = {"stream": True, "settings": {"steps": 3, "temperature": 1.0}}
    with client.stream("POST", f"{path}/decide", json=body) as response:
        told = [event.event for event in httpx2.EventSource(response)]
    assert told[-1] == "decision"
    assert set(told[:-1]) == {"draft"}
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 410
    again = client.post("/v1/sessions", json={"id": path.rpartition("/")[2]})
    assert (again.status_code, again.json()["error"]["type"]) == (409, "SessionExists")


@pytest.mark.parametrize("stream", [False, True])
def test_work_ends_within_a_step_of_a_closed_connection(
    client: httpx2.Client, url: str, forwards: Forwards, slow: None, stream: bool
) -> None:
    path = opened(client, messages=[HELLO])
    body = json.dumps({"stream": stream, "settings": MANY})
    before = forwards.count()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as leaving:
        leaving.sendall(
            f"POST {path}/decide HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        until(lambda: forwards.count() >= before + 3)
    left = forwards.count()
    until(lambda: not client.get(path).json()["busy"])
    assert forwards.count() - left <= 2, "one was under way, another may have begun"


def conversed(decision: Decision, turn: int) -> list[Message]:
    """What the loop appends once a decision's calls were made."""
    calls = tuple(
        Call(f"{turn}.{number}", call.tool, call.arguments)
        for number, call in enumerate(decision.calls)
    )
    results = [ResultMessage(call.id, call.tool, f"result {turn}") for call in calls]
    return [CallMessage(calls), *results] if calls else [UserMessage(f"Go on: {turn}.")]


async def _converse(url: str, turns: int, running: threading.Event) -> int:
    """How many turns a conversation had; none may fail."""
    backend = RemoteBackend(url, api_key=KEY)
    conversation = await backend.open(instructions="Be brief", tools=[TOOL])
    try:
        await conversation.extend([UserMessage("is it warm in Paris?")])
        for turn in range(turns):
            settings = ModelSettings(steps=2, seed=turn, temperature=1.0)
            decision = await conversation.decide(settings=settings)
            await conversation.extend(conversed(decision, turn))
            running.set()
        return turns
    finally:
        await conversation.aclose()
        await backend.aclose()


async def _converse_all(
    url: str, conversations: int, turns: int, running: threading.Event
) -> list[int]:
    had: list[int] = []

    async def one() -> None:
        had.append(await _converse(url, turns, running))

    async with anyio.create_task_group() as group:
        for _ in range(conversations):
            group.start_soon(one)
    return had


@dataclass
class Killed:
    """What came of what was under way when a replica was killed.

    Attributes:
        process: that was killed.
        extended, forked, closed: sessions that it held.
        origin: of what it had filled in.
        unsafe: the answer to what may not be asked twice.
        safe: that to what may.
        told: the events of a stream that had begun.
        turns: of conversations that went on meanwhile.
    """

    process: int
    extended: str
    forked: str
    closed: str
    origin: str
    asked: str
    unsafe: httpx2.Response
    safe: httpx2.Response
    told: list[tuple[str, Any]]
    turns: list[int]


@pytest.fixture(scope="module")
def killed(client: httpx2.Client, url: str, forwards: Forwards) -> Killed:
    """Kills a replica that has much to do."""
    [(process, paths), _] = spread(client, forwards, replicas=2, each=5).items()
    extended, closed, unsafe, safe, streamed, *_ = paths
    for number in range(3):
        more = {"messages": [{"role": "user", "content": f"message {number}"}]}
        assert client.post(f"{extended}/extend", json=more).status_code == 200
    forked = f"/v1/sessions/{client.post(f'{extended}/fork', json={'messages': 2}).json()['id']}"
    assert client.delete(closed).status_code == 204
    decided = client.post(f"{extended}/decide", json={}).json()
    origin = decided["calls"][0]["origin"] if decided["calls"] else decided["origin"]
    now = [{"role": "user", "content": "and now?"}]
    told: list[tuple[str, Any]] = []

    def listen() -> None:
        asked = {"stream": True, "settings": MANY}
        with client.stream("POST", f"{streamed}/decide", json=asked) as response:
            source = httpx2.EventSource(response)
            told.extend((event.event, json.loads(event.data)) for event in source)

    with ThreadPoolExecutor() as pool:
        running = threading.Event()
        turns = pool.submit(anyio.run, _converse_all, url, 4, 4, running)
        assert running.wait(60)
        forwards.slow(True)
        answers = [
            pool.submit(client.post, f"{unsafe}/decide", json={"settings": MANY}),
            pool.submit(
                client.post, f"{safe}/decide", json={"after": 1, "messages": now, "settings": MANY}
            ),
        ]
        listening = pool.submit(listen)
        before = forwards.by_process()[process]
        until(lambda: told and forwards.by_process()[process] >= before + 5)
        os.kill(process, signal.SIGKILL)
        forwards.slow(False)
        listening.result()
        return Killed(
            process, extended, forked, closed, origin, safe,
            unsafe=answers[0].result(), safe=answers[1].result(), told=told, turns=turns.result(),
        )  # fmt: skip


def test_a_killed_replica_takes_no_acknowledged_message_with_it(
    client: httpx2.Client, killed: Killed, forwards: Forwards
) -> None:
    said = [HELLO["content"], "message 0", "message 1", "message 2"]
    assert chat(client, killed.extended) == said
    assert chat(client, killed.forked) == said[:2]
    assert at_work(client, forwards, killed.extended) != killed.process
    assert at_work(client, forwards, killed.forked) != killed.process
    assert client.get(killed.closed).status_code == 410


def test_what_it_had_filled_in_can_not_be_refilled(client: httpx2.Client, killed: Killed) -> None:
    asked = {"origin": killed.origin, "rejected": {"": "no"}}
    refilled = client.post(f"{killed.extended}/refill", json=asked)
    assert (refilled.status_code, refilled.json()["error"]["type"]) == (422, "TemplateError")


def test_what_may_be_asked_twice_is_asked_of_another_replica(
    client: httpx2.Client, killed: Killed
) -> None:
    assert killed.safe.status_code == 200, killed.safe.text
    assert chat(client, killed.asked) == [HELLO["content"], "and now?"]


def test_what_may_not_be_asked_twice_is_refused(killed: Killed) -> None:
    refused = killed.unsafe
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "ReplicaLost")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_stream_that_had_begun_ends_with_an_error(killed: Killed) -> None:
    assert [name for name, _ in killed.told[:-1]] == ["draft"] * (len(killed.told) - 1)
    name, value = killed.told[-1]
    assert (name, value["error"]["type"]) == ("error", "ReplicaLost")


def test_remote_conversations_do_not_notice(killed: Killed) -> None:
    assert killed.turns == [4] * 4


@pytest.mark.long
def test_remote_conversations_go_on_though_replicas_are_killed_again_and_again(
    replicas: Cluster, client: httpx2.Client, url: str, forwards: Forwards
) -> None:
    replicas.resize(TWO)
    until(lambda: len(forwards.living()) == 2)
    running, enough = threading.Event(), threading.Event()

    def converse() -> list[int]:
        had: list[int] = []
        while not enough.is_set():  # the model's context is too short for one that goes on and on
            had += anyio.run(_converse_all, url, 24, 12, running)
        return had

    with ThreadPoolExecutor() as pool:
        turns = pool.submit(converse)
        try:
            assert running.wait(60)
            for _ in range(5):
                until(lambda: len(forwards.living()) == 2)
                os.kill(forwards.living()[0], signal.SIGKILL)
                until(lambda: len(forwards.living()) < 2)
        finally:
            enough.set()
        assert set(turns.result()) == {12}
