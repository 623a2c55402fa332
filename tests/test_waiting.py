"""Callers of the scheduler: tasks of any event loop and plain threads, who may go away."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fake_denoiser import FakeDenoiser, Forward, Gate, behind, steps

from agentkit_engine.scheduling.scheduler import Scheduler
from agentkit_engine.scheduling.work import Work, emit, run_alone

BACKENDS = ["asyncio", *(["trio"] if find_spec("trio") else [])]
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


def alone(work: Work[Any]) -> Any:
    return run_alone(work, FakeDenoiser())


async def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread is about to do."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)


@on_each_backend
def test_a_hundred_at_once_some_of_whom_go_away(backend: str) -> None:
    scheduler = Scheduler(FakeDenoiser(), max_rows=16)
    chance = random.Random(0)
    alive: set[int] = set()
    found: dict[int, list[int]] = {}
    gone: set[int] = set()

    async def caller(mark: int, leave_at: int | None, leave_after: int | None) -> None:
        def leave(event: tuple[int, int]) -> None:
            assert event[0] == mark
            if event[1] == leave_at:
                scope.cancel()

        async def interrupt() -> None:
            for _ in range(leave_after or 0):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        work = steps(mark, 6, width=8 + mark % 30, rows=1 + mark % 2, alive=alive)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                if leave_after is not None:
                    group.start_soon(interrupt)
                found[mark] = await scheduler.run(work, on_event=leave)
                group.cancel_scope.cancel()
        if mark not in found:
            gone.add(mark)

    async def main() -> None:
        with anyio.fail_after(120):
            async with anyio.create_task_group() as group:
                for mark in range(100):
                    leave_at = chance.randrange(6) if mark % 3 == 1 else None
                    leave_after = chance.randrange(400) if mark % 3 == 2 else None
                    group.start_soon(caller, mark, leave_at, leave_after)
            await until(lambda: scheduler.statistics.queue == 0)

    anyio.run(main, backend=backend)
    assert not alive
    assert found.keys() | gone == set(range(100))
    assert {mark for mark in range(100) if mark % 3 == 0} <= found.keys()
    assert len(gone) >= 30
    for mark, value in found.items():
        assert value == alone(steps(mark, 6, width=8 + mark % 30, rows=1 + mark % 2))
    counted = scheduler.statistics
    assert counted.failed == 0
    assert counted.done + counted.cancelled <= 100  # who left before the start was never begun
    assert counted.done >= len(found)
    assert counted.rows_per_denoise > 2


@on_each_backend
def test_cancelling_ends_a_work_within_the_forward_under_way(backend: str) -> None:
    gate, alive = Gate(), set[int]()
    denoiser = FakeDenoiser(gate)
    scheduler = Scheduler(denoiser)
    found: list[Any] = []

    async def stay() -> None:
        found.append(await scheduler.run(behind(1, 3)))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stay)
            await until(gate.reached.is_set)
            with anyio.CancelScope() as begun:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(scheduler.run, steps(2, 9, alive=alive))
                    await until(lambda: scheduler.statistics.queue == 2)
                    begun.cancel()
            # the caller is back, though the forward is held
            assert not gate.opened.is_set()
            gate.opened.set()

    anyio.run(main, backend=backend)
    assert found == [alone(behind(1, 3))]
    assert not alive
    assert [forward.marks for forward in denoiser.forwards] == [(1,)] * 3
    assert scheduler.statistics.cancelled == 1


@on_each_backend
def test_cancelling_in_a_shared_forward_leaves_the_others_as_they_are(backend: str) -> None:
    held, opened, closed = threading.Event(), threading.Event(), threading.Event()

    def hold(forward: Forward) -> None:
        if len(forward.marks) == 2 and not held.is_set():
            held.set()
            assert opened.wait(60)

    def leaving() -> Work[None]:
        try:
            yield from behind(2, 9)
        except GeneratorExit:
            closed.set()
            raise

    denoiser = FakeDenoiser(hold)
    scheduler = Scheduler(denoiser)
    found: list[Any] = []

    async def stay() -> None:
        # as long as it takes the other one to join
        def work() -> Work[Any]:
            while not held.is_set():
                yield from behind(1, 1)
            return (yield from behind(1, 5))

        found.append(await scheduler.run(work()))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stay)
            async with anyio.create_task_group() as inner:
                inner.start_soon(scheduler.run, leaving())
                await until(held.is_set)
                inner.cancel_scope.cancel()
            opened.set()

    anyio.run(main, backend=backend)
    assert found == [alone(behind(1, 5))]
    assert closed.is_set()
    assert sum(2 in forward.marks for forward in denoiser.forwards) == 1


@on_each_backend
def test_a_work_is_closed_before_the_next_one_of_its_caller_begins(backend: str) -> None:
    gate, alive = Gate(), set[int]()
    scheduler = Scheduler(FakeDenoiser(gate))

    def next_one() -> Work[set[int]]:
        before = set(alive)
        yield from behind(2, 1)
        return before

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(scheduler.run, steps(1, 9, alive=alive))
            await until(gate.reached.is_set)
            assert alive == {1}
            group.cancel_scope.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(expect_none)
            await until(lambda: scheduler.statistics.queue == 2)
            gate.opened.set()

    async def expect_none() -> None:
        assert await scheduler.run(next_one()) == set()

    anyio.run(main, backend=backend)


@on_each_backend
def test_events_come_in_order_in_the_callers_own_task(backend: str) -> None:
    scheduler = Scheduler(FakeDenoiser())
    seen: list[Any] = []

    def note(event: Any) -> None:
        assert threading.get_ident() == here
        assert {anyio.get_current_task().id} == tasks
        seen.append(event)

    async def main() -> None:
        tasks.add(anyio.get_current_task().id)
        value = await scheduler.run(steps(1, 5), on_event=note)
        assert seen == [(1, step) for step in range(5)]
        assert value == alone(steps(1, 5))

    here, tasks = threading.get_ident(), set[int]()
    anyio.run(main, backend=backend)


def test_events_of_a_thread_come_in_that_thread() -> None:
    seen: list[Any] = []
    Scheduler(FakeDenoiser()).run_sync(
        steps(1, 3), on_event=lambda event: seen.append((threading.get_ident(), event))
    )
    assert seen == [(threading.get_ident(), (1, step)) for step in range(3)]


@on_each_backend
def test_a_caller_that_fails_on_an_event_ends_its_work(backend: str) -> None:
    scheduler = Scheduler(FakeDenoiser())
    alive: set[int] = set()

    def refuse(event: Any) -> None:
        raise ValueError(event)

    async def main() -> None:
        with pytest.raises(ValueError, match="1, 0"):
            await scheduler.run(steps(1, 10**9, alive=alive), on_event=refuse)
        await until(lambda: not alive)

    anyio.run(main, backend=backend)
    with pytest.raises(ValueError, match="1, 0"):
        scheduler.run_sync(steps(1, 10**9, alive=alive), on_event=refuse)
    assert scheduler.run_sync(behind(2, 1)) == alone(behind(2, 1))
    assert not alive
    assert scheduler.statistics.cancelled == 2


def test_several_loops_and_threads_share_one_scheduler() -> None:
    scheduler = Scheduler(FakeDenoiser())
    found: dict[int, Any] = {}
    ready = threading.Barrier(6)

    def thread(base: int) -> None:
        ready.wait(60)
        for mark in range(base, base + 10):
            found[mark] = scheduler.run_sync(steps(mark, 3))

    def loop(base: int, backend: str) -> None:
        async def caller(mark: int) -> None:
            found[mark] = await scheduler.run(steps(mark, 3))

        async def main() -> None:
            async with anyio.create_task_group() as group:
                for mark in range(base, base + 10):
                    group.start_soon(caller, mark)

        ready.wait(60)
        anyio.run(main, backend=backend)

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(thread, base) for base in (0, 10, 20)]
        running += [
            pool.submit(loop, base, BACKENDS[base % len(BACKENDS)]) for base in (30, 40, 51)
        ]
        for future in running:
            future.result(120)
    assert found == {mark: alone(steps(mark, 3)) for mark in [*range(50), *range(51, 61)]}


def test_a_loop_that_has_ended_takes_its_works_with_it() -> None:
    gate, alive = Gate(), set[int]()
    scheduler = Scheduler(FakeDenoiser(gate))
    abandoned: list[Any] = []

    async def main() -> None:
        coroutine: Any = scheduler.run(steps(1, 10**9, alive=alive))
        coroutine.send(None)  # waits, and is never heard of again, nor closed
        abandoned.append(coroutine)
        await until(gate.reached.is_set)

    anyio.run(main)
    gate.opened.set()
    assert scheduler.run_sync(behind(2, 1)) == alone(behind(2, 1))
    deadline = time.monotonic() + 60
    while alive and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not alive
    abandoned[0].close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of this kind are POSIX's")
def test_an_interrupt_ends_the_work_of_a_thread() -> None:
    main, alive = threading.main_thread().ident, set[int]()
    assert main is not None

    def interrupt(_: Forward) -> None:
        if len(denoiser.forwards) == 3:
            signal.pthread_kill(main, signal.SIGINT)

    denoiser = FakeDenoiser(interrupt)
    scheduler = Scheduler(denoiser)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run_sync(steps(1, 10**9, alive=alive))
    assert scheduler.run_sync(behind(2, 1)) == alone(behind(2, 1))
    assert not alive


def test_what_nobody_listens_to_is_no_trouble() -> None:
    def work() -> Work[int]:
        yield from emit("one")
        yield from emit("two")
        return 3

    scheduler = Scheduler(FakeDenoiser())
    assert scheduler.run_sync(work()) == 3
    assert scheduler.statistics.forwards == 0
