"""Whatever a client sends, it is told what is wrong with it; all others are served meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import pytest
from serving import Served, serving, until
from tiny import WEATHER

from agentkit_engine import Engine
from agentkit_engine.server.limits import Limits

TOOL = WEATHER["function"]
HELLO = {"role": "user", "content": "is it warm in Paris?"}
CHAT, MESSAGES, SESSIONS = "/v1/chat/completions", "/v1/messages", "/v1/sessions"
LIMITS = Limits(body_bytes=2**20, schema_seconds=0.5, header_bytes=16 * 2**10)
HURRIED = Limits(header_seconds=0.5, body_seconds=0.5)


class Bystander(threading.Thread):
    """A client that asks for decisions all the time, and must get each of them."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.failures: list[str] = []
        self._ending = threading.Event()
        self._client = httpx2.Client(base_url=url, timeout=60)

    def run(self) -> None:
        opening = {"tools": [TOOL], "messages": [HELLO]}
        made = self._client.post(SESSIONS, json=opening).json()
        while not self._ending.wait(0.01):
            response = self._client.post(f"{SESSIONS}/{made['id']}/decide", json={})
            self.answers += 1
            if response.status_code != 200:
                self.failures.append(response.text)

    @contextmanager
    def served(self) -> Generator[None]:
        """What is asked inside ends only after this client has had answers."""
        before = self.answers
        yield
        until(lambda: self.answers > before)

    def end(self) -> None:
        self._ending.set()
        self.join()
        assert not self.failures


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=LIMITS, model="tiny") as served:
        yield served


@pytest.fixture(scope="module")
def hurried(engine: Engine) -> Generator[Served]:
    """A server that waits for no client."""
    with serving(engine, limits=HURRIED) as served:
        yield served


@pytest.fixture(scope="module")
def bystander(server: Served) -> Generator[Bystander]:
    bystander = Bystander(server.url)
    bystander.start()
    yield bystander
    bystander.end()


@pytest.fixture
def client(server: Served, bystander: Bystander) -> Generator[httpx2.Client]:
    with bystander.served(), httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


def blamed(response: httpx2.Response) -> str:
    """The field that an error blames, where its API says so apart; what it says."""
    about = response.json()["error"]
    return " ".join(str(about.get(name) or "") for name in ("field", "param", "message"))


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [HELLO], **more}


def message(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [HELLO], "max_tokens": 8, **more}


def tool(parameters: Any) -> dict[str, Any]:
    return {"name": "bomb", "description": "", "parameters": parameters}


NO_JSON = [
    b'{"model": "tiny", "messages": [',
    b'{"model": "\xff"}',
    b'{"model": "\\ud800"}',
    b'{"model": "tiny"} {}',
    b"[" * 100_000,
    b'{"a": ' * 50_000,
    b'{"model": ' + b"9" * 100_000 + b"}",
    b"\x00\x01\x02",
    b'{"temperature": NaN}',
    b'{"tools": [{"parameters": {"minimum": -Infinity}}]}',
    b'{"tools": [{"parameters": {"minimum": 1e999}}]}',
]
PATHS = [
    CHAT,
    MESSAGES,
    SESSIONS,
    "/v1/completions",
    "/v1/fim/completions",
    "/v1/infill",
    "/v1/responses",
    "/v1/edit/completions",
    "/infill",
]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_json_is_said_to_be_none(client: httpx2.Client, path: str) -> None:
    for body in NO_JSON:
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, (body[:50], response.text)
        said = blamed(response)
        assert "JSON" in said
        if b"Infinity" in body or b"1e999" in body:
            assert "tools.0.parameters.minimum" in said


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, chat(messages="hello"), "messages"),
        (CHAT, chat(messages=[{"role": "user", "content": 3}]), "messages.0"),
        (CHAT, chat(max_completion_tokens=-1), "max_completion_tokens"),
        (CHAT, chat(n=0), "n"),
        (CHAT, chat(n=10**30), "n"),
        (CHAT, chat(temperature=-1), "temperature"),
        (CHAT, chat(tools=[{"type": "function", "function": {"name": 3}}]), "tools.0"),
        (CHAT, chat(messages=[{"role": "user", "content": "word " * 600}]), "messages"),
        (CHAT, chat(model="no-such-model"), "model"),
        (MESSAGES, message(messages={}), "messages"),
        (MESSAGES, message(max_tokens=-5), "max_tokens"),
        (MESSAGES, message(model="no-such-model"), "model"),
        (MESSAGES, message(messages=[{"role": "user", "content": "word " * 600}]), "prompt is too"),
        (SESSIONS, {"tools": {}}, "tools"),
        (SESSIONS, {"messages": [{"role": "user", "content": "word " * 600}]}, "context"),
    ],
)
def test_what_is_wrong_is_named(client: httpx2.Client, path: str, body: Any, field: str) -> None:
    response = client.post(path, json=body)
    assert response.status_code in (400, 404, 422), response.text
    assert field in blamed(response)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, SESSIONS])
