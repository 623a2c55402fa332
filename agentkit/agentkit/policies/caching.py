"""Results that are kept for a while, and made once however many ask at the same time.

Knows keys and how long values last; must not know what is made, or tools.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from anyio.lowlevel import current_token

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[V]):
    value: V
    until: float


@dataclass(slots=True, eq=False)
class _Flight(Generic[V]):
    """A value being made. kept and error are None where the one who made it was cancelled."""

    done: anyio.Event = field(default_factory=anyio.Event)
    kept: _Kept[V] | None = None
    error: Exception | None = None


class Cache(Generic[V]):
    """Values by key, the latest used of them.

    It may be asked from several event loops; a value is then made once in each of them at most.
    """

    def __init__(self, *, ttl: float | None = None, most: int = 1024) -> None:
        """
        Args:
            ttl: Seconds that a value lasts; None for as long as there is room.
            most: Values kept; the one not used for longest goes first.
        """
        self._ttl = math.inf if ttl is None else ttl
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept[V]] = OrderedDict()
        self._flights: dict[Hashable, _Flight[V]] = {}
        self._lock = threading.Lock()  # never held while waiting

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """The value of a key; made now, where there is none.

        Those who ask while it is made wait for it, and share the error where there is one, which
        is not kept. If the one who makes it is cancelled, one of those who wait makes it.
        """
        here = (current_token(), key)
        while True:
            with self._lock:
                if (kept := self._fresh(key)) is not None:
                    return kept.value
                flight = self._flights.get(here)
                if flight is None:
                    flight = self._flights[here] = _Flight[V]()
                    break
            await flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if flight.kept is not None:  # though it may be too old by now to be given to others
                return flight.kept.value
        try:
            value = await make()
            flight.kept = _Kept(value, anyio.current_time() + self._ttl)
            return value
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[here]
                if flight.kept is not None:
                    self._keep(key, flight.kept)
            flight.done.set()

    def _fresh(self, key: Hashable) -> _Kept[V] | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if anyio.current_time() >= kept.until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept

    def _keep(self, key: Hashable, kept: _Kept[V]) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


def canonical(value: Any) -> str:
    """A JSON value as text, the same for equal values.

    Raises:
        TypeError, ValueError: it is none.
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
