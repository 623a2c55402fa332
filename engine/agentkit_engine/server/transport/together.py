"""Works done together, whose forwards the engine batches.

Knows tasks. Must not know what is worked on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")


async def together(works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each of them returns, in their order; the first that fails ends the others.

    Raises:
        Exception: what that one raised, and not wrapped in a group.
    """
    if len(works) == 1:
        return [await works[0]()]
    found: dict[int, T] = {}
    failed: list[Exception] = []

    async def one(number: int, work: Callable[[], Awaitable[T]], scope: anyio.CancelScope) -> None:
        try:
            found[number] = await work()
        except Exception as error:
            failed.append(error)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for number, work in enumerate(works):
            group.start_soon(one, number, work, group.cancel_scope)
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(works))]
