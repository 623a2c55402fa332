"""Waiting: how a caller hears of its work, which runs in another thread.

Knows threads and event loops. Must not know models or requests. The thread that runs works posts
into a mailbox and never waits for whoever reads it: a plain thread blocks on its mailbox, a task is
woken through its event loop and no thread is parked for it.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import anyio
from anyio.lowlevel import current_token

# Where a wait without end holds back Ctrl-C (Windows), this is how long; in seconds.
_INTERRUPTIBLE = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the work tells on the way."""

    event: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The work's end: what it returned, or the error there is instead."""

    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """What it returned, or else raises the error."""
        try:
            if self.error is not None:
                raise self.error
            return self.value
        finally:
            del self  # or the error would hold itself through its traceback, and all that is there


Letter: TypeAlias = Event | Done


class Mailbox(Protocol):
    """What a running work knows of its caller."""

    def post(self, letter: Letter) -> None:
        """Leaves a letter, at once and from any thread.

        Raises:
            RuntimeError: there is no one any more who could read it.
        """
        ...


class ThreadMailbox:
    """The mailbox of a caller that is a plain thread."""

    def __init__(self) -> None:
        self._letters: queue.SimpleQueue[Letter] = queue.SimpleQueue()

    def post(self, letter: Letter) -> None:
        self._letters.put(letter)

    def receive(self) -> Letter:
        """The next letter, waited for."""
        while True:
            try:
                return self._letters.get(timeout=_INTERRUPTIBLE)
            except queue.Empty:
                continue


class TaskMailbox:
    """The mailbox of a caller that is a task of an event loop, asyncio's or trio's."""

    def __init__(self) -> None:
        self._letters: deque[Letter] = deque()
        self._news = anyio.Event()
        loop: Any = current_token().native_token
        self._call_soon: Callable[[Callable[[], None]], object] = (
            loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe
        )

    def post(self, letter: Letter) -> None:
        self._letters.append(letter)
        self._call_soon(self._wake)  # a RuntimeError when the loop has ended, of either kind

    async def receive(self) -> Letter:
        """The next letter, waited for by the task that made this mailbox."""
        while not self._letters:
            # A wake that comes late finds this event and wakes for nothing: hence the loop.
            self._news = anyio.Event()
            await self._news.wait()
        return self._letters.popleft()

    def _wake(self) -> None:
        self._news.set()  # in the loop's thread, as its events are not for others
