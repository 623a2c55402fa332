"""How a server is run: who may ask, what it counts and logs, how it is held to its limits, and how
it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from serving import Served, held_forwards, serving, until
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tiny import WEATHER

from agentkit_engine import Engine
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.wire import NATIVE
from agentkit_engine.server.transport.connection import EventStream, Tell

TOOL = WEATHER["function"]
HELLO = {"role": "user", "content": "is it warm in Paris?"}
SECRET = "a word that no log may hold"


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.sessions.close_all()


def opened(client: httpx2.Client) -> str:
    made = client.post("/v1/sessions", json={"tools": [TOOL], "messages": [HELLO]})
    assert made.status_code == 201, made.text
    return f"/v1/sessions/{made.json()['id']}"


@contextmanager
def asking(engine: Engine, **options: Any) -> Generator[tuple[Served, httpx2.Client]]:
    """A server of its own, and a client of it."""
    with serving(engine, **options) as served, httpx2.Client(base_url=served.url) as client:
        client.timeout = 60
        yield served, client


def counted(client: httpx2.Client) -> Callable[..., float]:
    """What `/metrics` tells, by name and labels; 0 where it tells nothing."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = {
        (one.name, frozenset(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }

    def read(name: str, **labels: str) -> float:
        return found.get((f"agentkit_{name}", frozenset(labels.items())), 0.0)

    return read


def test_what_is_done_is_counted(client: httpx2.Client, server: Served) -> None:
    before = counted(client)
    path = opened(client)
    decided = client.post(f"{path}/decide", json={"settings": {"steps": 2}}).json()
    client.get("/v2/whatever")
    after = counted(client)

    def more(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    route = "/v1/sessions/{id}/decide"
    assert more("requests_total", route=route, method="POST", status="200") == 1
    assert more("request_seconds_count", route=route) == 1
    assert more("requests_total", route="unmatched", method="GET", status="404") == 1
    assert more("filling_forwards_sum") == decided["forwards"]
    assert more("filling_passes_sum") == decided["passes"]
    assert more("tokens_total", kind="filled") == decided["tokens"]
    assert more("tokens_total", kind="prompt") == decided["prompt_tokens"]
    for phase in ("encode", "denoise", "lattice"):
        assert more("phase_seconds_count", phase=phase) == 1
    assert more("phase_seconds_count", phase="queue") == 2  # the session's making, the decision
    assert more("model_forwards_total") >= decided["forwards"]
    assert more("works_total", end="done") >= 1
    assert more("prefix_hits_total") + more("prefix_misses_total") >= 1
    assert after("sessions") == len(server.sessions) == 1
    assert after("prefix_bytes") > 0
    assert after("model", model=server.app.state.service.model) == 1
    assert path.rpartition("/")[2] not in client.get("/metrics").text


def test_two_servers_in_one_process_count_apart(engine: Engine, client: httpx2.Client) -> None:
    opened(client)
    with asking(engine) as (_, other):
        status = {"route": "/v1/sessions", "method": "POST", "status": "201"}
        assert counted(other)("requests_total", **status) == 0
        assert counted(client)("requests_total", **status) >= 1


@pytest.mark.parametrize("path", ["/healthz", "/v2", "/v1/chat/completions", "/v1/messages"])
def test_a_sane_request_id_is_kept_in_answers_and_errors(client: httpx2.Client, path: str) -> None:
    kept = client.post(path, json=[], headers={"x-request-id": "mine-1.2:3"})
    assert kept.headers["x-request-id"] == "mine-1.2:3"
    for bad in (b"", b"two words", b"x" * 129, b"\xff", b'"quoted"'):
        made = client.post(path, json=[], headers={b"x-request-id": bad})
        assert made.headers["x-request-id"].startswith("req_")
    twice = client.get(path, headers=[("x-request-id", "one"), ("x-request-id", "two")])
    assert twice.headers["x-request-id"].startswith("req_")


def test_the_line_of_a_request_tells_what_it_took_and_nothing_of_what_was_asked(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agentkit_engine.server.requests")
    path = opened(client)
    body = {"messages": [{"role": "user", "content": SECRET}]}
    decided = client.post(f"{path}/decide", json=body, headers={"x-request-id": "one"})
    until(lambda: len(caplog.records) >= 2)
    told = vars(caplog.records[-1])["told"]
    assert told["request"] == "one"
    assert (told["route"], told["status"]) == ("/v1/sessions/{id}/decide", 200)
    assert told["forwards"] == decided.json()["forwards"]
    assert told["prompt_tokens"] == decided.json()["prompt_tokens"]
    assert told["gone"] is False
    assert told["ms"] > 0
    client.post(path + "/decide", json={"messages": SECRET})
    until(lambda: len(caplog.records) >= 3)
    assert vars(caplog.records[-1])["told"]["error"] == "InvalidRequest"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_whose_client_left_is_told_as_one(
    engine: Engine, client: httpx2.Client, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, logger="agentkit_engine.server.requests")
    asked = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with held_forwards(engine), pytest.raises(httpx2.ReadTimeout):
        client.post("/v1/chat/completions", json=asked, timeout=0.5)
    until(lambda: caplog.records)
    told = vars(caplog.records[-1])["told"]
    assert (told["status"], told["gone"]) == (499, True)


def test_prompts_are_logged_where_that_is_asked_for(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="agentkit_engine.server.requests")
    with serving(engine, log_prompts=True) as served:
        httpx2.post(f"{served.url}/v1/sessions", json={"instructions": SECRET}, timeout=60)
    assert any(SECRET in vars(one)["told"].get("body", "") for one in caplog.records)


def test_a_failure_of_the_server_is_told_as_any_other_problem(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Request) -> Response:
        raise ValueError(SECRET)

    with serving(engine) as served:
        served.app.router.routes.insert(0, Route("/v1/fail", fail))
        response = httpx2.get(f"{served.url}/v1/fail", headers={"x-request-id": "one"})
        assert httpx2.get(f"{served.url}/healthz").status_code == 200
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "one"
    assert SECRET not in response.text
    assert "the server failed" in response.json()["error"]["message"]
    assert caplog.text.count("Traceback") == 1


def test_a_request_is_a_span_of_its_client_s_trace(engine: Engine) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with asking(engine, tracer_provider=provider) as (served, client):
        path = opened(client)
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        decided = client.post(f"{path}/decide", json={}, headers=headers).json()
        client.post(f"{path}/decide", json=[])
        until(lambda: len(exporter.get_finished_spans()) == 3)
    _, span, refused = exporter.get_finished_spans()
    assert span.name == "POST /v1/sessions/{id}/decide"
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == trace
    assert f"{span.parent.span_id:016x}" == parent
    about = dict(span.attributes or {})
    assert about["http.response.status_code"] == 200
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.request.model"] == served.app.state.service.model
    assert about["gen_ai.usage.input_tokens"] == decided["prompt_tokens"]
    assert about["agentkit.forwards"] == decided["forwards"]
    assert dict(refused.attributes or {})["error.type"] == "InvalidRequest"


def test_each_of_several_keys_lets_in(engine: Engine) -> None:
    with asking(engine, api_key=["one", "two"]) as (_, client):
        for path in ("/healthz", "/readyz", "/"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"authorization": "Bearer three"}, {"x-api-key": "onetwo"}):
            for path in ("/v1/models", "/metrics", "/v1/messages", "/v2"):
                refused = client.get(path, headers=headers)
                assert refused.status_code == 401, path
                assert refused.headers["x-request-id"]
        for headers in ({"authorization": "Bearer one"}, {"x-api-key": "two"}):
            assert client.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("127.1.2.3", 200),
        ("[::1]:80", 200),
        ("allowed.example:8000", 200),
        ("rebound.example", 403),
        ("127.0.0.1.example", 403),
        ("192.168.0.1", 403),
        ("", 403),
    ],
)
def test_a_server_for_this_machine_is_asked_by_its_names_alone(
    engine: Engine, host: str, status: int
) -> None:
    with serving(engine, hosts=["allowed.example"]) as served:
        response = httpx2.get(f"{served.url}/healthz", headers={"host": host})
        assert response.status_code == status
        if status == 403:
            assert "--allow-host" in response.json()["error"]["message"]