def test_a_million_wrong_items_are_not_looked_at_one_by_one(
    client: httpx2.Client, path: str
) -> None:
    body = b'{"model": "tiny", "max_tokens": 1, "messages": [' + b"0," * 500_000 + b"0]}"
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "values" in blamed(response)
    # commas in what somebody wrote are not values
    csv = {"messages": [{"role": "user", "content": "0," * 60_000}]}
    assert "context" in blamed(client.post(SESSIONS, json=csv))


def test_what_an_error_quotes_is_not_long(client: httpx2.Client) -> None:
    body = {"x" * 500_000: 1}
    response = client.post(SESSIONS, json=body)
    assert response.status_code == 422
    assert len(response.content) < 5000


def test_odd_characters_are_text(client: httpx2.Client) -> None:
    for text in ("\x00", "\u202e\ufeff", "\U0010ffff", "<|endoftext|>", "\\u0000"):
        body = chat(messages=[{"role": "user", "content": text}], max_completion_tokens=4)
        assert client.post(CHAT, json=body).status_code == 200, text


def test_bodies_of_a_hundred_megabytes_are_refused(client: httpx2.Client, server: Served) -> None:
    size, sent = 100_000_000, 0
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"{head}content-length: {size}\r\n\r\n".encode())
        assert answered(raw, b"{" * 40_000_000).startswith(b"HTTP/1.1 413 ")

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(size // 100_000):
            sent += 100_000
            yield b" " * 100_000

    json_type = {"content-type": "application/json"}
    with suppress(httpx2.HTTPError):  # whether a client reads the answer is its own affair
        assert client.post(CHAT, content=chunks(), headers=json_type).status_code == 413
    assert sent < size
    # What is not so much longer is read, for a client that writes does not read.
    told = client.post(CHAT, content=b" " * (8 * 2**20), headers=json_type)
    assert told.status_code == 413
    assert "1048576 bytes" in blamed(told)


def answered(raw: socket.socket, more: bytes = b"") -> bytes:
    """What a server says until it closes the connection, while `more` is sent to it."""
    raw.settimeout(60)
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(raw.sendall, more)
        got = b""
        try:
            while data := raw.recv(65536):
                got += data
        except ConnectionResetError:
            pass
        raw.close()
        sent.exception()
    return got


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, b"400"),  # TLS
        (b"hello\r\n\r\n", b"400"),
        (b"\x00" * 100_000, b"4"),
        (b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n", b"4"),
        (b"GET /healthz HTTP/1.1\r\nhost x\r\n\r\n", b"400"),
        (b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", b"400"),
        (b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n", b"400"),
        (
            b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
            b"content-length: 3\r\n\r\n{}",
            b"400",
        ),
        (
            b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            b"4",
        ),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 1_000_000, b"4"),
        (b"GET /" + b"y" * 1_000_000, b"4"),
        (b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 200_000, b"4"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_no_http_is_refused_and_the_connection_closed(
    bystander: Bystander, server: Served, sent: bytes, status: bytes
) -> None:
    with bystander.served(), socket.create_connection(("127.0.0.1", server.port)) as raw:
        got = answered(raw, sent)
    # A client that goes on writing to a closed connection may lose the answer.
    assert not got or got.startswith(b"HTTP/1.1 " + status)
    assert got or len(sent) > 65536


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz"])
def test_headers_that_do_not_come_are_not_waited_for(hurried: Served, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hurried.port)) as raw:
        assert answered(raw, begun).startswith(b"HTTP/1.1 408 ")


def test_headers_that_come_byte_by_byte_are_cut_off(hurried: Served) -> None:
    with socket.create_connection(("127.0.0.1", hurried.port)) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")  # the second request is slow
        assert b"200" in raw.recv(1000)
        sent = 0
        try:
            while sent < 10_000:
                raw.sendall(b"G" if sent == 0 else b"E" if sent == 1 else b"x")
                sent += 1
                time.sleep(0.02)
        except OSError:
            pass
        assert sent < 10_000


def test_a_body_that_trickles_is_refused(hurried: Served) -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(200):
            yield b" "
            time.sleep(0.02)

    head = {"content-type": "application/json"}
    try:
        response = httpx2.post(f"{hurried.url}{CHAT}", content=slow(), headers=head, timeout=60)
        assert response.status_code == 408
        assert "0.5 s" in blamed(response)
    except httpx2.WriteError:  # the connection was closed before all was written
        pass


def test_requests_sent_far_ahead_of_their_turn_end_the_connection(
    bystander: Bystander, server: Served
) -> None:
    slow = b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    body = json.dumps({"tools": [TOOL], "messages": [HELLO]}).encode()
    first = slow + b"content-length: %d\r\n\r\n" % len(body) + body
    ahead = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 100_000
    with bystander.served(), socket.create_connection(("127.0.0.1", server.port)) as raw:
        got = answered(raw, first + ahead)
    assert got.count(b"HTTP/1.1 200") < 100_000


def test_headers_that_are_there_twice_do_no_harm(client: httpx2.Client) -> None:
    for name, value in (
        ("content-type", "text/plain"),
        ("authorization", "Bearer x"),
        ("x-api-key", "y"),
        ("x-request-id", "z"),
        ("traceparent", "00-zz-zz-00"),
    ):
        headers = [("content-type", "application/json"), (name, value), (name, value)]
        status = client.post(SESSIONS, content=b"{}", headers=headers).status_code
        assert status in (201, 400, 415), name


def laughing(depth: int) -> dict[str, Any]:
    """A document whose references multiply."""
    below = {name: {"$ref": "#/$defs/0"} for name in "abcdefgh"}
    rooms: dict[str, Any] = {str(depth): {"type": "string"}}
    for level in range(depth):
        inner = {name: {"$ref": f"#/$defs/{level + 1}"} for name in below}
        rooms[str(level)] = {"type": "object", "properties": inner, "required": list(inner)}
    return {"type": "object", "properties": below, "required": list(below), "$defs": rooms}


def holding(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}, "required": ["x"]}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return holding(schema)


def text(pattern: str) -> dict[str, Any]:
    return holding({"type": "string", "pattern": pattern})


BOMBS = {
    "references": laughing(12),
    "alternatives": holding(
        {"oneOf": [{"properties": {f"k{i}": {"type": "integer"}}} for i in range(40)]}
    ),
    "itself": {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]},
    "circle": holding({"$ref": "#/properties/x"}),
    "patterns": holding({"allOf": [{"pattern": f".*{one}.*"} for one in "abcdefghijklmnopqr"]}),
    "backtracking": text("^(a|b)*a(a|b){24}$"),
    "repeats": text("^((((a{1,100}){1,100}){1,100}){1,100})$"),
    "prefixes": text("|".join(f"(?:{'x' * size}y.*)" for size in range(150))),
    "values": holding({"enum": [f"value {i} {i * 7919 % 100003}" for i in range(12_000)]}),
    "long text": holding({"type": "string", "minLength": 10**9}),
    "many items": holding({"type": "array", "items": {"type": "integer"}, "minItems": 10**6}),
    "keys": {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(9000)}},
    "nested": nested(90),
    "no schema": {"type": "object", "properties": {"x": {"type": "strange"}}},
    "elsewhere": holding({"$ref": "http://127.0.0.1/schema.json"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_schema_that_would_take_for_ever_is_refused_in_time(
    client: httpx2.Client, name: str
) -> None:
    response = client.post(SESSIONS, json={"tools": [tool(BOMBS[name])]})
    if response.status_code == 201:  # it was no match for this compiler
        assert name in ("nested", "alternatives", "keys", "prefixes")
        return
    assert response.status_code == 422, response.text
    about = response.json()["error"]
    if about["type"] != "NestedTooDeeply":
        assert "bomb" in str(about["notes"]) or "$ref" in about["message"]


def test_many_such_schemas_at_once_hold_up_nobody_and_end_with_their_clients(
    engine: Engine,
) -> None:
    body = json.dumps({"tools": [tool(BOMBS["patterns"])]}).encode()
    head = f"POST {SESSIONS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    with serving(engine, limits=Limits(schemas=2, schema_seconds=600)) as served:
        compilers = served.app.state.service._compilers
        bystander = Bystander(served.url)
        bystander.start()
        clients = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(6)]
        for raw in clients:
            raw.sendall(sent)
        until(lambda: compilers.borrowed_tokens == 2)
        with bystander.served():
            pass
        for raw in clients:
            raw.close()
        until(lambda: compilers.borrowed_tokens == 0 and not len(served.sessions) > 1)
        bystander.end()


def test_they_are_refused_in_the_words_of_each_api(client: httpx2.Client) -> None:
    bomb = BOMBS["backtracking"]
    function = {"name": "bomb", "parameters": bomb}
    refused = client.post(CHAT, json=chat(tools=[{"type": "function", "function": function}]))
    assert refused.status_code == 400
    assert "bomb" in blamed(refused)
    given = {"name": "bomb", "input_schema": bomb}
    refused = client.post(MESSAGES, json=message(tools=[given]))
    assert refused.status_code == 400
    assert "bomb" in blamed(refused)
