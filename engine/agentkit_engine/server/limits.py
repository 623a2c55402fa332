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
    """

    sessions: int = 256
    idle_seconds: float = 900.0
    body_bytes: int = 4 * 2**20
