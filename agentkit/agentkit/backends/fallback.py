"""Several backends as one: where one fails, the next goes on with the conversation.

Knows messages and the protocol of backends; must not know any model.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from agentkit.backend import (
    Backend,
    Capabilities,
    Conversation,
    Decision,
    Draft,
    ModelSettings,
    OnDraft,
    ProposedCall,
    ToolSpec,
)
from agentkit.backends import resolve_backend
from agentkit.errors import BackendError, EngineError, TemplateError
from agentkit.message import Message

T = TypeVar("T")

# What the next one may do better. Anything else is a defect, and is not covered up.
_FAILURES = (BackendError, EngineError, OSError)
_CLOSING_SECONDS = 2.0
_log = logging.getLogger("agentkit")


class FallbackBackend:
    """The first of several backends that works, for each conversation anew.

    A conversation begins on the first. When a backend fails, the next one is sent all messages so
    far and the conversation stays there; the logger "agentkit" tells so, and `Decision.model` who
    decided. It can do what all of them can.

    Args:
        backends: made, or by name. Those named are made with the first conversation, and shared.
    """

    def __init__(self, *backends: Backend | str) -> None:
        if not backends:
            raise BackendError("a fallback of no backends can do nothing; give it one at least")
        self._backends = backends
        self._missing: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        """What all of them can do, but for those that can't be made."""
        found = [backend.capabilities for backend in self._made()]
        names = [item.name for item in fields(Capabilities)]
        every = {name: all(getattr(one, name) for one in found) for name in names}
        return Capabilities(**every) if found else Capabilities()

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> FallbackConversation:
        """Start a conversation on the first that can.

        Raises:
            BackendError: none can; says why of each.
        """
        # All at once and in a thread: what is made later would keep the event loop waiting.
        await anyio.to_thread.run_sync(lambda: list(self._made()), abandon_on_cancel=True)
        how = _Opening(instructions, tuple(tools), output)
        conversation = FallbackConversation(self._backends, how)
        await conversation.extend(())
        return conversation

    async def aclose(self) -> None:
        """Close those that were given made; those given by name are shared and stay."""
        for backend in self._backends:
            if not isinstance(backend, str):
                await backend.aclose()

    def _made(self) -> Iterator[Backend]:
        for backend in self._backends:
            try:
                yield resolve_backend(backend) if isinstance(backend, str) else backend
            except _FAILURES as error:
                if _name(backend) not in self._missing:
                    self._missing.add(_name(backend))
                    _log.warning("%s can't be fallen back on: %s", _name(backend), error)