def test_pages_of_other_origins_may_ask_only_where_they_are_allowed(
    engine: Engine, client: httpx2.Client
) -> None:
    preflight = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    refused = client.options("/v1/chat/completions", headers=preflight)
    assert "access-control-allow-origin" not in refused.headers
    with asking(engine, cors=["https://page.example"], api_key="k") as (_, other):
        allowed = other.options("/v1/chat/completions", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://page.example"
        elsewhere = {**preflight, "origin": "https://evil.example"}
        refused = other.options("/v1/chat/completions", headers=elsewhere)
        assert "access-control-allow-origin" not in refused.headers
        # Even what is refused is readable to the page that may ask.
        keyless = other.get("/v1/models", headers={"origin": "https://page.example"})
        assert keyless.status_code == 401
        assert keyless.headers["access-control-allow-origin"] == "https://page.example"


@pytest.fixture
def threads() -> Generator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def deciding(pool: ThreadPoolExecutor, served: Served, path: str) -> Future[httpx2.Response]:
    """A decision that is asked for in a thread of its own."""
    return pool.submit(httpx2.post, f"{served.url}{path}/decide", json={}, timeout=60)


def test_who_finds_the_queue_full_is_told_to_come_again(
    engine: Engine, threads: ThreadPoolExecutor
) -> None:
    with asking(engine, limits=Limits(requests=1, queue=1)) as (served, client):
        paths = [opened(client) for _ in range(3)]
        with held_forwards(engine) as holding:
            first = deciding(threads, served, paths[0])
            assert holding.reached.wait(60)
            second = deciding(threads, served, paths[1])
            until(lambda: counted(client)("requests_waiting") == 1)
            assert counted(client)("requests_working") == 1
            third = client.post(f"{paths[2]}/decide", json={})
            assert third.status_code == 429
            assert 1 <= int(third.headers["retry-after"]) <= 60
            assert third.json()["error"]["type"] == "Overloaded"
            holding.gate.set()
            assert [one.result().status_code for one in (first, second)] == [200, 200]
        assert client.post(f"{paths[2]}/decide", json={}).status_code == 200
        assert counted(client)("requests_working") == 0


def test_what_takes_too_long_is_ended_and_said_so(engine: Engine) -> None:
    with asking(engine, limits=Limits(seconds=0.3)) as (_, client):
        path = opened(client)
        with held_forwards(engine):
            late = client.post(f"{path}/decide", json={})
        assert (late.status_code, late.json()["error"]["type"]) == (504, "Timeout")
        until(lambda: engine.statistics.works.queue == 0)


def big(served: Served, size: int) -> None:
    """Gives a server a route with an answer of so many bytes."""

    async def answer(_: Request) -> Response:
        return Response(b"x" * size)

    served.app.router.routes.insert(0, Route("/v1/big", answer))


def test_a_client_that_reads_nothing_of_its_answer_is_let_go(engine: Engine) -> None:
    with serving(engine, limits=Limits(unread_seconds=0.2)) as served:
        big(served, 64 * 2**20)
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", served.port))
            raw.sendall(b"GET /v1/big HTTP/1.1\r\nhost: x\r\n\r\n")
            until(lambda: served.server.server_state.connections)
            until(lambda: not served.server.server_state.connections)


async def test_events_that_nobody_reads_end_the_work() -> None:
    told, ended = 0, False

    async def work(tell: Tell) -> None:
        nonlocal told, ended
        try:
            while True:
                tell("draft", "x" * 1000)
                told += 1
                await anyio.lowlevel.checkpoint()
        finally:
            ended = True

    async def send(_: Any) -> None:
        await anyio.sleep_forever()

    async def receive() -> Any:
        await anyio.sleep_forever()

    stream = EventStream(work, NATIVE, unread_bytes=10_000)
    await stream({"type": "http"}, receive, send)
    assert ended
    assert told <= 11


def test_connections_above_the_limit_are_told_to_come_again(engine: Engine) -> None:
    with serving(engine, limits=Limits(connections=2)) as served:
        held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]
        until(lambda: len(served.server.server_state.connections) == 2)
        assert httpx2.get(f"{served.url}/healthz").status_code == 503
        for one in held:
            one.close()
        until(lambda: not served.server.server_state.connections)
        assert httpx2.get(f"{served.url}/healthz").status_code == 200


