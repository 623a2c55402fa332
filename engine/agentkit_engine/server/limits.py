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
    connections: at once; one more is told to come again and closed.
    header_bytes: of one request.
    header_seconds: that they may take.
    body_bytes: of one request.
    body_seconds: that it may take.
    values: in the JSON of one body.
    requests: at work at once. Those of one forward are batched, so as many as the memory holds.
    queue: requests that wait beside those; one more is answered 429.
    seconds: that one request may take, waiting included; then it is answered 504.
    unread_bytes: of events that a client does not read; one more and it is let go.
    unread_seconds: for which a client reads nothing of its answer; then it is let go.
    schemas: compiled at once; others wait, those that are known do not.
    schema_seconds: that compiling what one request asks for may take.
    tools: in one request.
    choices: answers to one request (`n`).
    calls: of one turn, at most, where a client allows several.
    tokens: of one answer or hole, at most; more is refused.
    steps: of one denoising.
    document_tokens: of the text before a hole, and of other files, that the model is shown.
    candidates: fillings that are compared for one answer.
    responses: of /v1/responses that are kept, to be gone on from or read again.
    responses_bytes: of those, about; the least recently used go first.
    """

    sessions: int = 256
    idle_seconds: float = 900.0
    connections: int = 1024
    header_bytes: int = 64 * 2**10
    header_seconds: float = 10.0
    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0
    values: int = 50_000
    requests: int = 64
    queue: int = 256
    seconds: float = 120.0
    unread_bytes: int = 8 * 2**20
    unread_seconds: float = 30.0
    schemas: int = 2
    schema_seconds: float = 10.0
    tools: int = 512
    choices: int = 16
    calls: int = 8
    tokens: int = 4096
    steps: int = 64
    document_tokens: int = 8192
    candidates: int = 64
    responses: int = 512
    responses_bytes: int = 64 * 2**20