def fallback(*backends: Backend | str) -> FallbackBackend:
    """`fallback("openai:big", "embedded")`: the first that works, see `FallbackBackend`."""
    return FallbackBackend(*backends)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What every conversation is opened with."""

    instructions: str
    tools: tuple[ToolSpec, ...]
    output: Mapping[str, Any] | None

    async def on(self, backend: Backend | str) -> Conversation:
        if isinstance(backend, str):
            backend = await anyio.to_thread.run_sync(
                resolve_backend, backend, abandon_on_cancel=True
            )
        return await backend.open(
            instructions=self.instructions, tools=self.tools, output=self.output
        )


class FallbackConversation:
    """A conversation on one backend, and what it takes to begin it anew on the next."""

    def __init__(self, backends: Sequence[Backend | str], how: _Opening) -> None:
        self._backends = backends
        self._how = how
        self._at = 0
        self._conversation: Conversation | None = None
        self._messages: list[Message] = []
        self._sent = 0
        self._failures: list[tuple[str, Exception]] = []
        self._closed = False
        self._decided_at = -1
        self._renamed: tuple[Decision | None, Decision] = None, Decision()

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages.

        Raises:
            BackendError: every backend failed; says why of each.
        """
        self._messages.extend(messages)
        await self._somewhere(_nothing)

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        """Decide here, or where the conversation goes on.

        A backend that fails when it has told of settled calls has decided on these: they may have
        been started. The next one is asked with their results.

        Raises:
            BackendError: every backend failed; says why of each.
        """
        settled: tuple[ProposedCall, ...] = ()

        def watch(draft: Draft) -> None:
            nonlocal settled
            settled = draft.calls[: draft.settled]
            if on_draft is not None:
                on_draft(draft)

        async def ask(conversation: Conversation) -> Decision:
            try:
                return await conversation.decide(
                    settings=settings, on_draft=None if on_draft is None else watch
                )
            except _FAILURES as error:
                if not settled:
                    raise
                decision = Decision(calls=settled, model=self._name())
                await self._leave(error)
                return decision

        decision = await self._somewhere(ask)
        self._decided_at = self._at
        return self._named(decision)

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        """Fill rejected values again, where they were filled in: nobody else can.

        Raises:
            TemplateError: the backend that filled them in has failed; the next one decides anew.
            UnsatisfiableSchema: no other value is valid.
        """
        self._check_open()
        conversation = self._conversation
        if conversation is None or self._decided_at != self._at:
            raise TemplateError("the backend that filled this in has failed; let the next decide")
        given, taken = self._renamed
        try:
            found = await conversation.refill(
                taken if filled is given else filled, rejected, settings=settings
            )
        except (BackendError, OSError) as error:
            await self._leave(error)
            raise TemplateError(f"{error}; let the next backend decide") from error
        return self._named(found)

    def fork(self) -> FallbackConversation:
        """A second conversation that goes on from here, and falls back by itself."""
        self._check_open()
        twin = FallbackConversation(self._backends, self._how)
        twin._at, twin._sent = self._at, self._sent
        twin._messages, twin._failures = list(self._messages), list(self._failures)
        twin._decided_at, twin._renamed = self._decided_at, self._renamed
        twin._conversation = None if self._conversation is None else self._conversation.fork()
        return twin

    async def aclose(self) -> None:
        """Close it where it is."""
        self._closed = True
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            await conversation.aclose()

    async def _somewhere(self, ask: Callable[[Conversation], Awaitable[T]]) -> T:
        """Ask here, or on the first of the following that can answer."""
        self._check_open()
        while self._at < len(self._backends):
            try:
                return await ask(await self._current())
            except _FAILURES as error:
                await self._leave(error)
        tried = "; ".join(
            f"{name}: {type(error).__name__}: {error}" for name, error in self._failures
        )
        raise BackendError(f"every backend failed: {tried}") from self._failures[-1][1]

    async def _current(self) -> Conversation:
        """The open conversation, and all messages in it."""
        if self._conversation is None:
            self._conversation = await self._how.on(self._backends[self._at])
            self._sent = 0
        if self._sent < len(self._messages):
            await self._conversation.extend(self._messages[self._sent :])
            self._sent = len(self._messages)
        return self._conversation

    async def _leave(self, error: Exception) -> None:
        """Give this backend up, and turn to the next."""
        name = self._name()
        self._failures.append((name, error))
        self._at += 1
        following = self._name() if self._at < len(self._backends) else "nothing is left"
        _log.warning("%s failed, on to %s: %s", name, following, error)
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                try:
                    await conversation.aclose()
                except Exception as broken:
                    _log.debug("%s could not be closed: %s", name, broken)

    def _named(self, decision: Decision) -> Decision:
        """The decision, with the name of who decided."""
        if decision.model:
            return decision
        # the backend knows its own decision again, and maybe not this one
        self._renamed = replace(decision, model=self._name()), decision
        return self._renamed[0]

    def _name(self) -> str:
        return _name(self._backends[self._at])

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("the conversation is closed; open another one")


async def _nothing(_: Conversation) -> None:
    """Being open, with all messages sent, is all that is asked."""


def _name(backend: Backend | str) -> str:
    return backend if isinstance(backend, str) else type(backend).__name__