def test_a_server_that_ends_finishes_what_is_under_way(
    engine: Engine, threads: ThreadPoolExecutor
) -> None:
    with asking(engine) as (served, client), held_forwards(engine) as holding:
        first = deciding(threads, served, opened(client))
        assert holding.reached.wait(60)
        served.server.should_exit = True
        until(lambda: not reachable(served.url))
        assert not first.done()
        holding.gate.set()
        assert first.result().status_code == 200
    assert len(served.sessions) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_under_way_for_too_long_is_told_that_the_server_ends(
    engine: Engine, threads: ThreadPoolExecutor, stream: bool
) -> None:
    with serving(engine, drain=0.1) as served, held_forwards(engine) as holding:
        path = opened(httpx2.Client(base_url=served.url, timeout=60))
        body = {"stream": stream}
        asked = threads.submit(httpx2.post, f"{served.url}{path}/decide", json=body, timeout=60)
        assert holding.reached.wait(60)
        served.server.should_exit = True
        response = asked.result()
        assert response.status_code == (200 if stream else 503)
        assert "ShuttingDown" in response.text
        holding.gate.set()


def reachable(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


class Process:
    """`agentkit serve`, in a process of its own, whose forwards take a while."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = (
            "import sys, time\n"
            "from agentkit_engine.denoisers.diffusion_gemma import DiffusionGemmaDenoiser as D\n"
            "original = D.denoise\n"
            "def denoise(*a, **o): time.sleep(0.1); return original(*a, **o)\n"
            "D.denoise = denoise\n"
            "from agentkit.terminal.cli import main\n"
            "sys.argv[0] = 'agentkit'; sys.exit(main())"
        )
        serve = ["serve", "--model", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *serve],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "AGENTKIT_API_KEY": "one, two"},
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if "http://127" in line:
                break
        self.url = self.lines[-1].split()[-1]
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()))
        self._reader.start()
        until(lambda: reachable(self.url))
        bearing = {"authorization": "Bearer two"}
        self.client = httpx2.Client(base_url=self.url, headers=bearing, timeout=60)

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        status = self.process.wait(60)
        self._reader.join()
        return status


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGTERM")
def test_the_process_ends_in_good_order_when_it_is_told_to(
    tiny_folder: Path, threads: ThreadPoolExecutor
) -> None:
    served = Process(tiny_folder, "--log", "json", "--notice", "1", "--drain", "60")
    path = opened(served.client)
    body = {"messages": [{"role": "user", "content": SECRET}], "settings": {"steps": 20}}
    asked = threads.submit(served.client.post, f"{path}/decide", json={**body, "stream": True})
    until(lambda: counted(served.client)("requests_working") == 1)
    assert served.client.get("/readyz").status_code == 200
    served.process.send_signal(signal.SIGTERM)
    # For the notice it still takes connections, so that it can say that it is not ready.
    until(lambda: httpx2.get(f"{served.url}/readyz").status_code == 503)
    until(lambda: not reachable(served.url))
    assert "event: decision" in asked.result().text
    assert served.ended() == 0
    lines = [json.loads(line) for line in served.lines if line.startswith("{")]
    [decided] = [line for line in lines if line.get("route", "").endswith("/decide")]
    assert decided["forwards"] >= 1
    assert SECRET not in "".join(served.lines)


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGTERM")
def test_a_second_signal_ends_the_process_at_once(
    tiny_folder: Path, threads: ThreadPoolExecutor
) -> None:
    served = Process(tiny_folder, "--drain", "600")
    path = opened(served.client)
    body = {"settings": {"steps": 48}, "stream": True}
    asked = threads.submit(served.client.post, f"{path}/decide", json=body)
    until(lambda: counted(served.client)("requests_working") == 1)
    served.process.send_signal(signal.SIGTERM)
    until(lambda: not reachable(served.url))
    served.process.send_signal(signal.SIGTERM)
    assert served.ended() == -signal.SIGTERM
    with pytest.raises(httpx2.HTTPError):
        asked.result()
