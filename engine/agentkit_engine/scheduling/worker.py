"""The worker: the thread that owns the model and drives the works of many callers.

Knows works, their requests and who asked for them. Must not know what is being filled. Every work
under way is brought to its next request; then one forward is run, and those it answers go on:

- Denoise requests of compatible width share a forward with the one that has waited longest.
- Encode and read requests have forwards of their own, oldest first, which take turns with those of
  denoise requests. Who is answered waits behind all others anew, so none is overtaken without end.
- What fails fails alone: the requests of a forward that failed are run anew, each for itself.

What a work computes between two requests (a lattice) runs in the same thread, between forwards.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch

from agentkit_engine.denoisers.base import Denoiser
from agentkit_engine.errors import DeadlineExceeded, EngineBusy, EngineError
from agentkit_engine.scheduling.batching import Bounds, choose_batch, denoise_together, positions
from agentkit_engine.scheduling.costs import Observe
from agentkit_engine.scheduling.waiting import Done, Event, Letter, Mailbox
from agentkit_engine.scheduling.work import Denoise, Emit, Encoder, Forward, Request, Work, answer

_log = logging.getLogger("agentkit_engine")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a scheduler has done so far.

    Attributes:
        done: works that returned a value.
        failed: works that ended with an error, a deadline's included.
        cancelled: works whose caller went away.
        queue: works waiting or under way now.
        forwards: of the model, for requests of every kind.
        denoises: of those, the ones that denoised.
        rows: canvases denoised.
    """

    done: int = 0
    failed: int = 0
    cancelled: int = 0
    queue: int = 0
    forwards: int = 0
    denoises: int = 0
    rows: int = 0

    @property
    def rows_per_denoise(self) -> float:
        """Canvases in a forward that denoises, on average; 0 before the first."""
        return self.rows / self.denoises if self.denoises else 0.0


class Job:
    """A work under way, and whom it is for."""

    __slots__ = ("abandoned", "alone", "deadline", "forwards", "mailbox", "request", "work")

    def __init__(self, work: Work[Any], mailbox: Mailbox, deadline: float | None) -> None:
        self.work, self.mailbox, self.deadline = work, mailbox, deadline
        self.request: Forward | None = None  # what it waits for; None before it begins
        self.forwards = 0
        self.alone = False  # its request was in a forward of several that failed
        self.abandoned = False  # set by the caller, in whatever thread, when it waits no more

    def post(self, letter: Letter) -> None:
        try:
            self.mailbox.post(letter)
        except RuntimeError:  # the caller's event loop has ended, and the caller with it
            self.abandoned = True


class _OwnThread(threading.Thread):
    """A thread that owns a model."""


