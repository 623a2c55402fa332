"""What formulas say of one string or number, as one set.

Knows formulas about strings and numbers. Must not know how these are written.
"""

from __future__ import annotations

from functools import reduce
from operator import and_, or_
from typing import Any

from agentkit_engine.grammar.formula import (
    AllOf,
    AnyOf,
    Constant,
    Doubtful,
    ExactlyOne,
    Formula,
    IsBoolean,
    IsKind,
    Not,
    NumberIn,
    TextIn,
    all_of,
)
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["equals", "numbers", "sure_numbers", "sure_texts", "texts"]


def texts(formula: Formula) -> Between[TextSet]:
    """The strings of which a formula about strings holds."""
    return _both(formula, TextSet.nothing(), TextSet.everything())


def sure_texts(formula: Formula, within: TextSet | None = None) -> TextSet:
    """The strings, of those `within`, of which a formula about strings surely holds."""
    if within is None:
        return _side(formula, TextSet.nothing(), TextSet.everything(), sure=True)
    found = within  # large sets are cut before they are combined
    for part in formula.parts if isinstance(formula, AllOf) else (formula,):
        found &= _side(part, TextSet.nothing(), TextSet.everything(), sure=True)
    return found


def numbers(formula: Formula) -> Between[NumberSet]:
    """The numbers of which a formula about numbers holds."""
    return _both(formula, NumberSet.nothing(), NumberSet.everything())


def sure_numbers(formula: Formula) -> NumberSet:
    """The numbers of which a formula about numbers surely holds."""
    return _side(formula, NumberSet.nothing(), NumberSet.everything(), sure=True)


def _both(formula: Formula, nothing: Any, everything: Any) -> Between[Any]:
    inner = _side(formula, nothing, everything, sure=True)
    if _exact(formula):
        return Between.exactly(inner)
    return Between(inner, _side(formula, nothing, everything, sure=False))


def _exact(formula: Formula) -> bool:
    """Whether what is sure is all that is possible."""
    match formula:
        case TextIn(found) | NumberIn(found):
            return found.inner is found.outer
        case Not(part):
            return _exact(part)
        case AllOf(parts) | AnyOf(parts) | ExactlyOne(parts):
            return all(map(_exact, parts))
        case _:
            return isinstance(formula, Constant)


def _side(formula: Formula, nothing: Any, everything: Any, *, sure: bool) -> Any:
    """What surely, or else what possibly fulfils a formula."""

    def inside(part: Formula) -> Any:
        return _side(part, nothing, everything, sure=sure)

    match formula:
        case TextIn(found) | NumberIn(found):
            return found.inner if sure else found.outer
        case Constant(holds):
            return everything if holds else nothing
        case Doubtful():
            return nothing if sure else everything
        case Not(part):
            return ~_side(part, nothing, everything, sure=not sure)
        case AllOf(parts):
            return reduce(and_, map(inside, parts))
        case AnyOf(parts):
            return reduce(or_, map(inside, parts))
        case ExactlyOne(parts):
            once, twice = reduce(or_, map(inside, parts)), nothing
            # surely only one: not even possibly two; possibly only one: not surely two
            other = [_side(part, nothing, everything, sure=not sure) for part in parts]
            seen = other[0]
            for more in other[1:]:
                twice |= seen & more
                seen |= more
            return once - twice
        case _:
            raise AssertionError(f"{formula!r} says nothing of strings or numbers")


def equals(value: object) -> Formula | None:
    """The formula of a null, boolean, string or number; None for other values."""
    if value is None:
        return IsKind("null")
    if isinstance(value, bool):
        return all_of(IsKind("boolean"), IsBoolean(value))
    if isinstance(value, str):
        return all_of(IsKind("string"), TextIn(Between.exactly(TextSet.of([value]))))
    if isinstance(value, int | float):
        return all_of(IsKind("number"), NumberIn(Between.exactly(NumberSet.of([value]))))
    return None
