"""Schema keywords: which are known, what their values must be, and what a reference means.

Knows the words of JSON Schema 2020-12 and JSON pointers. Must not know how values are written. A
`Node` is a schema with its annotations dropped, that remembers for each keyword where it stood;
nodes that must both hold are merged into one, or refused where merging would change their meaning.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from agentkit_engine.errors import TemplateError, UnsupportedSchema

__all__ = [
    "TYPES",
    "Node",
    "allowed_types",
    "at",
    "count",
    "decimal",
    "merge",
    "read",
    "target",
    "wanted_types",
]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_ANNOTATIONS = {
    "$comment", "$defs", "$schema", "default", "definitions", "deprecated", "description",
    "discriminator", "examples", "readOnly", "title", "writeOnly",
}  # fmt: skip
_IMPLIED = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_KNOWN = {"$ref", "allOf", "anyOf", "const", "enum", "oneOf", "type"}.union(*_IMPLIED.values())
_STRICTEST = {
    "minLength": max, "minItems": max, "minimum": max, "exclusiveMinimum": max,
    "maxLength": min, "maxItems": min, "maximum": min, "exclusiveMaximum": min,
}  # fmt: skip
_OPEN = ("additionalProperties", "properties")


@dataclass(frozen=True, slots=True)
class Node:
    """A schema object. `pointers` says for each keyword in which schema it stood."""

    keywords: Mapping[str, Any]
    pointers: Mapping[str, str]
    pointer: str

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    def get(self, keyword: str, default: Any = None) -> Any:
        return self.keywords.get(keyword, default)

    def where(self, keyword: str) -> str:
        return self.pointers.get(keyword, self.pointer)

    def without(self, *dropped: str) -> "Node":
        kept = {key: value for key, value in self.keywords.items() if key not in dropped}
        return Node(kept, self.pointers, self.pointer)

    def refuse(self, keyword: str, why: str) -> UnsupportedSchema:
        return UnsupportedSchema(keyword, self.where(keyword), why)

    def branches(self, keyword: str) -> Iterator[tuple[Any, str]]:
        """The schemas in the list that `keyword` holds, with their pointers."""
        members = self.keywords[keyword]
        if not isinstance(members, list) or not members:
            raise self.refuse(keyword, "needs a list with at least one schema")
        for number, member in enumerate(members):
            yield member, at(self.where(keyword), keyword, str(number))


def at(pointer: str, *parts: str) -> str:
    """The pointer of something further inside."""
    return pointer + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def read(schema: Any, pointer: str) -> Node:
    """The node of a schema object; raises UnsupportedSchema for a keyword that isn't known."""
    if not isinstance(schema, Mapping):
        raise TemplateError(
            f"the schema at {pointer!r} is {schema!r}; a schema is an object or a boolean"
        )
    keywords: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _ANNOTATIONS or (key == "$id" and not pointer):
            continue
        if key not in _KNOWN:
            raise UnsupportedSchema(str(key), pointer, "the keyword is not supported")
        keywords[key] = value
    return Node(keywords, dict.fromkeys(keywords, pointer), pointer)


def merge(outer: Node, inner: Node, keyword: str) -> Node:
    """One node for two that must both hold, the inner one reached through `keyword`."""
    open_ended = [[word for word in _OPEN if node.get(word, True) is not True]
                  for node in (outer, inner)]  # fmt: skip
    if all(open_ended) and any("additionalProperties" in words for words in open_ended):
        raise outer.refuse(keyword, "'additionalProperties' stands beside other properties")
    merged, pointers = dict(inner.keywords), {**outer.pointers, **inner.pointers}
    for word, value in outer.keywords.items():
        if word not in merged:
            merged[word] = value
            pointers[word] = outer.where(word)
        elif word == "type":
            merged[word] = [
                kind
                for kind in TYPES
                if kind in allowed_types(outer) and kind in allowed_types(inner)
            ]
        elif word == "required" and isinstance(value, list) and isinstance(merged[word], list):
            merged[word] = list(dict.fromkeys([*value, *merged[word]]))
        elif word in _STRICTEST and _is_number(value) and _is_number(merged[word]):
            merged[word] = _STRICTEST[word](value, merged[word])
        elif not _same(value, merged[word]):
            raise outer.refuse(word, f"another {word!r} stands behind {keyword!r} beside it")
    return Node(merged, pointers, inner.pointer)


def wanted_types(node: Node) -> tuple[str, ...]:
    """The types that values are written of: those named, or those that the keywords are about."""
    if "type" in node:
        kinds = allowed_types(node)
        return tuple(kind for kind in kinds if kind != "integer" or "number" not in kinds)
    implied = [kind for kind, words in _IMPLIED.items() if any(word in node for word in words)]
    return tuple(implied) or ("string", "number", "boolean", "null")


def allowed_types(node: Node) -> tuple[str, ...]:
    """The types that `type` allows; 'number' brings 'integer' along."""
    if "type" not in node:
        return TYPES
    named = node.get("type")
    kinds = named if isinstance(named, list) else [named]
    for kind in kinds:
        if kind not in TYPES:
            raise node.refuse("type", f"{kind!r} is not a type; known are {', '.join(TYPES)}")
    return tuple(
        kind for kind in TYPES if kind in kinds or (kind == "integer" and "number" in kinds)
    )


def count(node: Node, keyword: str, default: Any) -> Any:
    """The value of a keyword that counts something."""
    value = node.get(keyword, default)
    if value is default:
        return default
    if not _is_number(value) or value < 0 or value != int(value):
        raise node.refuse(keyword, f"{value!r} is not a count; it needs an integer from 0 on")
    return int(value)


def decimal(node: Node, keyword: str) -> Decimal | None:
    """The value of a keyword that bounds numbers."""
    if keyword not in node:
        return None
    value = node.get(keyword)
    if not _is_number(value):
        why = "; the boolean form is draft 4's" if isinstance(value, bool) else ""
        raise node.refuse(keyword, f"{value!r} is not a finite number{why}")
    return Decimal(repr(value))


def target(node: Node, root: Any) -> tuple[Any, str]:
    """The schema that `$ref` names inside the document, and its pointer."""
    reference = node.get("$ref")
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise node.refuse("$ref", f"{reference!r} is not a pointer into the same document ('#/…')")
    found: Any = root
    path = [
        part.replace("~1", "/").replace("~0", "~") for part in unquote(reference).split("/")[1:]
    ]
    for part in path:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise node.refuse("$ref", f"{reference!r} leads nowhere")
    return found, at("", *path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 and true differ."""
    return left == right and repr(left) == repr(right)
