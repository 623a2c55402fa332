"""What tests of calls that begin early share: decisions written out, and tools that leave marks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from loops import Fixed, FixedConversation

from agentkit import (
    Agent,
    Capabilities,
    Conversation,
    Decision,
    Draft,
    Event,
    ProposedCall,
    ResultMessage,
    tool,
)
from agentkit.backend import ModelSettings, OnDraft

SEVERAL = ModelSettings(max_calls=4)

Turn = Callable[[OnDraft], Awaitable[Decision]]


class Written(Fixed):
    """Decides as its turns do, which draw their drafts themselves; then it answers."""

    capabilities = Capabilities(drafts=True)

    def __init__(self, *turns: Turn) -> None:
        super().__init__([])
        self.turns = list(turns)

    async def open(self, **options: Any) -> Conversation:
        return WrittenConversation(self)


class WrittenConversation(FixedConversation):
    backend: Written

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        if not self.backend.turns:
            return Decision((), "done")
        return await self.backend.turns.pop(0)(on_draft or _unheard)


def _unheard(draft: Draft) -> None: ...


def draft(*calls: ProposedCall, settled: int = 0) -> Draft:
    return Draft(1, 2, (), calls, settled)


def proposed(tool: str, /, **arguments: Any) -> ProposedCall:
    return ProposedCall(tool, arguments)


class Marks:
    """Tools that leave marks when they begin, end, and are cancelled."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.begun, self.ended = anyio.Event(), anyio.Event()
        self.go = anyio.Event()

        @tool
        async def fetch(what: str = "it") -> str:
            """Fetch something, with effects."""
            return await self._work(what)

        @tool(pure=True, timeout=None)
        async def look(what: str = "it") -> str:
            """Look at something, without effects."""
            return await self._work(what)

        self.fetch, self.look = fetch, look

    async def _work(self, what: str) -> str:
        self.seen.append(f"begin {what}")
        self.begun.set()
        try:
            await self.go.wait()
        except BaseException:
            self.seen.append(f"cancelled {what}")
            raise
        finally:
            self.ended.set()
        self.seen.append(f"end {what}")
        return f"got {what}"


async def heard_by(agent: Agent, **options: Any) -> tuple[list[Event], Any]:
    events: list[Event] = []
    result = await agent.run("go", on_event=events.append, **options)
    return events, result


def contents(history: Any) -> list[str]:
    return [message.content for message in history if isinstance(message, ResultMessage)]
