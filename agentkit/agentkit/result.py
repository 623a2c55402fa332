"""What a finished run hands back: the output, the whole history, and the figures.

Knows messages and decisions; must not know how a run is driven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeAlias, cast

from typing_extensions import TypeVar

from agentkit.backend import Decision
from agentkit.errors import NotAnswered
from agentkit.message import Call, CallMessage, History, ResultMessage

if TYPE_CHECKING:
    from agentkit.observing.trace import Trace

Output = TypeVar("Output", default=str, covariant=True)

SpanKind: TypeAlias = Literal["open", "turn", "encode", "decide", "refill", "call"]
Status: TypeAlias = Literal["answered", "asked", "paused", "cancelled"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that waits: for a human's approval, or to be finished elsewhere.

    why: the policy's reason, or what the tool noted.
    """

    call: Call
    kind: Literal["approval", "deferred"]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Approve:
    """Make the call; with other arguments, where they are given."""

    arguments: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Don't make the call; the model reads why."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """The call was finished elsewhere, with `value`, or failed there."""

    value: Any
    is_error: bool = False


Verdict: TypeAlias = Approve | Deny | Finish


@dataclass(frozen=True, slots=True)
class Resume:
    """Asks a run to go on with the calls that wait in the history: call id -> what became of it.

    A call that nothing is said of stays pending.
    """

    verdicts: Mapping[str, Verdict]


class Span(NamedTuple):
    """A stretch of a run: a phase of a turn, a tool's call.

    kind: "open" (the backend's conversation, its model included where that is made now), "turn",
    "encode", "decide", "refill", "call"; "decide" and "refill" hold their `decision`, "call" its
    `call` and whether it failed, or was cut off.
    turn: from 1; 0 before the first.
    started: seconds since the run began. seconds: how long it took.
    """

    kind: SpanKind
    name: str
    turn: int
    started: float
    seconds: float
    decision: Decision | None = None
    call: Call | None = None
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class RunResult(Generic[Output]):
    """The outcome of one run.

    status: "answered"; "asked", where a policy asks back; "paused", where calls wait (`pending`);
        "cancelled", where `Cancellation.cancel` ended it.
    answer: the text of the final answer, or of the question asked back; empty where there is none.
    reason: why it ended otherwise than by an answer.
    pending: the calls that wait.
    agent: the name of the agent that answered; another than the one asked after a hand-off.
    messages: the whole history, what was given with `history=` included.
    given: how many of `messages` were given.
    decisions: of all turns, in order, refills and escalations included.
    spans: what took how long, in order of ending.
    timings: seconds by phase, over all turns: "encode", "denoise", "verify", "lattice", "tool".
        Calls that ran side by side count as long as the slowest.
    """

    status: Status
    answer: str
    reason: str = ""
    pending: tuple[Pending, ...] = ()
    agent: str = "agent"
    messages: History
    given: int
    turns: int
    decisions: tuple[Decision, ...]
    confidence: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, Mapping[str, float]]
    )
    spans: tuple[Span, ...] = ()
    timings: dict[str, float]
    value: Any = field(default=None, repr=False)

    @property
    def output(self) -> Output:
        """The answer as the agent's output type says.

        Raises:
            NotAnswered: the run ended without one; says why.
        """
        if self.status != "answered":
            raise NotAnswered(
                f"the run has no output: it {_ENDED[self.status]}"
                f"{f' ({self.reason})' if self.reason else ''}; look at `result.status` first",
                history=self.messages,
            )
        return cast(Output, self.value)

    @property
    def history(self) -> History:
        """`messages`, under the name that the next run takes them by."""
        return self.messages

    @property
    def new_messages(self) -> History:
        """What this run added to the history: the request first, the answer last."""
        return self.messages[self.given :]

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of this run, in order."""
        messages = [message for message in self.new_messages if isinstance(message, CallMessage)]
        return tuple(call for message in messages for call in message.calls)

    @property
    def results(self) -> tuple[ResultMessage, ...]:
        """What the calls gave back; a call names its result by its id."""
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

    def trace(self) -> Trace:
        """Where the time went: `print(result.trace())`, or `.save("run.svg")` for a picture."""
        from agentkit.observing.trace import Trace

        return Trace(self)


_ENDED: Mapping[Status, str] = {
    "answered": "was answered",
    "asked": "asks back",
    "paused": "is paused",
    "cancelled": "was cancelled",
}
