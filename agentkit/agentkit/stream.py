"""A run as a stream of events: `async with agent.stream(...) as events`.

Knows one run and its listener; must not know how a run goes on. The run is a task of the
`async with` block: leaving the block, in whatever way, ends the run before the next line.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentkit.errors import RunError
from agentkit.event import DraftCanvas, Event
from agentkit.message import History
from agentkit.run import Listener, Run

BUFFER = 64  # events a run may be ahead of its reader; then it waits


class EventStream:
    """The events of one run, in order; an async context manager and, inside it, an iterator.

    An error that ends the run is raised from the iteration, after the events before it. A reader
    that falls behind makes the run wait; drafts are dropped instead.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._group: TaskGroup | None = None
        self._inlet: MemoryObjectSendStream[Event] | None = None
        self._events: MemoryObjectReceiveStream[Event] | None = None
        self._error: Exception | None = None

    @property
    def history(self) -> History:
        """The messages so far; also once the stream was left, by cancelling or by an error."""
        return self._run.history

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RunError("a stream is opened once; call `agent.stream(...)` again")
        self._inlet, self._events = anyio.create_memory_object_stream[Event](BUFFER)
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._drive, self._inlet)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._group is not None
        assert self._inlet is not None
        assert self._events is not None
        self._group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup:
            if error is None:
                raise
            return False  # the group only wraps the block's own error: let that through as it is
        finally:
            self._inlet.close()  # a run cancelled before its first step has not closed it
            self._events.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._events is None:
            raise RunError("open the stream first: `async with agent.stream(...) as events`")
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            return await self._events.receive()
        error, self._error = self._error or StopAsyncIteration(), None
        raise error

    async def _drive(self, inlet: MemoryObjectSendStream[Event]) -> None:
        def draft(event: DraftCanvas) -> None:
            with suppress(anyio.WouldBlock):
                inlet.send_nowait(event)

        with inlet:
            try:
                await self._run.go(Listener(inlet.send, draft))
            except Exception as error:
                self._error = error
