"""Limits of time and memory while an automaton is built.

Knows clocks. Must not know what is built.
"""

from __future__ import annotations

import sys
import time

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.patience import keep_on

try:
    import resource
except ImportError:  # not on Windows; memory is then not watched
    resource = None  # type: ignore[assignment]

__all__ = ["Limits"]

_SELDOM = 256  # checks of time to one of memory, which costs more
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which the system counts memory


class Limits:
    """Seconds and bytes that may be used from now on."""

    def __init__(self, options: Options) -> None:
        self.seconds = options.max_seconds
        self.bytes = options.max_memory
        self._begun = self._until = time.monotonic()
        self._until += options.max_seconds
        self._held = _peak()
        self._checks = 0

    def allot(self, share: float) -> None:
        """Lets what comes next use only a share of the time that is left."""
        now = time.monotonic()
        left = max(0.0, self._begun + self.seconds - now)
        self._until = now + share * left

    def check(self) -> None:
        """Raises SchemaTooLarge when what is allowed is used up, or nobody waits for it."""
        self._checks += 1
        keep_on()
        if time.monotonic() > self._until:
            seconds = int(self.seconds)
            raise SchemaTooLarge(seconds + 1, seconds, "seconds")
        if self._checks % _SELDOM == 0:
            grown = _peak() - self._held
            if grown > self.bytes:
                raise SchemaTooLarge(grown, self.bytes, "bytes")


def _peak() -> int:
    """The most memory that the process has held so far, in bytes; 0 where that is not told."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
