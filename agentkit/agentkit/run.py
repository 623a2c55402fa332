"""The turn loop: extend the conversation, decide, run the calls or answer, again.

Knows the backend protocol, tools and messages; must not know any model, nor who listens. Each
turn costs what is new in it: messages are sent to the backend once, and history only grows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import anyio
import anyio.to_thread

from agentkit.backend import Backend, Conversation, Decision, Draft, ToolSpec
from agentkit.backends import resolve_backend
from agentkit.call import perform
from agentkit.errors import (
    AgentKitError,
    BackendError,
    EmptyRequest,
    EmptyTurn,
    RepeatedFailure,
    RunError,
    TurnLimitReached,
)
from agentkit.event import (
    Answered,
    CallFilled,
    CallFinished,
    DraftCanvas,
    Event,
    RunFinished,
    TurnStarted,
)
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    History,
    Message,
    ResultMessage,
    UserMessage,
)
from agentkit.result import RunResult
from agentkit.tool import AnyTool

Outcome: TypeAlias = tuple[Call, ResultMessage]

MAX_SAME_FAILURES = 3
_CLOSING_SECONDS = 5.0
_log = logging.getLogger("agentkit")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent is, as a run needs it; shared by all its runs."""

    instructions: str
    tools: Mapping[str, AnyTool]
    specs: tuple[ToolSpec, ...]
    backend: Backend | str
    max_turns: int


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of a run. `event` may wait; `draft` returns at once, and may drop."""

    event: Callable[[Event], Awaitable[None]]
    draft: Callable[[DraftCanvas], None]


class Run:
    """One run of an agent: from a request to a result or an error that carries the history."""

    def __init__(
        self, plan: Plan, request: str, *, history: Sequence[Message] = (), steps: int
    ) -> None:
        """Check what was asked.

        Raises:
            EmptyRequest: the request holds nothing but whitespace.
            RunError: the request or the history is not what a run can start from.
        """
        self._plan = plan
        self._steps = steps
        self._messages: list[Message] = _checked_history(history)
        self._given = len(self._messages)
        self._sent = 0
        self._messages.append(UserMessage(_checked_request(request, tuple(self._messages))))
        self._ids = _fresh_ids(self._messages)
        self._decisions: list[Decision] = []
        self._failures: dict[str, int] = {}
        self._tool_seconds = 0.0
        self._listener: Listener | None = None

    @property
    def history(self) -> History:
        """The messages so far. Well-formed at any time: every call that ended has its result."""
        return tuple(self._messages)

    async def go(self, listener: Listener | None = None) -> RunResult:
        """Run to the end. To be called once.

        Raises:
            RunError: the run can't go on; every error but cancellation carries `.history`.
            BackendError: the backend failed; `__cause__` says how.
            EngineError: the engine can't do what was asked.
        """
        self._listener = listener
        try:
            with _backend_errors():
                backend = await self._backend()
                conversation = await backend.open(
                    instructions=self._plan.instructions, tools=self._plan.specs
                )
            try:
                answer = await self._turns(conversation)
            finally:
                await _close(conversation)
        except AgentKitError as error:
            # The engine's errors know nothing of messages, and carry them all the same.
            vars(error)["history"] = self.history
            raise
        result = self._result(answer)
        await self._tell(RunFinished(result))
        return result

    async def _backend(self) -> Backend:
        backend = self._plan.backend
        if not isinstance(backend, str):
            return backend
        return await anyio.to_thread.run_sync(resolve_backend, backend, abandon_on_cancel=True)

    async def _turns(self, conversation: Conversation) -> str:
        outcomes: list[Outcome] = []
        for turn in range(1, self._plan.max_turns + 1):
            await self._tell(TurnStarted(turn))
            decision = await self._decide(conversation, turn)
            self._decisions.append(decision)
            if decision.calls:
                outcomes = await self._perform(turn, decision)
                self._stop_at_repeated_failure(outcomes)
            elif decision.answer is not None and decision.answer.strip():
                self._messages.append(AnswerMessage(decision.answer))
                await self._tell(Answered(turn, decision.answer, decision))
                return decision.answer
            else:
                raise EmptyTurn(
                    f"turn {turn} produced neither call nor answer; ask again, or more plainly"
                )
        raise TurnLimitReached(
            f"no answer after {self._plan.max_turns} turns; raise `max_turns`, or go on with "
            "`history=error.history`",
            results=tuple(result for _, result in outcomes),
        )

    async def _decide(self, conversation: Conversation, turn: int) -> Decision:
        with _backend_errors():
            await conversation.extend(tuple(self._messages[self._sent :]))
            self._sent = len(self._messages)
            return await conversation.decide(steps=self._steps, on_draft=self._on_draft(turn))

    def _on_draft(self, turn: int) -> Callable[[Draft], None] | None:
        listener = self._listener
        if listener is None:  # the backend need not draw what nobody looks at
            return None
        return lambda draft: listener.draft(DraftCanvas(turn, draft))

    async def _perform(self, turn: int, decision: Decision) -> list[Outcome]:
        """Run the calls of one decision side by side; outcomes stand in the order of the calls."""
        calls = tuple(
            Call(next(self._ids), proposed.tool, proposed.arguments) for proposed in decision.calls
        )
        done: dict[str, ResultMessage] = {}
        self._messages.append(CallMessage(calls))
        try:
            for call, proposed in zip(calls, decision.calls, strict=True):
                await self._tell(CallFilled(turn, call, proposed.confidence, decision))
            started = perf_counter()
            async with anyio.create_task_group() as group:
                for call in calls:
                    group.start_soon(self._perform_one, turn, call, done)
            self._tool_seconds += perf_counter() - started
        finally:
            # Also when cancelled: finished work stays, and no call is left without a result.
            outcomes = [(call, done.get(call.id) or _unfinished(call)) for call in calls]
            self._messages.extend(result for _, result in outcomes)
        return outcomes

    async def _perform_one(self, turn: int, call: Call, done: dict[str, ResultMessage]) -> None:
        started = perf_counter()
        result = await perform(call, self._plan.tools)
        done[call.id] = result
        await self._tell(CallFinished(turn, call, result, perf_counter() - started))

    def _stop_at_repeated_failure(self, outcomes: Sequence[Outcome]) -> None:
        # Equal calls of one turn count once: the model can't have known sooner.
        latest = {_key(call): (call, result) for call, result in outcomes}
        for key, (call, result) in latest.items():
            times = self._failures.get(key, 0) + 1 if result.is_error else 0
            self._failures[key] = times
            if times >= MAX_SAME_FAILURES:
                raise RepeatedFailure(
                    f"{call.tool!r} was called {times} times with the same arguments "
                    f"{json.dumps(call.arguments, ensure_ascii=False, default=repr)} and failed "
                    f"each time, at last with: {result.content}",
                    call=call,
                    times=times,
                )

    def _result(self, answer: str) -> RunResult:
        timings = [decision.timings for decision in self._decisions]
        return RunResult(
            answer=answer,
            messages=self.history,
            given=self._given,
            decisions=tuple(self._decisions),
            timings={
                "encode": sum(timing.encode for timing in timings),
                "denoise": sum(timing.denoise for timing in timings),
                "verify": sum(timing.verify for timing in timings),
                "lattice": sum(timing.lattice for timing in timings),
                "tool": self._tool_seconds,
            },
        )

    async def _tell(self, event: Event) -> None:
        if self._listener is not None:
            await self._listener.event(event)


@contextmanager
def _backend_errors() -> Generator[None]:
    try:
        yield
    except AgentKitError:
        raise
    except Exception as error:
        raise BackendError(f"the backend failed: {type(error).__name__}: {error}") from error


async def _close(conversation: Conversation) -> None:
    # Shielded, so that a cancelled run closes too; limited, so that it ends all the same.
    with anyio.move_on_after(_CLOSING_SECONDS, shield=True) as scope:
        try:
            await conversation.aclose()
        except Exception:
            _log.warning("a conversation could not be closed", exc_info=True)
    if scope.cancelled_caught:
        _log.warning("a conversation did not close within %g s", _CLOSING_SECONDS)


def _unfinished(call: Call) -> ResultMessage:
    text = f"The run ended before {call.tool} finished; whether it took effect is not known."
    return ResultMessage(call.id, call.tool, text, is_error=True)


def _key(call: Call) -> str:
    return json.dumps([call.tool, call.arguments], sort_keys=True, default=repr)


def _fresh_ids(messages: Sequence[Message]) -> Iterator[str]:
    calls = [message.calls for message in messages if isinstance(message, CallMessage)]
    taken = {call.id for some in calls for call in some}
    number = len(taken)
    while True:
        number += 1
        if f"call_{number}" not in taken:
            yield f"call_{number}"


def _checked_request(request: object, history: History) -> str:
    if not isinstance(request, str):
        raise RunError(
            f"the request is of type {type(request).__name__!r}; ask in text", history=history
        )
    if not request.strip():
        raise EmptyRequest("the request is empty; ask for something", history=history)
    try:
        request.encode()
    except UnicodeEncodeError as error:
        raise RunError(
            f"the request {request!r} is no Unicode text: {error}; decode it as UTF-8 first",
            history=history,
        ) from error
    return request


def _checked_history(history: Iterable[object]) -> list[Message]:
    messages: list[Message] = []
    for number, message in enumerate(history):
        if not isinstance(message, Message):
            raise RunError(
                f"history[{number}] is of type {type(message).__name__!r}, no message; give "
                "`result.history`, or read JSON with `load_messages`"
            )
        messages.append(message)
    return messages
