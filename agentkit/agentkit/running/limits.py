"""What ends a run before its answer: stop policies, and one call that fails again and again.

Knows what is spent and how calls ended. Must not know how a run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentkit.errors import LimitReached, RepeatedFailure
from agentkit.message import Call
from agentkit.running.performing import Outcome
from agentkit.running.state import State
from agentkit.running.writing import as_json

_MEND = "raise it, or go on with `history=error.history`"


def check_turn(state: State) -> None:
    """See that another turn is allowed: it takes at least one forward and one token.

    Raises:
        LimitReached: it is not; says which limit it is.
    """
    _check_decision(state, turns=1)


def check_refill(state: State) -> None:
    """See that rejected values may be filled in again: that is no turn, but takes a forward too.

    Raises:
        LimitReached: they may not; says which limit it is.
    """
    _check_decision(state, turns=0)


def _check_decision(state: State, *, turns: int) -> None:
    spent = state.now_spent()
    if why := state.plan.stop.check(spent.plus(turns=turns, forwards=1, tokens=1)):
        raise LimitReached(
            f"no answer after {spent.turns} turns: {why}; {_MEND}",
            results=state.journal.last_results(),
            turn=state.turn,
        )


def check_calls(state: State, more: int) -> None:
    """See that so many more calls are allowed.

    Raises:
        LimitReached: they are not; says which limit it is.
    """
    spent = state.now_spent()
    if why := state.plan.stop.check(spent.plus(calls=more)):
        raise LimitReached(
            f"turn {state.turn} asked for {more} calls: {why}; {_MEND}", turn=state.turn
        )


class Failures:
    """How often each call has failed in a row."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: dict[str, int] = {}

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Take in how the calls of one decision ended.

        Raises:
            RepeatedFailure: one has failed as often as it may.
        """
        if not self._times and not any(
            outcome.result is not None and outcome.result.is_error for outcome in outcomes
        ):
            return
        # Equal calls of one turn count once: the model can't have known sooner.
        latest = {_key(outcome.call): outcome for outcome in outcomes if outcome.result}
        for key, outcome in latest.items():
            assert outcome.result is not None
            times = self._times.get(key, 0) + 1 if outcome.result.is_error else 0
            self._times[key] = times
            if times >= self._most:
                call = outcome.call
                raise RepeatedFailure(
                    f"{call.tool!r} was called {times} times with the same arguments "
                    f"{as_json(call.arguments)} and failed each time, at last with: "
                    f"{outcome.result.content}",
                    call=call,
                    times=times,
                )


def _key(call: Call) -> str:
    return as_json([call.tool, call.arguments])
