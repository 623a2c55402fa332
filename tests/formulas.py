"""What a formula says of a value, worked out by the book: slowly, and sharing nothing with the
machine that decides formulas in the product.

A statement about a kind of value is UNKNOWN of every other kind, so a formula that does not except
the other kinds is caught.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, cast

from agentkit_engine.grammar.formula import (
    Contains,
    Covered,
    Doubtful,
    Expected,
    Formula,
    IsBoolean,
    IsKind,
    ItemCount,
    Items,
    Keys,
    Kind,
    MemberCount,
    Members,
    NumberIn,
    Reference,
    Required,
    TextIn,
    Unique,
    evaluate,
)
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.grammar.truth import Between, Truth

__all__ = ["equal", "holds", "kind_of"]


def holds(reader: Reader, formula: Formula, value: Any) -> Truth:
    """Whether a formula of the reader's holds of a JSON value."""

    def truth(statement: Formula) -> Truth:
        match statement:
            case Reference(place):
                return holds(reader, reader.formula(place), value)
            case IsKind(kind):
                return _sure(kind_of(value) == kind)
            case Expected(kinds):
                return Truth.YES if kind_of(value) in kinds else Truth.UNKNOWN
            case Doubtful():
                return Truth.UNKNOWN
            case IsBoolean(expected) if isinstance(value, bool):
                return _sure(value is expected)
            case TextIn(texts) if isinstance(value, str):
                return _between(texts, value)
            case NumberIn(numbers) if kind_of(value) == "number":
                return _between(numbers, value)
            case _ if isinstance(value, dict):
                return _of_object(reader, statement, cast("dict[str, Any]", value))
            case _ if isinstance(value, list):
                return _of_array(reader, statement, value)
            case _:
                return Truth.UNKNOWN

    return evaluate(formula, truth)


def _of_object(reader: Reader, statement: Formula, value: dict[str, Any]) -> Truth:
    match statement:
        case Members(keys, inner):
            return _all(
                max(~keys.truth(name), holds(reader, inner, member))
                for name, member in value.items()
            )
        case Required(name):
            return _sure(name in value)
        case MemberCount(least):
            return _sure(len(value) >= least)
        case Covered("object", branches, inner):
            held = [(holds(reader, guard, value), keys) for guard, keys in branches]
            return _all(
                max(
                    holds(reader, inner, member),
                    *(min(guard, cast("Keys", keys).truth(name)) for guard, keys in held),
                )
                for name, member in value.items()
            )
        case _:
            return Truth.UNKNOWN


def _of_array(reader: Reader, statement: Formula, value: list[Any]) -> Truth:
    match statement:
        case Items(start, stop, inner):
            return _all(holds(reader, inner, item) for item in value[start:stop])
        case ItemCount(least):
            return _sure(len(value) >= least)
        case Contains(inner, least):
            found = [holds(reader, inner, item) for item in value]
            if sum(one == Truth.YES for one in found) >= least:
                return Truth.YES
            possible = sum(one != Truth.NO for one in found) >= least
            return Truth.UNKNOWN if possible else Truth.NO
        case Unique():
            pairs = ((one, two) for n, one in enumerate(value) for two in value[n + 1 :])
            return _sure(not any(equal(one, two) for one, two in pairs))
        case Covered("array", branches, inner):
            held = [(holds(reader, guard, value), covered) for guard, covered in branches]
            return _all(
                max(
                    holds(reader, inner, item),
                    *(min(guard, _covers(reader, covered, n, item)) for guard, covered in held),
                )
                for n, item in enumerate(value)
            )
        case _:
            return Truth.UNKNOWN


def _covers(reader: Reader, covered: Any, number: int, item: Any) -> Truth:
    if isinstance(covered, tuple):
        start, stop = cast("tuple[int, int | None]", covered)
        return _sure(start <= number and (stop is None or number < stop))
    return holds(reader, cast("Formula", covered), item)


def kind_of(value: Any) -> Kind:
    """The kind of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return "number"
    kinds: dict[type, Kind] = {str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def equal(one: Any, two: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if kind_of(one) != kind_of(two):
        return False
    if isinstance(one, list):
        return len(one) == len(two) and all(map(equal, one, two))
    if isinstance(one, dict):
        members = cast("dict[str, Any]", one)
        return members.keys() == two.keys() and all(
            equal(members[key], two[key]) for key in members
        )
    return bool(one == two)


def _sure(known: bool) -> Truth:
    return Truth.YES if known else Truth.NO


def _all(found: Iterable[Truth]) -> Truth:
    return min(found, default=Truth.YES)


def _between(known: Between[Any], value: Any) -> Truth:
    if value in known.inner:
        return Truth.YES
    return Truth.UNKNOWN if value in known.outer else Truth.NO
