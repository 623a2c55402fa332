"""A thing that belongs to one event loop, such as a pool of connections: one for each loop.

A backend may serve several loops, one after another or in several threads. Knows event loops; must
not know what is kept.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

from anyio.lowlevel import RunVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes the thing when a loop first asks for it, and closes it when that loop shuts down."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._kept: RunVar[tuple[T, AsyncGenerator[None]] | None] = RunVar("agentkit kept", None)

    async def get(self) -> T:
        """The running loop's own."""
        kept = self._kept.get()
        if kept is None:
            thing = self._make()
            keeper = self._keep(thing)
            # Loops finish what generators they know of when they shut down: it is all the notice
            # that they give. Nothing waits here, so two tasks at once don't make two.
            await anext(keeper)
            kept = thing, keeper
            self._kept.set(kept)
        return kept[0]

    async def aclose(self) -> None:
        """Close the running loop's own; the next `get` makes another."""
        kept = self._kept.get()
        self._kept.set(None)
        if kept is not None:
            await kept[1].aclose()

    async def _keep(self, thing: T) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._close(thing)
