"""Formulas while a value is being read: what is decided, what is open, what is out of reach.

Knows formulas. Must not know bytes. A statement about an object or array is decided piece by piece;
`reduced` writes what is decided into a formula, `bounds` says how the rest may still turn out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from operator import is_

from agentkit_engine.grammar.formula import (
    DOUBT,
    FALSE,
    TRUE,
    AllOf,
    AnyOf,
    Constant,
    Contains,
    Covered,
    Doubtful,
    ExactlyOne,
    Expected,
    Formula,
    IsBoolean,
    IsKind,
    ItemCount,
    Items,
    Kind,
    MemberCount,
    Members,
    Not,
    NumberIn,
    Required,
    TextIn,
    Unique,
    all_of,
    any_of,
    exactly_one,
    negation,
)
from agentkit_engine.grammar.leaf import Label
from agentkit_engine.grammar.truth import Truth

__all__ = ["Wanted", "atoms", "bounds", "constant", "reduced", "settled", "specialised", "told"]

_KINDS_OF: dict[type, Kind] = {
    IsBoolean: "boolean", TextIn: "string", NumberIn: "number", Members: "object",
    Required: "object", MemberCount: "object", Items: "array", ItemCount: "array",
    Contains: "array", Unique: "array",
}  # fmt: skip
_CONSTANTS: dict[Truth, Formula] = {Truth.NO: FALSE, Truth.UNKNOWN: DOUBT, Truth.YES: TRUE}


def constant(truth: Truth) -> Formula:
    """The formula that is always of this truth."""
    return _CONSTANTS[truth]


def settled(formula: Formula) -> Truth | None:
    """The truth of a formula that is a constant."""
    if isinstance(formula, Constant):
        return Truth.YES if formula.holds else Truth.NO
    return Truth.UNKNOWN if isinstance(formula, Doubtful) else None


def told(formula: Formula, truths: Mapping[Formula, Truth]) -> Truth:
    """The truth of a constant, or what `truths` says of another formula."""
    known = settled(formula)
    return truths[formula] if known is None else known


def reduced(formula: Formula, known: Callable[[Formula], Formula | None]) -> Formula:
    """The formula with every atom that `known` has an answer for replaced by it."""
    match formula:
        case Not(part):
            inner = reduced(part, known)
            return formula if inner is part else negation(inner)
        case AllOf(parts) | AnyOf(parts) | ExactlyOne(parts):
            inside = [reduced(part, known) for part in parts]
            if all(map(is_, inside, parts)):  # nothing new; formulas are long
                return formula
            if isinstance(formula, ExactlyOne):
                return _one(tuple(inside))
            return all_of(*inside) if isinstance(formula, AllOf) else any_of(*inside)
        case Covered(kind, branches, value):
            if (answer := known(formula)) is not None:
                return answer
            kept = tuple((reduced(guard, known), reach) for guard, reach in branches)
            return Covered(kind, kept, value)
        case Constant() | Doubtful():
            return formula
        case _:
            answer = known(formula)
            return formula if answer is None else answer


def _one(parts: tuple[Formula, ...]) -> Formula:
    certain = sum(part == TRUE for part in parts)
    if certain > 1:
        return FALSE
    if certain:
        return all_of(*(negation(part) for part in parts if part != TRUE))
    return exactly_one(*parts)


def specialised(formula: Formula, kind: Kind) -> Formula:
    """What a formula says of values of one kind: statements about other kinds hold of them."""
    match formula:
        case IsKind(other):
            return TRUE if other == kind else FALSE
        case Expected(kinds):
            return TRUE if kind in kinds else DOUBT
        case Covered(other, branches, value):
            if other != kind:
                return TRUE
            return Covered(other, tuple((specialised(guard, kind), reach)
                                       for guard, reach in branches), value)  # fmt: skip
        case Not(part):
            return negation(specialised(part, kind))
        case AllOf(parts):
            return all_of(*(specialised(part, kind) for part in parts))
        case AnyOf(parts):
            return any_of(*(specialised(part, kind) for part in parts))
        case ExactlyOne(parts):
            return _one(tuple(specialised(part, kind) for part in parts))
        case Constant() | Doubtful():
            return formula
        case _:
            return formula if _KINDS_OF.get(type(formula)) == kind else TRUE


def atoms(formula: Formula) -> Iterator[Formula]:
    """The atoms of a formula, those of guards included, in order; one may come several times."""
    match formula:
        case Not(part):
            yield from atoms(part)
        case AllOf(parts) | AnyOf(parts) | ExactlyOne(parts):
            for part in parts:
                yield from atoms(part)
        case Covered(_, branches, _):
            for guard, _ in branches:
                yield from atoms(guard)
            yield formula
        case Constant() | Doubtful():
            return
        case _:
            yield formula


Bounds = tuple[Truth, Truth]


def bounds(formula: Formula, of: Callable[[Formula], Bounds]) -> Bounds:
    """The least and the most true that a formula may become; `of` says it of its atoms."""
    match formula:
        case Constant() | Doubtful():
            truth = settled(formula)
            assert truth is not None
            return truth, truth
        case Not(part):
            low, high = bounds(part, of)
            return ~high, ~low
        case AllOf(parts):
            found = [bounds(part, of) for part in parts]
            return min(low for low, _ in found), min(high for _, high in found)
        case AnyOf(parts):
            found = [bounds(part, of) for part in parts]
            return max(low for low, _ in found), max(high for _, high in found)
        case ExactlyOne(parts):
            return _bounds_of_one([bounds(part, of) for part in parts])
        case _:
            return of(formula)


def _bounds_of_one(found: list[Bounds]) -> Bounds:
    certain = sum(low == Truth.YES for low, _ in found)
    possible = sum(high > Truth.NO for _, high in found)
    if certain > 1:
        return Truth.NO, Truth.NO
    low = Truth.YES if certain == possible == 1 else Truth.NO
    return low, max(high for _, high in found)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """The labels with which a value may end.

    Short labels are listed. Of longer ones only the truths that each place may take are (`within`),
    and `useful` is asked about a whole label when one is met.
    """

    labels: frozenset[Label] | None
    within: tuple[frozenset[Truth], ...] = ()
    useful: Callable[[Label], bool] | None = None

    @property
    def key(self) -> object:
        """Equal for wants that are the same."""
        return self.labels if self.labels is not None else self

    def is_only(self, label: Label) -> bool:
        """Whether nothing but this label is wanted."""
        return self.labels == frozenset({label})

    def __contains__(self, label: Label) -> bool:
        if self.labels is not None:
            return label in self.labels
        assert self.useful is not None
        return all(map(frozenset.__contains__, self.within, label)) and self.useful(label)

    def reachable(self, spans: list[Bounds]) -> bool:
        """Whether some wanted label may lie within bounds for each of its truths."""
        if self.labels is None:
            return all(
                any(low <= truth <= high for truth in truths)
                for truths, (low, high) in zip(self.within, spans, strict=True)
            )
        return any(
            all(low <= truth <= high for truth, (low, high) in zip(label, spans, strict=True))
            for label in self.labels
        )

    @classmethod
    def all_true(cls, length: int) -> Wanted:
        """The label that has only YES."""
        return _ALL_TRUE.setdefault(length, cls(frozenset({(Truth.YES,) * length})))

    @classmethod
    def such_that(cls, length: int, useful: Callable[[Label], bool]) -> Wanted:
        """The labels of `length` truths that are useful."""
        if length <= _LISTED:
            return cls(frozenset(label for label in product(Truth, repeat=length) if useful(label)))
        # a truth is given up where it helps beside none of three very different neighbourhoods:
        # that may give up too much, never too little
        within = tuple(
            frozenset(
                truth
                for truth in Truth
                if any(
                    useful((*[others] * place, truth, *[others] * (length - place - 1)))
                    for others in Truth
                )
            )
            for place in range(length)
        )
        return cls(None, within, useful)


_LISTED = 4
_ALL_TRUE: dict[int, Wanted] = {}
