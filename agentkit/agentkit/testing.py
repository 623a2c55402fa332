"""A backend that follows a script, for testing agents and tools without a model.

    backend = ScriptedBackend([call("add", a=1, b=2), answer("3")])
    result = await Agent(tools=[add], backend=backend).run("What is 1 + 2?")
    assert backend.conversations[0].messages == result.messages[:-1]

Knows the backend protocol; must not know the loop. Ships with the package: tests of the loop use
the same double as its users.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from agentkit.backend import (
    Capabilities,
    Cell,
    CellState,
    Decision,
    Draft,
    OnDraft,
    ProposedCall,
    Row,
    Timings,
    ToolSpec,
)
from agentkit.errors import BackendError
from agentkit.message import History, Message

__all__ = [
    "ScriptItem",
    "ScriptedAnswer",
    "ScriptedBackend",
    "ScriptedCall",
    "ScriptedConversation",
    "answer",
    "call",
]


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A turn that calls a tool."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """A turn that answers; with no text, a turn that does nothing."""

    text: str


Turn: TypeAlias = ScriptedCall | ScriptedAnswer | Sequence[ScriptedCall] | BaseException
ScriptItem: TypeAlias = Turn | Callable[[History], Turn]


def call(tool: str, /, **arguments: Any) -> ScriptedCall:
    """A turn that calls `tool`; several in a list are one turn."""
    return ScriptedCall(tool, arguments)


def answer(text: str) -> ScriptedAnswer:
    """A turn that answers."""
    return ScriptedAnswer(text)


class ScriptedBackend:
    """Decides what its script says, one item a decision, over all its conversations.

    An item is a `call`, a list of calls made at once, an `answer`, an exception to raise, or a
    function of the messages so far that returns one of these. `conversations` records what was
    sent; `remaining` counts the items not used yet. Each decision waits `delay` seconds a step,
    and costs one forward a step.
    """

    def __init__(self, script: Iterable[ScriptItem], *, delay: float = 0.0) -> None:
        self._script = deque(script)
        self._used = 0
        self.delay = delay
        self.conversations: list[ScriptedConversation] = []
        self.closed = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(drafts=True, fork=True)

    @property
    def remaining(self) -> int:
        """Script items not used yet."""
        return len(self._script)

    async def open(self, *, instructions: str, tools: Sequence[ToolSpec]) -> ScriptedConversation:
        conversation = ScriptedConversation(self, instructions, tuple(tools))
        self.conversations.append(conversation)
        return conversation

    async def aclose(self) -> None:
        self.closed = True

    def take(self, messages: History) -> Turn:
        """Use up the next item.

        Raises:
            BackendError: the script has run out.
        """
        if not self._script:
            raise BackendError(
                f"the script ran out: all {self._used} items are used and one more decision was "
                "asked for; add an item, such as `answer(...)`"
            )
        self._used += 1
        item = self._script.popleft()
        return item(messages) if callable(item) else item


class ScriptedConversation:
    """Records what it was sent: `instructions`, `tools`, each `extended` batch, each `steps`."""

    def __init__(
        self, backend: ScriptedBackend, instructions: str, tools: tuple[ToolSpec, ...]
    ) -> None:
        self._backend = backend
        self.instructions = instructions
        self.tools = tools
        self.extended: list[History] = []
        self.steps: list[int] = []
        self.closed = False

    @property
    def messages(self) -> History:
        """All messages sent, in order."""
        return tuple(message for batch in self.extended for message in batch)

    async def extend(self, messages: Sequence[Message]) -> None:
        self._check_open()
        self.extended.append(tuple(messages))
        await anyio.lowlevel.checkpoint()

    async def decide(self, *, steps: int, on_draft: OnDraft | None = None) -> Decision:
        self._check_open()
        self.steps.append(steps)
        turn = self._backend.take(self.messages)
        if isinstance(turn, BaseException):
            raise turn
        decision = _decision(turn, steps)
        for step in range(steps + 1):
            if on_draft is not None:
                on_draft(Draft(step, steps, _rows(decision, settled=step == steps)))
            await anyio.sleep(self._backend.delay if step < steps else 0)
        return decision

    def fork(self) -> ScriptedConversation:
        self._check_open()
        twin = ScriptedConversation(self._backend, self.instructions, self.tools)
        twin.extended = list(self.extended)
        self._backend.conversations.append(twin)
        return twin

    async def aclose(self) -> None:
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise BackendError("the conversation is closed; open another one")


def _decision(turn: ScriptedCall | ScriptedAnswer | Sequence[ScriptedCall], steps: int) -> Decision:
    if isinstance(turn, ScriptedAnswer):
        tokens = len(turn.text.split())
        return Decision((), turn.text, {"": 1.0}, steps, tokens, Timings())
    scripted = [turn] if isinstance(turn, ScriptedCall) else list(turn)
    calls = tuple(
        ProposedCall(
            item.tool, item.arguments, {f"/{_escaped(key)}": 1.0 for key in item.arguments}
        )
        for item in scripted
    )
    choice = {item.tool: 1.0 / len(scripted) for item in scripted}
    return Decision(calls, None, choice, steps, sum(map(len, choice)), Timings())


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _rows(decision: Decision, *, settled: bool) -> tuple[Row, ...]:
    """A row a call: its literals pinned, its values noise until the last step."""
    if decision.answer is not None:
        words = re.findall(r"\s*\S+", decision.answer)
        return (Row("", tuple(_cell(word, settled) for word in words)),)
    return tuple(Row(item.tool, tuple(_cells(item, settled))) for item in decision.calls)


def _cells(item: ProposedCall, settled: bool) -> list[Cell]:
    cells = [Cell("{", "pinned")]
    for number, (key, value) in enumerate(item.arguments.items()):
        cells.append(Cell(f"{',' if number else ''}{json.dumps(key)}:", "pinned"))
        cells.append(_cell(json.dumps(value, default=repr), settled))
    return [*cells, Cell("}", "pinned")]


def _cell(text: str, settled: bool) -> Cell:
    state: CellState = "settled" if settled else "noise"
    return Cell(text, state)
