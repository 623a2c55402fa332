"""What a finished run hands back: the answer, the whole history, and the figures.

Knows messages and decisions; must not know how a run is driven.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentkit.backend import Decision
from agentkit.message import Call, CallMessage, History, ResultMessage


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of one run.

    answer: the text of the final answer.
    messages: the whole history, what was given with `history=` included.
    given: how many of `messages` were given.
    decisions: one a turn, in order.
    timings: seconds by phase, over all turns: "encode", "denoise", "verify", "lattice", "tool".
        Calls that ran side by side count as long as the slowest.
    """

    answer: str
    messages: History
    given: int
    decisions: tuple[Decision, ...]
    timings: dict[str, float]

    @property
    def history(self) -> History:
        """`messages`, under the name that the next run takes them by."""
        return self.messages

    @property
    def new_messages(self) -> History:
        """What this run added to the history: the request first, the answer last."""
        return self.messages[self.given :]

    @property
    def turns(self) -> int:
        """Decisions made, the answer included."""
        return len(self.decisions)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of this run, in order."""
        messages = [message for message in self.new_messages if isinstance(message, CallMessage)]
        return tuple(call for message in messages for call in message.calls)

    @property
    def results(self) -> tuple[ResultMessage, ...]:
        """What the calls gave back, one a call, in the order of `calls`."""
        return tuple(item for item in self.new_messages if isinstance(item, ResultMessage))

    @property
    def forwards(self) -> int:
        """Decoder forward passes of all turns."""
        return sum(decision.forwards for decision in self.decisions)

    @property
    def passes(self) -> int:
        """Causal passes over what was filled in, of all turns."""
        return sum(decision.passes for decision in self.decisions)

    @property
    def tokens(self) -> int:
        """Canvas positions filled in all turns."""
        return sum(decision.tokens for decision in self.decisions)
