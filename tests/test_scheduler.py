"""The scheduler: what shares a forward, whose turn it is, and what ends how."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_denoiser import (
    POISON,
    FakeDenoiser,
    Forward,
    Gate,
    Poisoned,
    behind,
    steps,
)

from agentkit_engine.errors import DeadlineExceeded, EngineBusy, EngineError
from agentkit_engine.scheduling.scheduler import Scheduler
from agentkit_engine.scheduling.work import Work, encode, read, run_alone


@pytest.fixture
def pool() -> Generator[ThreadPoolExecutor]:
    """Callers: threads that wait."""
    with ThreadPoolExecutor(128) as executor:
        yield executor


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread is about to do."""
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("nothing came")


def held(
    scheduler: Scheduler, gate: Gate, pool: ThreadPoolExecutor, works: list[Work[Any]]
) -> list[Future[Any]]:
    """All of `works` submitted, in order, while the first forward of the first is held."""
    futures: list[Future[Any]] = []
    for work in works:
        futures.append(pool.submit(scheduler.run_sync, work))
        until(lambda: scheduler.statistics.queue == len(futures))
        assert gate.reached.wait(60)
    return futures


def together(
    scheduler: Scheduler, gate: Gate, pool: ThreadPoolExecutor, works: list[Work[Any]]
) -> list[Any]:
    """What comes of `works` that are all submitted before the first forward is over."""
    futures = held(scheduler, gate, pool, works)
    gate.opened.set()
    return results(futures)


def results(futures: list[Future[Any]]) -> list[Any]:
    return [future.result(60) for future in futures]


def test_a_work_gets_what_it_gets_alone(pool: ThreadPoolExecutor) -> None:
    scheduler = Scheduler(FakeDenoiser())
    for mark in range(3):
        alone = run_alone(steps(mark, 3), FakeDenoiser())
        assert scheduler.run_sync(steps(mark, 3)) == alone
    counted = scheduler.statistics
    assert (counted.done, counted.failed, counted.cancelled, counted.queue) == (3, 0, 0, 0)
    assert (counted.forwards, counted.denoises, counted.rows) == (12, 9, 9)
    assert counted.rows_per_denoise == 1


