"""The prefixes of one engine: every encoded context, shared by all sessions, within a budget.

Knows prefixes by their tokens. Must not know chats, sessions or what made a prefix.

Contexts own no prefix: they *stand* somewhere, which says that what is stored there is wanted, and
ask for the longest prefix there is when they need one. Over budget, what nobody stands at goes
first (as a rule, what its context has grown past), then what was not used for longest; a prefix
that somebody works with lives on through that reference. What is used is as recent as its own
beginnings, so the shared system prompt outlives the sessions behind it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentkit_engine.denoisers.base import Denoiser, Prefix
from agentkit_engine.errors import EngineError


class Stand:
    """Somebody stands behind certain tokens, for as long as he holds this object."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What a store holds, and how it went.

    Attributes:
        entries: prefixes stored.
        bytes: the memory they hold.
        hits: look-ups that found something.
        misses: look-ups that found nothing.
        evictions: prefixes let go because of the budget.
    """

    entries: int
    bytes: int
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    prefix: Prefix
    nbytes: int


class PrefixStore:
    """The one owner of encoded prefixes in an engine. Thread-safe.

    Args:
        denoiser: what the prefixes are encoded by.
        budget: bytes that stored prefixes may hold together; 0 stores nothing.

    Raises:
        EngineError: the budget is negative.
    """

    def __init__(self, denoiser: Denoiser, *, budget: int) -> None:
        if budget < 0:
            raise EngineError(f"the budget for prefixes is {budget} bytes; give 0 or more")
        self._denoiser = denoiser
        self._budget = budget
        self._lock = threading.RLock()
        # by their tokens as bytes, the least recently used first
        self._entries: dict[bytes, _Entry] = {}
        self._stands: weakref.WeakValueDictionary[bytes, Stand] = weakref.WeakValueDictionary()
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0

    @property
    def budget(self) -> int:
        """Bytes that stored prefixes may hold together."""
        return self._budget

    @property
    def statistics(self) -> StoreStatistics:
        """A snapshot of what is stored."""
        with self._lock:
            return StoreStatistics(
                entries=len(self._entries),
                bytes=self._bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def longest(self, tokens: Sequence[int]) -> Prefix | None:
        """The longest prefix to be had that `tokens` begins with, nothing encoded for it.

        Where a stored one goes on otherwise, as much of it as it can be rewound to. None where
        nothing stored begins alike.
        """
        key = _key(tokens)
        with self._lock:
            common = {other: _common_length(key, other) for other in self._entries}
            # of those that share as much, the one that need not be rewound
            for other in sorted(common, key=lambda other: (-common[other], len(other))):
                if not common[other]:
                    break
                found = self._denoiser.rewind(self._entries[other].prefix, common[other])
                if found is not None:
                    self._touch(other)
                    self._hits += 1
                    return found
            self._misses += 1
            return None

    def keep(self, prefix: Prefix) -> None:
        """Stores a prefix, and lets go of what it makes needless or the budget has no room for.

        Needless is a beginning of it that nobody stands at and that it can be rewound to. A prefix
        that is stored already becomes the most recently used.
        """
        key = _key(prefix.tokens)
        with self._lock:
            if key not in self._entries:
                entry = _Entry(prefix, self._denoiser.nbytes(prefix))
                self._entries[key] = entry
                self._bytes += entry.nbytes
            self._touch(key)
            for other in self._beginnings(key):
                length = self._entries[other].prefix.length
                if other not in self._stands and self._denoiser.rewind(prefix, length) is not None:
                    self._remove(other)
            while self._bytes > self._budget and self._entries:
                self._remove(self._least_wanted(key))
                self._evictions += 1

    def drop(self, tokens: Sequence[int]) -> None:
        """Lets go of the prefix of just these tokens, if it is stored and nobody stands there."""
        key = _key(tokens)
        with self._lock:
            if key in self._entries and key not in self._stands:
                self._remove(key)

    def stand(self, tokens: Sequence[int]) -> Stand:
        """Says that somebody stands behind `tokens`, be their prefix stored or not.

        It holds until the last who asked for it has let go of what is returned.
        """
        key = _key(tokens)
        with self._lock:
            return self._stands.setdefault(key, Stand())

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        """`Denoiser.encode`, but what another session has encoded meanwhile is not encoded again.

        For who answers the requests of many works: several may have asked for the same before the
        first of them was answered. The result is stored.

        Raises:
            ContextTooLong: the whole is longer than the model's context.
        """
        whole = _key((*(prefix.tokens if prefix else ()), *tokens))
        with self._lock:
            entry = self._entries.get(whole)
            if entry is not None:
                self._touch(whole)
                return entry.prefix
        found = self._denoiser.encode(tokens, prefix=prefix)
        self.keep(found)
        return found

    def _touch(self, key: bytes) -> None:
        """Makes an entry the most recently used, and its beginnings more so, the shortest most."""
        for used in (key, *sorted(self._beginnings(key), key=len, reverse=True)):
            self._entries[used] = self._entries.pop(used)

    def _beginnings(self, key: bytes) -> list[bytes]:
        """The stored entries that the tokens of `key` begin with, itself not among them."""
        return [other for other in self._entries if len(other) < len(key) and key.startswith(other)]

    def _least_wanted(self, newest: bytes) -> bytes:
        """What goes next: nobody stands there, or it was not used for longest; `newest` last."""
        others = [key for key in self._entries if key != newest]
        idle = (key for key in others if key not in self._stands)
        return next(idle, others[0] if others else newest)

    def _remove(self, key: bytes) -> None:
        self._bytes -= self._entries.pop(key).nbytes


def _key(tokens: Sequence[int]) -> bytes:
    """Tokens as bytes, which hash once and compare at the speed of memory."""
    return np.asarray(tokens, dtype=np.int32).tobytes()


def _common_length(first: bytes, second: bytes) -> int:
    """How many tokens two keys begin with in common."""
    size = min(len(first), len(second))
    if first[:size] == second[:size]:
        return size // 4
    one, other = (np.frombuffer(key[:size], dtype=np.int32) for key in (first, second))
    return int((one != other).argmax())
