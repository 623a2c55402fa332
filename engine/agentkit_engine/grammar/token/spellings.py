"""Spellings: all the ways in which tokens write one text.

Knows vocabularies. Must not know automata or probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.vocabulary import Vocabulary

__all__ = ["Spellings", "spellings_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Spellings:
    """The tokens that write a part of a text of `size` bytes: those of `token[k]` from
    `start[k]` to `stop[k]`; int64 [M] each, sorted by `stop`.
    """

    size: int
    start: NDArray[np.int64]
    token: NDArray[np.int64]
    stop: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Tokens:
    by_bytes: dict[bytes, list[int]]
    longest: int


_known: WeakKeyDictionary[Vocabulary, _Tokens] = WeakKeyDictionary()


def spellings_of(text: bytes, vocabulary: Vocabulary) -> Spellings:
    """Every token of the vocabulary that writes a stretch of `text`, wherever it does."""
    tokens = _known.get(vocabulary)
    if tokens is None:
        tokens = _known[vocabulary] = _tokens(vocabulary)
    found = [
        (stop, start, token)
        for stop in range(1, len(text) + 1)
        for start in range(max(0, stop - tokens.longest), stop)
        for token in tokens.by_bytes.get(text[start:stop], ())
    ]
    stop, start, token = np.array(found, np.int64).reshape(-1, 3).T
    return Spellings(len(text), start, token, stop)


def _tokens(vocabulary: Vocabulary) -> _Tokens:
    by_bytes: dict[bytes, list[int]] = {}
    for number, written in enumerate(vocabulary.token_bytes):
        if written:
            by_bytes.setdefault(written, []).append(number)
    return _Tokens(by_bytes, max(map(len, by_bytes), default=0))
