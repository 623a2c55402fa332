"""Lets through so many at once and so many in a while, in the order in which they came.

Knows clocks and event loops; must not know what is let through.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token


class TooManyCalls(Exception):
    """A limit is reached; says when the next call may be made. A retry policy tries it again."""

    transient = True


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in any stretch of so many seconds."""

    calls: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.calls} calls in {self.seconds:g} s"


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody in the queue, and how to have them look again."""

    loop: EventLoopToken = field(default_factory=current_token)
    event: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        if self.loop == current_token():
            self.event.set()
            return
        # Without waiting for that loop: it may be waiting for this one.
        native: Any = self.loop.native_token
        soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        with suppress(RuntimeError):  # it has ended, and nobody waits there any more
            soon(self.event.set)


class Gate:
    """What calls pass; it may be shared by any number of tools, runs and event loops."""

    def __init__(
        self, *, rate: Rate | None = None, concurrent: int | None = None, waits: bool = True
    ) -> None:
        """
        Args:
            rate: Calls begun in a while, at most.
            concurrent: Calls going on at once, at most.
            waits: Whether a call for which there is no room waits; it is refused otherwise.
        """
        self._rate = rate
        self._waits = waits
        self._concurrent = math.inf if concurrent is None else concurrent
        self._begun: deque[float] = deque(maxlen=rate.calls if rate else 0)
        self._inside = 0
        self._queue: deque[_Waiter] = deque()
        self._lock = threading.Lock()  # never held while waiting

    @asynccontextmanager
    async def passing(self) -> AsyncGenerator[None]:
        """Be one of those inside: `async with gate.passing()`.

        Raises:
            TooManyCalls: there is no room, and nobody may wait.
        """
        if self._waits:
            await self._enter_in_turn()
        else:
            self._enter_now()
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._wake_next()

    def _enter_now(self) -> None:
        with self._lock:
            pause = self._pause()
            if pause > 0:
                raise TooManyCalls(self._why(pause))
            self._enter()

    async def _enter_in_turn(self) -> None:
        me = _Waiter()
        with self._lock:
            self._queue.append(me)
        try:
            while True:
                with self._lock:
                    me.event = anyio.Event()  # what woke us before is seen to now
                    pause = self._pause() if self._queue[0] is me else math.inf
                    if pause <= 0:
                        self._enter()
                        return
                with anyio.move_on_after(pause):
                    await me.event.wait()
        finally:
            with self._lock:
                self._queue.remove(me)
                self._wake_next()

    def _pause(self) -> float:
        """Seconds until the next may enter: infinite where somebody has to leave first."""
        if self._inside >= self._concurrent:
            return math.inf
        if self._rate is None or len(self._begun) < self._rate.calls:
            return 0.0
        return self._begun[0] + self._rate.seconds - anyio.current_time()

    def _enter(self) -> None:
        self._inside += 1
        self._begun.append(anyio.current_time())

    def _wake_next(self) -> None:
        if self._queue:
            self._queue[0].wake()

    def _why(self, pause: float) -> str:
        if math.isinf(pause):
            return f"{self._inside} calls are going on, and no more may; wait until one has ended"
        return f"the limit is {self._rate}; the next may be made in {pause:.3g} s"
