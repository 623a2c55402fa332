"""The newest request of a client ends the one before: nobody waits for what he has typed past.

Knows works and who asked for them. Must not know HTTP, nor what is worked on. All of it runs in one
event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

import anyio

from agentkit_engine.server.transport.problems import Refused

T = TypeVar("T")


class Newest:
    """The works under way, by who asked for them: one each."""

    def __init__(self) -> None:
        self._scopes: dict[Hashable, anyio.CancelScope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    async def run(self, client: Hashable | None, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns; cancels what the same client has asked for before.

        Args:
            client: None for one who does not say who he is, of whom nothing is cancelled.

        Raises:
            Refused: 409, a newer request came.
        """
        if client is None:
            return await work()
        with anyio.CancelScope() as scope:
            older = self._scopes.get(client)
            if older is not None:
                older.cancel()
            self._scopes[client] = scope
            try:
                return await work()
            finally:
                if self._scopes.get(client) is scope:
                    del self._scopes[client]
        why = "a newer request of the same client came before this one was done"
        raise Refused(409, "Superseded", why)
