"""The probabilities of an answer's tokens, as chat completions and responses tell them.

Knows tokens and what came of a turn. Must not know who asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agentkit_engine.filling.outcome import Token
from agentkit_engine.server.chat.asked import Turned

_NEVER = -9999.0  # as the API tells the logarithm of next to nothing


def logprobs_json(turned: Turned, *, likely: int, end: str) -> dict[str, Any] | None:
    """The tokens of an answer with their probabilities; None for calls.

    Args:
        likely: how many of the likeliest are told of each place.
        end: what stands for the end of the text among them.
    """
    answered = turned.decision.answered
    if answered is None:
        return None
    tokens = _told(answered.token_probabilities(likely), turned.text or "", end)
    return {"content": list(tokens), "refusal": None}


def _told(tokens: Sequence[Token], text: str, end: str) -> Iterator[dict[str, Any]]:
    """Those that a text begins with, which may have been cut off before a stop text."""
    left = len(text.encode())
    for token in tokens:
        if left <= 0:
            return
        left -= len(token.text)
        top = [_token(one, nats, end) for one, nats in token.likeliest]
        yield {**_token(token.text, token.nats, end), "top_logprobs": top}


def _token(text: bytes, nats: float, end: str) -> dict[str, Any]:
    nats = max(nats, _NEVER)
    if not text:  # nothing is written here: the text has ended
        return {"token": end, "logprob": nats, "bytes": None}
    return {"token": text.decode(errors="replace"), "logprob": nats, "bytes": list(text)}
