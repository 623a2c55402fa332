"""The service: what all routes of one server share.

Knows the engine, the limits, and who is at work. Must not know what any route asks for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response

from agentkit_engine.engine import Engine
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.operation.meter import Meter
from agentkit_engine.server.transport.bodies import Form, read_body, read_form, write_json
from agentkit_engine.server.transport.connection import EventStream, Tell, while_connected
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused

T = TypeVar("T")

_AGAIN = 1.0  # seconds after which a client that found the queue full may come again


class Service:
    """One engine and what its routes share.

    Attributes:
        model: the engine's name for clients.
        meter: counts what is done, for `/metrics`.
        draining: the server was told to end: `/readyz` says so, what is under way goes on.
    """

    def __init__(self, engine: Engine, *, limits: Limits, model: str) -> None:
        self.engine, self.limits, self.model = engine, limits, model
        self.meter = Meter(engine)
        self.draining = False
        self._places = anyio.Semaphore(limits.requests)

    async def form(self, request: Request, form: type[Form]) -> Form:
        """A request's body, checked.

        Raises:
            Refused: see `read_body` and `read_form`.
        """
        return read_form(form, await read_body(request, most=self.limits.body_bytes))

    async def answer(self, request: Request, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, once it has a place; cancelled when the client goes.

        Raises:
            Refused: the queue is full, or it took too long.
            ClientDisconnect: the client went.
        """
        return await while_connected(request, partial(self._admitted, work))

    def stream(self, work: Callable[[Tell], Awaitable[None]], dialect: Dialect) -> EventStream:
        """The events of a work, once it has a place; cancelled when the client goes."""

        async def told(tell: Tell) -> None:
            await self._admitted(partial(work, tell))

        return EventStream(told, dialect)

    async def _admitted(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._place():
            return await work()

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        """A place among the requests at work."""
        waiting = self._places.statistics().tasks_waiting
        if waiting >= self.limits.queue:
            why = f"{waiting} requests wait already; ask again in a while"
            raise Refused(429, "Overloaded", why, retry_after=_AGAIN)
        try:
            with anyio.fail_after(self.limits.seconds):
                async with self._places:
                    yield
        except TimeoutError as error:
            why = f"it took longer than {self.limits.seconds:g} s; ask for less, or later"
            raise Refused(504, "Timeout", why) from error


def json_response(status: int, value: Any) -> Response:
    """An answer."""
    return Response(write_json(value), status, media_type="application/json")