class Worker:
    """The thread that owns the model, and the way in.

    `submit`, `dismiss`, `close` and `statistics` are for other threads, all else is for its own.
    It knows nothing of the `Scheduler`, which thus can be collected while it waits for works.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        bounds: Bounds,
        limit: int,
        encode: Encoder | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._denoiser, self._bounds, self._limit = denoiser, bounds, limit
        self._encode, self._observe = encode, observe
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None: end
        self._lock = threading.Lock()  # over the next three
        self._thread: threading.Thread | None = None
        self._closed = False
        self._admitted = 0
        self._jobs: list[Job] = []  # the one that waits longest first
        self._ending = False
        self._denoised = False  # whether the last forward was for those that share one
        self._counts = Statistics()

    @property
    def statistics(self) -> Statistics:
        return replace(self._counts, queue=self._admitted)

    def submit(self, job: Job) -> None:
        with self._lock:
            if self._closed:
                raise EngineError("the scheduler is closed; make another one")
            if self._thread is not None and not self._thread.is_alive():
                raise EngineError(
                    "the thread that owns the model was left behind in another process, by a fork; "
                    "load the engine in this one"
                )
            if threading.current_thread() is self._thread:
                raise EngineError(
                    "a work can't wait for another one, as one thread runs both; "
                    "take what the other does by `yield from`"
                )
            if self._admitted >= self._limit:
                raise EngineBusy(self._admitted, self._limit)
            if self._thread is None:
                self._thread = _OwnThread(target=self._live, name="denoiser", daemon=True)
                self._thread.start()
                _workers.add(self)
            self._admitted += 1
            self._inbox.put(job)

    def dismiss(self) -> None:
        """Asks the thread to end, without a lock and without waiting."""
        self._inbox.put(None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        self.dismiss()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _live(self) -> None:
        why: BaseException | None = None
        try:
            while not self._ending:
                self._turn()
        except BaseException as error:  # a fault of this file; its callers shan't wait for ever
            why = error
            raise
        finally:
            self._end(why)

    def _turn(self) -> None:
        """One forward, and what goes before and after it."""
        self._receive()
        if self._ending:
            return
        self._let_go()  # before those who joined begin: their callers may have left others
        for job in [job for job in self._jobs if job.request is None]:
            self._go_on(job, partial(next, job.work))
        if self._jobs:
            self._serve(self._choose())

    def _receive(self) -> None:
        """Takes in what was submitted; waits for it where there is nothing else to do."""
        while not self._ending:
            try:
                job = self._inbox.get(block=not self._jobs)
            except queue.Empty:
                return
            if job is None:
                self._ending = True
            else:
                self._jobs.append(job)

    def _let_go(self) -> None:
        """Closes the works that nobody waits for any more, and those that are late."""
        now = time.monotonic()
        for job in list(self._jobs):
            if job.abandoned:
                self._close(job)
            elif job.deadline is not None and now >= job.deadline:
                self._close(job, DeadlineExceeded(job.forwards))

    def _choose(self) -> list[Job]:
        """Whose requests the next forward answers."""
        sharing = [job for job in self._jobs if _shares(job)]
        single = next((job for job in self._jobs if not _shares(job)), None)
        self._denoised = bool(sharing) and (single is None or not self._denoised)
        if single is not None and not self._denoised:
            return [single]
        requests = [cast(Denoise, job.request) for job in sharing]
        return [sharing[index] for index in choose_batch(requests, self._bounds)]

    def _serve(self, jobs: list[Job]) -> None:
        """One forward; those whom it answers go on until they need another one."""
        if len(jobs) == 1:
            self._serve_alone(jobs[0])
            return
        requests = [cast(Denoise, job.request) for job in jobs]
        try:
            with self._timed(requests):
                found = denoise_together(requests, self._denoiser)
        except Exception:  # not kept: its traceback holds the memory of the forward
            for job in jobs:
                job.alone = True
            return
        self._count(jobs)
        self._requeue(jobs)
        for job, logits in zip(jobs, found, strict=True):
            self._go_on(job, partial(job.work.send, logits))

    def _serve_alone(self, job: Job) -> None:
        try:
            request = cast(Forward, job.request)
            with self._timed([request]):
                found = answer(request, self._denoiser, encode=self._encode)
        except Exception as error:
            step = partial(job.work.throw, error)
        else:
            self._count([job])
            step = partial(job.work.send, found)
        job.alone = False
        self._requeue([job])
        self._go_on(job, step)
        del step  # see `Done.result`

    @contextmanager
    def _timed(self, requests: Sequence[Forward]) -> Generator[None]:
        """Tells what a forward took; a GPU is waited for, as its caller would do next."""
        began = time.monotonic()
        yield
        device = self._denoiser.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        canvases = [request for request in requests if isinstance(request, Denoise)]
        if canvases and self._observe is not None:
            self._observe(sum(map(positions, canvases)), time.monotonic() - began)

    def _go_on(self, job: Job, step: Callable[[], Request]) -> None:
        """Brings a work to its next request or to its end. Whatever it raises is its caller's."""
        if job.abandoned:
            self._close(job)
            return
        job.request = None  # it may hold the logits of the step before
        try:
            request = step()
            while isinstance(request, Emit):
                job.post(Event(request.event))
                request = job.work.send(None)
        except StopIteration as end:
            self._leave(job, Done(end.value))
        except BaseException as error:
            self._leave(job, Done(error=error))
        else:
            job.request = request
        finally:
            del step  # see `Done.result`

    def _close(self, job: Job, error: EngineError | None = None) -> None:
        """Closes a work before its end, for `error` or since nobody waits for it."""
        try:
            job.work.close()
        except BaseException:
            _log.exception("a work that was closed failed to clean up")
        self._leave(job, None if error is None else Done(error=error))

    def _leave(self, job: Job, letter: Done | None) -> None:
        """Forgets a work that has ended, and lets its caller know; None: it was abandoned."""
        self._jobs.remove(job)
        counts = self._counts
        if letter is None:
            self._counts = replace(counts, cancelled=counts.cancelled + 1)
        elif letter.error is None:
            self._counts = replace(counts, done=counts.done + 1)
        else:
            self._counts = replace(counts, failed=counts.failed + 1)
        with self._lock:
            self._admitted -= 1
        if letter is not None:
            job.post(letter)

    def _requeue(self, jobs: Sequence[Job]) -> None:
        """Puts those who had their turn behind all others, who joined meanwhile included."""
        self._receive()
        served = set(jobs)
        self._jobs = [job for job in self._jobs if job not in served] + list(jobs)

    def _count(self, jobs: Sequence[Job]) -> None:
        """Counts a forward that answered `jobs`."""
        canvases = [job.request.canvas for job in jobs if isinstance(job.request, Denoise)]
        counts = self._counts
        self._counts = replace(
            counts,
            forwards=counts.forwards + 1,
            denoises=counts.denoises + bool(canvases),
            rows=counts.rows + sum(map(len, canvases)),
        )
        for job in jobs:
            job.forwards += 1

    def _end(self, why: BaseException | None) -> None:
        """Closes whatever is left, so that nobody waits for ever."""
        with self._lock:
            self._closed = True
        while not self._inbox.empty():
            job = self._inbox.get()
            if job is not None:
                self._jobs.append(job)
        for job in list(self._jobs):
            error = EngineError("the scheduler was closed before this work was done")
            error.__cause__ = why
            self._close(job, None if job.abandoned else error)


def _shares(job: Job) -> bool:
    return isinstance(job.request, Denoise) and not job.alone


# A daemon thread that is in the model's code when the interpreter goes would take the process down.
_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for worker in list(_workers):
        worker.close()
    # Those of workers that were collected may still be letting go of tensors, which must not happen
    # while the interpreter goes away: torch would abort the process.
    for thread in threading.enumerate():
        if isinstance(thread, _OwnThread):
            thread.join()
