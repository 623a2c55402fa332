"""What a script is made of: calls, answers, turns shown in drafts, and values filled in again.

Knows decisions and JSON values; must not know who follows a script.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from pydantic_core import to_json

from agentkit.backend import Decision, ProposedCall
from agentkit.message import History
from agentkit.pointer import names_in, pointer_of


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A turn that calls a tool.

    confidence: JSON pointer -> probability, where it is not 1. problem: see `ProposedCall`.
    choice: how sure the model is of this tool; None where nothing else was in question.
    """

    tool: str
    arguments: dict[str, Any]
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])
    problem: str = ""
    choice: float | None = None

    def sure(
        self, values: Mapping[str, float] | None = None, /, **arguments: float
    ) -> ScriptedCall:
        """With these confidences: `.sure(city=0.4)`, or `.sure({"/trip/city": 0.4})`."""
        return replace(self, confidence={**self.confidence, **_by_pointer(values, arguments)})

    def chosen(self, choice: float) -> ScriptedCall:
        """With this confidence in the choice of the tool; the rest is for answering instead."""
        return replace(self, choice=choice)

    def broken(self, problem: str) -> ScriptedCall:
        """As one that can't be made, as a model without guarantee proposes it."""
        return replace(self, problem=problem)

    def proposed(self) -> ProposedCall:
        """As a conversation gives it."""
        sure = dict.fromkeys(_by_pointer(None, self.arguments), 1.0)
        return ProposedCall(self.tool, self.arguments, {**sure, **self.confidence}, self.problem)


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """A turn that answers; with no text, a turn that does nothing."""

    text: str


Reading: TypeAlias = ScriptedCall | ScriptedAnswer | Sequence[ScriptedCall]


@dataclass(frozen=True, slots=True)
class ScriptedDraft:
    """A turn that reads otherwise before it is decided; `settled` counts calls, a count a guess."""

    final: Reading
    guesses: tuple[Reading, ...]
    settled: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScriptedRefill:
    """Rejected values that are filled in again. values: JSON pointer -> value."""

    values: Mapping[str, Any]


Turn: TypeAlias = Reading | ScriptedDraft | ScriptedRefill | Decision
Item: TypeAlias = Turn | BaseException
ScriptItem: TypeAlias = Item | Callable[[History], Item | Awaitable[Item]]


def call(tool: str, /, **arguments: Any) -> ScriptedCall:
    """A turn that calls `tool`; several in a list are one turn."""
    return ScriptedCall(tool, arguments)


def answer(value: Any) -> ScriptedAnswer:
    """A turn that answers: in words, or with a value as JSON (models and dataclasses too)."""
    return ScriptedAnswer(value if isinstance(value, str) else to_json(value).decode())


def drafted(final: Reading, *guesses: Reading, settled: int | Sequence[int] = 0) -> ScriptedDraft:
    """A turn that takes a step a guess, and one more for what it is in the end.

    settled: how many of the calls stay as they are from a step on; of each guess, or of all.
    """
    counts = (settled,) * len(guesses) if isinstance(settled, int) else tuple(settled)
    if len(counts) != len(guesses):
        raise ValueError(
            f"settled={settled!r} is not of the {len(guesses)} guesses; give a count for each"
        )
    for guess, count in zip(guesses, counts, strict=True):
        if calls_of(guess)[:count] != calls_of(final)[:count] or count > len(calls_of(guess)):
            raise ValueError(
                f"settled={count} of {guess!r} can't be: what has settled stands first in {final!r}"
            )
    return ScriptedDraft(final, guesses, counts)


def refill(values: Mapping[str, Any] | None = None, /, **arguments: Any) -> ScriptedRefill:
    """Other values for those rejected: `refill(day=3)`, or `refill({"/trip/day": 3})`."""
    return ScriptedRefill(_by_pointer(values, arguments))


def calls_of(turn: Reading) -> tuple[ScriptedCall, ...]:
    """The calls of a turn; none of one that answers."""
    if isinstance(turn, ScriptedAnswer):
        return ()
    return (turn,) if isinstance(turn, ScriptedCall) else tuple(turn)


def decision_of(turn: Reading, *, forwards: int) -> Decision:
    """What a turn decides."""
    if isinstance(turn, ScriptedAnswer):
        words = len(turn.text.split())
        return Decision((), turn.text, {"": 1.0}, forwards, words, model="script")
    calls = calls_of(turn)
    choice: dict[str, float] = {}
    for item in calls:
        share = 1 / len(calls) if item.choice is None else item.choice
        choice[item.tool] = choice.get(item.tool, 0.0) + share
    if (rest := 1 - sum(choice.values())) > 1e-9:
        choice[""] = rest
    tokens = sum(len(item.arguments) for item in calls)
    proposed = tuple(item.proposed() for item in calls)
    return Decision(proposed, None, choice, forwards, tokens, model="script")


def patched(value: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a JSON value with others at these pointers.

    Raises:
        LookupError: there is nothing at a pointer.
    """
    for pointer, new in values.items():
        value = _with(value, names_in(pointer), new)
    return value


def _with(value: Any, path: Sequence[str], new: Any) -> Any:
    if not path:
        return new
    first, *rest = path
    if isinstance(value, list):
        items = cast(Sequence[Any], value)
        place = int(first) if first.isdecimal() else len(items)
        return [*items[:place], _with(items[place], rest, new), *items[place + 1 :]]
    if isinstance(value, dict):
        members = cast(Mapping[str, Any], value)
        return {**members, first: _with(members[first], rest, new)}
    raise LookupError(first)


def _by_pointer(values: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    named = {pointer_of(key): arguments[key] for key in arguments}
    return {**(values or {}), **named}
