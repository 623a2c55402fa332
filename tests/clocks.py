"""Event loops for tests: of one in which waiting takes no time, and several side by side."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
_PATIENCE = 10.0  # seconds of real time without anything to do: then nobody would ever wake up


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time pass instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(_PATIENCE if timeout is None else 0)
        if timeout is None and not ready:
            raise RuntimeError("every task waits, and nothing will wake any of them")
        if timeout and not ready:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of its selector."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_no_time(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function in a loop whose clock jumps to whoever is to wake up next, from 0.

    For async code alone: the clock does not wait for threads.
    """
    options: dict[str, Any] = {"loop_factory": JumpingLoop}
    return anyio.run(main, backend_options=options)


def in_several_loops(main: Callable[[], Awaitable[object]], count: int = 4) -> None:
    """Run a coroutine function in so many loops at once, each in a thread of its own."""
    together = threading.Barrier(count)
    errors: list[BaseException] = []

    def run() -> None:
        together.wait()
        try:
            anyio.run(main)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a loop did not come to its end"
