"""Connections: work that ends when its client goes, events as they come.

Knows ASGI. Must not know what is asked, nor how an API writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentkit_engine.server.transport.account import current_account
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
    the last event. A client that leaves too much unread is let go.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        work: Callable[[Tell], Awaitable[None]],
        dialect: Dialect,
        *,
        unread_bytes: int,
    ) -> None:
        """
        Args:
            unread_bytes: of events that wait for the client, at most.
            work: given a function that tells an event, by its name and its JSON value.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._work, self._dialect, self._unread_bytes = work, dialect, unread_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        unread = _Unread(self._unread_bytes)
        failed: list[Exception] = []
        begun = ended = False

        def tell(name: str, value: Any) -> None:
            if not unread.add(self._dialect.event(name, value)):
                group.cancel_scope.cancel()

        async def produce() -> None:
            try:
                await self._work(tell)
            except Exception as error:
                failed.append(error)
            unread.end()

        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            group.start_soon(produce)
            while events := await unread.take():
                if not begun:
                    begun = True
                    await send(self._start())
                await send(_part(events, more=True))
            if begun or not failed:
                if not begun:
                    await send(self._start())
                await send(_part(self._last(failed), more=False))
            ended = True
            group.cancel_scope.cancel()
        if not ended:
            note_gone()
        elif failed and not begun:
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


class _Unread:
    """Events that a client has not read yet: those told in one go are taken in one go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._news = anyio.Event()

    def add(self, event: bytes) -> bool:
        """Whether there was room for it."""
        self._events.append(event)
        self._bytes += len(event)
        self._news.set()
        return self._bytes <= self._most

    def end(self) -> None:
        """Says that no other event comes."""
        self._ended = True
        self._news.set()

    async def take(self) -> bytes:
        """All that there are, once there is one; nothing once there comes no other."""
        while not self._events and not self._ended:
            self._news = anyio.Event()
            await self._news.wait()
        taken = b"".join(self._events)
        self._events.clear()
        self._bytes = 0
        return taken


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def note_gone() -> None:
    """Says in the account of this request that its client has left."""
    account = current_account()
    if account is not None:
        account.gone = True
