"""A conversation in a session of a server, which may lose it at any time.

Knows the protocol of conversations and the server's routes. Must not know HTTP. Nothing is kept by
the server alone: a session that is gone is made anew from the messages sent so far.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import anyio
import anyio.lowlevel

from agentkit.backend import Capabilities, Decision, ModelSettings, OnDraft, ProposedCall
from agentkit.backends.chat import chat_message
from agentkit.backends.remote.forms import (
    JSON,
    read_capabilities,
    read_decision,
    read_draft,
    write_settings,
)
from agentkit.backends.remote.service import Service, SessionGone
from agentkit.errors import BackendError
from agentkit.message import Message

_PARTING = 3.0  # seconds for saying goodbye
_TRIES = 3

T = TypeVar("T")


class RemoteConversation:
    """A session of the server, and all that was said in it.

    Messages go along with the next decision, so that a turn is one request.
    """

    def __init__(
        self,
        service: Service,
        opening: JSON,
        *,
        sent: Sequence[JSON] = (),
        waiting: Sequence[JSON] = (),
        source: str | None = None,
        route: str | None = None,
    ) -> None:
        """
        Args:
            opening: instructions, tools and output, as the server makes sessions of.
            sent: messages that the session of `source` has.
            waiting: messages that no session has yet.
            source: the session that this one is a fork of.
            route: the session by which requests find their replica: the first one that this
                conversation, or what it was forked from, ever had. A fork stays with its source.
        """
        self._service = service
        self._opening = opening
        self._sent = list(sent)
        self._waiting = list(waiting)
        self._source, self._route = source, route
        self._session: str | None = None
        self._asked_for: list[str] = []  # sessions that the server may hold
        self._closed = False
        self.capabilities = Capabilities()

    async def begin(self) -> None:
        """Have a session, which tells what its server can do."""

        async def nothing(_: str) -> None: ...

        await self._in_session(nothing)

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages; they are sent with what is decided next."""
        self._check_open()
        self._waiting += map(chat_message, messages)
        await anyio.lowlevel.checkpoint()

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        """Choose tools and fill their calls, or answer."""
        body: JSON = {"settings": write_settings(settings), "stream": on_draft is not None}
        if on_draft is None:
            return await self._decided("decide", body)
        draw = on_draft
        return await self._decided("decide", body, lambda told: draw(read_draft(told)))

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        """Fill rejected values again.

        Raises:
            TemplateError: nothing was filled in at a pointer, or the server has lost what was.
            BackendError: another backend filled it in.
            UnsatisfiableSchema: no other value is valid.
        """
        if not isinstance(filled.origin, str):
            raise BackendError(
                "only what this backend has filled in can be filled in again; "
                "give a call or an answer that `decide` or `refill` gave back"
            )
        body: JSON = {
            "origin": filled.origin,
            "rejected": dict(rejected),
            "settings": write_settings(settings),
        }
        found = await self._decided("refill", body)
        if isinstance(filled, Decision):
            return found
        [call] = found.calls
        sure = {**filled.confidence, **call.confidence}
        return replace(found, calls=(replace(call, confidence=sure),))

    def fork(self) -> RemoteConversation:
        """A second conversation from here; its session is forked when it is first needed."""
        self._check_open()
        return RemoteConversation(
            self._service,
            self._opening,
            sent=self._sent,
            waiting=self._waiting,
            source=self._session or self._source,
            route=self._route,
        )

    async def aclose(self) -> None:
        """Have the server close the session, which ends what is under way in it."""
        self._closed = True
        leaving, self._asked_for = self._asked_for, []
        with anyio.move_on_after(_PARTING, shield=True):
            for session in leaving:
                with suppress(BackendError):  # else it goes when nobody has asked for it in a while
                    path = f"/v1/sessions/{session}"
                    await self._service.ask("DELETE", path, route=self._route or session)

    async def _decided(
        self, action: str, body: JSON, on_draft: Callable[[JSON], None] | None = None
    ) -> Decision:
        self._check_open()

        async def asked(session: str) -> JSON:
            path = f"/v1/sessions/{session}/{action}"
            # `after` makes it harmless that the server may have these messages already
            whole = {**body, "after": len(self._sent), "messages": self._waiting}
            route = self._route or session
            if on_draft is None:
                return await self._service.ask("POST", path, whole, route=route)
            return await self._service.listen(path, whole, on_draft, route=route)

        told = await self._in_session(asked)
        self._sent += self._waiting
        self._waiting = []
        return read_decision(told)

    async def _in_session(self, do: Callable[[str], Awaitable[T]]) -> T:
        """What comes of `do` in a session: this one's, or another where that is gone."""
        tries = 0
        while True:
            tries += 1
            try:
                return await do(self._session or await self._made())
            except SessionGone:
                self._session = None
                if tries == _TRIES:
                    raise

    async def _made(self) -> str:
        source, self._source = self._source, None
        if source is not None:
            with suppress(SessionGone):
                return await self._make(f"/{source}/fork", {"messages": len(self._sent)})
        return await self._make("", {**self._opening, "messages": self._sent})

    async def _make(self, path: str, body: JSON) -> str:
        session = secrets.token_hex(16)
        self._asked_for.append(session)  # first: it can be closed though no answer ever comes
        self._route = route = self._route or session
        asked = {**body, "id": session}
        told = await self._service.ask("POST", f"/v1/sessions{path}", asked, route=route)
        self.capabilities = read_capabilities(told["capabilities"])
        self._session = session
        return session

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("the conversation is closed; open another one")
