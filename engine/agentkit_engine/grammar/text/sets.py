"""Regular sets of texts and their algebra.

Knows strings and languages. Must not know patterns, schemas, or how a string is written. A text is
a sequence of Unicode scalar values; nothing with a surrogate in it is in any set, nor in its
complement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.text.automaton import (
    CharacterAutomaton,
    Columns,
    merged,
    product,
    trie,
)
from agentkit_engine.grammar.text.construction import TEXT_STATES, build
from agentkit_engine.grammar.text.expression import Expression

__all__ = ["TextSet"]

_LISTED = 1000
"""Sets (or complements) of at most so many texts are kept as a list."""


@dataclass(frozen=True, eq=False, repr=False)
class TextSet:
    """A regular set of texts, immutable; equal and hashed by what it holds.

    Either `listed` holds its texts (`outside`: those that it lacks), or `moves` labels them 1.
    Which of the two is a matter of the language alone: a list wherever there are no more than
    1,000 texts to list.
    """

    listed: frozenset[str] | None
    outside: bool = False
    moves: CharacterAutomaton | None = None

    @classmethod
    def of(cls, strings: Iterable[str]) -> TextSet:
        """Just these strings, but those with a surrogate."""
        return _listed(frozenset(text for text in strings if _writable(text)), outside=False)

    @classmethod
    def everything(cls) -> TextSet:
        return _EVERYTHING

    @classmethod
    def nothing(cls) -> TextSet:
        return _NOTHING

    @classmethod
    def lengths(cls, least: int, most: int | None = None) -> TextSet:
        """Texts of `least` to `most` characters (code points)."""
        least = max(least, 0)
        if most is not None and most < least:
            return _NOTHING
        return _lengths(least, most)

    @classmethod
    def built(cls, expression: Expression, *, loose_end: bool = False) -> TextSet:
        """The texts of an expression, whole. loose_end: see `construction.build`."""
        return _from(build(expression, loose_end=loose_end))

    def __contains__(self, text: str) -> bool:
        if self.moves is not None:
            return _writable(text) and self.moves.run(text) == 1
        return (
            text in self._texts
            if not self.outside
            else (text not in self._texts and _writable(text))
        )

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, TextSet):
            return self is other
        return self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if self.moves is not None:
            return f"TextSet({self.moves.states} states)"
        shown = sorted(self._texts)[:5] + ["..."] * (len(self._texts) > 5)
        return f"{'~' * self.outside}TextSet.of({shown})"

    def __invert__(self) -> TextSet:
        if self.moves is not None:
            return TextSet(None, moves=self.moves.relabelled({0: 1, 1: 0}))
        return TextSet(self.listed, not self.outside)

    def __and__(self, other: TextSet) -> TextSet:
        for here, there in ((self, other), (other, self)):
            if here.listed is not None and not here.outside:
                return (
                    here
                    if there is here
                    else _listed(
                        frozenset(text for text in here.listed if text in there), outside=False
                    )
                )
        for here, there in ((self, other), (other, self)):
            if here.listed is not None and not any(text in there for text in here.listed):
                return there
        if self.listed is not None and other.listed is not None:
            return _listed(self.listed | other.listed, outside=True)
        return self if self == other else _both(self.automaton, other.automaton)

    def __or__(self, other: TextSet) -> TextSet:
        return ~(~self & ~other)

    def __sub__(self, other: TextSet) -> TextSet:
        return self & ~other

    @property
    def empty(self) -> bool:
        return self == _NOTHING

    @cached_property
    def automaton(self) -> CharacterAutomaton:
        """Labels the texts of the set 1 and all others 0."""
        if self.moves is not None:
            return self.moves
        inside = int(not self.outside)
        return trie(dict.fromkeys(self._texts, inside), other=1 - inside)

    def strings(self, limit: int) -> list[str] | None:
        """All texts, shortest first, then by code points; None if more than `limit`."""
        if self.outside:
            return None
        if self.moves is None:
            found = sorted(self._texts, key=lambda text: (len(text), text))
            return found if len(found) <= limit else None
        return _enumerated(self.moves, limit) if limit > _LISTED else None

    @property
    def _texts(self) -> frozenset[str]:
        return self.listed or frozenset()

    @cached_property
    def _key(self) -> object:
        return (self.listed, self.outside) if self.moves is None else self.moves.key

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)


_NOTHING = TextSet(frozenset())
_EVERYTHING = TextSet(frozenset(), outside=True)


def _writable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _listed(texts: frozenset[str], *, outside: bool) -> TextSet:
    """A list, or an automaton where it would be too long."""
    if len(texts) <= _LISTED:
        return TextSet(texts, outside)
    inside = int(not outside)
    return TextSet(None, moves=trie(dict.fromkeys(texts, inside), other=1 - inside))


def _from(moves: CharacterAutomaton) -> TextSet:
    """The set of an automaton with labels 0 and 1, as a list if that is short."""
    for label in (0, 1):
        texts = _enumerated(moves, _LISTED, other=label)
        if texts is not None:
            return TextSet(frozenset(texts), bool(label))
    return TextSet(None, moves=moves)


def _both(left: CharacterAutomaton, right: CharacterAutomaton) -> TextSet:
    """The texts that both label 1."""
    dead = (left.sinks.get(0, -1), right.sinks.get(0, -1))
    return _from(merged(product(left, right, min, dead=dead, budget=TEXT_STATES)))


@lru_cache(maxsize=256)
def _lengths(least: int, most: int | None) -> TextSet:
    if (least, most) == (0, None):
        return _EVERYTHING
    last = least if most is None else most + 1
    if last >= TEXT_STATES:
        raise SchemaTooLarge(last + 1, TEXT_STATES)
    table = np.minimum(np.arange(1, last + 2), last).astype(np.int32)[:, None]
    label = np.full(last + 1, 1, np.int32)
    label[:least] = 0
    label[last] = int(most is None)
    return _from(CharacterAutomaton(Columns((0,), (0,)), table, label))


def _enumerated(moves: CharacterAutomaton, limit: int, *, other: int = 0) -> list[str] | None:
    """The texts not labelled `other`, in order, if they are no more than `limit`."""
    sink = moves.sinks.get(other)
    if sink is None or len(moves.sinks) > 1:
        return None
    if moves.states == 1:
        return []
    if not _few(moves, limit, sink, other):
        return None
    return _walked(moves, sink, other)


def _widths(columns: Columns) -> list[int]:
    """How many characters each column has, surrogates left out."""
    widths = [0] * columns.width
    for low, high, column in _ranges(columns):
        widths[column] += high - low + 1 - 0x800 * (low < 0xD800 <= high)
    return widths


def _ranges(columns: Columns) -> list[tuple[int, int, int]]:
    ends = (*columns.cuts[1:], 0x110000)
    return [
        (low, end - 1, column)
        for low, end, column in zip(columns.cuts, ends, columns.column, strict=True)
    ]


def _few(moves: CharacterAutomaton, limit: int, sink: int, other: int) -> bool:
    """Whether no more than `limit` texts are not labelled `other`; counted from the sink up."""
    rows, widths = moves.rows, _widths(moves.columns)
    ahead = [0] * len(rows)
    before: list[list[int]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for to in set(row):
            if to == state != sink:
                return False
            if to != sink:
                before[to].append(state)
                ahead[state] += 1
    ready = [state for state in range(len(rows)) if state != sink and not ahead[state]]
    counts = [0] * len(rows)
    for state in ready:
        counts[state] = int(moves.labels[state] != other) + sum(
            width * counts[to] for width, to in zip(widths, rows[state], strict=True) if to != sink
        )
        if counts[state] > limit:  # every state is in reach
            return False
        for source in before[state]:
            ahead[source] -= 1
            if not ahead[source]:
                ready.append(source)
    return len(ready) == len(rows) - 1  # else there is a loop


def _walked(moves: CharacterAutomaton, sink: int, other: int) -> list[str]:
    """Breadth first, so in order of length, then code points."""
    steps: list[list[tuple[str, int]]] = []
    ranges = _ranges(moves.columns)
    for row in moves.rows:
        wanted = [(low, high, row[column]) for low, high, column in ranges if row[column] != sink]
        steps.append(
            [
                (chr(code), to)
                for low, high, to in wanted
                for code in range(low, high + 1)
                if not 0xD800 <= code <= 0xDFFF
            ]
        )
    found: list[str] = []
    frontier = [("", 0)]
    while frontier:
        found += [text for text, state in frontier if moves.labels[state] != other]
        frontier = [
            (text + character, to) for text, state in frontier for character, to in steps[state]
        ]
    return found
