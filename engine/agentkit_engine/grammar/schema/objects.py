"""Keywords about objects: which keys there are, and what stands under them.

Knows JSON Schema 2020-12 (validation, 6.5; applicator, 10.3.2) and the older `dependencies`. Must
not know how objects are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from agentkit_engine.grammar.formula import (
    FALSE,
    TRUE,
    Formula,
    Keys,
    MemberCount,
    Members,
    Required,
    all_of,
    any_of,
    negation,
)
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.names import texts_of
from agentkit_engine.grammar.schema.rules import Node, Rule, contested, since
from agentkit_engine.grammar.schema.strings import pattern
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["RULES", "declared_keys"]

_MOST_NAMES = 1000


def _members(node: Node) -> Formula:
    """`properties`, `patternProperties` and `additionalProperties`, which depend on the others."""
    parts: list[Formula] = []
    names = node.schemas("properties")
    for name in names:
        keys = Keys(frozenset((name,)))
        parts.append(Members(keys, node.child("properties", name)))
    for text in node.schemas("patternProperties"):
        keys = Keys(patterns=(pattern(node, "patternProperties", text),))
        value = node.child("patternProperties", text)
        parts.append(Members(keys, value, offered=value != FALSE))
    if "additionalProperties" in node:
        value = node.child("additionalProperties")
        keys = Keys(frozenset(names), _additional_patterns(node), others=True)
        parts.append(Members(keys, value, offered=value != FALSE))
    return all_of(*parts)


def _additional_patterns(node: Node) -> tuple[Between[TextSet], ...]:
    patterns = node.schemas("patternProperties")
    if patterns == [""]:  # which matches every key, but not for `jsonschema`
        return (Between(TextSet.nothing(), TextSet.everything()),)
    return tuple(pattern(node, "patternProperties", text) for text in patterns)


def declared_keys(node: Node) -> Keys:
    """The keys that `properties` and `patternProperties` speak of."""
    patterns = [
        pattern(node, "patternProperties", one) for one in node.schemas("patternProperties")
    ]
    return Keys(frozenset(node.schemas("properties")), tuple(patterns))


def _property_names(node: Node) -> Formula:
    allowed = texts_of(node.inline("propertyNames"))
    if allowed.outer == TextSet.everything() == allowed.inner:
        return TRUE
    listed = allowed.inner.strings(_MOST_NAMES) if allowed.inner == allowed.outer else None
    if listed is None:
        return Members(Keys(patterns=(allowed,), others=True), FALSE)
    return Members(Keys(frozenset(listed), others=True), FALSE)


def _required(node: Node) -> Formula:
    value = node["required"]
    if isinstance(value, bool):
        raise node.refuse("required", "it needs a list of names; the boolean form is draft 3's")
    return all_of(*(Required(name) for name in node.names("required", value)))


def _member_counts(node: Node) -> Formula:
    least, parts = node.count("minProperties", 0), list[Formula]()
    if least:
        parts.append(MemberCount(least))
    if "maxProperties" in node:
        parts.append(negation(MemberCount(node.count("maxProperties", 0) + 1)))
    return all_of(*parts)


def _dependent_required(node: Node) -> Formula:
    value = node["dependentRequired"]
    if not isinstance(value, Mapping):
        raise node.refuse("dependentRequired", f"{value!r} is no object; it needs lists of names")
    members = cast("Mapping[str, Any]", value)
    return all_of(
        *(_needs(name, node.names("dependentRequired", needed)) for name, needed in members.items())
    )


def _dependent_schemas(node: Node) -> Formula:
    return all_of(
        *(
            any_of(negation(Required(name)), node.inline("dependentSchemas", name))
            for name in node.schemas("dependentSchemas")
        )
    )


def _dependencies(node: Node) -> Formula:
    """The older form of both. Drafts from 2019-09 on leave it to the reader, so it is contested."""
    parts: list[Formula] = []
    for name in node.schemas("dependencies"):
        value = node["dependencies"][name]
        if isinstance(value, list):
            parts.append(_needs(name, node.names("dependencies", value)))
        else:
            parts.append(any_of(negation(Required(name)), node.inline("dependencies", name)))
    found = all_of(*parts)
    return found if node.draft <= Draft.DRAFT7 else contested(found)


def _needs(name: str, needed: list[str]) -> Formula:
    return any_of(negation(Required(name)), all_of(*(Required(other) for other in needed)))


RULES = (
    Rule(("properties", "patternProperties", "additionalProperties"), _members, "object"),
    Rule(("propertyNames",), _property_names, "object", drafts=since(Draft.DRAFT6)),
    Rule(("required",), _required, "object"),
    Rule(("minProperties", "maxProperties"), _member_counts, "object"),
    Rule(("dependentRequired",), _dependent_required, "object", drafts=since(Draft.DRAFT2019)),
    Rule(("dependentSchemas",), _dependent_schemas, "object", drafts=since(Draft.DRAFT2019)),
    Rule(("dependencies",), _dependencies, "object"),
)
