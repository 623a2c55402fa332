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
from collections.abc import Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, cast

import anyio
import anyio.lowlevel

from agentkit.backend import (
    Capabilities,
    Cell,
    Decision,
    Draft,
    ModelSettings,
    OnDraft,
    ProposedCall,
    Row,
    ToolSpec,
)
from agentkit.errors import BackendError, UnsatisfiableSchema
from agentkit.message import History, Message
from agentkit.testing.script import (
    Reading,
    ScriptedDraft,
    ScriptedRefill,
    ScriptItem,
    Turn,
    decision_of,
    patched,
)

_EVERYTHING = Capabilities(drafts=True, refill=True, fork=True)


class ScriptedBackend:
    """Decides what its script says, one item a decision, over all its conversations.

    An item is a `call`, a list of calls made at once, an `answer`, either of them `drafted` before,
    a `refill` of what was rejected (where it does not come next, the model has no other value and
    decides anew), a `Decision` as it is, an exception to raise, or a function of
    the messages so far, async or not, that returns one of these. `conversations` records what was
    sent; `remaining` counts the items not used yet. Each decision waits `delay` seconds a step, and
    costs one forward a step.
    """

    def __init__(
        self,
        script: Iterable[ScriptItem],
        *,
        capabilities: Capabilities = _EVERYTHING,
        delay: float = 0.0,
    ) -> None:
        self._script = deque(script)
        self._used = 0
        self.capabilities = capabilities
        self.delay = delay
        self.conversations: list[ScriptedConversation] = []
        self.closed = False

    @property
    def remaining(self) -> int:
        """Script items not used yet."""
        return len(self._script)

    def assert_used_up(self) -> None:
        """No item is left."""
        __tracebackhide__ = True
        if self._script:
            raise AssertionError(
                f"{len(self._script)} of {self._used + len(self._script)} items of the script were "
                f"not used; the first of them is {self._script[0]!r}"
            )

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> ScriptedConversation:
        conversation = ScriptedConversation(self, instructions, tuple(tools), output)
        self.conversations.append(conversation)
        return conversation

    async def aclose(self) -> None:
        self.closed = True

    async def take(self, messages: History) -> Turn:
        """Use up the next item; an exception is raised.

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
        if callable(item):
            made = item(messages)
            item = await made if isawaitable(made) else made
        if isinstance(item, BaseException):
            raise item
        return item

    def take_refill(self) -> ScriptedRefill | None:
        """Use up the next item where it is a `refill`."""
        if not self._script or not isinstance(self._script[0], ScriptedRefill):
            return None
        self._used += 1
        return cast(ScriptedRefill, self._script.popleft())


class ScriptedConversation:
    """Records what it was sent.

    `instructions`, `tools` and `output`, as opened; each `extended` batch; the `settings` of each
    decision; in `refills` what was filled and rejected.
    """

    def __init__(
        self,
        backend: ScriptedBackend,
        instructions: str,
        tools: tuple[ToolSpec, ...],
        output: Mapping[str, Any] | None,
    ) -> None:
        self._backend = backend
        self._given: list[ProposedCall | Decision] = []
        self.instructions = instructions
        self.tools = tools
        self.output = output
        self.extended: list[History] = []
        self.settings: list[ModelSettings] = []
        self.refills: list[tuple[ProposedCall | Decision, Mapping[str, str]]] = []
        self.closed = False

    @property
    def messages(self) -> History:
        """All messages sent, in order."""
        return tuple(message for batch in self.extended for message in batch)

    async def extend(self, messages: Sequence[Message]) -> None:
        self._check_open()
        self.extended.append(tuple(messages))
        await anyio.lowlevel.checkpoint()

    async def decide(
        self, *, settings: ModelSettings = ModelSettings(), on_draft: OnDraft | None = None
    ) -> Decision:
        self._check_open()
        self.settings.append(settings)
        turn = await self._backend.take(self.messages)
        if isinstance(turn, ScriptedRefill):
            raise BackendError(
                f"the script says {turn!r}, but a decision was asked for: nothing was rejected, "
                "or the run does not refill"
            )
        decision, drafts = _played(turn, settings)
        listening = on_draft is not None and self._backend.capabilities.drafts
        for draft in drafts:
            if on_draft is not None and listening:
                on_draft(draft)
            await anyio.sleep(self._backend.delay if draft.step < draft.steps else 0)
        return self._remembered(decision)

    async def refill(
        self,
        filled: ProposedCall | Decision,
        rejected: Mapping[str, str],
        *,
        settings: ModelSettings = ModelSettings(),
    ) -> Decision:
        self._check_open()
        if not self._backend.capabilities.refill:
            raise BackendError("this backend can't refill: its `capabilities` say so")
        if not any(filled is given for given in self._given):
            raise BackendError(f"this conversation decided on no {filled!r}")
        self.refills.append((filled, dict(rejected)))
        turn = self._backend.take_refill()
        if turn is None:  # then the loop lets the script decide anew
            raise UnsatisfiableSchema(next(iter(rejected)), "the script has no other value")
        if turn.values.keys() != rejected.keys():
            raise BackendError(
                f"the script says {turn!r}, but {', '.join(map(repr, rejected))} was rejected and "
                "is to be filled in again; write a `refill(...)` of just that"
            )
        await anyio.sleep(self._backend.delay)
        return self._remembered(_refilled(filled, turn))

    def fork(self) -> ScriptedConversation:
        self._check_open()
        if not self._backend.capabilities.fork:
            raise BackendError("this backend can't fork: its `capabilities` say so")
        twin = ScriptedConversation(self._backend, self.instructions, self.tools, self.output)
        twin.extended = list(self.extended)
        twin._given = list(self._given)
        self._backend.conversations.append(twin)
        return twin

    async def aclose(self) -> None:
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise BackendError("the conversation is closed; open another one")

    def _remembered(self, decision: Decision) -> Decision:
        self._given += [decision, *decision.calls]
        return decision


def _played(
    turn: Reading | ScriptedDraft | Decision, settings: ModelSettings
) -> tuple[Decision, list[Draft]]:
    """What a turn decides, and all that shows until then."""
    if isinstance(turn, ScriptedDraft):
        return _drafted(turn)
    steps = settings.steps if isinstance(settings.steps, int) else 1
    decision = turn if isinstance(turn, Decision) else decision_of(turn, forwards=steps)
    noise, rows = _rows(decision, settled=False), _rows(decision, settled=True)
    return decision, [
        Draft(step, steps, rows if step == steps else noise) for step in range(steps + 1)
    ]


def _drafted(turn: ScriptedDraft) -> tuple[Decision, list[Draft]]:
    steps = len(turn.guesses) + 1
    final = decision_of(turn.final, forwards=steps)
    drafts = [Draft(0, steps, _rows(final, settled=False))]
    settled = 0
    for guess, count in zip(turn.guesses, turn.settled, strict=True):
        settled = max(settled, count)  # what has settled stays so
        drafts.append(_draft(len(drafts), steps, decision_of(guess, forwards=steps), settled))
    return final, [*drafts, _draft(steps, steps, final, settled)]


def _draft(step: int, steps: int, decision: Decision, settled: int) -> Draft:
    rows = _rows(decision, settled=step == steps)
    return Draft(step, steps, rows, decision.calls, settled, decision.answer)


def _refilled(filled: ProposedCall | Decision, turn: ScriptedRefill) -> Decision:
    told = filled.arguments if isinstance(filled, ProposedCall) else json.loads(filled.answer or "")
    try:
        value = patched(told, turn.values)
    except LookupError as error:
        raise BackendError(f"the script says {turn!r}, but that is not in {told!r}") from error
    tokens = len(turn.values)
    if isinstance(filled, Decision):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return Decision((), text, {"": 1.0}, 1, tokens, model="script")
    sure = {**filled.confidence, **dict.fromkeys(turn.values, 1.0)}
    call = ProposedCall(filled.tool, value, sure)
    return Decision((call,), None, {call.tool: 1.0}, 1, tokens, model="script")


def _rows(decision: Decision, *, settled: bool) -> tuple[Row, ...]:
    """A row a call: its literals pinned, its values noise until they are settled."""
    if decision.calls:
        return tuple(Row(item.tool, tuple(_cells(item, settled))) for item in decision.calls)
    words = re.findall(r"\s*\S+", decision.answer or "")
    return (Row("", tuple(_cell(word, settled) for word in words)),)


def _cells(item: ProposedCall, settled: bool) -> list[Cell]:
    cells = [Cell("{", "pinned")]
    for number, (key, value) in enumerate(item.arguments.items()):
        cells.append(Cell(f"{',' if number else ''}{json.dumps(key)}:", "pinned"))
        cells.append(_cell(json.dumps(value, default=repr), settled))
    return [*cells, Cell("}", "pinned")]


def _cell(text: str, settled: bool) -> Cell:
    return Cell(text, "settled" if settled else "noise")
