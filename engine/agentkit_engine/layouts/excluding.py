"""Schemas of another value: what was rejected is ruled out, its neighbours stay.

Knows JSON Schema as far as that takes. Must not know tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentkit_engine.errors import TemplateError, UnsupportedSchema
from agentkit_engine.template import Path, Schema, json_pointer, resolve

__all__ = ["OTHER", "excluding"]

_NAME = "agentkit:other"
OTHER = f"/$defs/{_NAME}"
"""Where `excluding` puts its schema."""
_TUPLES_AS_ITEMS = ("draft-04", "draft-06", "draft-07", "2019-09")


def excluding(
    root: Schema,
    pointer: str,
    value: Any,
    *,
    rejected: Sequence[Path] = ((),),
    earlier: Sequence[Any] = (),
) -> Schema:
    """A document that says at `OTHER`: what is valid at `pointer`, but differs from `value`.

    Args:
        rejected: where it differs, as paths from `value` on; all else is as it is there.
        earlier: other values, from which it differs there as well.

    Raises:
        TemplateError: nothing lies at one of the paths, nor may a declared key come there.
    """
    document: dict[str, Any] = dict(root) if isinstance(root, Mapping) else {}
    there = {"$ref": f"#{pointer}"} if isinstance(root, Mapping) else root
    for path in rejected:
        if not _leads_on(value, path) and not _may_come(there, root, value, path):
            known = ", ".join(repr(json_pointer(each)) for each in _paths(value))
            raise TemplateError(
                f"no value was filled in at {json_pointer(path)!r}; there are those at {known}"
            )
    draft = str(document.get("$schema", ""))
    tuples = "items" if any(name in draft for name in _TUPLES_AS_ITEMS) else "prefixItems"
    other = {"allOf": [there, _kept(value, rejected, tuples, earlier)]}
    return {**document, "$defs": {**document.get("$defs", {}), _NAME: other}}


def _kept(
    value: Any, rejected: Sequence[Path], tuples: str, earlier: Sequence[Any]
) -> dict[str, Any]:
    if () in rejected:
        return {"not": {"enum": [value, *earlier]}}
    if not rejected:
        return {"enum": [value]}
    if isinstance(value, Mapping):
        parts = {key: _below(rejected, key) for key in (*value, *(path[0] for path in rejected))}
        return {
            "required": list(parts),
            "properties": {
                key: _kept(value[key], below, tuples, _inside(earlier, key))
                if key in value
                else True
                for key, below in parts.items()
            },
            "additionalProperties": False,
        }
    items = [
        _kept(item, _below(rejected, k), tuples, _inside(earlier, k))
        for k, item in enumerate(value)
    ]
    return {tuples: items, "minItems": len(value), "maxItems": len(value)}


def _inside(values: Sequence[Any], part: str | int) -> list[Any]:
    """What lies at `part` of those values that have one."""
    return [value[part] for value in values if _leads_on(value, (part,))]


def _paths(value: Any) -> Iterator[Path]:
    """Where the values lie that hold no others."""
    below: Mapping[Any, Any] | None = None
    if isinstance(value, Mapping):
        below = value
    elif isinstance(value, list):
        below = dict(enumerate(value))
    if not below:
        yield ()
        return
    for part, inner in below.items():
        for path in _paths(inner):
            yield (part, *path)


def _leads_on(value: Any, path: Path) -> bool:
    """Whether something lies there."""
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and str(part) in map(str, range(len(value))):
            value = value[int(part)]
        else:
            return False
    return True


def _may_come(schema: Schema, root: Schema, value: Any, path: Path) -> bool:
    """Whether it is a key, declared but absent, of an object that is there."""
    if not path or not _leads_on(value, path[:-1]):
        return False
    for number, part in enumerate(path, 1):
        try:
            schema, _ = resolve(schema, root, "")
        except UnsupportedSchema:
            return False
        declared = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        if part in declared:
            schema = declared[part]
        elif number < len(path) and isinstance(schema, Mapping) and "items" in schema:
            schema = schema["items"]
        else:
            return False
    return True


def _below(rejected: Sequence[Path], part: str | int) -> list[Path]:
    return [path[1:] for path in rejected if str(path[0]) == str(part)]
