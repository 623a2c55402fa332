"""Numbers as JSON writes them, each text labelled by the sets that its number is in.

Knows digits and sets of numbers. Must not know schemas or tokens. A number is written without a
leading zero, a minus zero, or a trailing zero behind the point (but 2.0). It has up to
six decimal places and 15 digits, so that two texts are two doubles and order among texts is order
among doubles. Past that only whole numbers go on, where some set speaks of such, and single numbers
that a set names, where their text is the one that their double is known by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.minimal import STATE_BUDGET
from agentkit_engine.grammar.number.digits import (
    COLUMNS,
    MINUS,
    POINT,
    Exact,
    Ints,
    Nodes,
    Order,
    distinct,
    ended,
    moves,
    position,
)
from agentkit_engine.grammar.number.labels import FAR, Labelling, labelling
from agentkit_engine.grammar.number.remainders import PLACES
from agentkit_engine.grammar.number.scientific import with_exponents
from agentkit_engine.grammar.number.sets import NumberSet, exponent
from agentkit_engine.grammar.truth import Between

__all__ = ["number_leaf"]

_DIGITS = 15
_LONGEST = 64
"""Characters of the longest number that is written only because a set names it."""

Rows = NDArray[np.int32]


def number_leaf(queries: Sequence[Between[NumberSet]], *, whole_points: bool | None = None) -> Leaf:
    """The texts of numbers, each labelled with the truth of every query for its number.

    whole_points: whether a whole number may also be written with `.0`; None: only if no query's
    divisors include a whole number, so that none asks for integers. Equal calls return one object.

    Divisors that would take too many states are not followed: most numbers are UNKNOWN to such a
    query then. Raises SchemaTooLarge if all of it would take too many states.
    """
    if whole_points is None:
        sets = (both for query in queries for both in (query.inner, query.outer))
        divisors = (one for numbers in sets for one in numbers.divisors)
        whole_points = all(one.denominator > 1 for one in divisors)
    leaf = _leaf(tuple(queries), whole_points)
    return with_exponents(leaf, queries) if whole_points else leaf


@lru_cache(maxsize=512)
def _leaf(queries: tuple[Between[NumberSet], ...], whole_points: bool) -> Leaf:
    known = labelling(queries)
    texts = _Texts(known, whole_points)
    start = texts.start()
    for text, label in _named(known):
        start = texts.nodes.with_text(start, text, label)
    table, class_of, ids = texts.nodes.table(start)
    used = sorted(set(ids.tolist()) - {-1})
    narrow = np.full(len(known.labels) + 1, -1, np.int16)  # the last entry is that of -1
    narrow[used] = np.arange(len(used))
    return Leaf(table, class_of, narrow[ids], tuple(known.labels[one] for one in used))


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The numbers of one sign by their magnitude: where it stands among the cuts of that sign.

    places: the marks (see `Order`) at 0 to 6 decimal places. digits: those of whole numbers with 1,
    2, ... digits. labels: for each count of places, int32 [positions, classes of remainders], the
    label of a number that ends there, -1 for minus zero.
    """

    places: tuple[Exact, ...]
    digits: tuple[Exact, ...]
    labels: tuple[Rows, ...]


def _sides(known: Labelling) -> tuple[_Side, _Side]:
    """Below 0, and from 0 on."""
    zero = next((at for at, cut in enumerate(known.cuts) if cut >= 0), len(known.cuts))
    ids = known.ids[2 * zero :: -1]
    ids = np.concatenate([np.full_like(ids, -1, shape=(2, ids.shape[1])), ids])
    # Unary minus would round to the context's 28 digits.
    below = [Decimal(0), *(cut.copy_negate() for cut in reversed(known.cuts[:zero]))]
    return _side(known, below, ids), _side(known, known.cuts[zero:], known.ids[2 * zero :])


def _side(known: Labelling, magnitudes: Sequence[Decimal], ids: Rows) -> _Side:
    """ids: int32 [2M + 1, cases], the labels by piece of these M magnitudes."""
    order = Order.of([cut for cut in magnitudes if cut.adjusted() < FAR])
    longest = max((cut.adjusted() + 1 for cut in known.cuts), default=0)
    digits = _DIGITS if longest <= _DIGITS else min(longest + 1, FAR)
    columns = [np.searchsorted(known.cases, found) for found in known.remainders.cases]
    return _Side(
        tuple(order.place_marks(places) for places in range(PLACES + 1)),
        tuple(order.digit_marks(count) for count in range(1, digits + 1)),
        tuple(ids[order.place_pieces(at)][:, column] for at, column in enumerate(columns)),
    )


