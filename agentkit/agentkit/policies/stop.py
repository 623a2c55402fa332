"""When a run ends without an answer: `stop=max_turns(8) | max_seconds(30)`.

A policy says why a run may not go on, from what it would have spent if it did. Knows what is spent;
must not know runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from agentkit.context import Spent
from agentkit.errors import DefinitionError

Check = Callable[[Spent], str]


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop policy; `|` ends a run where either ends it, `&` where both do.

    check: what would be spent at the least if the run went on -> why it may not; "" where it may.
    seconds: the run is cancelled so long after it began, whatever it is doing; None: never.
    """

    check: Check
    seconds: float | None = None

    def __or__(self, other: Stop) -> Stop:
        limits = [one.seconds for one in (self, other) if one.seconds is not None]
        return Stop(
            lambda spent: self.check(spent) or other.check(spent), min(limits, default=None)
        )

    def __and__(self, other: Stop) -> Stop:
        def check(spent: Spent) -> str:
            reasons = self.check(spent), other.check(spent)
            return f"{reasons[0]} and {reasons[1]}" if all(reasons) else ""

        limits = [one.seconds for one in (self, other) if one.seconds is not None]
        # what one alone would have cancelled may go on until the other says so too
        return Stop(check, max(limits) if len(limits) == 2 else None)


def max_turns(most: int) -> Stop:
    """Decisions, the answer included."""
    return _limit("turns", most, "turns")


def max_calls(most: int) -> Stop:
    """Calls of tools. A decision that would take more is not carried out at all."""
    return _limit("calls", most, "calls", least=0)


def max_failures(most: int) -> Stop:
    """Calls that ended in an error."""
    return _limit("failures", most, "failed calls", least=0)


def max_forwards(most: int) -> Stop:
    """Decoder forwards; a turn takes one at the least."""
    return _limit("forwards", most, "forwards")


def max_tokens(most: int) -> Stop:
    """Tokens filled in or written; a turn takes one at the least."""
    return _limit("tokens", most, "tokens")


def max_seconds(most: float) -> Stop:
    """Seconds since the run began; what goes on then is cancelled, tools included."""
    if not 0 < most < float("inf"):
        raise DefinitionError(f"max_seconds({most!r}) is no limit; give seconds above 0")
    return Stop(lambda spent: f"{most:g} s are over" if spent.seconds >= most else "", most)


def _limit(name: str, most: int, noun: str, *, least: int = 1) -> Stop:
    if most < least:
        raise DefinitionError(f"max_{name}({most!r}) is too small; give {least} or more")
    spent_of = attrgetter(name)
    return Stop(
        lambda spent: f"the limit of {most} {noun} is reached" if spent_of(spent) > most else ""
    )
