"""Ends runs from outside, from any task or thread.

Knows cancel scopes; must not know runs.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from agentkit.running.threads import loop_here


class Cancellation:
    """Given to a run, it can end that run: `agent.run(..., cancellation=stop)`, `stop.cancel()`.

    The run ends within one denoise step; tools are cancelled, finished work stays in the history,
    and the result's status is "cancelled". One object may be given to many runs.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.cancelled = False
        self._lock = Lock()
        self._scopes: dict[anyio.CancelScope, Any] = {}  # -> the event loop it lives in

    def cancel(self, reason: str = "it was cancelled from outside") -> None:
        """End all runs this was given to, now and later; from any task or thread."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled, self.reason = True, reason
            scopes = dict(self._scopes)
        for scope, loop in scopes.items():
            if loop_here() == loop:
                scope.cancel()
                continue
            with suppress(RuntimeError):  # where that event loop has ended meanwhile
                anyio.from_thread.run_sync(scope.cancel, token=loop)

    @contextmanager
    def watching(self, scope: anyio.CancelScope) -> Generator[None]:
        """`cancel` cancels `scope` too, for as long as the block lasts."""
        with self._lock:
            self._scopes[scope] = anyio.lowlevel.current_token()
        try:
            if self.cancelled:
                scope.cancel()
            yield
        finally:
            with self._lock:
                del self._scopes[scope]
