"""Sessions by id: how many there are, who uses one, when one goes.

Knows the engine's sessions and how long nobody asked for one. Must not know HTTP. All of it runs in
one event loop. A client gets over the loss of a session: it makes another from the messages it has.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import anyio
import anyio.to_thread

from agentkit_engine.engine import Engine
from agentkit_engine.errors import EngineBusy, TemplateError
from agentkit_engine.filling.outcome import Alternative, Decision, Filling, OnDraft, Value
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.wire import (
    LONGEST_ID,
    Extending,
    Forking,
    Opening,
    Settings,
    chat_messages,
)
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.session import Session

_ORIGINS = 64  # remembered of what a session filled in; a turn refills what it has just filled
_GONE = 4096  # ids remembered of sessions that are closed


class _Forgotten:
    """What was believed of values that are only kept to be refilled; it may be large."""

    confidence: Mapping[str, float] = MappingProxyType({})
    posterior: Mapping[str, float] = MappingProxyType({})
    runners_up: Mapping[str, Alternative] = MappingProxyType({})


_FORGOTTEN = _Forgotten()


@dataclass(slots=True, eq=False)
class Held:
    """A session, what it may decide on, and what it has filled in.

    Attributes:
        first: messages that are not the client's: the system's, or none.
        used: when it was last asked for.
        waiting: a scope for each request that uses it or waits to.
    """

    id: str
    session: Session
    calls: dict[str, dict[str, Any]]
    output: dict[str, Any] | None
    first: int
    used: float
    origins: OrderedDict[str, tuple[str | None, Value]] = field(
        default_factory=OrderedDict[str, tuple[str | None, Value]]
    )
    waiting: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    turn: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def messages(self) -> int:
        """How many messages the client has sent."""
        return len(self.session.messages) - self.first

    async def extend(self, more: Extending) -> None:
        """Adds messages behind the first `more.after`; what was there is dropped.

        Raises:
            Refused: the session has not as many.
            EngineError: as of `Session.extend`.
        """
        self._rewind(more.after)
        if more.messages:
            await self.session.extend(*chat_messages(more.messages))

    async def decide(self, settings: Settings, on_draft: OnDraft | None) -> Decision:
        """What is done next, see `Session.decide`."""
        options = settings.of_deciding()
        return await self.session.decide(
            self.calls, answer=self.output, on_draft=on_draft, **options
        )

    async def refill(
        self, origin: str, rejected: Mapping[str, str], settings: Settings
    ) -> tuple[str | None, Filling]:
        """Fills rejected values again; with the tool, or None where it was an answer.

        Raises:
            TemplateError: nothing was filled in under that name in this session, or at a pointer.
            UnsatisfiableSchema: no other value is valid.
        """
        if origin not in self.origins:
            raise TemplateError(
                f"this session has filled in nothing that is known as {origin!r}, or it was "
                "closed since and made anew; decide again"
            )
        tool, value = self.origins[origin]
        options = settings.of_refilling()
        return tool, await self.session.refill(value, list(rejected), **options)

    def note(self, tool: str | None, value: Value) -> str:
        """The name under which what was filled in is remembered; None for an answer's tool."""
        for name, (_, known) in self.origins.items():
            if known.origin == value.origin:  # a draft told of it already
                return name
        name = secrets.token_hex(8)  # unlike any other session's, as one that was made anew
        self.origins[name] = (tool, Value(beliefs=_FORGOTTEN, origin=value.origin))
        if len(self.origins) > _ORIGINS:
            self.origins.popitem(last=False)
        return name

    def fork(self, id: str, messages: int | None, *, now: float) -> Held:
        """A second one that goes on from the first `messages`.

        Raises:
            Refused: there are not as many.
        """
        twin = Held(id, self.session.fork(), self.calls, self.output, self.first, now)
        twin.origins = self.origins.copy()
        twin._rewind(messages)
        return twin

    def _rewind(self, messages: int | None) -> None:
        have = self.messages
        if messages is None or messages == have:
            return
        if messages > have:
            raise _gone(f"session {self.id!r} has {have} messages and no {messages}")
        self.session.rewind(self.first + messages)


class Sessions:
    """The sessions of one server."""

    def __init__(
        self, engine: Engine, *, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._limits, self._clock = engine, limits, clock
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
        calls = {tool.name: tool.parameters for tool in opening.tools}
        declared = [tool.declaration for tool in opening.tools]
        make = partial(self._engine.session, instructions=opening.instructions, tools=declared)
        session = await anyio.to_thread.run_sync(make, abandon_on_cancel=True)
        held = Held(
            id=opening.id or secrets.token_hex(16),
            session=session,
            calls=calls,
            output=opening.output,
            first=len(session.messages),
            used=self._clock(),
        )
        self._add(held)
        try:
            async with self._used(held):
                prepare = partial(self._engine.prepare, calls, answer=opening.output)
                await anyio.to_thread.run_sync(prepare, abandon_on_cancel=True)
                await held.extend(Extending(messages=opening.messages))
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
        held = self._find(id)
        async with self._used(held):
            yield held

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
            return twin

    def close(self, id: str) -> None:
        """Closes a session and ends what is under way in it. One that is not there never comes."""
        if len(id) <= LONGEST_ID:
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

    def _find(self, id: str) -> Held:
        if id in self._held:
            return self._held[id]
        if id in self._gone:
            raise _gone(f"session {id!r} is closed", status=410)
        raise _gone(f"there is no session {id!r}", status=404)

    def _add(self, held: Held) -> None:
        if held.id in self._held or held.id in self._gone:
            why = f"there is, or was, a session {held.id!r}; choose ids at random"
            raise Refused(409, "SessionExists", why, "id")
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
            raise _gone(f"session {held.id!r} was closed meanwhile", status=410)


def _gone(why: str, *, status: int = 409) -> Refused:
    return Refused(status, "SessionGone", f"{why}; make it anew from the messages you have")
