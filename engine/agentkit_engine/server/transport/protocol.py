"""Connections held to limits: how many there are, and how long a client may take over anything.

Knows uvicorn's protocols, httptools' and h11's. Must not know what is asked. It adds what neither
bounds: headers that come slowly or never end, requests that are sent ahead of their turn, and
answers that nobody reads.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from agentkit_engine.server.limits import Limits

_AHEAD = 16  # requests of one connection that wait for the one before them
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n"
    b"content-length: 20\r\nconnection: close\r\n\r\ntoo many connections"
)
_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\n"
    b"content-length: 28\r\nconnection: close\r\n\r\nthe headers took too long..."
)
_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
    b"content-length: 24\r\nconnection: close\r\n\r\nthe headers are too long"
)


def protocol_of(limits: Limits) -> type[asyncio.Protocol]:
    """A connection's protocol, for `uvicorn.Config(http=...)`."""
    return type("Bounded", (_Bounded,), {"limits": limits})


class _Bounded(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    limits: Limits
    # which both of uvicorn's protocols have
    connections: set[Any]
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._answered: Any = None  # the latest request whose headers are whole
        self._ahead = 0  # bytes of headers that are not
        self._timer: asyncio.TimerHandle | None = None  # until they must be
        self._unread: asyncio.TimerHandle | None = None  # until an answer must be read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(_FULL)
        else:
            self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.cycle is not self._answered:
            self._answered, self._ahead = self.cycle, 0
            self._cancel()
            if len(getattr(self, "pipeline", ())) > _AHEAD:
                self.transport.abort()
        elif self._answered is None or self._answered.response_complete:
            self._ahead += len(data)
            if self._ahead > self.limits.header_bytes:
                self._refuse(_LONG)
            elif self._timer is None:
                self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self._cancel_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cancel_unread()
        self._await_reader()

    def resume_writing(self) -> None:
        self._cancel_unread()
        super().resume_writing()

    def _await_reader(self) -> None:
        """Lets the client go unless it reads something meanwhile."""
        left = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() < left:
                self._await_reader()
            else:
                self.transport.abort()

        self._unread = self.loop.call_later(self.limits.unread_seconds, look)

    def _await_headers(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._refuse, _SLOW)

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
