"""The account of one request: what is known of it by now, for logs, metrics and traces.

Knows counts and seconds. Must not know who reads them. Whoever works for a request finds its
account without being handed it, in whatever task that is.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from agentkit_engine.filling.outcome import Effort, Timings

UNHEARD = 499
"""The status of an answer whose client has left before it began; no client reads it."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What is known of a request.

    Attributes:
        id: the client's own for it, or one that was made.
        began: by the clock of `time.perf_counter`.
        status: of the answer; 0 before there is one.
        error: the kind of what went wrong.
        gone: the client left before its answer was whole.
        trace: the id of the trace that its span belongs to, where there is one.
        keeps_body: what was asked is to be logged, and `body` is that.
        queued: seconds until there was a place for it.
        fillings: how many there were; what follows is of all of them.
    """

    id: str
    method: str
    path: str
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    error: str = ""
    gone: bool = False
    trace: str = ""
    keeps_body: bool = False
    body: bytes = b""
    queued: float = 0.0
    fillings: int = 0
    forwards: int = 0
    passes: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    timings: Timings = field(default_factory=Timings)

    @property
    def elapsed(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self.began

    def add(self, effort: Effort) -> None:
        """Takes in what a filling took. Fillings of one request read one prompt."""
        self.fillings += 1
        self.forwards += effort.forwards
        self.passes += effort.passes
        self.tokens += effort.tokens
        self.prompt_tokens = max(self.prompt_tokens, effort.prompt_tokens)
        one, other = self.timings, effort.timings
        self.timings = Timings(
            encode=one.encode + other.encode,
            denoise=one.denoise + other.denoise,
            verify=one.verify + other.verify,
            lattice=one.lattice + other.lattice,
        )


_CURRENT: ContextVar[Account | None] = ContextVar("account", default=None)


def current_account() -> Account | None:
    """That of the request for which this runs; None where it is for none."""
    return _CURRENT.get()


@contextmanager
def accounting(account: Account) -> Generator[None]:
    """What is done inside, and in tasks begun inside, is for this account's request."""
    token = _CURRENT.set(account)
    try:
        yield
    finally:
        _CURRENT.reset(token)
