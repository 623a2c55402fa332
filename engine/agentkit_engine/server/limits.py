"""What one server holds and takes.

Knows numbers. Must not know what is counted, so that reading them costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server holds and takes.

    sessions: at once; for one more, the least recently used that nobody waits for is closed.
    idle_seconds: after which a session that nobody asked for is closed.
    body_bytes: of one request.
    requests: at work at once. Those of one forward are batched, so as many as the memory holds.
    queue: requests that wait beside those; one more is answered 429.
    seconds: that one request may take, waiting included; then it is answered 504.
    tools: in one request.
    choices: answers to one request (`n`).
    calls: of one turn, at most, where a client allows several.
    tokens: of one answer or hole, at most; more is refused.
    steps: of one denoising.
    """

    sessions: int = 256
    idle_seconds: float = 900.0
    body_bytes: int = 4 * 2**20
    requests: int = 64
    queue: int = 256
    seconds: float = 120.0
    tools: int = 512
    choices: int = 16
    calls: int = 8
    tokens: int = 4096
    steps: int = 64
