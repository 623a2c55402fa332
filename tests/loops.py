"""What several tests of the loop share: two tools, a scripted agent, a backend to replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentkit import (
    Agent,
    BackendError,
    CallMessage,
    Capabilities,
    Conversation,
    Decision,
    Message,
    ProposedCall,
    ResultMessage,
    ToolSpec,
    tool,
)
from agentkit.backend import ModelSettings, OnDraft
from agentkit.testing import ScriptedBackend, ScriptItem


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def fail(text: str = "no") -> str:
    """Fail."""
    raise ValueError(text)


def agent_of(*script: ScriptItem, **options: Any) -> Agent:
    return Agent(tools=[add, fail], backend=ScriptedBackend(script), **options)


def check_well_formed(history: Sequence[Message]) -> None:
    """Every call has one result, right after it and in order."""
    rest = list(history)
    while rest:
        message = rest.pop(0)
        assert not isinstance(message, ResultMessage)
        if isinstance(message, CallMessage):
            results = [rest.pop(0) for _ in message.calls]
            found = [item.call_id for item in results if isinstance(item, ResultMessage)]
            assert found == [item.id for item in message.calls]


class Fixed:
    """A backend of given decisions, whose pieces a test may replace."""

    capabilities = Capabilities()

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = list(decisions)

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> Conversation:
        return FixedConversation(self)

    async def aclose(self) -> None:
        raise AssertionError("an agent closes no backend")


class FixedConversation:
    def __init__(self, backend: Fixed) -> None:
        self.backend = backend

    async def extend(self, messages: Sequence[Message]) -> None: ...

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        return self.backend.decisions.pop(0)

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        raise BackendError("this backend can't refill")

    def fork(self) -> Conversation:
        raise BackendError("this backend can't fork")

    async def aclose(self) -> None: ...
