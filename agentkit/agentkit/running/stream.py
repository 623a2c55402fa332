"""A run as a stream of events: `async with agent.stream(...) as events`.

Knows one run and its listener; must not know how a run goes on. The run is a task of the
`async with` block: leaving the block, in whatever way, ends the run before the next line.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, cast

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentkit.errors import RunError
from agentkit.event import AnswerDraft, DraftCanvas, Event, RunFinished
from agentkit.message import History
from agentkit.result import Output, RunResult
from agentkit.running.run import Run
from agentkit.running.state import Listener

BUFFER = 64  # events a run may be ahead of its reader; then it waits


class EventStream(Generic[Output]):
    """The events of one run, in order; an async context manager and, inside it, an iterator.

    An error that ends the run is raised from the iteration, after the events before it. A reader
    that falls behind makes the run wait, so no event is lost and no memory fills up; of the drafts,
    which only show what is on its way, it then gets the latest.
    """

    def __init__(self, run: Run, *, buffer: int = BUFFER) -> None:
        self._run = run
        self._buffer = buffer
        self._group: TaskGroup | None = None
        self._inlet: _Inlet | None = None
        self._events: MemoryObjectReceiveStream[Event] | None = None
        self._error: Exception | None = None
        self._result: RunResult[Any] | None = None

    @property
    def history(self) -> History:
        """The messages so far; also once the stream was left, by cancelling or by an error."""
        return self._run.history

    @property
    def result(self) -> RunResult[Output]:
        """The result, once the last event was read.

        Raises:
            RunError: there is none: not yet, or the run ended in an error.
        """
        if self._result is None:
            raise RunError(
                "the run has no result; read its events to the end", history=self.history
            )
        return cast(RunResult[Output], self._result)

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RunError("a stream is opened once; call `agent.stream(...)` again")
        inlet, self._events = anyio.create_memory_object_stream[Event](self._buffer)
        self._inlet = _Inlet(inlet)
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
            event = await self._events.receive()
            if isinstance(event, RunFinished):
                self._result = event.result
            return event
        error, self._error = self._error or StopAsyncIteration(), None
        raise error

    async def _drive(self, inlet: _Inlet) -> None:
        try:
            await self._run.go(Listener(inlet.event, inlet.draft))
        except Exception as error:
            self._error = error
        finally:
            inlet.close()


class _Inlet:
    """Where a run puts its events; the latest draft of each kind waits where there is no room."""

    def __init__(self, inlet: MemoryObjectSendStream[Event]) -> None:
        self._inlet = inlet
        self._late: dict[type, DraftCanvas | AnswerDraft] = {}

    async def event(self, event: Event) -> None:
        late, self._late = self._late, {}
        for draft in late.values():
            await self._inlet.send(draft)
        await self._inlet.send(event)

    def draft(self, draft: DraftCanvas | AnswerDraft) -> None:
        try:
            self._inlet.send_nowait(draft)
        except anyio.WouldBlock:
            self._late[type(draft)] = draft
        else:
            self._late.pop(type(draft), None)

    def close(self) -> None:
        self._inlet.close()
