"""What formulas say of one string or number, as one set.

Knows formulas about strings and numbers. Must not know how these are written.
"""

from __future__ import annotations

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

__all__ = ["equals", "numbers", "texts"]


def texts(formula: Formula) -> Between[TextSet]:
    """The strings of which a formula about strings holds."""
    return _fold(formula, Between(TextSet.nothing(), TextSet.everything()))


def numbers(formula: Formula) -> Between[NumberSet]:
    """The numbers of which a formula about numbers holds."""
    return _fold(formula, Between(NumberSet.nothing(), NumberSet.everything()))


def _fold(formula: Formula, unknown: Between[Any]) -> Between[Any]:
    match formula:
        case TextIn(found) | NumberIn(found):
            return found
        case Constant(holds):
            return Between.exactly(unknown.outer if holds else unknown.inner)
        case Doubtful():
            return unknown
        case Not(part):
            return ~_fold(part, unknown)
        case AllOf(parts):
            found = _fold(parts[0], unknown)
            for part in parts[1:]:
                found &= _fold(part, unknown)
            return found
        case AnyOf(parts):
            found = _fold(parts[0], unknown)
            for part in parts[1:]:
                found |= _fold(part, unknown)
            return found
        case ExactlyOne(parts):
            once = _fold(parts[0], unknown)
            twice = Between.exactly(unknown.inner)
            for part in parts[1:]:
                more = _fold(part, unknown)
                twice |= once & more
                once |= more
            return once & ~twice
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
