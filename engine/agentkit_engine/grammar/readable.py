"""Texts of an automaton over bytes, drawn at random so that a person likes to look at them.

Knows how a syntax opens and closes what it writes. Must not know schemas or tokens. Words, small
numbers and short arrays are preferred; when enough is written the shortest way to an end is taken,
so that recursion always ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from random import Random

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.phrases import numbers, phrases
from agentkit_engine.syntax import Syntax

__all__ = ["ReadableTexts"]

_LENGTH = 400  # bytes beyond which a walk goes home, over twice those of the shortest text
_OFFERED = 12  # names that are tried for a key
_LONGEST = 12  # bytes of a string that no phrase fits
_DIGITS = 4  # of a number that none at hand fits
_NUMERIC = frozenset(b"-+.0123456789eE")
_OPENING, _CLOSING = b"{[", b"}]"


class ReadableTexts:
    """Draws texts, byte by byte, on ways that lead to an end."""

    def __init__(
        self,
        automaton: ByteAutomaton,
        ahead: NDArray[np.int32],
        names: tuple[bytes, ...],
        syntax: Syntax,
        chance: Random,
    ) -> None:
        """ahead: int32 [states], bytes from each state to the nearest end. names: texts to offer
        for keys, as they stand between quotes."""
        self.automaton = automaton
        self.ahead = ahead
        self.names = names
        self.syntax = syntax
        self.chance = chance
        self.dead = automaton.states  # no end is as far
        self.budget = 2 * int(ahead[automaton.start]) + _LENGTH
        self._begin()

    def draw(self) -> bytes:
        """One text that the automaton's moves allow; it may repeat a key if they do."""
        self._begin()
        while not self.automaton.ends(self.state):
            self._structure()
        return bytes(self.text)

    def _begin(self) -> None:
        self.state = self.automaton.start
        self.text = bytearray()
        self.open: list[int] = []

    def _structure(self) -> None:
        """One step outside strings."""
        ways = self._ways()
        if self.text and self.text[-1] in _NUMERIC:  # a number that was chosen to end here
            ways = {byte: to for byte, to in ways.items() if byte not in _NUMERIC} or ways
        last = bytes(self.text.rstrip()[-1:])
        named = bool(self.open) and self.open[-1] == _OPENING[0] and last in b"{,"
        byte = self._nearest(ways) if self._late() else self._among(ways, self._liking)
        quoted = self.syntax.quote[0]
        if byte == quoted:
            self._take(byte, ways)
            self._string(quoted, named=named)
        elif named and byte not in b"} ":
            self._string(self.syntax.key_separator[0], named=True)
        elif byte in _NUMERIC and byte not in b"eE":
            self._number()
        else:
            self._take(byte, ways)
            if byte in _OPENING:
                self.open.append(byte)
            elif byte in _CLOSING and self.open:
                self.open.pop()

    def _liking(self, byte: int, ways: Mapping[int, int]) -> float:
        """How readily a byte of punctuation, or the first of a value, is taken."""
        if byte in _CLOSING:
            return 0.2 if self.text[-1] in b"{[" else 1.0
        if byte in _OPENING:
            return 1.0 / (1 + len(self.open)) ** 2
        if byte == self.syntax.item_separator[0]:
            return 2.0 if ord("}") in ways else 1.0
        if byte in _NUMERIC and byte not in b"eE":
            return 1.2 / sum(one in _NUMERIC for one in ways)
        return 0.3 if byte in b"tfn" else 1.2

    def _late(self) -> bool:
        return len(self.text) + int(self.ahead[self.state]) > self.budget

    def _number(self) -> None:
        """A number; a small one, where one fits."""

        if not self._late():
            for text in numbers(self.chance):
                if self._follow(text, self._whole):
                    return
        digits = 0
        while True:
            ways = self._ways()
            late = digits >= _DIGITS or self._late()
            if digits and self._whole() and self._enough(ways, late=late):
                return
            ways = {byte: to for byte, to in ways.items() if byte in _NUMERIC}
            self._take(self._nearest(ways) if late else self._among(ways, _digit), ways)
            digits += 1

    def _whole(self) -> bool:
        """Whether a number may end here."""
        ways = self._ways()
        return self.automaton.ends(self.state) or not _NUMERIC.issuperset(ways)

    def _enough(self, ways: Mapping[int, int], *, late: bool) -> bool:
        if all(byte in _NUMERIC for byte in ways):
            return late or self.chance.random() < 0.4 or not ways
        if late:
            return self._nearest(ways) not in _NUMERIC
        return self.chance.random() < 0.4 or _NUMERIC.isdisjoint(ways)

    def _string(self, closer: int, *, named: bool) -> None:
        """The rest of a string, or of a bare key, and the byte that ends it."""
        if not self._late():
            offers = phrases(self.chance)
            if named and self.chance.random() < 0.75:
                if self._declared(closer):
                    return
                known = self.chance.sample(self.names, min(len(self.names), _OFFERED))
                offers = chain(known, offers)
            for text in offers:
                if self._follow(text, lambda: closer in self._ways()):
                    self._take(closer, self._ways())
                    return
        written = 0
        while True:
            ways = self._inside(closer)
            if closer in ways and not self._late() and (written >= 3 or self.chance.random() < 0.3):
                byte = closer
            elif written >= _LONGEST or self._late():
                byte = self._nearest(ways)
            else:
                byte = self._among(ways, self._letter)
            self._inner(byte, ways)
            if byte == closer:
                return
            written += 1

    def _declared(self, closer: int) -> bool:
        """A key that the schema names, if there is one: its way is the skeleton's own."""
        state, text = self.state, len(self.text)
        while len(self.text) - text < 64:
            ways = self._inside(closer)
            mine = {byte: to for byte, to in ways.items() if to < self.automaton.skeleton}
            others = {byte: to for byte, to in mine.items() if byte != closer}
            if not mine or (not others and len(self.text) == text):
                break
            byte = self.chance.choice(sorted(others)) if others else closer
            if closer in mine and others and self.chance.random() < 0.3:
                byte = closer
            self._inner(byte, ways)
            if byte == closer:
                return True
        self.state = state
        del self.text[text:]
        return False

    def _inside(self, closer: int) -> Mapping[int, int]:
        """The moves that stay in the string, or end it."""
        ways = self._ways()
        if closer == self.syntax.quote[0]:
            return ways
        # before a bare key there are other choices than to begin it
        return {
            byte: to for byte, to in ways.items() if byte not in (ord("}"), self.syntax.quote[0])
        }

    def _inner(self, byte: int, ways: Mapping[int, int]) -> None:
        """One byte inside a string, with what it escapes."""
        self._take(byte, ways)
        if byte == ord("\\") and self.syntax.escapes:
            ways = self._ways()
            self._take(self._nearest(ways), ways)

    def _letter(self, byte: int, ways: Mapping[int, int]) -> float:
        """How readily a byte inside a string is taken; what leads on to its end comes first."""
        kind = _kind(byte)
        share = _READABLE[kind] / sum(_kind(one) == kind for one in ways)
        return share * (4 if self.ahead[ways[byte]] < self.ahead[self.state] else 1)

    def _follow(self, text: bytes, done: Callable[[], bool]) -> bool:
        """Writes `text` if it can stand here and it is `done` behind it."""
        before = self.state
        for byte in text:
            to = self.automaton.step(self.state, byte)
            if to < 0 or self.ahead[to] >= self.dead:
                self.state = before
                return False
            self.state = to
        if not done():
            self.state = before
            return False
        self.text += text
        return True

    def _ways(self) -> dict[int, int]:
        """The moves that may still be finished: byte -> next state."""
        ways = self.automaton.ways(self.state)
        return {byte: to for byte, to in ways.items() if self.ahead[to] < self.dead}

    def _take(self, byte: int, ways: Mapping[int, int]) -> None:
        self.state = ways[byte]
        self.text.append(byte)

    def _nearest(self, ways: Mapping[int, int]) -> int:
        """The byte that leads nearest to an end; of several the most readable."""
        return min(ways, key=lambda byte: (self.ahead[ways[byte]], -_READABLE[_kind(byte)], byte))

    def _among(
        self, ways: Mapping[int, int], liking: Callable[[int, Mapping[int, int]], float]
    ) -> int:
        found = sorted(ways)
        return self.chance.choices(found, [liking(byte, ways) for byte in found])[0]


_READABLE = {
    "lower": 1.0, "digit": 0.6, "upper": 0.3, "space": 0.1, "mark": 0.1, "escape": 0.001,
    "other": 0.002,
}  # fmt: skip


def _kind(byte: int) -> str:
    """What sort of character a byte writes."""
    if byte >= 0x80 or byte < 0x20:
        return "other"
    letter = chr(byte)
    if letter.isalpha():
        return "lower" if letter.islower() else "upper"
    if letter.isdigit():
        return "digit"
    return {" ": "space", "\\": "escape"}.get(letter, "mark")


def _digit(byte: int, ways: Mapping[int, int]) -> float:
    return 1.0 if chr(byte).isdigit() else 0.3
