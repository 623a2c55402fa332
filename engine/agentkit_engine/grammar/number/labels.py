"""What is known of every number between and at the cuts of some sets.

Knows sets of numbers and truth. Must not know texts. Divisors that no automaton can follow are left
open: a query that depends on them is UNKNOWN, but for the first few multiples.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.leaf import Label
from agentkit_engine.grammar.number.remainders import Remainders, remainders
from agentkit_engine.grammar.number.sets import NumberSet, Table, case_of, possible_cases
from agentkit_engine.grammar.truth import Between, Truth

__all__ = ["FAR", "Labelling", "labelling"]

FAR = 41
"""Digits of the longest whole number that is written."""
_LISTED = 10
"""Multiples, either way from 0, that are told of a divisor that is not followed."""
_EXACT = Context(prec=20_000)


@dataclass(frozen=True, slots=True, eq=False)
class Labelling:
    """The queries' truths by piece and by what divides.

    cuts: ascending, M of them. Piece 2j is the open interval before cut j (the last, 2M, is beyond
    them all), piece 2j + 1 is cut j itself. remainders: for the divisors that are followed. cases:
    ascending, the cases of those that occur. ids: int32 [2M + 1, cases], which of `labels` a
    piece's numbers have in that case. named: the cuts whose label is not that of their
    surroundings.
    """

    cuts: tuple[Decimal, ...]
    remainders: Remainders
    cases: NDArray[np.int64]
    ids: NDArray[np.int32]
    labels: tuple[Label, ...]
    named: tuple[int, ...]


def labelling(queries: tuple[Between[NumberSet], ...]) -> Labelling:
    """Raises SchemaTooLarge if the queries tell more than ten divisors apart."""
    sets = [both for query in queries for both in (query.inner, query.outer)]
    divisors, followed, automaton = _followed({one for numbers in sets for one in numbers.divisors})
    listed = {one for divisor in divisors if divisor not in followed for one in _first(divisor)}
    cuts = tuple(sorted(listed.union(*(numbers.cuts for numbers in sets))))
    points, spans = _by_set(sets, cuts, divisors)
    own = [case_of(followed, cut) for cut in cuts]
    cases = sorted({*own, *(case for found in automaton.cases for case in found.tolist())})
    known: dict[Label, int] = {}
    rows: dict[tuple[Table, ...], list[int]] = {}
    open_cases = _open(divisors, followed, cases)
    ids = np.zeros((2 * len(cuts) + 1, len(cases)), np.int32)
    for at, span in enumerate(spans):
        row = rows.get(span)
        if row is None:
            labels = (_label(span, full) for full in open_cases)
            row = rows[span] = [known.setdefault(label, len(known)) for label in labels]
        ids[2 * at] = row
    for at, point in enumerate(points):
        ids[2 * at + 1] = known.setdefault(_label(point, (0,)), len(known))
    columns = np.searchsorted(cases, own)
    odd = np.arange(len(cuts)) * 2 + 1
    middle, left, right = ids[odd, 0], ids[odd - 1, columns], ids[odd + 1, columns]
    named = np.flatnonzero((middle != left) & (middle != right))
    return Labelling(cuts, automaton, np.array(cases), ids, tuple(known), tuple(named.tolist()))


def _label(tables: tuple[Table, ...], cases: tuple[int, ...]) -> Label:
    """The truths, from inner and outer table by turns, where each of the cases may be the case."""
    found: list[Truth] = []
    for inner, outer in zip(tables[::2], tables[1::2], strict=True):
        if all(inner >> case & 1 for case in cases):
            found.append(Truth.YES)
        else:
            surely_not = not any(outer >> case & 1 for case in cases)
            found.append(Truth.NO if surely_not else Truth.UNKNOWN)
    return tuple(found)


def _by_set(
    sets: list[NumberSet], cuts: tuple[Decimal, ...], divisors: tuple[Fraction, ...]
) -> tuple[list[tuple[Table, ...]], list[tuple[Table, ...]]]:
    """For each cut and each span, what the sets say there."""
    found = [numbers.refined(cuts, divisors) for numbers in sets]
    if not found:
        return [()] * len(cuts), [()] * (len(cuts) + 1)
    points = list(zip(*(points for points, _ in found), strict=True))
    return points, list(zip(*(spans for _, spans in found), strict=True))


def _open(
    divisors: tuple[Fraction, ...], followed: tuple[Fraction, ...], cases: list[int]
) -> list[tuple[int, ...]]:
    """For each case of the followed divisors, the cases of all divisors that it may be."""
    if divisors == followed:
        return [(case,) for case in cases]
    bits = [divisors.index(one) for one in followed]
    possible = possible_cases(divisors)
    every = [case for case in range(1 << len(divisors)) if possible >> case & 1]
    narrow = [sum((case >> bit & 1) << at for at, bit in enumerate(bits)) for case in every]
    return [
        tuple(full for full, seen in zip(every, narrow, strict=True) if seen == case)
        for case in cases
    ]


def _followed(
    asked: set[Fraction],
) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...], Remainders]:
    """All divisors, and of them as many as one automaton can follow, the simplest first.

    Where one can't be followed, the unit of its multiples is a divisor too: no fraction is a
    multiple of a large whole number.
    """
    divisors = tuple(sorted(asked))
    possible_cases(divisors)  # refuses too many
    whole = remainders(divisors)
    if whole is not None:
        return divisors, divisors, whole
    kept: tuple[Fraction, ...] = ()
    found = remainders(kept)
    units = {Fraction(1, one.denominator) for one in asked if remainders((one,)) is None}
    for one in sorted({*asked, *units}, key=lambda divisor: divisor.numerator):
        more = tuple(sorted({*kept, one}))
        together = remainders(more)
        if together is not None:
            kept, found = more, together
    assert found is not None, "nothing to follow takes one class"
    return tuple(sorted({*asked, *kept})), kept, found


def _first(divisor: Fraction) -> set[Decimal]:
    if divisor > 10**FAR:
        return {Decimal(0)}
    step = _EXACT.divide(Decimal(divisor.numerator), Decimal(divisor.denominator))
    return {_EXACT.multiply(step, Decimal(times)) for times in range(-_LISTED, _LISTED + 1)}
