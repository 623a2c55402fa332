"""Runs plain functions in threads of their own, without waiting for those that hang.

Knows threads and event loops; must not know tools.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

P = ParamSpec("P")
R = TypeVar("R")


def loop_here() -> object:
    """The event loop that runs in this thread, as `anyio.from_thread` takes it; None without."""
    try:
        return anyio.lowlevel.current_token()
    except RuntimeError:
        return None


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
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
