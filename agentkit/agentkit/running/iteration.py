"""A run turn by turn: `async with agent.iterate(...) as turns: async for turn in turns`.

Knows the events of a run. Must not know how it goes on. The run waits before each turn until it is
asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self

from agentkit.event import (
    Answered,
    AnswerRejected,
    CallFilled,
    CallFinished,
    CallPending,
    TurnFinished,
    TurnStarted,
)
from agentkit.message import Call, History, ResultMessage
from agentkit.result import Output, Pending, RunResult
from agentkit.running.run import Run
from agentkit.running.stream import EventStream


@dataclass(slots=True)
class Turn:
    """What happened in one turn.

    results: by the id of their call. rejected: why answers of this turn won't do.
    """

    number: int
    calls: list[Call] = field(default_factory=list[Call])
    results: dict[str, ResultMessage] = field(default_factory=dict[str, ResultMessage])
    pending: list[Pending] = field(default_factory=list[Pending])
    rejected: list[str] = field(default_factory=list[str])
    answer: str | None = None


class Turns(Generic[Output]):
    """The turns of one run, each given when it is done; leaving the block ends the run."""

    def __init__(self, run: Run) -> None:
        self._events: EventStream[Output] = EventStream(run, buffer=0)

    @property
    def history(self) -> History:
        """The messages so far."""
        return self._events.history

    @property
    def result(self) -> RunResult[Output]:
        """The result, once the last turn was given.

        Raises:
            RunError: there is none: not yet, or the run ended in an error.
        """
        return self._events.result

    async def __aenter__(self) -> Self:
        await self._events.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._events.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Turn:
        turn = Turn(0)
        async for event in self._events:
            match event:
                case TurnStarted(turn=number):
                    turn.number = number  # calls that were resumed stand in the turn they precede
                case CallFilled(call=call):
                    turn.calls.append(call)
                case CallFinished(result=result):
                    turn.results[result.call_id] = result
                case CallPending(pending=pending):
                    turn.pending.append(pending)
                case AnswerRejected(why=why):
                    turn.rejected.append(why)
                case Answered(text=text):
                    turn.answer = text
                case TurnFinished():
                    return turn
                case _:
                    pass
        raise StopAsyncIteration
