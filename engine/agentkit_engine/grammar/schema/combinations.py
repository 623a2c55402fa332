"""Keywords that combine schemas of the same value, and references to others.

Knows JSON Schema 2020-12 (core, 8.2.3 and 10.2). Must not know what the combined schemas say.
"""

from __future__ import annotations

from agentkit_engine.grammar.formula import (
    TRUE,
    Formula,
    all_of,
    any_of,
    exactly_one,
    negation,
)
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.rules import Node, Rule, since

__all__ = ["RULES"]


def _all_of(node: Node) -> Formula:
    return all_of(*(node.inline(*path) for path in node.branches("allOf")))


def _any_of(node: Node) -> Formula:
    return any_of(*_branches(node, "anyOf"))


def _one_of(node: Node) -> Formula:
    return exactly_one(*_branches(node, "oneOf"))


def _branches(node: Node, keyword: str) -> list[Formula]:
    found = [node.inline(*path) for path in node.branches(keyword)]
    if not found:
        raise node.refuse(keyword, "it needs a list with at least one schema")
    return found


def _not(node: Node) -> Formula:
    return negation(node.inline("not"))


def _if(node: Node) -> Formula:
    if "if" not in node:
        return TRUE
    parts: list[Formula] = []
    if "then" in node:
        parts.append(any_of(negation(node.inline("if")), node.inline("then")))
    if "else" in node:
        parts.append(any_of(node.inline("if"), node.inline("else")))
    return all_of(*parts)


def _ref(node: Node) -> Formula:
    return node.reading.referred(node.place, "$ref")


def _dynamic_ref(node: Node) -> Formula:
    return node.reading.referred(node.place, "$dynamicRef")


def _recursive_ref(node: Node) -> Formula:
    return node.reading.referred(node.place, "$recursiveRef")


_OUTSIDE = "Documents that are not given are refused; nothing is fetched."

RULES = (
    Rule(("$ref",), _ref, part=_OUTSIDE),
    Rule(("$dynamicRef",), _dynamic_ref, drafts=since(Draft.DRAFT2020), part=_OUTSIDE),
    Rule(
        ("$recursiveRef",),
        _recursive_ref,
        drafts=frozenset((Draft.DRAFT2019,)),
        part=_OUTSIDE,
    ),
    Rule(("allOf",), _all_of),
    Rule(("anyOf",), _any_of),
    Rule(("oneOf",), _one_of),
    Rule(("not",), _not),
    Rule(("if", "then", "else"), _if, drafts=since(Draft.DRAFT7)),
)
