"""Keywords about numbers: bounds and divisors.

Knows JSON Schema 2020-12 (validation, 6.2) and the boolean bounds of Draft 4. Must not know how
numbers are written.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from agentkit_engine.grammar.formula import Formula, NumberIn
from agentkit_engine.grammar.number.doubles import multiples_between
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.rules import Node, Rule
from agentkit_engine.grammar.truth import Between

__all__ = ["RULES", "exact_values"]

_DOUBLES = 2**53


def exact_values(value: int | float) -> tuple[Decimal, ...]:
    """The values that a JSON number may stand for.

    One, but for a number above 2^53 that was read as a double: what stood in the text, and what a
    validator compares with.
    """
    if isinstance(value, float) and abs(value) >= _DOUBLES:
        return tuple({Decimal(repr(value)), Decimal(value)})
    return (Decimal(repr(value)) if isinstance(value, float) else Decimal(value),)


def _minimum(node: Node) -> Formula:
    return _bounds(node, "minimum", "exclusiveMinimum", above=True)


def _maximum(node: Node) -> Formula:
    return _bounds(node, "maximum", "exclusiveMaximum", above=False)


def _bounds(node: Node, including: str, excluding: str, *, above: bool) -> Formula:
    found = Between.exactly(NumberSet.everything())
    boolean = isinstance(node.schema.get(excluding), bool)
    excluded = boolean and bool(node[excluding])
    if including in node:
        found &= _side(node.number(including), excluded=excluded, above=above)
    if excluding in node and not boolean:
        if node.draft == Draft.DRAFT4:
            raise node.refuse(excluding, "it needs true or false in Draft 4")
        found &= _side(node.number(excluding), excluded=True, above=above)
    elif boolean and node.draft > Draft.DRAFT4:
        # Draft 4's form, which `jsonschema` takes for a bound of 0 or 1.
        other = found & _side(int(excluded), excluded=True, above=above)
        found = Between(other.inner, found.outer | other.outer)
    return NumberIn(found)


def _side(bound: Any, *, excluded: bool, above: bool) -> Between[NumberSet]:
    """The numbers above a bound, or below it."""
    if isinstance(bound, float) and math.isinf(bound):
        # Nothing that is written lies beyond the largest double.
        one = NumberSet.everything() if (bound < 0) == above else NumberSet.nothing()
        return Between.exactly(one)
    sides = [
        NumberSet.between(value, None, low_excluded=excluded)
        if above
        else NumberSet.between(None, value, high_excluded=excluded)
        for value in exact_values(bound)
    ]
    found = Between.exactly(sides[0])
    for side in sides[1:]:
        found = Between(found.inner & side, found.outer | side)
    return found


def _multiple_of(node: Node) -> Formula:
    divisor = node.number("multipleOf")
    if divisor <= 0 or divisor == math.inf:
        raise node.refuse("multipleOf", f"{divisor!r} is no divisor; it needs a number above 0")
    return NumberIn(multiples_between(divisor))


RULES = (
    Rule(("minimum", "exclusiveMinimum"), _minimum, "number"),
    Rule(("maximum", "exclusiveMaximum"), _maximum, "number"),
    Rule(
        ("multipleOf",),
        _multiple_of,
        "number",
        part="Only multiples that survive a division of doubles are written.",
    ),
)
