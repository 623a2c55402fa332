"""Compiling beside an event loop: what is known at once, how much at a time, and for how long."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest
from serving import until

from agentkit_engine import EngineError
from agentkit_engine.compiling import compiled, compiling
from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.patience import keep_on


class Endless:
    """Something that compiles until nobody waits for it."""

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> None:
        keep_on()
        self.begun.set()
        try:
            while True:
                keep_on()
        finally:
            self.ended.set()


async def test_what_need_not_compile_takes_no_thread() -> None:
    assert await compiled(threading.get_ident) == threading.get_ident()


async def test_what_compiles_does_so_in_a_thread() -> None:
    def make() -> int:
        keep_on()
        return threading.get_ident()

    assert await compiled(make) != threading.get_ident()


async def test_a_compilation_that_nobody_waits_for_ends() -> None:
    endless = Endless()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(compiled, endless)
            await anyio.to_thread.run_sync(endless.begun.wait)
            scope.cancel()
    until(endless.ended.is_set)


async def test_a_compilation_ends_when_its_time_is_over() -> None:
    endless = Endless()
    with compiling(anyio.CapacityLimiter(1), seconds=0.05), pytest.raises(SchemaTooLarge):
        await compiled(endless)
    until(endless.ended.is_set)
    assert issubclass(SchemaTooLarge, EngineError)


async def test_no_more_compile_at_once_than_may_and_the_time_of_the_others_has_not_begun() -> None:
    at_once = most = 0
    lock = threading.Lock()

    def make() -> None:
        nonlocal at_once, most
        keep_on()
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.05)
        keep_on()
        with lock:
            at_once -= 1

    with compiling(anyio.CapacityLimiter(2), seconds=0.2):
        async with anyio.create_task_group() as group:
            for _ in range(12):  # one after the other they take longer than one may
                group.start_soon(compiled, make)
    assert most <= 2
