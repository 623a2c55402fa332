"""Loops in which waiting takes no time, and several of them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from clocks import in_no_time, in_several_loops


def test_the_clock_jumps_to_the_next_who_wakes_up() -> None:
    woken: list[tuple[float, str]] = []

    async def sleeper(seconds: float, name: str) -> None:
        await anyio.sleep(seconds)
        woken.append((anyio.current_time(), name))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, 3600, "late")
            group.start_soon(sleeper, 60, "early")
        with anyio.move_on_after(10) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == 3610

    in_no_time(main)
    assert woken == [(60, "early"), (3600, "late")]


def test_an_error_in_any_of_several_loops_is_told() -> None:
    loops: set[object] = set()

    async def main() -> None:
        loops.add(anyio.lowlevel.current_token())
        if len(loops) == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        in_several_loops(main, 3)
