"""Sets of JSON values, as formulas over simple statements about one value.

Knows how statements are combined and what holds of their combination. Must not know how schemas
are spelled, how values are written, or tokens. Truth has three values (Kleene 1952): where a
statement's language is known only from inside and outside, a text between the two is UNKNOWN, and
nothing is ever written whose truth is not YES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between, Truth

__all__ = [
    "DOUBT",
    "FALSE",
    "KINDS",
    "TRUE",
    "AllOf",
    "AnyOf",
    "Atom",
    "Constant",
    "Contains",
    "Covered",
    "Doubtful",
    "ExactlyOne",
    "Expected",
    "Formula",
    "IsBoolean",
    "IsKind",
    "ItemCount",
    "Items",
    "Keys",
    "Kind",
    "MemberCount",
    "Members",
    "Not",
    "NumberIn",
    "Reference",
    "Required",
    "TextIn",
    "Unique",
    "all_of",
    "any_of",
    "evaluate",
    "exactly_one",
    "negation",
]

Kind = Literal["null", "boolean", "number", "string", "array", "object"]
KINDS: tuple[Kind, ...] = ("object", "array", "string", "number", "boolean", "null")


@dataclass(frozen=True, slots=True)
class Keys:
    """Which keys of an object are meant: some names and patterns, or (`others`) all but those."""

    names: frozenset[str] = frozenset()
    patterns: tuple[Between[TextSet], ...] = ()
    others: bool = False

    def truth(self, name: str) -> Truth:
        """Whether `name` is meant."""
        found = Truth.YES if name in self.names else Truth.NO
        for pattern in self.patterns:
            if name in pattern.inner:
                found = Truth.YES
            elif name in pattern.outer:
                found = max(found, Truth.UNKNOWN)
        return ~found if self.others else found

    def texts(self) -> Between[TextSet]:
        """The keys meant, as a language."""
        found = Between.exactly(TextSet.of(self.names))
        for pattern in self.patterns:
            found |= pattern
        return ~found if self.others else found


class _Hashed:
    """A formula that remembers its hash: formulas are long, and looked up all the time."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:  # not asked before
            parts = tuple(getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]
            object.__setattr__(self, "_hash", hash((type(self).__name__, parts)))
            return self._hash


@dataclass(frozen=True, slots=True)
class Constant:
    """Every value, or none."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Doubtful:
    """UNKNOWN of every value."""


@dataclass(frozen=True, slots=True)
class Expected:
    """YES of a value of one of `kinds`, UNKNOWN of any other.

    For a schema that speaks of some kinds only and names none: `{"minLength": 3}` allows a number,
    but nobody wants one written.
    """

    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class IsKind:
    """The value is of this kind; integers are numbers that `NumberIn` tells apart."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class IsBoolean:
    """A boolean is this one."""

    value: bool


@dataclass(frozen=True, slots=True)
class TextIn(_Hashed):
    """A string's text is one of these."""

    texts: Between[TextSet]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class NumberIn(_Hashed):
    """A number is one of these."""

    numbers: Between[NumberSet]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Members(_Hashed):
    """In an object, whatever stands under one of `keys` is a `value`.

    `offered`: the schema itself speaks of these keys, so that they may be written although no name
    is declared.
    """

    keys: Keys
    value: Formula
    offered: bool = False
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Required:
    """An object has this key."""

    name: str


@dataclass(frozen=True, slots=True)
class MemberCount:
    """An object has at least `least` keys."""

    least: int


@dataclass(frozen=True, slots=True)
class Items(_Hashed):
    """In an array, the items from `start` on, before `stop`, are each a `value`."""

    start: int
    stop: int | None
    value: Formula
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class ItemCount:
    """An array has at least `least` items."""

    least: int


@dataclass(frozen=True, slots=True)
class Contains(_Hashed):
    """At least `least` of an array's items are a `value`."""

    value: Formula
    least: int
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Unique:
    """No two items of an array are equal."""


