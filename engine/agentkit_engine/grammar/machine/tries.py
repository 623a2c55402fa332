"""Keys as moves: one deterministic trie over the keys that may come next, shared where it can be.

Knows key texts and builder states. Must not know formulas. From two places where the same keys may
come, or where only one key is still possible, the same states are used.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentkit_engine.grammar.machine.block import Builder

__all__ = ["Tries"]

Ways = frozenset[tuple[bytes, int]]


class Tries:
    """Writes sets of (text, target state) pairs; no text is the beginning of another."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._known: dict[Ways, int] = {}

    def begin(self, state: int, ways: Mapping[bytes, int]) -> None:
        """Lets `state` go on with any of the texts; their targets are their values."""
        groups: dict[int, set[tuple[bytes, int]]] = {}
        for text, target in ways.items():
            groups.setdefault(text[0], set()).add((text[1:], target))
        for byte, rest in groups.items():
            self._builder.move(state, byte, self._state(frozenset(rest)))

    def _state(self, ways: Ways) -> int:
        """The state from which exactly these ways lead on."""
        if len(ways) == 1:
            ((text, target),) = ways
            if not text:
                return target
        found = self._known.get(ways)
        if found is None:
            found = self._known[ways] = self._builder.state()
            if len(ways) == 1:
                ((text, target),) = ways
                self._builder.move(found, text[0], self._state(frozenset({(text[1:], target)})))
            else:
                self.begin(found, dict(ways))
        return found
