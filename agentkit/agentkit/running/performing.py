"""Runs one call of one tool and always comes back with an outcome.

A tool that is unknown, gets arguments that don't fit, raises, hangs, or returns what can't be
written as JSON becomes an error result: the reason and the mend, for the model to read. Knows
tools and messages; must not know turns, agents or models.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import anyio
from pydantic import ValidationError

from agentkit.context import RunContext
from agentkit.defining.schema import problems_of
from agentkit.defining.tool import AnyTool
from agentkit.message import Call, ResultMessage
from agentkit.pointer import pointer_of, value_at
from agentkit.policies.transient import Transient, retrying
from agentkit.result import Pending
from agentkit.running.threads import in_thread
from agentkit.running.writing import (
    Unwritable,
    cut,
    listed,
    to_text,
    told,
    written,
)
from agentkit.signals import Deferred, Retry

Attempt: TypeAlias = Callable[[], Awaitable[str]]

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    result: what it gave back; None where it waits, and `pending` says for what.
    rejected: JSON pointers of values that won't do -> why, where the call failed by those.
    """

    call: Call
    result: ResultMessage | None
    rejected: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    pending: Pending | None = None


def succeeded(call: Call, content: str) -> Outcome:
    """The outcome of a call that gave something back."""
    return Outcome(call, ResultMessage(call.id, call.tool, content))


def failed(call: Call, why: str, rejected: Mapping[str, str] = _NOTHING) -> Outcome:
    """The outcome of a call that failed; `why` is for the model to read."""
    return Outcome(call, ResultMessage(call.id, call.tool, why, is_error=True), rejected)


class _Failure(Exception):
    """Carries what the model is told from where a call fails to its outcome."""

    def __init__(self, why: str, rejected: Mapping[str, str] = _NOTHING) -> None:
        super().__init__(why)
        self.rejected = rejected


async def perform(
    call: Call,
    tools: Mapping[str, AnyTool],
    context: RunContext[Any] | None = None,
    *,
    retry: Transient | None = None,
) -> Outcome:
    """Run a call to its end. Raises nothing but cancellation and KeyboardInterrupt.

    retry: for tools that have no policy of their own.
    """
    try:
        tool = find(call.tool, tools)
        arguments = _bind(tool, call.arguments)
        if tool.context is not None:
            arguments[tool.context] = context or RunContext[Any](deps=None, call=call)
        attempt: Attempt = partial(_call, tool, arguments)
        for around in tool.around:
            attempt = partial(around, {**tool.defaults, **call.arguments}, attempt)
        policy = tool.retry or retry
        if policy is None:
            text = await _run(tool, attempt)
        else:
            text = await _run_again(tool, attempt, policy)
        return succeeded(call, cut(text, tool.max_result))
    except _Failure as failure:
        return failed(call, str(failure), failure.rejected)
    except Retry as refusal:
        return failed(call, refusal.why, rejected_by(refusal, call))
    except Deferred as waiting:
        return Outcome(call, None, pending=Pending(call, "deferred", waiting.note))


def find(name: str, tools: Mapping[str, AnyTool]) -> AnyTool:
    """The tool of that name, or the failure that says there is none."""
    if name not in tools:
        known = ", ".join(tools) or "none"
        raise _Failure(f"There is no tool {name!r}. Tools: {known}.")
    return tools[name]


def rejected_by(refusal: Retry, call: Call) -> dict[str, str]:
    """The value that a `Retry` blames; the only one of the call where it names none."""
    if refusal.value is not None:
        known = refusal.value in call.arguments
        pointer = pointer_of(refusal.value) if known else refusal.value
        return {pointer: refusal.why} if pointer.startswith("/") else {}
    if len(call.arguments) == 1:
        return {pointer_of(name): refusal.why for name in call.arguments}
    return {}


def _bind(tool: AnyTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return tool.bind(arguments)
    except ValidationError as error:
        problems = problems_of(error, arguments)
        reason = listed(problems)
    except Retry:
        raise
    except Exception as error:  # not JSON at all, or a validator of the user's that broke
        problems, reason = {}, told(error)
    raise _Failure(
        f"Invalid arguments for {tool.name}: {reason}. Correct them and call again.",
        {pointer: why for pointer, why in problems.items() if _filled(pointer, arguments)},
    )


def _filled(pointer: str, arguments: Any) -> bool:
    """Whether the arguments have a value at `pointer`, which could be filled in again."""
    try:
        value_at(pointer, arguments)
    except LookupError:
        return False
    return bool(pointer)


async def _run_again(tool: AnyTool, attempt: Attempt, policy: Transient) -> str:
    """`_run`, repeated while what fails passes, as the policy says."""
    try:
        return await retrying(policy, lambda: _within_limit(tool, attempt))
    except (_Failure, Retry, Deferred):
        raise
    except Exception as error:
        raise _broken(tool, error) from error


async def _run(tool: AnyTool, attempt: Attempt) -> str:
    try:
        return await _within_limit(tool, attempt)
    except (_Failure, Retry, Deferred):
        raise
    except Exception as error:
        raise _broken(tool, error) from error


async def _within_limit(tool: AnyTool, attempt: Attempt) -> str:
    limit = math.inf if tool.timeout is None else tool.timeout
    with anyio.move_on_after(limit) as scope:
        try:
            return await attempt()
        except (Exception, KeyboardInterrupt):
            raise
        except anyio.get_cancelled_exc_class():
            # Ours, or the run's: let it through. A tool can also trip over a cancellation of
            # its own making, which is a failure like any other.
            if scope.cancel_called or _is_cancelled():
                raise
            raise _Failure(f"{tool.name} failed: it was cancelled from within.") from None
        except BaseException as error:  # SystemExit too: a tool does not end its host
            raise _broken(tool, error) from error
    raise _Failure(
        f"{tool.name} did not finish within {limit:g} s and was given up. "
        "Call it with less to do, or answer without it."
    )


def _is_cancelled() -> bool:
    """Whether somebody cancels the task we are in, by anyio's means or asyncio's own."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    import asyncio  # loaded already, where its event loop runs; an agent is defined without it

    try:
        task = asyncio.current_task()
    except RuntimeError:  # an event loop of another kind
        return False
    return task is not None and task.cancelling() > 0


def _broken(tool: AnyTool, error: BaseException) -> _Failure:
    return _Failure(
        f"{tool.name} failed: {told(error)}. Call it with other arguments, or answer without it."
    )


async def _call(tool: AnyTool, arguments: dict[str, Any]) -> str:
    try:
        if tool.is_async:
            return await written(await tool.function(**arguments))

        def work() -> Any:
            value = tool.function(**arguments)
            return value if inspect.isawaitable(value) else to_text(value)

        outcome = await in_thread(work)
        if isinstance(outcome, str):
            return outcome
        # A plain function that handed out a coroutine.
        return await written(await outcome)
    except Unwritable as error:
        raise _Failure(str(error)) from error
