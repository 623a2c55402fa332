"""`unevaluatedProperties` and `unevaluatedItems`: what no other keyword speaks of.

Knows which keywords speak of keys and items, and through which others that reaches (JSON Schema
2020-12, core, 11). Must not know how a formula is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from agentkit_engine.grammar.formula import (
    FALSE,
    TRUE,
    Covered,
    Formula,
    Items,
    Keys,
    Members,
    Required,
    all_of,
    negation,
)
from agentkit_engine.grammar.schema.arrays import prefix_keyword, rest_keyword
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.objects import declared_keys
from agentkit_engine.grammar.schema.rules import Node, Rule, since

__all__ = ["RULES"]

Coverage = Keys | tuple[int, int | None] | Formula
Branch = tuple[Formula, Coverage]

_ALL_KEYS = Keys(others=True)
_ALL_ITEMS = (0, None)


def _properties(node: Node) -> Formula:
    value = node.child("unevaluatedProperties")
    branches = list(dict.fromkeys(_branches(node, "object", TRUE, top=True)))
    if value == TRUE or (TRUE, _ALL_KEYS) in branches:
        return Members(_ALL_KEYS, TRUE, offered=value == TRUE)
    plain = [keys for guard, keys in branches if guard == TRUE and isinstance(keys, Keys)]
    names = frozenset[str]().union(*(keys.names for keys in plain))
    patterns = tuple(dict.fromkeys(pattern for keys in plain for pattern in keys.patterns))
    guarded = [branch for branch in branches if branch[0] != TRUE]
    if not guarded:
        return Members(Keys(names, patterns, others=True), value, offered=value != FALSE)
    if plain:
        guarded.insert(0, (TRUE, Keys(names, patterns)))
    return Covered("object", tuple(guarded), value)


def _items(node: Node) -> Formula:
    value = node.child("unevaluatedItems")
    branches = list(dict.fromkeys(_branches(node, "array", TRUE, top=True)))
    if value == TRUE or (TRUE, _ALL_ITEMS) in branches:
        return TRUE
    stops = [0]
    others: list[Branch] = []
    for guard, items in branches:
        if guard == TRUE and isinstance(items, tuple) and items[1] is not None:
            stops.append(items[1])
        else:
            others.append((guard, items))
    if not others:
        return Items(max(stops), None, value)
    if max(stops):
        others.insert(0, (TRUE, (0, max(stops))))
    return Covered("array", tuple(others), value)


def _branches(
    node: Node, kind: Literal["object", "array"], guard: Formula, *, top: bool
) -> Iterator[Branch]:
    """What a schema speaks of, where its `guard` holds, itself and through the schemas in it.

    A branch that must hold needs no guard: where it does not, the whole does not hold either.
    """
    for covered in _keys(node, top=top) if kind == "object" else _ranges(node, top=top):
        yield guard, covered
    for path, condition in _in_place(node, kind):
        inner = node.reading.node(node.reading.inner(node.place, *path))
        if inner is not None:
            yield from _branches(inner, kind, all_of(guard, condition), top=False)
    for keyword, drafts in _REFERENCES.items():
        if keyword in node and node.draft in drafts:
            inner = node.reading.node(node.reading.target(node.place, keyword))
            if inner is not None:
                yield from _branches(inner, kind, guard, top=False)


_REFERENCES = {
    "$ref": frozenset(Draft),
    "$dynamicRef": since(Draft.DRAFT2020),
    "$recursiveRef": frozenset((Draft.DRAFT2019,)),
}


def _in_place(node: Node, kind: str) -> Iterator[tuple[tuple[str, ...], Formula]]:
    """The schemas of the same value that may speak of its parts, and what each is guarded by."""
    for path in node.branches("allOf"):
        yield path, TRUE
    for keyword in ("anyOf", "oneOf"):
        for path in node.branches(keyword):
            yield path, node.inline(*path)
    if "if" in node:
        condition = node.inline("if")
        yield ("if",), condition
        if "then" in node:
            yield ("then",), condition
        if "else" in node:
            yield ("else",), negation(condition)
    if kind == "object":
        for name in node.schemas("dependentSchemas"):
            yield ("dependentSchemas", name), Required(name)


def _keys(node: Node, *, top: bool) -> Iterator[Keys]:
    declared = declared_keys(node)
    if declared.names or declared.patterns:
        yield declared
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in node and not (top and keyword == "unevaluatedProperties"):
            if node.draft == Draft.DRAFT2019 and isinstance(node[keyword], Mapping):
                why = f"validators differ in what {keyword!r} evaluates in Draft 2019-09"
                raise node.refuse("unevaluatedProperties", why)
            yield _ALL_KEYS


def _ranges(node: Node, *, top: bool) -> Iterator[tuple[int, int | None] | Formula]:
    prefix = prefix_keyword(node)
    if rest_keyword(node) is not None or ("unevaluatedItems" in node and not top):
        yield _ALL_ITEMS
    elif prefix is not None:
        yield (0, len(list(node.branches(prefix))))
    if "contains" in node:
        if node.draft == Draft.DRAFT2019:
            why = "validators differ in what 'contains' evaluates in Draft 2019-09"
            raise node.refuse("unevaluatedItems", why)
        value = node.child("contains")
        if value != FALSE:
            yield value if value != TRUE else _ALL_ITEMS


RULES = (
    Rule(("unevaluatedProperties",), _properties, "object", drafts=since(Draft.DRAFT2019)),
    Rule(("unevaluatedItems",), _items, "array", drafts=since(Draft.DRAFT2019)),
)
