"""Numbers with an exponent, beside those without one: 8.854e-12, 6.02e+23.

Knows digits and sets of numbers. Must not know schemas or tokens. Only what people write so:
numbers of less than a ten-thousandth, and from 10^16 on, with one digit before the point and up to
15 in all, so that two of them of one exponent are two doubles. They are written only where no set
tells numbers of that size apart; all of a sign then have one label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache

import numpy as np

from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.minimal import Numbering, merged_columns, minimal
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.truth import Between, Truth

__all__ = ["with_exponents"]

_TINY, _HUGE = Decimal("1e-4"), Decimal("1e16")
_DIGITS = 15
_BYTES = b"0123456789.-+e"
_DEAD = ""
State = tuple[int, str, str]
"""A state of the leaf (-1: none), the sign, and what was read otherwise (see `_after`)."""


def with_exponents(leaf: Leaf, queries: Sequence[Between[NumberSet]]) -> Leaf:
    """The leaf of some queries, with the texts that have an exponent added."""
    labels = {
        (sign, size): _label(queries, sign + example)
        for sign in ("", "-")
        for size, example in (("tiny", "1.5e-7"), ("huge", "1.5e17"))
        if _alike(queries, sign, size)
    }
    return _joined(leaf, leaf.labels, tuple(labels.items())) if labels else leaf


def _alike(queries: Sequence[Between[NumberSet]], sign: str, size: str) -> bool:
    """Whether all numbers of this sign and size are in the same sets."""
    for numbers in (both for query in queries for both in (query.inner, query.outer)):
        if any(_within(cut, sign, size) for cut in numbers.cuts):
            return False
        # what is smaller than a divisor is no multiple of it; large ones would have to be followed
        if any(size == "huge" or divisor < _TINY for divisor in numbers.divisors):
            return False
    return True


def _within(cut: Decimal, sign: str, size: str) -> bool:
    if cut.is_zero() or cut.is_signed() != (sign == "-"):
        return False
    magnitude = cut.copy_abs()
    return magnitude < _TINY if size == "tiny" else magnitude >= _HUGE


def _label(queries: Sequence[Between[NumberSet]], example: str) -> Label:
    value = Decimal(example)
    return tuple(
        Truth.YES if value in query.inner else Truth.UNKNOWN if value in query.outer else Truth.NO
        for query in queries
    )


@lru_cache(maxsize=256)
def _joined(
    leaf: Leaf, known: tuple[Label, ...], added: tuple[tuple[tuple[str, str], Label], ...]
) -> Leaf:
    by_size = dict(added)
    labels = tuple(dict.fromkeys((*known, *by_size.values())))
    number: Numbering[State] = Numbering((0, "", "s"))
    rows: list[list[int]] = []
    ends: list[int] = []
    for state in number.order:
        inner, sign, rest = state
        row = [-1] * (len(_BYTES) + 1)
        for column, byte in enumerate(_BYTES):
            onward = int(leaf.table[inner, leaf.class_of[byte]]) if inner >= 0 else -1
            for after in _after(rest, sign, chr(byte), by_size):
                row[column] = number((onward, *after))
                break
            else:
                if onward >= 0:
                    row[column] = number((onward, "", _DEAD))
        rows.append(row)
        if inner >= 0 and leaf.label[inner] >= 0:
            ends.append(labels.index(known[leaf.label[inner]]))
        else:
            size = _ended(rest)
            ends.append(labels.index(by_size[sign, size]) if size else -1)
    table, label = minimal(np.array(rows, np.int32), np.array(ends, np.int16))
    table, columns = merged_columns(table)
    class_of = np.full(256, columns[-1], np.uint8)
    class_of[list(_BYTES)] = columns[:-1]
    return Leaf(table, class_of, label, labels)


def _ended(rest: str) -> str:
    """The size of the number if its text may end here: "tiny", "huge" or ""."""
    return {"T": "tiny", "H": "huge"}.get(rest[0], "") if rest and rest[-1] == "." else ""


def _after(
    rest: str, sign: str, character: str, wanted: dict[tuple[str, str], Label]
) -> Iterator[tuple[str, str]]:
    """The sign and the rest after one more character, if it may come.

    rest: "s" at the start, "-" behind a sign, "d" behind the digit before the point, "p" behind the
    point; "n" or "z" and a count behind a decimal that is not or is zero; "e" behind the e; then T
    or H for the size, with the digits of the exponent read, and a point once they may end.
    """
    digit = character.isdigit()
    if rest == "s" and character == "-":
        yield "-", "-"
    elif rest in {"s", "-"} and digit and character != "0":
        yield sign, "d"
    elif rest == "d" and character == ".":
        yield sign, "p0"
    elif rest and rest[0] in "pnz" and digit and int(rest[1:]) < _DIGITS - 1:
        yield sign, ("z" if character == "0" else "n") + str(int(rest[1:]) + 1)
    elif (rest == "d" or rest[:1] == "n") and character == "e":
        yield sign, "e"
    elif rest == "e" and character == "-" and (sign, "tiny") in wanted:
        yield sign, "T"
    elif rest == "e" and character == "+" and (sign, "huge") in wanted:
        yield sign, "H"
    elif rest[:1] in {"T", "H"} and digit:
        read = rest[1:].rstrip(".") + character
        if _exponent_begins(rest[0], read):
            yield sign, rest[0] + read + ("." if _exponent_ends(rest[0], read) else "")


def _exponent_begins(size: str, read: str) -> bool:
    """Whether an exponent may begin so: up to 299, and one zero only before a single digit."""
    if read[0] == "0":
        return size == "T" and len(read) <= 2
    return len(read) <= 2 or (len(read) == 3 and read[0] in "12")


def _exponent_ends(size: str, read: str) -> bool:
    return int(read) >= (5 if size == "T" else 16)
