"""Keywords about arrays: how many items there are, and what they are.

Knows JSON Schema 2020-12 (validation, 6.4; applicator, 10.3.1) and the older form of `items`. Must
not know how arrays are written.
"""

from __future__ import annotations

from agentkit_engine.grammar.formula import (
    TRUE,
    Contains,
    Formula,
    ItemCount,
    Items,
    Unique,
    all_of,
    negation,
)
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.rules import Node, Rule, since

__all__ = ["RULES", "prefix_keyword", "rest_keyword"]


def prefix_keyword(node: Node) -> str | None:
    """The keyword that lists the schemas of the first items: `prefixItems`, once `items`.

    The list form of `items` is read in every draft: where it is no longer known, nothing else can
    be meant by it.
    """
    if isinstance(node.schema.get("items"), list):
        if "prefixItems" in node and node.draft >= Draft.DRAFT2020:
            raise node.refuse("items", "it needs a schema beside 'prefixItems', not a list")
        return "items"
    return "prefixItems" if "prefixItems" in node and node.draft >= Draft.DRAFT2020 else None


def rest_keyword(node: Node) -> str | None:
    """The keyword that holds the schema of all items after those that are listed."""
    keyword = "additionalItems" if prefix_keyword(node) == "items" else "items"
    return keyword if keyword in node else None


def _items(node: Node) -> Formula:
    prefix, rest = prefix_keyword(node), rest_keyword(node)
    paths = list(node.branches(prefix)) if prefix is not None else []
    parts: list[Formula] = [
        Items(number, number + 1, node.child(*path)) for number, path in enumerate(paths)
    ]
    if rest is not None:
        parts.append(Items(len(paths), None, node.child(rest)))
    return all_of(*parts)


def _contains(node: Node) -> Formula:
    if "contains" not in node:
        return TRUE
    value = node.child("contains")
    counted = node.draft >= Draft.DRAFT2019
    least = node.count("minContains", 1) if counted else 1
    parts: list[Formula] = [Contains(value, least)] if least else []
    if counted and "maxContains" in node:
        parts.append(negation(Contains(value, node.count("maxContains", 0) + 1)))
    return all_of(*parts)


def _item_counts(node: Node) -> Formula:
    least, parts = node.count("minItems", 0), list[Formula]()
    if least:
        parts.append(ItemCount(least))
    if "maxItems" in node:
        parts.append(negation(ItemCount(node.count("maxItems", 0) + 1)))
    return all_of(*parts)


def _unique_items(node: Node) -> Formula:
    return Unique() if node.flag("uniqueItems") else TRUE


RULES = (
    Rule(("prefixItems", "items", "additionalItems"), _items, "array"),
    Rule(
        ("contains", "minContains", "maxContains"),
        _contains,
        "array",
        drafts=since(Draft.DRAFT6),
    ),
    Rule(
        ("minItems", "maxItems"),
        _item_counts,
        "array",
        part="Arrays that are counted may be cut at 32 items, or fewer where items are large.",
    ),
    Rule(
        ("uniqueItems",),
        _unique_items,
        "array",
        part="If the best filling repeats an item, one with fewer items takes its place.",
    ),
)
