"""Runs one call of one tool and always comes back with a result message.

A tool that is unknown, gets arguments that don't fit, raises, hangs, or returns what can't be
written as JSON becomes an error result: the reason and the mend, for the model to read. Knows
tools and messages; must not know turns, agents or models.
"""

from __future__ import annotations

import contextvars
import inspect
import json
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_jsonable_python

from agentkit.message import Call, ResultMessage
from agentkit.tool import AnyTool

P = ParamSpec("P")
R = TypeVar("R")

_MAX_REASON = 1000  # characters of an error that a model gets to read
_MAX_PROBLEMS = 5


class _Failure(Exception):
    """Carries what the model is told from where a call fails to its result."""


async def perform(call: Call, tools: Mapping[str, AnyTool]) -> ResultMessage:
    """Run a call to its end. Raises nothing but cancellation and KeyboardInterrupt."""
    try:
        tool = _find(call.tool, tools)
        content = await _run(tool, _bind(tool, call.arguments))
    except _Failure as failure:
        return ResultMessage(call.id, call.tool, str(failure), is_error=True)
    return ResultMessage(call.id, call.tool, content)


def _find(name: str, tools: Mapping[str, AnyTool]) -> AnyTool:
    if name not in tools:
        known = ", ".join(tools) or "none"
        raise _Failure(f"There is no tool {name!r}. Tools: {known}.")
    return tools[name]


def _bind(tool: AnyTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return tool.bind(arguments)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        problems = [_problem(detail) for detail in details[:_MAX_PROBLEMS]]
        if len(details) > _MAX_PROBLEMS:
            problems.append(f"and {len(details) - _MAX_PROBLEMS} more")
        reason = "; ".join(problems)
    except Exception as error:  # not JSON at all, or a validator of the user's that broke
        reason = _told(error)
    raise _Failure(f"Invalid arguments for {tool.name}: {reason}. Correct them and call again.")


def _problem(detail: ErrorDetails) -> str:
    pointer = "".join(f"/{part}" for part in detail["loc"]) or "arguments"
    if detail["type"] == "missing":
        return f"{pointer}: is required"
    if detail["type"] == "extra_forbidden":
        return f"{pointer}: is no parameter of this tool"
    return f"{pointer}: {detail['msg']} (got {_shortened(repr(detail['input']), 60)})"


async def _run(tool: AnyTool, arguments: dict[str, Any]) -> str:
    limit = math.inf if tool.timeout is None else tool.timeout
    with anyio.move_on_after(limit) as scope:
        try:
            return await _call(tool.function, arguments)
        except (_Failure, KeyboardInterrupt):
            raise
        except anyio.get_cancelled_exc_class():
            # Ours, or the run's: let it through. A tool can also trip over a cancellation of
            # its own making, which is a failure like any other.
            if anyio.current_effective_deadline() == -math.inf or scope.cancel_called:
                raise
            raise _Failure(f"{tool.name} failed: it was cancelled from within.") from None
        except BaseException as error:  # SystemExit too: a tool does not end its host
            raise _Failure(
                f"{tool.name} failed: {_told(error)}. "
                "Call it with other arguments, or answer without it."
            ) from error
    raise _Failure(
        f"{tool.name} did not finish within {limit:g} s and was given up. "
        "Call it with less to do, or answer without it."
    )


async def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    if inspect.iscoroutinefunction(function):
        return await _in_thread(to_text, await function(**arguments))

    def work() -> str | Awaitable[Any]:
        value = function(**arguments)
        return value if inspect.isawaitable(value) else to_text(value)

    outcome = await _in_thread(work)
    if isinstance(outcome, str):
        return outcome
    # A plain function that handed out a coroutine.
    return await _in_thread(to_text, await outcome)


async def _in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `work` in a thread of its own and wait for it, as long as we are not cancelled.

    The thread is a daemon, which those of `anyio.to_thread` are not: one hung tool would keep
    the whole process from exiting. When cancelled, the thread is left behind.
    """
    done = anyio.Event()
    token = anyio.lowlevel.current_token()
    context = contextvars.copy_context()
    if sniffio := sys.modules.get("sniffio"):
        # The copy says that an event loop runs here; in the new thread none does, and a tool
        # may well start its own.
        context.run(sniffio.current_async_library_cvar.set, None)
    outcome: list[R] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(context.run(work, *args, **kwargs))
        except BaseException as error:
            failure.append(error)
        with suppress(RuntimeError):  # where the event loop ended without waiting for us
            anyio.from_thread.run_sync(done.set, token=token)

    threading.Thread(target=run, name="agentkit tool", daemon=True).start()
    await done.wait()
    if failure:
        raise failure[0]
    return outcome[0]


def to_text(value: Any) -> str:
    """A tool's result as a model reads it: a string as it is, anything else as compact JSON.

    Raises:
        _Failure: the value can't be written as JSON; says why and the mend.
    """
    try:
        text = value if isinstance(value, str) else _json(value)
        text.encode()  # lone surrogates would break every later step
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise _Failure(
            f"The tool ran, but its result, of type {type(value).__name__!r}, can't be written "
            f"as JSON: {_told(error)}. It should return text, numbers, lists or dicts."
        ) from error
    return text


def _json(value: Any) -> str:
    plain = to_jsonable_python(value)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _told(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    name = type(error).__name__
    return _shortened(f"{name}: {text}" if text else name, _MAX_REASON)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
