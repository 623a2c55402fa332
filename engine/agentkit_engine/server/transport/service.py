"""The service: what all routes of one server share.

Knows the engine, the limits, and who is at work. Must not know what any route asks for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response

from agentkit_engine.compiling import compiling
from agentkit_engine.engine import Engine
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.operation.meter import Meter
from agentkit_engine.server.transport.bodies import Form, read_body, read_form, write_json
from agentkit_engine.server.transport.connection import EventStream, Tell, while_connected
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused

T = TypeVar("T")

_SOONEST, _LATEST = 1.0, 60.0  # seconds after which a client that found no place may come again
_FADING = 0.9  # what the mean of times keeps of itself at each new one


class Service:
    """One engine and what its routes share.

    Attributes:
        model: the engine's name for clients.
        meter: counts what is done, for `/metrics`.
        draining: the server was told to end: `/readyz` says so, what is under way goes on.
    """

    def __init__(self, engine: Engine, *, limits: Limits, model: str) -> None:
        self.engine, self.limits, self.model = engine, limits, model
        self.meter = Meter(engine, model=model)
        self.draining = False
        self._places = anyio.Semaphore(limits.requests)
        self._compilers = anyio.CapacityLimiter(limits.schemas)
        self._admitted: set[anyio.CancelScope] = set()  # waiting or at work
        self._waiting = 0
        self._taking = 0.0  # seconds that a request is at work, on average
        self._ended = False
        self.meter.gauge("requests_waiting", "Requests without a place.", lambda: self._waiting)
        self.meter.gauge("requests_working", "Requests at work.", lambda: self.working)
        self.meter.gauge("draining", "1 once the server is to end.", lambda: self.draining)

    @property
    def working(self) -> int:
        """Requests at work, of those that were let in."""
        return len(self._admitted) - self._waiting

    async def form(self, request: Request, form: type[Form]) -> Form:
        """A request's body, checked.

        Raises:
            Refused: see `read_body` and `read_form`.
        """
        body = await read_body(request, self.limits)
        return read_form(form, body, most_values=self.limits.values)

    async def answer(self, request: Request, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, once it has a place; cancelled when the client goes.

        Raises:
            Refused: the queue is full, it took too long, or the server ends.
            ClientDisconnect: the client went.
        """
        return await while_connected(request, partial(self._admit, work))

    def stream(
        self,
        work: Callable[[Tell], Awaitable[None]],
        dialect: Dialect,
        *,
        within: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]] | None = None,
    ) -> EventStream:
        """The events of a work, once it has a place; cancelled when the client goes.

        Args:
            within: does the work, its wait for a place included.
        """

        async def told(tell: Tell) -> None:
            admitted = partial(self._admit, partial(work, tell))
            await (within(admitted) if within else admitted())

        return EventStream(told, dialect, unread_bytes=self.limits.unread_bytes)

    def end(self) -> None:
        """Ends whatever is still under way: it is answered 503, or that is its last event."""
        self.draining = self._ended = True
        for scope in self._admitted:
            scope.cancel()

    async def _admit(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does a work in a place among the requests at work, and in time."""
        if self._ended:
            raise _ending()
        if self._waiting >= self.limits.queue and not self._places.value:
            why = f"{self._waiting} requests wait already; ask again in a while"
            raise Refused(429, "Overloaded", why, retry_after=self._until_a_place())
        with anyio.move_on_after(self.limits.seconds) as scope:
            self._admitted.add(scope)
            try:
                return await self._placed(work)
            finally:
                self._admitted.discard(scope)
        if self._ended:
            raise _ending()
        why = f"it took longer than {self.limits.seconds:g} s; ask for less, or later"
        raise Refused(504, "Timeout", why)

    async def _placed(self, work: Callable[[], Awaitable[T]]) -> T:
        asked = time.monotonic()
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        begun = time.monotonic()
        self.meter.queued(begun - asked)
        try:
            with compiling(self._compilers, seconds=self.limits.schema_seconds):
                return await work()
        finally:
            self._places.release()
            took = time.monotonic() - begun
            self._taking = _FADING * self._taking + (1 - _FADING) * took

    def _until_a_place(self) -> float:
        """Seconds until those who wait have had their turn, as far as can be told."""
        turns = (self._waiting + 1) / self.limits.requests
        return min(_LATEST, max(_SOONEST, turns * self._taking))


def _ending() -> Refused:
    return Refused(503, "ShuttingDown", "the server ends; ask another one", retry_after=1.0)


def json_response(status: int, value: Any) -> Response:
    """An answer."""
    return Response(write_json(value), status, media_type="application/json")
