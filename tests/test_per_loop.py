"""A thing for each event loop: made once, closed when the loop shuts down or before."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from agentkit.backends.per_loop import PerLoop


class Things:
    """Numbers, and which of them were closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed: list[int] = []

    def make(self) -> int:
        self.made += 1
        return self.made

    async def close(self, thing: int) -> None:
        await anyio.lowlevel.checkpoint()  # the loop still works
        self.closed.append(thing)


@pytest.fixture
def things() -> Iterator[Things]:
    found = Things()
    yield found
    assert sorted(found.closed) == list(range(1, found.made + 1))


async def taken(kept: PerLoop[int]) -> set[int]:
    found: set[int] = set()

    async def take() -> None:
        found.add(await kept.get())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(take)
    return found


def test_each_loop_has_one_which_goes_with_it(things: Things) -> None:
    kept = PerLoop(things.make, things.close)
    for number in (1, 2):
        assert anyio.run(taken, kept) == {number}
        assert things.closed == list(range(1, number + 1))


def test_two_of_a_kind_are_kept_apart(things: Things) -> None:
    one, other = PerLoop(things.make, things.close), PerLoop(things.make, things.close)

    async def both() -> tuple[int, int]:
        return await one.get(), await other.get()

    assert anyio.run(both) == (1, 2)


async def test_closing_closes_it_once_and_the_next_is_another(things: Things) -> None:
    kept = PerLoop(things.make, things.close)
    await kept.aclose()
    assert await kept.get() == 1
    await kept.aclose()
    await kept.aclose()
    assert things.closed == [1]
    assert await kept.get() == 2
    await kept.aclose()
