"""The scheduler: works of many callers share one model.

Knows how callers wait for works: tasks of any event loop, and plain threads. Must not know models,
nor what is being filled; which forward runs when is the worker's business.
"""

from __future__ import annotations

import weakref
from typing import TypeVar, cast

from agentkit_engine.denoisers.base import Denoiser
from agentkit_engine.scheduling.batching import Bounds
from agentkit_engine.scheduling.costs import Observe
from agentkit_engine.scheduling.waiting import Done, Event, Letter, TaskMailbox, ThreadMailbox
from agentkit_engine.scheduling.work import Encoder, OnEvent, Work
from agentkit_engine.scheduling.worker import Job, Statistics, Worker

__all__ = ["Scheduler", "Statistics"]

T = TypeVar("T")


class Scheduler:
    """Drives works with one model, for callers of any thread and any event loop.

    The thread that owns the model begins with the first work. It ends with `close`, with the
    scheduler's last reference, and before the process does.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        max_rows: int = 64,
        max_positions: int = 4096,
        max_context: int = 65536,
        queue: int = 256,
        encode: Encoder | None = None,
        observe: Observe | None = None,
    ) -> None:
        """
        Args:
            max_rows: canvases in one forward; a request of more has a forward of its own.
            max_positions: canvases times the width of the widest, likewise.
            max_context: different contexts times the length of the longest, in tokens, likewise.
            queue: works waiting and under way; one more is refused.
            encode: in place of the denoiser's own, such as a store's that encodes nothing twice.
            observe: told the positions and seconds of every forward that denoises.
        """
        bounds = Bounds(rows=max_rows, positions=max_positions, context=max_context)
        self._worker = Worker(denoiser, bounds=bounds, limit=queue, encode=encode, observe=observe)
        # Garbage is collected in any thread and under any lock: this neither locks nor waits.
        weakref.finalize(self, self._worker.dismiss).atexit = False

    async def run(
        self, work: Work[T], *, deadline: float | None = None, on_event: OnEvent | None = None
    ) -> T:
        """Drives a work to its end.

        Cancelling closes it, at the latest after the forward under way, and in any case before a
        work that is submitted later begins.

        Args:
            deadline: by the clock of `time.monotonic`. It is looked at before every forward, so a
                work that needs no other one still ends well.
            on_event: called with what the work emits, in order, by this task. If it raises, the
                work is closed and that is raised here.

        Raises:
            EngineBusy: the queue is full; the work was not begun.
            DeadlineExceeded: the deadline has passed.
            EngineError: the scheduler is closed, or was so before the work's end.
        """
        mailbox = TaskMailbox()
        job = Job(work, mailbox, deadline)
        letter: Letter | None = None
        try:
            self._worker.submit(job)
            while not isinstance(letter := await mailbox.receive(), Done):
                _tell(letter, on_event)
            return cast(T, letter.result())
        finally:
            job.abandoned = True
            letter = None  # see `Done.result`

    def run_sync(
        self, work: Work[T], *, deadline: float | None = None, on_event: OnEvent | None = None
    ) -> T:
        """`run` for plain threads: the calling one waits and calls `on_event`.

        An interrupt (Ctrl-C) closes the work as cancelling does.
        """
        mailbox = ThreadMailbox()
        job = Job(work, mailbox, deadline)
        letter: Letter | None = None
        try:
            self._worker.submit(job)
            while not isinstance(letter := mailbox.receive(), Done):
                _tell(letter, on_event)
            return cast(T, letter.result())
        finally:
            job.abandoned = True
            letter = None  # see `Done.result`

    @property
    def statistics(self) -> Statistics:
        """What has been done until now."""
        return self._worker.statistics

    def close(self) -> None:
        """Ends the thread after the forward under way, and waits for that. May be called again.

        Works under way are closed and their callers get an `EngineError`, as do later ones.
        """
        self._worker.close()


def _tell(letter: Event, on_event: OnEvent | None) -> None:
    if on_event is not None:
        on_event(letter.event)
