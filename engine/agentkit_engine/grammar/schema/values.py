"""Keywords about every value: its type, and lists of values.

Knows JSON Schema 2020-12 (validation, 6.1) and when two JSON values are equal. Must not know how
values are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from agentkit_engine.grammar.formula import (
    FALSE,
    KINDS,
    Formula,
    IsBoolean,
    IsKind,
    ItemCount,
    Items,
    Keys,
    Kind,
    Members,
    NumberIn,
    Required,
    TextIn,
    all_of,
    any_of,
    negation,
)
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.numbers import exact_values
from agentkit_engine.grammar.schema.rules import Node, Rule, is_number, since
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["RULES", "allowed_kinds", "equal_to", "one_of"]

_INTEGERS = all_of(IsKind("number"), NumberIn(Between.exactly(NumberSet.integers())))


def allowed_kinds(node: Node) -> tuple[Kind, ...]:
    """The kinds of value that `type` leaves, all of them where it is absent."""
    if "type" not in node:
        return KINDS
    named = _types(node)
    return tuple(
        kind for kind in KINDS if kind in named or (kind == "number" and "integer" in named)
    )


def _types(node: Node) -> list[str]:
    value = node["type"]
    named = value if isinstance(value, list) else [value]
    for one in named:
        if one != "integer" and one not in KINDS:
            known = ", ".join((*KINDS, "integer"))
            raise node.refuse("type", f"{one!r} is not a type; known are {known}")
    if not named:
        raise node.refuse("type", "it needs a type, or a list with at least one")
    return named


def _type(node: Node) -> Formula:
    named, kinds = _types(node), allowed_kinds(node)
    if kinds == KINDS and "number" in named:
        return all_of()
    whole = "integer" in named and "number" not in named
    return any_of(*(_INTEGERS if kind == "number" and whole else IsKind(kind) for kind in kinds))


def _const(node: Node) -> Formula:
    return one_of([node["const"]], node, "const")


def _enum(node: Node) -> Formula:
    values = node["enum"]
    if not isinstance(values, list):
        raise node.refuse("enum", f"{values!r} is no list of values")
    return one_of(values, node, "enum")


def one_of(values: list[Any], node: Node, keyword: str) -> Formula:
    """The value equals one of those; strings and numbers are gathered in one statement each."""
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if is_number(value)]
    parts: list[Formula] = []
    if texts:
        written = [text for text in texts if _is_unicode(text)]
        known = Between.exactly(TextSet.of(written))
        parts.append(all_of(IsKind("string"), TextIn(known)))
    if numbers:
        parts.append(all_of(IsKind("number"), NumberIn(_numbers(numbers, node, keyword))))
    others = [value for value in values if not isinstance(value, str) and not is_number(value)]
    return any_of(*parts, *(equal_to(value, node, keyword) for value in others))


def equal_to(value: Any, node: Node, keyword: str) -> Formula:
    """The value equals this one: 1 and 1.0 do, 1 and true do not."""
    if value is None:
        return IsKind("null")
    if isinstance(value, bool):
        return all_of(IsKind("boolean"), IsBoolean(value))
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        parts: list[Formula] = [IsKind("array"), negation(ItemCount(len(items) + 1))]
        if items:
            parts.append(ItemCount(len(items)))
        for number, item in enumerate(items):
            parts.append(Items(number, number + 1, equal_to(item, node, keyword)))
        return all_of(*parts)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        parts = [IsKind("object")]
        for name, member in members.items():
            parts.append(Required(name))
            parts.append(Members(Keys(frozenset((name,))), equal_to(member, node, keyword)))
        parts.append(Members(Keys(frozenset(members), others=True), FALSE))
        return all_of(*parts)
    if isinstance(value, str) or is_number(value):
        return one_of([value], node, keyword)
    raise node.refuse(keyword, f"{value!r} is not a JSON value")


def _numbers(values: list[Any], node: Node, keyword: str) -> Between[NumberSet]:
    inner: list[Decimal] = []
    outer: list[Decimal] = []
    for value in values:
        exact = exact_values(value)
        if not all(one.is_finite() for one in exact):
            raise node.refuse(keyword, f"{value!r} is not a finite number")
        outer.extend(exact)
        if len(exact) == 1:
            inner.extend(exact)
    return Between(NumberSet.of(inner), NumberSet.of(outer))


def _is_unicode(text: str) -> bool:
    """Whether a text can be written at all: a lone surrogate can't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


RULES = (
    Rule(("type",), _type),
    Rule(("const",), _const, drafts=since(Draft.DRAFT6)),
    Rule(("enum",), _enum),
)
