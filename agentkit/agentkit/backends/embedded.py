"""The embedded backend: the engine in this process, behind the loop's one seam.

Knows the engine's sessions and the loop's protocol, and translates between them. Must not know
agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import anyio.to_thread

from agentkit.backend import (
    Capabilities,
    Cell,
    Decision,
    Draft,
    ModelSettings,
    OnDraft,
    ProposedCall,
    Row,
    Timings,
    ToolSpec,
)
from agentkit.backends.chat import chat_message
from agentkit.errors import BackendError
from agentkit.message import Message
from agentkit_engine import Call, DecidingOptions, Engine, Filling, FillingOptions, Session, Value
from agentkit_engine import Decision as EngineDecision
from agentkit_engine import Draft as EngineDraft


class EmbeddedBackend:
    """Runs a checkpoint in this process.

    Args:
        checkpoint: "embedded", a folder, or a hub id.
        adapter: a LoRA to put onto the checkpoint, a folder or a hub id.
        device: "auto" takes the first CUDA device if there is one, else the CPU.
        options: of every decision whose `ModelSettings` say nothing else, see
            `agentkit_engine.DecidingOptions`. There `max_tokens` is `answer_tokens`: an answer in
            words has so many at most, while calls and other answers are as long as their schemas.

    Raises:
        CheckpointError: there is no such checkpoint, it is of another architecture, or the adapter
            does not fit it.
    """

    capabilities = Capabilities(guaranteed=True, drafts=True, refill=True, fork=True)

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

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> EmbeddedConversation:
        """Start a conversation; the templates of calls and answers are compiled here, once.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: a schema says what can't be guaranteed.
            CanvasTooShort: the shortest call of a tool, or answer, is longer than eight of the
                model's canvases.
        """
        calls = {tool.name: tool.parameters for tool in tools}
        answer = None if output is None else dict(output)
        prepare = partial(self.engine.prepare, calls, answer=answer)
        await anyio.to_thread.run_sync(prepare, abandon_on_cancel=True)
        declared = [_declaration(tool) for tool in tools]
        session = self.engine.session(instructions=instructions, tools=declared)
        model = self.engine.name
        return EmbeddedConversation(session, calls, answer, self._options, model)

    async def aclose(self) -> None:
        """Nothing to do: the engine goes with its last reference."""


class EmbeddedConversation:
    """One session of the engine, and the calls and answers that may be decided on."""

    def __init__(
        self,
        session: Session,
        calls: dict[str, dict[str, Any]],
        answer: dict[str, Any] | None,
        options: DecidingOptions,
        model: str,
    ) -> None:
        self._session: Session | None = session
        self._calls, self._answer = calls, answer
        self._options, self._model = options, model

    async def extend(self, messages: Sequence[Message]) -> None:
        """Append messages; only what is new is encoded."""
        await self._open().extend(*map(chat_message, messages))

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        """Choose tools and fill their calls, or answer; see `agentkit_engine.Session.decide`."""
        found = await self._open().decide(
            self._calls,
            answer=self._answer,
            on_draft=None if on_draft is None else _Drawing(on_draft).draw,
            **_deciding(self._options, settings),
        )
        return Decision(
            calls=tuple(map(_proposed, found.calls)),
            answer=found.answer,
            choice=found.choice,
            origin=found.answered,
            **self._effort(found),
        )

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        """Fill rejected values again: one forward, unless more steps are asked for.

        A value that was rejected never comes back, however often its call is refilled.
        """
        if not isinstance(filled.origin, Value):
            raise BackendError(
                "only what this backend has filled in can be filled in again; "
                "give a call or an answer that `decide` or `refill` gave back"
            )
        options = _filling(_deciding(self._options, settings))
        found = await self._open().refill(filled.origin, [*rejected], **options)
        if isinstance(filled, Decision):
            return Decision(answer=found.text, origin=found, **self._effort(found))
        sure = {**filled.confidence, **found.confidence}
        call = ProposedCall(filled.tool, found.value, sure, origin=found)
        return Decision(calls=(call,), **self._effort(found))

    def fork(self) -> EmbeddedConversation:
        """A second conversation over the same encoded prefix."""
        forked = self._open().fork()
        return EmbeddedConversation(forked, self._calls, self._answer, self._options, self._model)

    async def aclose(self) -> None:
        """Let go of the keys and values."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _effort(self, found: EngineDecision | Filling) -> dict[str, Any]:
        """What it took, as a `Decision` has it."""
        spent = found.timings
        return {
            "forwards": found.forwards,
            "passes": found.passes,
            "tokens": found.tokens,
            "prompt_tokens": found.prompt_tokens,
            "timings": Timings(spent.encode, spent.denoise, spent.lattice, spent.verify),
            "model": self._model,
        }

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


def _deciding(options: DecidingOptions, settings: ModelSettings) -> DecidingOptions:
    """What the settings say, and where they say nothing the options."""
    said: dict[str, Any] = {
        "steps": settings.steps,
        "max_calls": settings.max_calls,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "answer_tokens": settings.max_tokens,
        "verify": settings.verify,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return cast(DecidingOptions, {**options, **given})


def _filling(options: DecidingOptions) -> FillingOptions:
    """What of them matters to values that are filled in again, which are not verified."""
    kept = ("steps", "temperature", "seed", "bias")
    found = {name: value for name, value in options.items() if name in kept}
    return cast(FillingOptions, found)


def _proposed(call: Call) -> ProposedCall:
    return ProposedCall(call.name, call.arguments, call.confidence, origin=call)


class _Drawing:
    """Draws the drafts of one decision; a call that has settled is the same in all of them."""

    def __init__(self, on_draft: OnDraft) -> None:
        self._on_draft = on_draft
        self._settled: list[ProposedCall] = []

    def draw(self, draft: EngineDraft) -> None:
        for call in draft.calls[len(self._settled) : draft.settled]:
            assert isinstance(call, Call)  # as all are that have settled
            self._settled.append(_proposed(call))
        others = draft.calls[draft.settled :]
        calls = (*self._settled, *(ProposedCall(call.name, call.arguments) for call in others))
        rows = tuple(Row(row.name, tuple(map(Cell, row.texts, row.states))) for row in draft.rows)
        self._on_draft(Draft(draft.step, draft.steps, rows, calls, draft.settled, draft.answer))
