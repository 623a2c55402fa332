"""Calls begun before their decision is there: settled ones at once, pure ones on a guess.

Knows drafts and tasks. Must not know how a call is made: it is given what makes one.

A settled call stays as it is, so it is made in earnest. A tool marked `pure` may be started on any
draft; if the decision turns out otherwise, what it did is thrown away and nobody hears of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from agentkit.backend import Decision, Draft, ProposedCall
from agentkit.errors import BackendError
from agentkit.message import Call
from agentkit.running.performing import Outcome
from agentkit.running.writing import as_json

Perform = Callable[[Call], Awaitable[Outcome]]


@dataclass(slots=True, eq=False)
class Begun:
    """A call that was begun: `outcome` is there once `done` is set."""

    call: Call
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    outcome: Outcome | None = None

    async def wait(self) -> Outcome:
        """How it ended."""
        await self.done.wait()
        assert self.outcome is not None
        return self.outcome


class Ahead:
    """The calls of one decision that were begun before it was there.

    Attributes:
        settled: those that will be made in any case, in the order of the decision.
    """

    def __init__(
        self,
        group: TaskGroup,
        *,
        settle: Callable[[Ahead, ProposedCall], Begun | None],
        guess: Callable[[ProposedCall], Call | None],
        perform: Perform,
    ) -> None:
        """
        Args:
            settle: begins a settled call in earnest; None where it has to wait for the decision,
                and all behind it do too.
            guess: the call that may be tried on a guess, if it may.
            perform: makes a call without telling anyone.
        """
        self._group = group
        self._settle, self._guess, self._perform = settle, guess, perform
        self._guesses: dict[str, Begun] = {}
        self.settled: list[Begun] = []
        self._waiting = False

    def hear(self, draft: Draft) -> None:
        """A draft is there; called in the event loop's thread."""
        for proposed in draft.calls[len(self.settled) : draft.settled]:
            begun = None if self._waiting else self._settle(self, proposed)
            if begun is None:
                self._waiting = True
                break
            self.settled.append(begun)
        self._follow(draft.calls[len(self.settled) :])

    def confirm(self, decision: Decision) -> None:
        """The decision is there: it begins with what had settled.

        Raises:
            BackendError: it does not, and calls were made that it knows nothing of.
        """
        made = [(begun.call.tool, begun.call.arguments) for begun in self.settled]
        stand = [(call.tool, call.arguments) for call in decision.calls[: len(made)]]
        if made != stand:
            raise BackendError(
                f"the drafts said that {made!r} had settled, but the decision begins with "
                f"{stand!r}; a backend counts as `settled` only what stays as it is"
            )
        if not decision.calls:
            self.forget()

    def adopt(self, proposed: ProposedCall) -> Begun | None:
        """The guess that turned out right, if there is one; it is the caller's now."""
        return self._guesses.pop(_key(proposed), None)

    def forget(self) -> None:
        """Cancel the guesses that nobody adopted."""
        for begun in self._guesses.values():
            begun.scope.cancel()
        self._guesses.clear()

    async def finish(self) -> None:
        """Let the calls that are made in earnest come to their end: there is no decision."""
        self.forget()
        for begun in self.settled:
            await begun.wait()

    def begin(self, begun: Begun, perform: Perform) -> Begun:
        """Start a call as a task of the turn."""
        self._group.start_soon(_carry, begun, perform)
        return begun

    def _follow(self, calls: Iterable[ProposedCall]) -> None:
        """Start what the draft guesses now, and drop what it no longer does."""
        wanted = {_key(one): one for one in calls}
        for key in [key for key in self._guesses if key not in wanted]:
            self._guesses.pop(key).scope.cancel()
        for key, proposed in wanted.items():
            if key not in self._guesses and (call := self._guess(proposed)):
                self._guesses[key] = self.begin(Begun(call), self._perform)


async def _carry(begun: Begun, perform: Perform) -> None:
    if begun.scope.cancel_called:  # before its task came to run
        return
    with begun.scope:
        begun.outcome = await perform(begun.call)
        begun.done.set()


def _key(proposed: ProposedCall) -> str:
    return as_json([proposed.tool, proposed.arguments])
