"""Conversations in this process's memory: for tests, and for what may be forgotten.

Knows the store protocol; must not know of files or runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from agentkit.message import History, Message
from agentkit.stores.store import check_unchanged, checked_key


class MemoryStore:
    """Keeps conversations as long as it lives."""

    def __init__(self) -> None:
        self._conversations: dict[str, list[Message]] = {}
        self._lock = Lock()  # event loops may run in several threads

    async def load(self, key: str) -> History:
        """See `Store.load`."""
        with self._lock:
            return tuple(self._conversations.get(checked_key(key), ()))

    async def append(self, key: str, messages: Sequence[Message], *, at: int) -> None:
        """See `Store.append`."""
        with self._lock:
            kept = self._conversations.get(checked_key(key), [])
            check_unchanged(key, holds=len(kept), at=at)
            kept.extend(messages)
            if kept:
                self._conversations[key] = kept

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._lock:
            self._conversations.pop(checked_key(key), None)

    async def keys(self) -> tuple[str, ...]:
        """See `Store.keys`."""
        with self._lock:
            return tuple(self._conversations)
