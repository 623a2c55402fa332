"""Connections: a body read within bounds, work that ends when its client goes, events as they come.

Knows ASGI. Must not know sessions or what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentkit_engine.server.wire import Refused, problem, write_event

T = TypeVar("T")
Tell: TypeAlias = Callable[[str, Any], None]


async def read_body(request: Request, *, most: int) -> bytes:
    """The body of a request, which is JSON.

    Raises:
        Refused: it is said to be something else, or longer than `most` bytes.
        ClientDisconnect: it never came to its end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no web page can send here without being asked first
        raise Refused(415, "UnsupportedMediaType", f"the body is {kind!r}; send 'application/json'")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_long(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_long(most)
    return bytes(body)


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns; cancels it when the client goes.

    Raises:
        ClientDisconnect: it went.
    """
    done: list[T] = []
    failed: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_until_gone, request.receive, group.cancel_scope)
        try:
            done.append(await work())
        except Exception as error:  # raised outside of the group, which would wrap it
            failed = error
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    if not done:
        raise ClientDisconnect
    return done[0]


class EventStream(Response):
    """Server-sent events of a work, which is cancelled when the client goes.

    An error before the first event is raised, so that it is answered as any other; one after it is
    the last event.
    """

    media_type = "text/event-stream"

    def __init__(self, work: Callable[[Tell], Awaitable[None]]) -> None:
        """
        Args:
            work: given a function that tells an event, by its name and its JSON value.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As long as it needs be: a work tells no more than a few events a step.
        sender, receiver = anyio.create_memory_object_stream[bytes](math.inf)
        failed: list[Exception] = []
        begun = False

        def tell(name: str, value: Any) -> None:
            sender.send_nowait(write_event(name, value))

        async def produce() -> None:
            with sender:
                try:
                    await self._work(tell)
                except Exception as error:
                    failed.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            group.start_soon(produce)
            with receiver:
                async for event in receiver:
                    if not begun:
                        begun = True
                        await send(self._start())
                    await send(_part(event, more=True))
            if begun:
                last = write_event("error", problem(failed[0])[1]) if failed else b""
                await send(_part(last, more=False))
            group.cancel_scope.cancel()
        if failed and not begun:
            raise failed[0]

    def _start(self) -> dict[str, Any]:
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _too_long(most: int) -> Refused:
    return Refused(413, "BodyTooLong", f"the body is longer than {most} bytes; send less")
