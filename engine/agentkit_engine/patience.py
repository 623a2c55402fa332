"""Patience: how long what computes in this thread may go on.

Knows clocks. Must not know what is computed. Whatever may take long asks `keep_on` now and then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from agentkit_engine.errors import SchemaTooLarge

T = TypeVar("T")


class Patience:
    """Somebody waits, for so long; or no more, whatever thread says so."""

    __slots__ = ("_seconds", "until")

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self.until = math.inf  # by the clock of `time.monotonic`

    def begin(self) -> None:
        """It is being worked on: from now on the time counts."""
        self.until = min(self.until, time.monotonic() + self._seconds)

    def end(self) -> None:
        """Nobody waits any more."""
        self.until = -math.inf

    def keep_on(self) -> None:
        """Raises SchemaTooLarge where it is over."""
        if time.monotonic() > self.until:
            allowed = int(self._seconds) if self._seconds < math.inf else 0
            raise SchemaTooLarge(allowed + 1, allowed, "seconds")


_PATIENCE: ContextVar[Patience] = ContextVar("patience")
_ENDLESS = Patience()


def patient(patience: Patience, make: Callable[[], T]) -> T:
    """What `make` makes, as long as somebody waits for it."""
    patience.begin()
    token = _PATIENCE.set(patience)
    try:
        return make()
    finally:
        _PATIENCE.reset(token)


def keep_on() -> None:
    """Says that this thread still computes.

    Raises:
        SchemaTooLarge: it has had its time, or nobody waits for it any more.
    """
    _PATIENCE.get(_ENDLESS).keep_on()
