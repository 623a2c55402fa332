"""What a formula says of strings, as a language: for the names of keys.

Knows formulas. Must not know schemas.
"""

from __future__ import annotations

from agentkit_engine.grammar.formula import (
    AllOf,
    AnyOf,
    Constant,
    ExactlyOne,
    Expected,
    Formula,
    IsKind,
    Not,
    TextIn,
)
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["texts_of"]


def texts_of(formula: Formula) -> Between[TextSet]:
    """The strings of which a formula holds.

    Statements about other kinds of value say nothing of strings, and count as unknown.
    """
    match formula:
        case Constant(holds):
            return _known(holds)
        case IsKind(kind):
            return _known(kind == "string")
        case Expected(kinds) if "string" in kinds:
            return _known(True)
        case TextIn(texts):
            return texts
        case Not(part):
            return ~texts_of(part)
        case AllOf(parts):
            found = _known(True)
            for part in parts:
                found &= texts_of(part)
            return found
        case AnyOf(parts):
            found = _known(False)
            for part in parts:
                found |= texts_of(part)
            return found
        case ExactlyOne(parts):
            once, twice = _known(False), _known(False)
            for part in parts:
                texts = texts_of(part)
                twice |= once & texts
                once |= texts
            return once & ~twice
        case _:
            return Between(TextSet.nothing(), TextSet.everything())


def _known(holds: bool) -> Between[TextSet]:
    return Between.exactly(TextSet.everything() if holds else TextSet.nothing())
