"""Compiling what schemas and patterns ask for: off the event loop, few at once, and not for ever.

Knows threads and time. Must not know what is compiled. A schema may be written to keep a compiler
busy without end: so its time is bounded, and it ends when nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.patience import Patience, patient

T = TypeVar("T")

_NO_PATIENCE = Patience(0.0)
_NO_PATIENCE.end()


@dataclass(frozen=True, slots=True)
class _Bounds:
    at_once: anyio.CapacityLimiter | None = None
    seconds: float | None = None


_UNBOUND = _Bounds()
_BOUNDS: ContextVar[_Bounds] = ContextVar("bounds")


@contextmanager
def compiling(at_once: anyio.CapacityLimiter, *, seconds: float) -> Generator[None]:
    """Bounds what is compiled by tasks begun inside.

    Args:
        at_once: how many threads may compile; the others wait.
        seconds: that each time may take. By default there is no such bound; parts of it have
            theirs (`grammar.Options.max_seconds`).
    """
    token = _BOUNDS.set(_Bounds(at_once, seconds))
    try:
        yield
    finally:
        _BOUNDS.reset(token)


async def compiled(make: Callable[[], T]) -> T:
    """What `make` makes, in a thread if it has to compile; cancelled, the thread ends soon.

    Args:
        make: asks `keep_on` before it compiles anything, and may be called again after that.

    Raises:
        SchemaTooLarge: it takes too long.
    """
    with suppress(SchemaTooLarge):
        return patient(_NO_PATIENCE, make)  # all was compiled before: no thread is as quick
    bounds = _BOUNDS.get(_UNBOUND)
    patience = Patience(bounds.seconds)
    try:
        return await anyio.to_thread.run_sync(
            partial(patient, patience, make), abandon_on_cancel=True, limiter=bounds.at_once
        )
    finally:
        patience.end()