@dataclass(frozen=True, slots=True)
class Covered(_Hashed):
    """All keys (or items) are a `value`, but those that a branch which holds speaks of.

    What `unevaluatedProperties` and `unevaluatedItems` say. `branches`: (guard, what it covers)
    pairs, where a guard is a formula over the same object or array, and what it covers is `Keys`,
    or a range (start, stop) of items, or a formula for the items that `contains` matches.
    """

    kind: Literal["object", "array"]
    branches: tuple[tuple[Formula, Keys | tuple[int, int | None] | Formula], ...]
    value: Formula
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Reference:
    """What the schema at `place` (an opaque key of the reader's) says."""

    place: str


@dataclass(frozen=True, slots=True)
class Not(_Hashed):
    part: Formula
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class AllOf(_Hashed):
    parts: tuple[Formula, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class AnyOf(_Hashed):
    parts: tuple[Formula, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class ExactlyOne(_Hashed):
    parts: tuple[Formula, ...]
    __hash__ = _Hashed.__hash__


Atom = (
    Expected | IsKind | IsBoolean | TextIn | NumberIn | Members | Required | MemberCount | Items
    | ItemCount | Contains | Unique | Covered
)  # fmt: skip
Formula = Constant | Doubtful | Atom | Reference | Not | AllOf | AnyOf | ExactlyOne

DOUBT = Doubtful()
TRUE = Constant(holds=True)
FALSE = Constant(holds=False)


def all_of(*parts: Formula) -> Formula:
    """Every part holds; flattened, without repetition."""
    kept: dict[Formula, None] = {}
    denied: set[Formula] = set()
    for part in parts:
        for one in part.parts if isinstance(part, AllOf) else (part,):
            if isinstance(one, Constant):
                if not one.holds:
                    return FALSE
                continue
            if isinstance(one, Not):
                if one.part in kept:
                    return FALSE
                denied.add(one.part)
            kept[one] = None
    if denied and not denied.isdisjoint(kept):
        return FALSE
    return _one_or(AllOf, tuple(kept), TRUE)


def any_of(*parts: Formula) -> Formula:
    """Some part holds; flattened, without repetition."""
    kept: dict[Formula, None] = {}
    for part in parts:
        for one in part.parts if isinstance(part, AnyOf) else (part,):
            if isinstance(one, Constant):
                if one.holds:
                    return TRUE
                continue
            kept[one] = None
    return _one_or(AnyOf, tuple(kept), FALSE)


def _one_or(
    combine: Callable[[tuple[Formula, ...]], Formula], parts: tuple[Formula, ...], none: Formula
) -> Formula:
    if not parts:
        return none
    return parts[0] if len(parts) == 1 else combine(parts)


def exactly_one(*parts: Formula) -> Formula:
    """One part holds and no other; repetition counts."""
    kept = tuple(part for part in parts if part != FALSE)
    return kept[0] if len(kept) == 1 else ExactlyOne(kept) if kept else FALSE


def negation(part: Formula) -> Formula:
    """The part does not hold."""
    if isinstance(part, Constant):
        return FALSE if part.holds else TRUE
    if isinstance(part, Doubtful):
        return part
    return part.part if isinstance(part, Not) else Not(part)


def evaluate(formula: Formula, truth: Callable[[Formula], Truth]) -> Truth:
    """The truth of a formula; `truth` says that of an atom or a reference."""
    match formula:
        case Constant(holds):
            return Truth.YES if holds else Truth.NO
        case Doubtful():
            return Truth.UNKNOWN
        case Not(part):
            return ~evaluate(part, truth)
        case AllOf(parts):
            return min((evaluate(part, truth) for part in parts), default=Truth.YES)
        case AnyOf(parts):
            return max((evaluate(part, truth) for part in parts), default=Truth.NO)
        case ExactlyOne(parts):
            found = sorted((evaluate(part, truth) for part in parts), reverse=True)
            if found[0] == Truth.YES:  # the runner-up decides
                return ~found[1] if len(found) > 1 else Truth.YES
            return found[0]
        case _:
            return truth(formula)
