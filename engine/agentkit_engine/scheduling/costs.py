"""What a forward costs here, as measured while forwards run.

Knows positions and seconds. Must not know models. A forward of n positions takes about a + b n
seconds on any device: a line fitted to the latest forwards tells whether one wide forward is
cheaper than two narrow ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

Observe: TypeAlias = Callable[[int, float], None]
"""Takes the positions and seconds of a forward."""

_MEMORY = 0.97  # what an observation still weighs after the next
_LEAST = 4.0  # observations, by weight, before a line is trusted
_SPREAD = 0.05  # least variance of positions, relative to their mean squared


class Costs:
    """A line through the latest forwards, older ones fading."""

    def __init__(self) -> None:
        self._warm = False
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, positions: int, seconds: float) -> None:
        """Takes one forward into account; the very first one, which warms things up, is not."""
        if not self._warm:
            self._warm = True
            return
        sums = (self._weight, self._x, self._y, self._xx, self._xy)
        new = (1.0, positions, seconds, positions * positions, positions * seconds)
        self._weight, self._x, self._y, self._xx, self._xy = (
            _MEMORY * old + term for old, term in zip(sums, new, strict=True)
        )

    def seconds(self, positions: int) -> float | None:
        """What a forward of so many positions takes; None as long as too little was seen."""
        if self._weight < _LEAST:
            return None
        x, y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - x * x
        if variance < _SPREAD * x * x:
            return None
        slope = max(0.0, (self._xy / self._weight - x * y) / variance)
        return max(0.0, y - slope * x) + slope * positions

    def cheaper_apart(self, whole: int, parts: Sequence[int]) -> bool:
        """Whether forwards of `parts` one after the other take less than one of `whole`."""
        together = self.seconds(whole)
        apart = [self.seconds(part) for part in parts]
        if together is None or None in apart:
            return False
        return sum(seconds for seconds in apart if seconds is not None) < together
