"""Objects and arrays, strings and numbers: the typed parts of a schema, each as an expression.

Knows how each type's keywords shape a text. Must not know how schemas are combined or referred to;
for what lies inside it asks the `inner` function that it is given.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from agentkit_engine.grammar.automaton import ByteAutomaton
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.expression import (
    NOTHING,
    Expression,
    Spliced,
    choice,
    joined,
    literal,
    repeat,
    sequence,
)
from agentkit_engine.grammar.formats import FORMATS
from agentkit_engine.grammar.keywords import Node, at, count, decimal
from agentkit_engine.grammar.numbers import integer, multiple, number
from agentkit_engine.grammar.regex import pattern_expression
from agentkit_engine.grammar.strings import alphabet_of
from agentkit_engine.syntax import Syntax

__all__ = ["typed_expression"]

_MAX_DIVISOR = 1000
_FAR = Decimal(10) ** 40
_LONGEST = 512
"""Characters that a bounded string may have at most: about what fits on a canvas."""

Inner = Callable[[Any, str], Expression]


def typed_expression(kind: str, node: Node, syntax: Syntax, inner: Inner) -> Expression:
    """The values of one JSON type that a node allows, as `syntax` writes them.

    `inner(schema, pointer)` gives the expression of a schema further inside.
    """
    match kind:
        case "object":
            return _object(node, syntax, inner)
        case "array":
            return _array(node, syntax, inner)
        case "string":
            return _string(node, syntax)
        case "integer" | "number":
            return _number(kind, node)
        case "boolean":
            return choice((literal(b"true"), literal(b"false")))
        case _:
            return literal(b"null")


def _object(node: Node, syntax: Syntax, inner: Inner) -> Expression:
    """Declared keys in declared order, then required ones that are not declared."""
    properties, required = _properties(node)
    free = node.get("additionalProperties", True)
    if isinstance(free, Mapping) and not properties and not required:
        why = "an object of free keys can't be written; declare them under 'properties'"
        raise node.refuse("additionalProperties", why)
    members: list[tuple[Expression, bool]] = []
    for name, schema in properties.items():
        value = inner(schema, at(node.where("properties"), "properties", name))
        members.append((_member(name, value, syntax), name in required))
    for name in required:
        if name not in properties:
            value = inner(free, at(node.where("additionalProperties"), "additionalProperties"))
            members.append((_member(name, value, syntax), True))
    inside = joined(members, separator=syntax.item_separator)
    return sequence(literal(b"{"), inside, literal(b"}"))


def _properties(node: Node) -> tuple[Mapping[str, Any], list[str]]:
    properties = node.get("properties", {})
    if not isinstance(properties, Mapping):
        raise node.refuse("properties", "needs an object of schemas")
    required = node.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise node.refuse("required", "needs a list of names")
    return properties, required


def _member(name: str, value: Expression, syntax: Syntax) -> Expression:
    return sequence(literal(syntax.key(name) + syntax.key_separator), value)


def _array(node: Node, syntax: Syntax, inner: Inner) -> Expression:
    if node.get("uniqueItems", False) is not False:
        raise node.refuse("uniqueItems", "items that all differ are not a regular language")
    least, most = count(node, "minItems", 0), count(node, "maxItems", None)
    item = inner(node.get("items", True), at(node.where("items"), "items"))
    items = repeat(item, least, most, separator=syntax.item_separator)
    return sequence(literal(b"["), items, literal(b"]"))


def _string(node: Node, syntax: Syntax) -> Expression:
    alphabet = alphabet_of(syntax)
    rules: list[Expression] = []
    if "pattern" in node:
        pattern = node.get("pattern")
        if not isinstance(pattern, str):
            raise node.refuse("pattern", f"needs a string, not {pattern!r}")
        rules.append(pattern_expression(pattern, alphabet, pointer=node.where("pattern")))
    if "format" in node:
        name = node.get("format")
        if not isinstance(name, str) or name not in FORMATS:
            known = ", ".join(FORMATS)
            raise node.refuse("format", f"{name!r} is not guaranteed; known are {known}")
        rules.append(pattern_expression(FORMATS[name], alphabet))
    least, most = count(node, "minLength", 0), count(node, "maxLength", None)
    if most is not None:
        most = min(most, max(least, _LONGEST))
    if not rules or least or most is not None:
        rules.append(alphabet.text(least=least, most=most))
    return sequence(literal(syntax.quote), _all_of(rules), literal(syntax.quote))


def _all_of(rules: list[Expression]) -> Expression:
    """The texts that follow every rule."""
    if len(rules) == 1:
        return rules[0]
    found: ByteAutomaton = build(rules[0])
    for rule in rules[1:]:
        found &= build(rule)
    return NOTHING if found.empty else Spliced(found)


def _number(kind: str, node: Node) -> Expression:
    low, low_excluded = _stricter(node, "minimum", "exclusiveMinimum", sign=1)
    high, high_excluded = _stricter(node, "maximum", "exclusiveMaximum", sign=-1)
    if low is not None and low > _FAR:
        raise node.refuse("minimum", f"no number beyond {_FAR:.0e} is written")
    if high is not None and high < -_FAR:
        raise node.refuse("maximum", f"no number below {-_FAR:.0e} is written")
    bounds = (low, low_excluded, high, high_excluded)
    divisor = decimal(node, "multipleOf")
    if divisor is None:
        return integer(bounds) if kind == "integer" else number(bounds)
    if divisor % 1 or not 1 <= divisor <= _MAX_DIVISOR:
        raise node.refuse("multipleOf", f"only integers from 1 to {_MAX_DIVISOR} are supported")
    return multiple(integer(bounds), int(divisor))


def _stricter(
    node: Node, including: str, excluding: str, *, sign: int
) -> tuple[Decimal | None, bool]:
    """The bound that rules out more, and whether it is itself ruled out."""
    included, excluded = decimal(node, including), decimal(node, excluding)
    if excluded is None or (included is not None and sign * included > sign * excluded):
        return included, False
    return excluded, True
