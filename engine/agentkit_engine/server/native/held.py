"""One session of a server: what it was made of, what it has filled in, and who waits for it.

Knows the engine's sessions. Must not know HTTP, nor other sessions.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import anyio

from agentkit_engine.errors import TemplateError
from agentkit_engine.filling.outcome import Alternative, Decision, Filling, OnDraft, Token, Value
from agentkit_engine.server.native.ledger import Account
from agentkit_engine.server.native.wire import Extending, Opening, Settings, chat_messages
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.session import Session

_ORIGINS = 64  # remembered of what a session filled in; a turn refills what it has just filled


class _Forgotten:
    """What was believed of values that are only kept to be refilled; it may be large."""

    confidence: Mapping[str, float] = MappingProxyType({})
    posterior: Mapping[str, float] = MappingProxyType({})
    runners_up: Mapping[str, Alternative] = MappingProxyType({})

    def token_probabilities(self, likeliest: int) -> tuple[Token, ...]:
        return ()


_FORGOTTEN = _Forgotten()


@dataclass(slots=True, eq=False)
class Held:
    """A session, what it may decide on, and what it has filled in.

    Attributes:
        opening: what it was made of, but for the messages.
        first: messages that are not the client's: the system's, or none.
        made: when.
        used: when it was last asked for.
        waiting: a scope for each request that uses it or waits to.
        account: what the ledger knows of it, where there is one.
    """

    id: str
    session: Session
    opening: Opening
    first: int
    made: float
    used: float
    origins: OrderedDict[str, tuple[str | None, Value]] = field(
        default_factory=OrderedDict[str, tuple[str | None, Value]]
    )
    waiting: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    account: Account = field(default_factory=Account)

    @property
    def messages(self) -> int:
        """How many messages the client has sent."""
        return len(self.session.messages) - self.first

    @property
    def chat(self) -> list[dict[str, Any]]:
        """The messages the client has sent."""
        return [dict(message) for message in self.session.messages[self.first :]]

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
            self.opening.calls, answer=self.opening.output, on_draft=on_draft, **options
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
        twin = Held(id, self.session.fork(), self.opening, self.first, made=now, used=now)
        twin.origins = self.origins.copy()
        twin._rewind(messages)
        return twin

    def _rewind(self, messages: int | None) -> None:
        have = self.messages
        if messages is None or messages == have:
            return
        if messages > have:
            raise session_gone(f"session {self.id!r} has {have} messages and no {messages}")
        self.session.rewind(self.first + messages)
        self.account.rewound(messages)


def session_gone(why: str, *, status: int = 409) -> Refused:
    """A session is not there, or not all of it."""
    return Refused(status, "SessionGone", f"{why}; make it anew from the messages you have")
