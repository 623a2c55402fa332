"""The ledger: what sessions are made of, kept where the end of a server does not reach.

Knows ids, versions and the JSON of what made a session. Must not know engines, HTTP, nor where it
is kept. A server that is one process needs none. Where several share their sessions, each change is
written here before it is acknowledged, and each use of a session begins by asking here whether
another server has gone on with it since; so none ever answers from an old history, and none that
was acknowledged is lost with the server that acknowledged it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Told: TypeAlias = Literal["kept", "moved", "closed", "unknown"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a session is made of.

    Attributes:
        opening: JSON of the `Opening` that made it, without id and messages.
        messages: JSON of each of its client's messages.
        version: counts the changes.
    """

    opening: bytes
    messages: tuple[bytes, ...]
    version: int


class SessionLedger(Protocol):
    """Keeps entries by the ids of sessions, as many as it has room for."""

    async def open(self, id: str, opening: bytes, messages: Sequence[bytes]) -> int | None:
        """Begins an entry and gives its version; None where the id is, or was, another's.

        The same again, while nothing has changed it, is not another's: a request that is sent again
        since the first answer never came.
        """
        ...

    async def look(
        self, id: str, known: int | None = None
    ) -> Entry | Literal["same", "closed"] | None:
        """The entry, "same" where it is the `known` version; None: there is none, or no more."""
        ...

    async def change(self, id: str, known: int, after: int, messages: Sequence[bytes]) -> Told:
        """Puts messages behind the first `after` of an entry, and so makes the next version.

        Nothing is changed where its version is not the `known` ("moved").
        """
        ...

    async def close(self, id: str) -> None:
        """Ends an entry. One that is not there never comes."""
        ...


@dataclass(slots=True)
class Account:
    """What the ledger knows of a session that a server holds.

    Attributes:
        version: None where it knows nothing.
        known: messages that it has.
        same: of these, how many at the beginning are still so.
    """

    version: int | None = None
    known: int = 0
    same: int = 0

    def rewound(self, messages: int) -> None:
        """All behind the first `messages` were dropped."""
        self.same = min(self.same, messages)

    def behind(self, messages: int) -> bool:
        """Whether a session of so many messages is not what the ledger knows."""
        return self.version is None or not self.same == self.known == messages
