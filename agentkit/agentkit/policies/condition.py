"""Conditions on a proposed call: `confidence < 0.6`, `named("delete_*") & (argument("days") > 7)`.

Knows decisions and calls; must not know what is done where a condition holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from agentkit.backend import Decision, ProposedCall
from agentkit.context import RunContext
from agentkit.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that a decision proposes, in the context of its run."""

    context: RunContext[Any]
    decision: Decision
    call: ProposedCall


Test = Callable[[Proposal], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of a proposed call; `&`, `|` and `~` combine conditions. `text` says it in words."""

    test: Test = field(repr=False)
    text: str

    def __bool__(self) -> bool:
        # `a and b` would be `b`, and `0.2 < confidence < 0.6` its second half
        raise DefinitionError(
            f"the condition {self.text!r} is neither true nor false before there is a call; "
            "combine conditions with `&`, `|` and `~`"
        )

    def __and__(self, other: Condition) -> Condition:
        return Condition(
            lambda about: self.test(about) and other.test(about),
            f"{self.text} and {other.text}",
        )

    def __or__(self, other: Condition) -> Condition:
        return Condition(
            lambda about: self.test(about) or other.test(about), f"{self.text} or {other.text}"
        )

    def __invert__(self) -> Condition:
        return Condition(lambda about: not self.test(about), f"not {self.text}")


@dataclass(frozen=True, slots=True)
class Measure:
    """Something about a call that can be compared with a value: `confidence < 0.6`.

    of: the call's; None where there is no such thing, and then no comparison holds.
    """

    of: Callable[[Proposal], Any] = field(repr=False)
    text: str

    def __lt__(self, bound: Any) -> Condition:
        return self._compared("<", bound, lambda value: value < bound)

    def __le__(self, bound: Any) -> Condition:
        return self._compared("<=", bound, lambda value: value <= bound)

    def __gt__(self, bound: Any) -> Condition:
        return self._compared(">", bound, lambda value: value > bound)

    def __ge__(self, bound: Any) -> Condition:
        return self._compared(">=", bound, lambda value: value >= bound)

    def is_(self, bound: Any) -> Condition:
        """Whether it equals `bound`."""
        return self._compared("is", bound, lambda value: value == bound)

    def _compared(self, sign: str, bound: Any, holds: Callable[[Any], bool]) -> Condition:
        def test(about: Proposal) -> bool:
            value = self.of(about)
            try:
                return value is not None and holds(value)
            except TypeError:  # a text beside a number: they don't compare
                return False

        return Condition(test, f"{self.text} {sign} {bound!r}")


@dataclass(frozen=True, slots=True)
class Confidence(Measure):
    """The confidence of the least certain value of a call; `confidence("/day")` of one value."""

    def __call__(self, pointer: str) -> Measure:
        """That of the value at a JSON pointer, or of an argument by its name."""
        path = pointer if pointer.startswith("/") else f"/{pointer}"
        return Measure(lambda about: about.call.confidence.get(path), f"{self.text} in {pointer!r}")


confidence = Confidence(
    lambda about: min(about.call.confidence.values(), default=None), "confidence"
)
"""How sure the model is of a call's least certain value."""

choice = Measure(lambda about: about.decision.choice.get(about.call.tool), "choice")
"""How sure the model is that this tool is to be called."""


def argument(name: str) -> Measure:
    """An argument of the call, by its name; nothing holds of one that is left out."""
    return Measure(lambda about: about.call.arguments.get(name), f"argument {name!r}")


def named(*patterns: str) -> Condition:
    """Calls of tools so named; `*` and `?` stand for any text and any sign."""

    def test(about: Proposal) -> bool:
        return any(fnmatchcase(about.call.tool, pattern) for pattern in patterns)

    return Condition(test, f"tool {' or '.join(map(repr, patterns))}")


def where(
    test: Callable[[RunContext[Any], ProposedCall], bool], text: str | None = None
) -> Condition:
    """Any test of the context and the call, as a condition."""
    said: str = text or str(getattr(test, "__name__", "a test"))
    return Condition(lambda about: test(about.context, about.call), said)


always = Condition(lambda _: True, "always")
"""Holds of every call."""