class _Texts:
    """The states of an automaton over the texts, built from their ends.

    While a number is read, a state is where it stands among the cuts, times its class of
    remainders: number `position * classes + class`, those of the side from 0 on after those below.
    """

    def __init__(self, known: Labelling, whole_points: bool) -> None:
        self.sides = _sides(known)
        self.remainders = known.remainders
        self.whole_points = whole_points
        self.nodes = Nodes()
        self.classes = [len(found) for found in known.remainders.cases]
        self.labels = [
            np.concatenate([side.labels[places].ravel() for side in self.sides])
            for places in range(PLACES + 1)
        ]
        most = max(map(len, self.labels))
        if most > STATE_BUDGET:
            raise SchemaTooLarge(most, STATE_BUDGET)

    def start(self) -> int:
        """The start of all texts."""
        points = self._points()
        whole: list[Ints] = [np.zeros(0, np.int64)]
        for digits in range(len(self.sides[0].digits), 0, -1):
            whole.append(self._whole(digits, whole[-1], points))
        below, above = (self._first(side, whole[-1], points) for side in (0, 1))
        minus = self.nodes.add(below)
        above[0, 1 + MINUS] = minus[0]
        return int(self.nodes.add(above)[0])

    def _points(self) -> list[Ints]:
        """For 0 to 6 places that may follow, the nodes just behind the point, by state."""
        moves_at = [
            self._moves(
                [(side.places[at], side.places[at + 1]) for side in self.sides],
                self.remainders.places[at],
                self.classes[at + 1],
            )
            for at in range(PLACES)
        ]
        found: list[Ints] = [np.full(len(self.labels[0]), -1, np.int64)]
        after: list[tuple[Ints, Ints]] = []  # by places read, from 1: last digit not 0, and 0
        for left in range(PLACES + 1):
            nodes: list[tuple[Ints, Ints]] = []
            for places in range(1, PLACES + 1 - left):
                rows = _rows(self.labels[places])
                if left:
                    self._lead(rows, moves_at[places], after[places])
                rows, which = distinct(rows)
                other = self.nodes.add(rows)[which]
                if places > 1 or not self.whole_points:
                    rows[:, 0] = -1
                nodes.append((other, self.nodes.add(rows)[which]))
            if left:
                rows = _rows(np.full(len(self.labels[0]), -1))
                self._lead(rows, moves_at[0], after[0])
                found.append(self._add(rows))
            after = nodes
        return found

    @staticmethod
    def _lead(rows: Rows, to: Ints, nodes: tuple[Ints, Ints]) -> None:
        rows[:, 1:11] = nodes[0][to]
        rows[:, 1] = nodes[1][to[:, 0]]

    def _whole(self, digits: int, after: Ints, points: list[Ints]) -> Ints:
        """The nodes where so many whole digits are read, by state; `after` those of one more."""
        ends = [
            self._states(ended(side.digits[digits - 1], digits, side.places[0]), at)
            for at, side in enumerate(self.sides)
        ]
        end = np.concatenate(ends)
        rows = _rows(self.labels[0][end])
        rows[:, 1 + POINT] = points[min(PLACES, max(0, _DIGITS - digits))][end]
        if len(after):
            marks = [(side.digits[digits - 1], side.digits[digits]) for side in self.sides]
            rows[:, 1:11] = after[self._moves(marks, self.remainders.whole, self.classes[0])]
        return self._add(rows)

    def _add(self, rows: Rows) -> Ints:
        rows, which = distinct(rows)
        return self.nodes.add(rows)[which]

    def _first(self, at: int, whole: Ints, points: list[Ints]) -> Rows:
        """The row of moves by a number's first digit, on one side."""
        side = self.sides[at]
        rows = _rows(np.full(1, -1))
        states = position(side.digits[0], np.arange(10)) * self.classes[0]
        offset = at * (2 * len(self.sides[0].digits[0]) + 1) * self.classes[0]
        rows[0, 1:11] = whole[offset + states + self.remainders.whole[0]]
        zero = self._states(position(side.places[0], np.zeros(1, np.int64)), at)[:1]
        ends = _rows(self.labels[0][zero])
        ends[0, 1 + POINT] = points[PLACES][zero[0]]
        rows[0, 1] = self.nodes.add(ends)[0]
        return rows

    def _states(self, positions: Ints, side: int) -> Ints:
        """The states without a decimal place that have these positions, by class of remainders."""
        offset = side * (2 * len(self.sides[0].places[0]) + 1)
        return _crossed(offset + positions, self.classes[0])

    def _moves(self, marks: list[tuple[Exact, Exact]], remainders: Ints, classes: int) -> Ints:
        """int64 [S, 10]: the state after a digit; marks: by side, those before and after it."""
        found: list[Ints] = []
        offset = 0
        for before, after in marks:
            to = offset + moves(before, after)[:, None, :]
            found.append((to * classes + remainders[None, :, :]).reshape(-1, 10))
            offset += 2 * len(after) + 1
        return np.concatenate(found)


def _crossed(positions: Ints, classes: int) -> Ints:
    return (positions[:, None] * classes + np.arange(classes)).ravel()


def _rows(labels: NDArray[Any]) -> Rows:
    """Rows of nodes with these labels that lead nowhere yet."""
    rows = np.full((len(labels), 1 + COLUMNS), -1, np.int32)
    rows[:, 0] = labels
    return rows


def _named(known: Labelling) -> Iterator[tuple[bytes, int]]:
    """Single numbers that the sets name, beyond the general places and digits."""
    for at in known.named:
        cut = known.cuts[at]
        places = -exponent(cut)
        if places <= PLACES and cut.adjusted() + 1 + places <= _DIGITS:
            continue
        if places > _LONGEST or cut.adjusted() > FAR or Decimal(repr(float(cut))) != cut:
            continue
        if cut != cut.to_integral_value():
            text = format(cut, "f").rstrip("0")
            yield text.encode(), int(known.ids[2 * at + 1, 0])
