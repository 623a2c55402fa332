"""One event loop for all that a command does, so that what is opened in it stays open.

Knows asyncio, which anyio runs on here, and how Ctrl-C ends things in order. Must not know agents
or plugins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class EventLoop:
    """Runs one thing after another in the same event loop: `with EventLoop() as loop`.

    Between two of them nothing goes on in it. When the block ends, what was opened is closed, the
    last first.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._open: list[_Keeper[Any]] = []

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._open:
                self.run(self._open.pop().close)
        finally:
            self._runner.close()  # which cancels what is left

    def run(
        self,
        function: Callable[[*Arguments], Coroutine[Any, Any, T]],
        *arguments: *Arguments,
    ) -> T:
        """Run a function to its end; Ctrl-C cancels it, and is raised when it has ended."""
        return self._runner.run(function(*arguments))

    def open(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter `manager`, and leave it when the block ends; gives what it gave."""
        keeper = _Keeper(manager)
        self._open.append(keeper)
        return self.run(keeper.open)


class _Keeper(Generic[T]):
    """A context manager and the task that it lives in: it is left where it was entered."""

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager
        self._task: asyncio.Task[None] | None = None
        self._value: asyncio.Future[T] | None = None
        self._over = asyncio.Event()

    async def open(self) -> T:
        loop = asyncio.get_running_loop()
        value: asyncio.Future[T] = loop.create_future()
        self._value, self._task = value, loop.create_task(self._keep(value))
        task = self._task
        either: list[asyncio.Future[Any]] = [task, value]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not value.done():
            self._task = None  # its error is told here, and not once more at the end
            task.result()
        return value.result()

    async def close(self) -> None:
        if self._task is None or self._value is None:
            return
        if not self._value.done():  # Ctrl-C while it was opened
            self._task.cancel()
        self._over.set()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def _keep(self, value: asyncio.Future[T]) -> None:
        async with self._manager as given:
            value.set_result(given)
            await self._over.wait()
