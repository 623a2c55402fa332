"""A server on loopback that speaks the chat-completions protocol and follows a script.

Knows the protocol's wire format, streams and errors included. Must not know the client.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

JSON: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A reply; in a stream it comes in `pieces`, each a delta, or several characters at a time.

    tokens: of the whole reply with their logarithms, markup included; sent where asked for.
    """

    text: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    finish: str = "stop"
    refusal: str | None = None
    deltas: tuple[JSON, ...] | None = None
    tokens: tuple[tuple[str, float], ...] = ()
    usage: bool = True
    broken: bool = False  # a stream ends without its last chunk


@dataclass(frozen=True, slots=True)
class Refused:
    """An error instead."""

    status: int
    error: JSON


@dataclass(frozen=True, slots=True)
class Raw:
    """Something else altogether."""

    body: str
    media_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more, until the client goes away. `after`: what is streamed before that."""

    after: tuple[JSON, ...] = ()


Item: TypeAlias = Said | Refused | Raw | Hang
Script: TypeAlias = Iterable[Item | Callable[[JSON], Item]]


def refused(message: str, *, status: int = 400, **more: Any) -> Refused:
    """An error as the hosted servers word it."""
    return Refused(status, {"message": message, "type": "invalid_request_error", **more})


def called(name: str, /, **arguments: Any) -> tuple[str, str]:
    """A call, written as a model without fault would."""
    return name, json.dumps(arguments)


@dataclass(slots=True)
class ChatServer:
    """What was asked of the server, and what it says next."""

    url: str
    script: deque[Any] = field(default_factory=deque[Any])
    requests: list[JSON] = field(default_factory=list[JSON])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    left: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def says(self, *script: Item | Callable[[JSON], Item]) -> None:
        """Begin a new script."""
        self.script = deque(script)
        self.requests.clear()
        self.headers.clear()
        self.left.clear()
        self.asked.clear()

    @property
    def last(self) -> JSON:
        """The last request."""
        return self.requests[-1]

    async def reply(self, request: Request) -> Response:
        """Answer one request, by the next item of the script."""
        asked = await request.json()
        self.requests.append(asked)
        self.headers.append(request.headers)
        self.asked.set()
        scripted = self.script.popleft()
        item: Any = scripted(asked) if callable(scripted) else scripted
        match item:
            case Refused(status=status, error=error):
                return JSONResponse({"error": error}, status, headers={"retry-after-ms": "1"})
            case Raw(body=body, media_type=kind):
                return Response(body, media_type=kind)
            case Hang(after=deltas):
                return await self._hang(request, deltas)
            case said:
                if asked.get("stream"):
                    chunks = _chunks(said, asked)
                    return StreamingResponse(_events(chunks, said), media_type="text/event-stream")
                return JSONResponse(_completion(said, asked))

    async def _hang(self, request: Request, deltas: tuple[JSON, ...]) -> Response:
        async def stream() -> AsyncIterator[str]:
            for delta in deltas:
                yield f"data: {json.dumps(_chunk(choices=[_choice(delta)]))}\n\n"
            await self._gone(request)

        if deltas:
            return StreamingResponse(stream(), media_type="text/event-stream")
        await self._gone(request)
        return Response()

    async def _gone(self, request: Request) -> None:
        try:
            while not await request.is_disconnected():  # noqa: ASYNC110  there is no event
                await anyio.sleep(0.005)
        except ClientDisconnect:
            pass
        finally:
            self.left.set()


@contextmanager
def chat_server() -> Generator[ChatServer]:
    """A server in a thread of its own, so that clients may come from any event loop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        made = ChatServer(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        routes = [Route("/v1/chat/completions", made.reply, methods=["POST"])]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield made
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def _completion(said: Said, asked: JSON) -> JSON:
    calls = [
        {"id": f"theirs-{n}", "type": "function", "function": {"name": name, "arguments": text}}
        for n, (name, text) in enumerate(said.calls)
    ]
    message: JSON = {"role": "assistant", "content": said.text, "refusal": said.refusal}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": said.finish}
    if asked.get("logprobs"):
        choice["logprobs"] = {"content": _logprobs(said.tokens)}
    found = {"id": "x", "object": "chat.completion", "created": 1, "model": "served"}
    return {**found, "choices": [choice], **({"usage": _USAGE} if said.usage else {})}


_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _logprobs(tokens: Iterable[tuple[str, float]]) -> list[JSON]:
    return [
        {"token": text, "logprob": share, "bytes": list(text.encode()), "top_logprobs": []}
        for text, share in tokens
    ]


def _chunks(said: Said, asked: JSON) -> Iterator[JSON]:
    deltas = _deltas(said) if said.deltas is None else said.deltas
    yield _chunk(choices=[_choice({"role": "assistant", "content": ""})])
    for number, delta in enumerate(deltas):
        choice = _choice(delta)
        if asked.get("logprobs") and not number:
            choice["logprobs"] = {"content": _logprobs(said.tokens)}
        yield _chunk(choices=[choice])
    if said.broken:
        return
    yield _chunk(choices=[_choice({}, said.finish)])
    if said.usage and (asked.get("stream_options") or {}).get("include_usage"):
        yield _chunk(choices=[], usage=_USAGE)


def _deltas(said: Said) -> Iterator[JSON]:
    for piece in _pieces(said.text or ""):
        yield {"content": piece}
    for index, (name, text) in enumerate(said.calls):
        begun = {"name": name, "arguments": ""}
        call = {"index": index, "id": f"theirs-{index}", "type": "function", "function": begun}
        yield {"tool_calls": [call]}
        for piece in _pieces(text):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _pieces(text: str, size: int = 4) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _choice(delta: JSON, finish: str | None = None) -> JSON:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _chunk(**more: Any) -> JSON:
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served",
        **more,
    }


async def _events(chunks: Iterator[JSON], said: Said) -> AsyncIterator[str]:
    for chunk in chunks:
        yield f"data: {json.dumps(chunk)}\n\n"
    if not said.broken:
        yield "data: [DONE]\n\n"
