"""The embedded backend: the engine in this process, behind the loop's one seam.

Knows the engine's sessions and the loop's protocol, and translates between them. Must not know
agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import anyio.to_thread

from agentkit.backend import (
    Capabilities,
    Cell,
    Decision,
    Draft,
    OnDraft,
    ProposedCall,
    Row,
    Timings,
    ToolSpec,
)
from agentkit.errors import BackendError
from agentkit.message import AnswerMessage, CallMessage, Message, ResultMessage, UserMessage
from agentkit_engine import DecidingOptions, Engine, Session
from agentkit_engine import Draft as EngineDraft


class EmbeddedBackend:
    """Runs a checkpoint in this process.

    Args:
        checkpoint: "embedded", a folder, or a hub id.
        adapter: a LoRA to put onto the checkpoint, a folder or a hub id.
        device: "auto" takes the first CUDA device if there is one, else the CPU.
        options: of every decision, see `agentkit_engine.DecidingOptions`; `steps` is the agent's.

    Raises:
        CheckpointError: there is no such checkpoint, it is of another architecture, or the adapter
            does not fit it.
    """

    capabilities = Capabilities(guaranteed=True, drafts=True, refill=False, fork=True)

    def __init__(
        self,
        checkpoint: str | Path = "embedded",
        *,
        adapter: str | Path | None = None,
        device: str = "auto",
        **options: Unpack[DecidingOptions],
    ) -> None:
        self.engine = Engine.load(checkpoint, adapter=adapter, device=device)
        self._options = options

    async def open(self, *, instructions: str, tools: Sequence[ToolSpec]) -> EmbeddedConversation:
        """Start a conversation; the tools' templates are compiled here, once.

        Raises:
            UnsupportedSchema: a tool's schema says what can't be guaranteed.
            CanvasTooShort: a tool's shortest call is longer than eight of the model's canvases.
        """
        calls = {tool.name: tool.parameters for tool in tools}
        await anyio.to_thread.run_sync(partial(self.engine.prepare, calls), abandon_on_cancel=True)
        declared = [_declaration(tool) for tool in tools]
        session = self.engine.session(instructions=instructions, tools=declared)
        return EmbeddedConversation(session, calls, self._options)

    async def aclose(self) -> None:
        """Nothing to do: the engine goes with its last reference."""


class EmbeddedConversation:
    """One session of the engine, and the calls that may be decided on."""

    def __init__(
        self,
        session: Session,
        calls: dict[str, dict[str, Any]],
        options: DecidingOptions,
    ) -> None:
        self._session: Session | None = session
        self._calls = calls
        self._options = options

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages; only what is new is encoded."""
        await self._open().extend(*(_chat_message(message) for message in messages))

    async def decide(self, *, steps: int, on_draft: OnDraft | None = None) -> Decision:
        """Choose tools and fill their calls, or answer; see `agentkit_engine.Session.decide`."""
        draw = None if on_draft is None else partial(_draw, on_draft)
        options: DecidingOptions = {**self._options, "steps": steps}
        found = await self._open().decide(self._calls, on_draft=draw, **options)
        spent = found.timings
        return Decision(
            calls=tuple(
                ProposedCall(call.name, call.arguments, call.confidence) for call in found.calls
            ),
            answer=found.answer,
            choice=found.choice,
            forwards=found.forwards,
            passes=found.passes,
            tokens=found.tokens,
            timings=Timings(spent.encode, spent.denoise, spent.lattice, spent.verify),
        )

    def fork(self) -> EmbeddedConversation:
        """A second conversation over the same encoded prefix."""
        return EmbeddedConversation(self._open().fork(), self._calls, self._options)

    async def aclose(self) -> None:
        """Let go of the keys and values."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _open(self) -> Session:
        if self._session is None:
            raise BackendError("the conversation is closed; open another one")
        return self._session


def _declaration(tool: ToolSpec) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}


def _chat_message(message: Message) -> dict[str, Any]:
    """A message as chat templates take it."""
    match message:
        case UserMessage(text=text):
            return {"role": "user", "content": text}
        case AnswerMessage(text=text):
            return {"role": "assistant", "content": text}
        case CallMessage(calls=calls):
            functions = [{"name": call.tool, "arguments": call.arguments} for call in calls]
            listed = [{"type": "function", "function": function} for function in functions]
            return {"role": "assistant", "content": "", "tool_calls": listed}
        case ResultMessage(tool=tool, content=content, is_error=failed):
            return {
                "role": "tool",
                "name": tool,
                "content": f"error: {content}" if failed else content,
            }


def _draw(on_draft: OnDraft, draft: EngineDraft) -> None:
    rows = tuple(Row(row.name, tuple(map(Cell, row.texts, row.states))) for row in draft.rows)
    on_draft(Draft(draft.step, draft.steps, rows))
