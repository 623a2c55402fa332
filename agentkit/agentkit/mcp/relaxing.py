"""Schemas of servers that the grammar can't guarantee in full, and what it can guarantee instead.

Knows JSON Schemas and the engine's verdict on them, where the engine is installed. Must not know
servers, tools or models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

from agentkit.errors import SchemaTooLarge, TemplateError, UnsupportedSchema

_MAX_LOOSENED = 32  # keywords of one schema, before all but its names is given up
_MAX_TOLD = 160  # characters of a keyword's value that a description repeats
_BOUNDS = ("minLength", "minItems", "minProperties", "maxItems", "maxProperties", "maxLength")
# Without the first, the others would refuse what the schema allows.
_COMPANIONS = {
    "patternProperties": ("additionalProperties", "unevaluatedProperties"),
    "$ref": ("unevaluatedProperties", "unevaluatedItems"),
    "if": ("then", "else"),
}
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_TURNED = ("not", "if")  # loosening what is within them would tighten the whole


@dataclass(frozen=True, slots=True)
class Loosened:
    """A keyword that is not guaranteed. pointer: of the subschema that it was taken from."""

    keyword: str
    pointer: str
    why: str


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What can be guaranteed of a schema; `loosened` is empty where that is all of it."""

    schema: dict[str, Any]
    loosened: tuple[Loosened, ...] = ()


def relaxed(schema: Mapping[str, Any]) -> Relaxed:
    """The schema, without the keywords that the engine refuses. May take seconds.

    Without the engine nobody guarantees anything, and the schema stays as it is.

    Raises:
        TemplateError: no value satisfies the schema.
    """
    whole: dict[str, Any] = json.loads(json.dumps(schema))
    if find_spec("numpy") is None or find_spec("agentkit_engine") is None:
        return Relaxed(whole)
    from agentkit_engine.grammar import schema_automaton  # brings numpy

    loosened: list[Loosened] = []
    while len(loosened) < _MAX_LOOSENED:
        try:
            schema_automaton(whole, syntax="gemma")
        except UnsupportedSchema as error:
            found = _without(whole, error.keyword, error.pointer, error.why)
        except SchemaTooLarge as error:
            found = _without_bound(whole, str(error))
        except RecursionError:
            found = None
        except TemplateError:
            raise
        else:
            return Relaxed(whole, tuple(loosened))
        if found is None:
            break
        loosened.append(found)
    loosened.append(Loosened("properties", "", "nothing but their names can be guaranteed"))
    return Relaxed(_names_alone(schema), tuple(loosened))


def _without(whole: dict[str, Any], keyword: str, pointer: str, why: str) -> Loosened | None:
    """Take a keyword away, in place; None where it is not found."""
    node: Any = whole
    above: list[tuple[dict[str, Any], str]] = []
    for part in _parts(pointer):
        if isinstance(node, dict):
            here = cast(dict[str, Any], node)
            if part in _TURNED and not _names_members(above):
                return _taken(here, part, pointer, why)
            above.append((here, part))
        node = _child(node, part)
    if not isinstance(node, dict) or keyword not in node:
        return None
    for parent, part in above:
        if part == "oneOf" and "oneOf" in parent:  # several of its loosened branches may fit
            parent.setdefault("anyOf", parent.pop("oneOf"))
    return _taken(cast(dict[str, Any], node), keyword, pointer, why)


def _names_members(above: list[tuple[dict[str, Any], str]]) -> bool:
    """Whether what comes next is a member's name, and no keyword."""
    return bool(above) and above[-1][1] in _MAPS


def _taken(node: dict[str, Any], keyword: str, pointer: str, why: str) -> Loosened:
    value = node.pop(keyword)
    for companion in _COMPANIONS.get(keyword, ()):
        node.pop(companion, None)
    said = json.dumps(value, ensure_ascii=False)
    if not keyword.startswith("$") and len(said) <= _MAX_TOLD:  # the model may still heed it
        node["description"] = f"{node.get('description', '')} ({keyword}: {said})".strip()
    return Loosened(keyword, pointer, why)


def _without_bound(whole: dict[str, Any], why: str) -> Loosened | None:
    """Take the largest bound away, in place; None where there is none."""
    bounds = [
        (node[keyword], -_BOUNDS.index(keyword), pointer, keyword, node)
        for pointer, node in _nodes(whole, "")
        for keyword in _BOUNDS
        if isinstance(node.get(keyword), int)
    ]
    if not bounds:
        return None
    *_, pointer, keyword, node = max(bounds, key=lambda bound: bound[:2])
    return _taken(node, keyword, pointer, why)


def _names_alone(schema: Mapping[str, Any]) -> dict[str, Any]:
    names = schema.get("properties", {})
    return {
        "type": "object",
        "properties": {
            name: {"description": said["description"]} if _described(said) else {}
            for name, said in names.items()
        },
        "required": [name for name in schema.get("required", ()) if name in names],
    }


def _described(schema: Any) -> bool:
    return isinstance(schema, dict) and isinstance(
        cast(dict[str, Any], schema).get("description"), str
    )


def _nodes(node: Any, pointer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object within, schemas among them, with its pointer."""
    if isinstance(node, dict):
        here = cast(dict[str, Any], node)
        yield pointer, here
        for key, value in here.items():
            if key not in {"const", "enum", "default", "examples"}:
                escaped = key.replace("~", "~0").replace("/", "~1")
                yield from _nodes(value, f"{pointer}/{escaped}")
    elif isinstance(node, list):
        for number, value in enumerate(cast(Sequence[Any], node)):
            yield from _nodes(value, f"{pointer}/{number}")


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _child(node: Any, part: str) -> Any:
    try:
        return node[int(part) if isinstance(node, list) else part]
    except (LookupError, TypeError, ValueError):
        return None
