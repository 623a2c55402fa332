"""Sessions by id: how many there are, who uses one, when one goes.

Knows who holds a session and how long nobody asked for one. Must not know HTTP. All of it runs in
one event loop. A client gets over the loss of a session: it makes another from the messages it has.

Where there is a ledger, that is done here: what a session is made of, and each change before it is
acknowledged, is written there; a session that is not held, or that another server has gone on with,
is made of it anew. What was filled in is not written: it can be refilled where it was filled in.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from agentkit_engine.compiling import compiled
from agentkit_engine.engine import Engine
from agentkit_engine.errors import EngineBusy
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.held import Held, session_gone
from agentkit_engine.server.native.ledger import Account, Entry, SessionLedger
from agentkit_engine.server.native.wire import (
    LONGEST_ID,
    Extending,
    Forking,
    Opening,
)
from agentkit_engine.server.transport.bodies import write_json
from agentkit_engine.server.transport.problems import Refused

_GONE = 4096  # ids remembered of sessions that are closed


class Sessions:
    """The sessions of one server."""

    def __init__(
        self,
        engine: Engine,
        *,
        limits: Limits,
        ledger: SessionLedger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            ledger: shared with other servers of the same sessions; None: there are none.
        """
        self._engine, self._limits, self._clock = engine, limits, clock
        self._ledger = ledger
        self._held: OrderedDict[str, Held] = OrderedDict()  # least recently used first
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    async def create(self, opening: Opening) -> Held:
        """Makes a session; its tools' templates are compiled here.

        Cancelled, it leaves none behind.

        Raises:
            Refused: there is, or was, a session of that id.
            EngineBusy: there are too many sessions, and all are in use.
            EngineError: a schema can't be honoured, or the messages are too long.
        """
        held = await self._made(opening)
        self._add(held)
        try:
            async with self._used(held):
                prepare = partial(self._engine.prepare, opening.calls, answer=opening.output)
                await compiled(prepare)
                await held.extend(Extending(messages=opening.messages))
                await self._write(held, begun=True)
        except BaseException:
            self.close(held.id)
            raise
        return held

    @asynccontextmanager
    async def using(self, id: str) -> AsyncGenerator[Held]:
        """The session of that id, for one request at a time; closing it cancels what is done.

        Raises:
            Refused: there is none, or it was closed meanwhile.
        """
        held = self._held.get(id) or await self._made_anew(id)
        async with self._used(held):
            await self._catch_up(held)
            yield held
            await self._write(held)

    async def find(self, id: str) -> Held:
        """The session of that id, to look at; that is no use of it.

        Raises:
            Refused: there is none, or it is closed.
        """
        held = self._held.get(id)
        if held is not None and self._ledger is None:
            return held
        if (
            held is not None
            and self._ledger is not None
            and await self._ledger.look(id, held.account.version) in ("same", None)
        ):
            return held
        async with self.using(id) as held:
            return held

    def ages(self, held: Held) -> tuple[float, float]:
        """Seconds since a session was made, and since it was last used: 0 while it is."""
        now = self._clock()
        return now - held.made, 0.0 if held.waiting else now - held.used

    async def fork(self, id: str, forking: Forking) -> Held:
        """A second session that goes on from where one was.

        Raises:
            Refused: there is no such session, or it has not as many messages.
            EngineBusy: there are too many sessions, and all are in use.
        """
        async with self.using(id) as held:
            other = forking.id or secrets.token_hex(16)
            twin = held.fork(other, forking.messages, now=self._clock())
            self._add(twin)
            await self._write(twin, begun=True)
            return twin

    async def delete(self, id: str) -> None:
        """Closes a session, wherever it is held."""
        if self._ledger is not None and len(id) <= LONGEST_ID:
            await self._ledger.close(id)
        self.close(id)

    def close(self, id: str) -> None:
        """Closes a session and ends what is under way in it. One that is not there never comes.

        Where there is a ledger, it is made of that anew when it is asked for again.
        """
        if len(id) <= LONGEST_ID and self._ledger is None:
            self._gone[id] = None
            self._gone.move_to_end(id)
        if len(self._gone) > _GONE:
            self._gone.popitem(last=False)
        held = self._held.pop(id, None)
        if held is not None:
            for scope in held.waiting:
                scope.cancel()
            held.session.close()

    def close_all(self) -> None:
        """Closes every session."""
        for id in list(self._held):
            self.close(id)

    def sweep(self) -> None:
        """Closes those that nobody has asked for in too long."""
        oldest = self._clock() - self._limits.idle_seconds
        for held in list(self._held.values()):
            if held.used < oldest and not held.waiting:
                self.close(held.id)

    async def _made(self, opening: Opening) -> Held:
        """One without messages, of which nobody knows yet."""
        declared = [tool.declaration for tool in opening.tools]
        make = partial(self._engine.session, instructions=opening.instructions, tools=declared)
        session = await anyio.to_thread.run_sync(make, abandon_on_cancel=True)
        now = self._clock()
        return Held(
            id=opening.id or secrets.token_hex(16),
            session=session,
            opening=opening.model_copy(update={"messages": []}),
            first=len(session.messages),
            made=now,
            used=now,
        )

    async def _made_anew(self, id: str) -> Held:
        """One that is not held, from what the ledger knows; its messages come with its first use.

        Raises:
            Refused: there is none, or it is closed.
            EngineBusy: there are too many sessions, and all are in use.
        """
        entry = None if self._ledger is None else await self._ledger.look(id)
        if entry == "closed" or id in self._gone:
            raise session_gone(f"session {id!r} is closed", status=410)
        if not isinstance(entry, Entry):
            raise session_gone(f"there is no session {id!r}", status=404)
        opening = Opening.model_validate_json(entry.opening)
        made = await self._made(opening.model_copy(update={"id": id}))
        if id in self._held:  # another request was faster
            made.session.close()
        else:
            self._add(made)
        return self._held[id]

    async def _catch_up(self, held: Held) -> None:
        """Has a session know what the ledger does.

        Raises:
            Refused: it is closed.
        """
        if self._ledger is None:
            return
        entry = await self._ledger.look(held.id, held.account.version)
        if entry == "closed":
            self.close(held.id)
            raise session_gone(f"session {held.id!r} is closed", status=410)
        if entry is None:  # it is told of it with the next change
            held.account = Account()
        if isinstance(entry, Entry):
            chat = [json.loads(message) for message in entry.messages]
            after = _alike(held.chat, chat)
            held.session.rewind(held.first + after)
            if chat[after:]:
                await held.session.extend(*chat[after:])
            held.account = Account(entry.version, len(chat), len(chat))

    async def _write(self, held: Held, *, begun: bool = False) -> None:
        """Has the ledger know what a session is now.

        Args:
            begun: it is new, and no other may have its id.

        Raises:
            Refused: another server has gone on with it, or closed it, or has another of its id.
        """
        account = held.account
        if self._ledger is None or not account.behind(held.messages):
            return
        chat = [write_json(message) for message in held.chat]
        version = account.version
        told = "unknown"
        if version is not None:
            new = chat[account.same :]
            told = await self._ledger.change(held.id, version, account.same, new)
        if told == "unknown":
            excluded = {"id", "messages"}
            opening = held.opening.model_dump_json(exclude=excluded, exclude_defaults=True)
            version = await self._ledger.open(held.id, opening.encode(), chat)
        if told in ("moved", "closed") or version is None:
            self.close(held.id)
            if begun:
                raise _taken(held.id)
            why = f"session {held.id!r} was {'closed' if told == 'closed' else 'changed'} elsewhere"
            raise session_gone(f"{why} meanwhile", status=410 if told == "closed" else 409)
        version += told == "kept"
        held.account = Account(version, len(chat), len(chat))

    def _add(self, held: Held) -> None:
        if held.id in self._held or held.id in self._gone:
            raise _taken(held.id)
        self.sweep()
        if len(self._held) >= self._limits.sessions:
            idle = next((id for id, one in self._held.items() if not one.waiting), None)
            if idle is None:
                raise EngineBusy(len(self._held), self._limits.sessions)
            self.close(idle)
        self._held[held.id] = held

    @asynccontextmanager
    async def _used(self, held: Held) -> AsyncGenerator[None]:
        self._held.move_to_end(held.id)
        with anyio.CancelScope() as scope:
            held.waiting.add(scope)
            try:
                async with held.turn:
                    yield
            finally:
                held.waiting.discard(scope)
                held.used = self._clock()
        if scope.cancelled_caught:
            raise session_gone(f"session {held.id!r} was closed meanwhile", status=410)


def _taken(id: str) -> Refused:
    why = f"there is, or was, a session {id!r}; choose ids at random"
    return Refused(409, "SessionExists", why, "id")


def _alike(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """How many are the same, from the first on."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next(
        (index for index, (one, other) in pairs if one != other), min(len(ours), len(theirs))
    )
