"""What ends a run before its answer: stop policies, and one call that fails again and again.

Knows what is spent and how calls ended. Must not know how a run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from agentkit.errors import LimitReached, RepeatedFailure
from agentkit.message import Call
from agentkit.running.performing import Outcome
from agentkit.running.state import State

_MEND = "raise it, or go on with `history=error.history`"


def check_turn(state: State) -> None:
    """See that another turn is allowed: it takes at least one forward and one token.

    Raises:
        LimitReached: it is not; says which limit it is.
    """
    spent = state.now_spent()
    least = replace(
        spent, turns=spent.turns + 1, forwards=spent.forwards + 1, tokens=spent.tokens + 1
    )
    if why := state.plan.stop.check(least):
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
    if why := state.plan.stop.check(replace(spent, calls=spent.calls + more)):
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
                    f"{json.dumps(call.arguments, ensure_ascii=False, default=repr)} and failed "
                    f"each time, at last with: {outcome.result.content}",
                    call=call,
                    times=times,
                )


def _key(call: Call) -> str:
    return json.dumps([call.tool, call.arguments], sort_keys=True, default=repr)