def test_who_joins_is_in_the_next_forward(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    denoiser = FakeDenoiser(gate)
    scheduler = Scheduler(denoiser)
    assert together(scheduler, gate, pool, [behind(1, 3), behind(2, 2), behind(3, 1)]) == [
        run_alone(behind(mark, count), FakeDenoiser()) for mark, count in [(1, 3), (2, 2), (3, 1)]
    ]
    assert [forward.marks for forward in denoiser.forwards] == [(1,), (2, 3, 1), (2, 1)]
    assert scheduler.statistics.rows_per_denoise == 2


def test_widths_that_do_not_go_together_take_turns(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    denoiser = FakeDenoiser(gate)
    works = [behind(mark, 3, width=width) for mark, width in [(1, 8), (2, 40), (3, 16), (4, 33)]]
    together(Scheduler(denoiser), gate, pool, works)
    turns = [set(forward.marks) for forward in denoiser.forwards]
    assert turns == [{1}, {2, 4}, {1, 3}, {2, 4}, {1, 3}, {2, 4}, {3}]


def test_encoding_and_reading_take_turns_with_denoising(pool: ThreadPoolExecutor) -> None:
    def reading(mark: int) -> Work[None]:
        prefix = yield from encode([mark])
        yield from encode([mark], prefix)
        yield from read(prefix, [[1]])

    gate = Gate()
    denoiser = FakeDenoiser(gate)
    works: list[Work[Any]] = [reading(9), behind(1, 5), behind(2, 5), reading(8), reading(7)]
    together(Scheduler(denoiser), gate, pool, works)
    kinds = "".join(forward.kind[0] for forward in denoiser.forwards)
    assert kinds == "ededededederrr"
    singles = [forward.marks[0] for forward in denoiser.forwards if forward.kind != "denoise"]
    assert singles == [9, 8, 7, 9, 8, 7, 9, 8, 7]


@pytest.mark.parametrize("guess", [False, True])
def test_none_of_a_hundred_is_ahead_of_another_by_more_than_a_step(
    pool: ThreadPoolExecutor, guess: bool
) -> None:
    gate = Gate()
    denoiser = FakeDenoiser(gate)
    scheduler = Scheduler(denoiser, max_rows=8)
    marks = range(100, 200)
    works = [behind(mark, 4, guess=guess) for mark in marks]
    assert together(scheduler, gate, pool, works) == [
        run_alone(behind(m, 4, guess=guess), FakeDenoiser()) for m in marks
    ]
    done: Counter[int] = Counter(dict.fromkeys(marks, 0))
    for forward in denoiser.forwards[1:]:
        assert len(forward.marks) <= 8
        done.update(forward.marks)
        # the first work was held in a forward of its own
        assert max(done.values()) - min(done.values()) <= 1
    assert scheduler.statistics.rows == 400
    assert scheduler.statistics.denoises <= 60


def test_one_fails_alone(pool: ThreadPoolExecutor) -> None:
    def mended() -> Work[str]:
        try:
            yield from behind(4, 1, first=POISON)
        except Poisoned:
            yield from behind(4, 1)
        return "mended"

    def broken() -> Work[None]:
        yield from behind(5, 1)
        raise LookupError("its own fault")

    gate = Gate()
    denoiser = FakeDenoiser(gate)
    scheduler = Scheduler(denoiser)
    works = [behind(1, 3), behind(2, 2), behind(3, 2, first=POISON), mended(), broken()]
    first, second, *bad = held(scheduler, gate, pool, works)
    gate.opened.set()
    assert first.result(60) == run_alone(behind(1, 3), FakeDenoiser())
    assert second.result(60) == run_alone(behind(2, 2), FakeDenoiser())
    with pytest.raises(Poisoned):
        bad[0].result(60)
    assert bad[1].result(60) == "mended"
    with pytest.raises(LookupError, match="its own fault"):
        bad[2].result(60)
    counted = scheduler.statistics
    assert (counted.done, counted.failed, counted.queue) == (3, 2, 0)
    # the failed one is run anew one by one, in turns with the next steps of those who go on
    turns = ["1", "23451", "2", "2", "3", "4", "4", "5", "1", "1"]
    assert ["".join(map(str, forward.marks)) for forward in denoiser.forwards] == turns


def test_who_fails_again_and_again_holds_up_nobody(pool: ThreadPoolExecutor) -> None:
    def stubborn() -> Work[None]:
        for _ in range(4):
            with suppress(Poisoned):
                yield from encode([POISON])

    def steady() -> Work[None]:
        for _ in range(4):
            yield from encode([1])

    def fail(forward: Forward) -> None:
        gate(forward)
        if forward.marks == (POISON,):
            raise Poisoned

    gate = Gate()
    denoiser = FakeDenoiser(fail)
    together(Scheduler(denoiser), gate, pool, [stubborn(), steady()])
    assert [forward.marks[0] for forward in denoiser.forwards] == [POISON, 1] * 4


class Clock:
    """Stands for `time` in the worker; a second passes with every forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("agentkit_engine.scheduling.worker.time", self)

    def monotonic(self) -> float:
        return self.now

    def __call__(self, _: Forward) -> None:
        self.now += 1


def test_a_deadline_ends_a_work_before_its_next_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: set[int] = set()
    denoiser = FakeDenoiser(Clock(monkeypatch))
    scheduler = Scheduler(denoiser)
    with pytest.raises(DeadlineExceeded, match="after 3 forwards") as caught:
        scheduler.run_sync(steps(1, 9, alive=alive), deadline=103.0)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.forwards == len(denoiser.forwards) == 3
    assert not alive
    with pytest.raises(DeadlineExceeded, match="after 0 forwards"):
        scheduler.run_sync(steps(1, 9), deadline=103.0)
    assert scheduler.statistics.failed == 2


def test_a_work_that_needs_no_more_forwards_is_not_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = Scheduler(FakeDenoiser(Clock(monkeypatch)))
    value = scheduler.run_sync(behind(1, 2), deadline=101.5)
    assert value == run_alone(behind(1, 2), FakeDenoiser())


def test_a_full_queue_says_so_at_once(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    scheduler = Scheduler(FakeDenoiser(gate), queue=2)
    futures = held(scheduler, gate, pool, [behind(1, 2), behind(2, 2)])
    refused = behind(3, 1)
    with pytest.raises(EngineBusy, match=r"2 requests .* holds 2") as caught:
        scheduler.run_sync(refused)
    assert (caught.value.waiting, caught.value.limit) == (2, 2)
    gate.opened.set()
    results(futures)
    assert scheduler.run_sync(refused) == run_alone(behind(3, 1), FakeDenoiser())


def test_closing_ends_what_is_under_way(pool: ThreadPoolExecutor) -> None:
    gate, alive = Gate(), set[int]()
    scheduler = Scheduler(FakeDenoiser(gate))
    works = [steps(mark, 3, alive=alive) for mark in range(3)]
    futures = held(scheduler, gate, pool, works)
    closing = [pool.submit(scheduler.close) for _ in range(2)]
    gate.opened.set()
    for future in futures:
        with pytest.raises(EngineError, match="closed before"):
            future.result(60)
    results(closing)
    assert not alive
    scheduler.close()
    with pytest.raises(EngineError, match="scheduler is closed"):
        scheduler.run_sync(behind(1, 1))
    assert (scheduler.statistics.failed, scheduler.statistics.queue) == (3, 0)


def test_one_that_was_never_used_can_be_closed() -> None:
    Scheduler(FakeDenoiser()).close()


def test_the_thread_ends_with_the_last_reference() -> None:
    scheduler = Scheduler(FakeDenoiser())
    scheduler.run_sync(behind(1, 1))
    thread = scheduler._worker._thread
    assert thread is not None
    assert thread.is_alive()
    del scheduler
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_a_work_may_not_wait_for_its_own_scheduler() -> None:
    scheduler = Scheduler(FakeDenoiser())

    def work() -> Work[None]:
        yield from behind(1, 1)
        scheduler.run_sync(behind(2, 1))

    with pytest.raises(EngineError, match="yield from"):
        scheduler.run_sync(work())


def test_a_failed_forward_keeps_no_memory() -> None:
    class Frame:
        """Stands for a tensor in a frame of the failing forward."""

    frames: list[weakref.ref[Frame]] = []

    def fail(_: Forward) -> None:
        frame = Frame()
        frames.append(weakref.ref(frame))
        raise MemoryError

    scheduler = Scheduler(FakeDenoiser(fail))
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(MemoryError):
            scheduler.run_sync(behind(1, 1))
        until(lambda: frames[0]() is None)
    finally:
        gc.enable()


def test_a_fault_of_the_scheduler_leaves_nobody_waiting(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a fault")

    faults: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    gate = Gate()
    scheduler = Scheduler(FakeDenoiser(gate))
    futures = held(scheduler, gate, pool, [behind(1, 2), behind(2, 2)])
    monkeypatch.setattr(scheduler._worker, "_choose", fail)
    gate.opened.set()
    for future in futures:
        with pytest.raises(EngineError) as caught:
            future.result(60)
        assert isinstance(caught.value.__cause__, AssertionError)
    until(lambda: faults)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_that_the_thread_stayed_behind() -> None:
    scheduler = Scheduler(FakeDenoiser())
    scheduler.run_sync(behind(1, 1))
    child = os.fork()
    if child == 0:
        try:
            scheduler.run_sync(behind(1, 1))
        except EngineError as error:
            os._exit(7 if "by a fork" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


_EXIT = """
import threading, time
from fake_denoiser import FakeDenoiser, behind
from agentkit_engine.scheduling.scheduler import Scheduler

began = threading.Event()

def slow(_):
    began.set()
    time.sleep(0.01)

scheduler = Scheduler(FakeDenoiser(slow))
threading.Thread(target=scheduler.run_sync, args=[behind(1, 10**9)], daemon=True).start()
began.wait()
"""


def test_a_process_ends_though_works_are_under_way() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _EXIT],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
