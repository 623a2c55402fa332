"""Where digits read so far stand among some fixed numbers, and automata that never loop.

Knows digits, order and bytes. Must not know sets, divisors' meaning or schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.minimal import merged_columns
from agentkit_engine.grammar.number.remainders import PLACES

__all__ = [
    "COLUMNS",
    "MINUS",
    "POINT",
    "Exact",
    "Ints",
    "Nodes",
    "Order",
    "distinct",
    "ended",
    "moves",
    "position",
]

COLUMNS = 12
"""Symbols of a number: the digits, the point, the minus."""
POINT = 10
MINUS = 11
_BYTES = b"0123456789.-"
_ROW = 4 * (1 + COLUMNS)
_FEW = 64
"""Rows that are told apart faster one by one."""

Ints = NDArray[np.int64]
Exact = NDArray[Any]
"""int64, or Python's own integers where those are too short."""


class Nodes:
    """Builds an automaton without loops from its ends: equal states are one from the first.

    A state is a row: its label (-1: no end), then where each symbol leads (-1: nowhere). State -1
    is the one that leads nowhere (Daciuk, Mihov, Watson and Watson 2000).
    """

    def __init__(self) -> None:
        dead = np.full(1 + COLUMNS, -1, np.int32).tobytes()
        self.ids: dict[bytes, int] = {dead: -1}
        self.rows: list[bytes] = []

    def add(self, rows: NDArray[np.int32]) -> Ints:
        """rows: int32 [N, 13], best distinct. Returns int64 [N], the state of each."""
        data, found = rows.tobytes(), list[int]()
        for at in range(0, len(data), _ROW):
            key = data[at : at + _ROW]
            state = self.ids.get(key)
            if state is None:
                state = self.ids[key] = len(self.rows)
                self.rows.append(key)
            found.append(state)
        return np.array(found)

    def with_text(self, state: int, text: bytes, label: int) -> int:
        """The state with one more text, which ends with `label`."""
        row = np.full(1 + COLUMNS, -1, np.int32)
        if state >= 0:
            row = np.frombuffer(self.rows[state], np.int32).copy()
        if text:
            column = 1 + _BYTES.index(text[0])
            row[column] = self.with_text(int(row[column]), text[1:], label)
        else:
            row[0] = label
        return int(self.add(row)[0])

    def table(self, start: int) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
        """What `start` reaches, as the fields `table`, `class_of` and `label` of a leaf."""
        rows = np.frombuffer(b"".join(self.rows), np.int32).reshape(-1, 1 + COLUMNS)
        order = [start]
        seen = np.full(len(rows) + 1, -1, np.int32)  # the last entry is where -1 leads
        seen[start] = 0
        fresh = np.array([start])
        while len(fresh):
            reached = np.unique(rows[fresh, 1:])
            fresh = reached[(reached >= 0) & (seen[reached] < 0)]
            seen[fresh] = np.arange(len(order), len(order) + len(fresh))
            order += fresh.tolist()
        found = seen[rows[order, 1:]]
        found, columns = merged_columns(np.c_[found, np.full(len(found), -1, np.int32)])
        class_of = np.full(256, columns[-1], np.uint8)
        class_of[list(_BYTES)] = columns[:-1]
        return found, class_of, rows[order, 0].copy()


def distinct(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], Ints]:
    """The different ones of N rows, and int64 [N], which of them each is."""
    if len(rows) <= _FEW:
        return rows, np.arange(len(rows))
    # Equal rows are found by a hash, then compared in full.
    hashes = rows.astype(np.int64) @ _WEIGHTS
    _, index, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    if not np.array_equal(rows[index][inverse], rows):
        index, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)[1:]
    return rows[index], inverse.ravel()


_WEIGHTS = np.random.default_rng(0).integers(-(2**62), 2**62, 1 + COLUMNS)


@dataclass(frozen=True, slots=True)
class Order:
    """Where a number not below 0 stands among M ascending cuts, digit by digit.

    Piece 2j is the open interval before cut j (the last one, 2M, is beyond them all), piece 2j + 1
    is cut j itself. A *position* among N marks is counted alike. Marks of a whole number's n digits
    are the cuts' first n digits, those at k decimal places the cuts cut off there.

    units: M cuts, in millionths, rounded down. exact: bool [M], whether nothing was cut off.
    """

    units: Exact
    exact: NDArray[np.bool_]

    @classmethod
    def of(cls, cuts: Sequence[Decimal]) -> Order:
        ratios = [cut.as_integer_ratio() for cut in cuts]
        pairs = [divmod(top * 10**PLACES, bottom) for top, bottom in ratios]
        fits = not pairs or pairs[-1][0] < 2**62
        units = np.array([whole for whole, _ in pairs], np.int64 if fits else object)
        return cls(units, np.array([not rest for _, rest in pairs], np.bool_))

    def place_marks(self, places: int) -> Exact:
        """The marks at so many decimal places."""
        return np.unique(self.units // 10 ** (PLACES - places))

    def place_pieces(self, places: int) -> Ints:
        """The piece of each position, for a number that ends at so many decimal places."""
        step = 10 ** (PLACES - places)
        cut_off = self.units // step
        marks, first = np.unique(cut_off, return_index=True)
        pieces = np.zeros(2 * len(marks) + 1, np.int64)
        hit = self.exact[first] & (self.units[first] % step == 0).astype(np.bool_)
        pieces[1::2] = 2 * first + hit
        pieces[2::2] = 2 * np.r_[first[1:], len(self.units)]
        return pieces

    def digit_marks(self, digits: int) -> Exact:
        """The marks of whole numbers with so many digits."""
        whole = [str(value) for value in (self.units // 10**PLACES).tolist() if value]
        found = sorted({int(text[:digits]) for text in whole if len(text) >= digits})
        return np.array(found, self.units.dtype)


def moves(marks: Exact, after: Exact) -> Ints:
    """int64 [2N + 1, 10]: the position among the marks `after` a digit is appended."""
    found = np.zeros((2 * len(marks) + 1, 10), np.int64)
    if len(marks):
        found[1::2] = position(after, marks[:, None] * 10 + np.arange(10))
        found[2::2] = 2 * np.searchsorted(after, marks * 10 + 9, side="right")[:, None]
    return found


def position(marks: Exact, values: Exact) -> Ints:
    """Where each value stands among the marks."""
    return np.searchsorted(marks, values) + np.searchsorted(marks, values, side="right")


def ended(marks: Exact, digits: int, whole: Exact) -> Ints:
    """int64 [2N + 1]: the position among the marks at no places, once the whole digits end."""
    found = np.full(2 * len(marks) + 1, 2 * np.searchsorted(whole, 10 ** (digits - 1)), np.int64)
    found[1::2] = position(whole, marks)
    found[2::2] = 2 * np.searchsorted(whole, marks, side="right")
    return found
