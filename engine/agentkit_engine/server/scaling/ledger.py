"""The ledger of a cluster: one actor that keeps what all its sessions are made of.

Knows the protocol of ledgers and Ray's actors. Must not know sessions, engines or HTTP.

It is one process without a model, and so outlives any replica. Where it ends all the same, Ray
starts another that knows nothing: replicas then tell it anew what they hold, with the next change.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from agentkit_engine.server.native.ledger import Entry, Told
from agentkit_engine.server.transport.problems import Refused

T = TypeVar("T")

_GONE = 65_536  # ids remembered of entries that were closed
_AGAIN = 1.0  # seconds after which a client may come again while there is no ledger


@dataclass(slots=True)
class _Kept:
    entry: Entry
    size: int
    used: float


class Ledger:
    """Entries, in memory. The least recently used are let go where there are too many."""

    def __init__(
        self,
        *,
        sessions: int,
        size: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            sessions: entries at once.
            size: of all entries, in bytes.
            idle_seconds: after which an entry that nobody asked for is let go.
        """
        self._sessions, self._most, self._idle, self._clock = sessions, size, idle_seconds, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # least recently used first
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._size = 0

    def open(self, id: str, opening: bytes, messages: Sequence[bytes]) -> int | None:
        """See `SessionLedger.open`."""
        entry = Entry(opening, tuple(messages), 0)
        if id in self._gone or (id in self._kept and self._kept[id].entry != entry):
            return None
        self._put(id, entry)
        return entry.version

    def look(self, id: str, known: int | None = None) -> Entry | Literal["same", "closed"] | None:
        """See `SessionLedger.look`."""
        if id in self._gone:
            return "closed"
        kept = self._kept.get(id)
        if kept is None:
            return None
        kept.used = self._clock()
        self._kept.move_to_end(id)
        return "same" if kept.entry.version == known else kept.entry

    def change(self, id: str, known: int, after: int, messages: Sequence[bytes]) -> Told:
        """See `SessionLedger.change`."""
        if id in self._gone:
            return "closed"
        kept = self._kept.get(id)
        if kept is None:
            return "unknown"
        if kept.entry.version != known:
            return "moved"
        grown = (*kept.entry.messages[:after], *messages)
        self._put(id, Entry(kept.entry.opening, grown, known + 1))
        return "kept"

    def close(self, id: str) -> None:
        """See `SessionLedger.close`."""
        self._drop(id)
        self._gone[id] = None
        self._gone.move_to_end(id)
        if len(self._gone) > _GONE:
            self._gone.popitem(last=False)

    def held(self) -> tuple[int, int]:
        """How many entries there are, and their size in bytes."""
        return len(self._kept), self._size

    def _put(self, id: str, entry: Entry) -> None:
        """Where it alone has no room, it is let go at once: what was acknowledged stays true for as
        long as its replica lives."""
        self._drop(id)
        size = len(entry.opening) + sum(map(len, entry.messages))
        self._kept[id] = _Kept(entry, size, self._clock())
        self._size += size
        oldest = self._clock() - self._idle
        while self._kept:
            first = next(iter(self._kept))
            crowded = len(self._kept) > self._sessions or self._size > self._most
            if not crowded and self._kept[first].used >= oldest:
                break
            self._drop(first)

    def _drop(self, id: str) -> None:
        kept = self._kept.pop(id, None)
        if kept is not None:
            self._size -= kept.size


class RemoteLedger:
    """A `SessionLedger` whose entries an actor keeps."""

    def __init__(self, actor: Any) -> None:
        """
        Args:
            actor: the handle of a `Ledger`.
        """
        self._actor = actor

    async def open(self, id: str, opening: bytes, messages: Sequence[bytes]) -> int | None:
        """See `SessionLedger.open`."""
        return await _told(lambda: self._actor.open.remote(id, opening, tuple(messages)))

    async def look(
        self, id: str, known: int | None = None
    ) -> Entry | Literal["same", "closed"] | None:
        """See `SessionLedger.look`."""
        return await _told(lambda: self._actor.look.remote(id, known))

    async def change(self, id: str, known: int, after: int, messages: Sequence[bytes]) -> Told:
        """See `SessionLedger.change`."""
        return await _told(lambda: self._actor.change.remote(id, known, after, tuple(messages)))

    async def close(self, id: str) -> None:
        """See `SessionLedger.close`."""
        await _told(lambda: self._actor.close.remote(id))


async def _told(ask: Callable[[], Awaitable[T]]) -> T:
    """What the actor answers.

    Raises:
        Refused: there is none at present.
    """
    from ray.exceptions import RayActorError

    try:
        return await ask()
    except RayActorError as error:
        why = "what sessions are made of can't be kept at present; ask again in a while"
        raise Refused(503, "LedgerUnavailable", why, retry_after=_AGAIN) from error
