"""Connections: work that ends when its client goes, events as they come.

Knows ASGI. Must not know what is asked, nor how an API writes.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import problem_of

T = TypeVar("T")
Tell: TypeAlias = Callable[[str, Any], None]


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

    def __init__(self, work: Callable[[Tell], Awaitable[None]], dialect: Dialect) -> None:
        """
        Args:
            work: given a function that tells an event, by its name and its JSON value.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._work, self._dialect = work, dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As long as it needs be: a work tells no more than a few events a step.
        sender, receiver = anyio.create_memory_object_stream[bytes](math.inf)
        failed: list[Exception] = []
        begun = False

        def tell(name: str, value: Any) -> None:
            sender.send_nowait(self._dialect.event(name, value))

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
                await send(_part(self._last(failed), more=False))
            group.cancel_scope.cancel()
        if failed and not begun:
            raise failed[0]

    def _last(self, failed: list[Exception]) -> bytes:
        if not failed:
            return self._dialect.last
        return self._dialect.event("error", self._dialect.error(problem_of(failed[0])))

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
