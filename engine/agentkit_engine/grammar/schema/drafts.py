"""The drafts of JSON Schema: how each is named, and where schemas stand inside a schema.

Knows the URIs of drafts and which keywords hold schemas. Must not know what keywords mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, Literal, cast

__all__ = ["POSITIONS", "Draft", "Position", "draft_of", "identifier", "subschemas"]

Position = Literal["schema", "schemas", "list", "either"]
"""What a keyword holds: a schema, schemas by name, a list of them, or a schema or such a list."""


class Draft(IntEnum):
    """The drafts that are read, in the order of their making."""

    DRAFT4 = 4
    DRAFT6 = 6
    DRAFT7 = 7
    DRAFT2019 = 2019
    DRAFT2020 = 2020


_URIS: Mapping[str, Draft | None] = {
    "http://json-schema.org/draft-03/schema": None,
    "http://json-schema.org/draft-04/schema": Draft.DRAFT4,
    "http://json-schema.org/draft-06/schema": Draft.DRAFT6,
    "http://json-schema.org/draft-07/schema": Draft.DRAFT7,
    "https://json-schema.org/draft/2019-09/schema": Draft.DRAFT2019,
    "https://json-schema.org/draft/2020-12/schema": Draft.DRAFT2020,
}

POSITIONS: Mapping[str, Position] = {
    "$defs": "schemas",
    "additionalItems": "schema",
    "additionalProperties": "schema",
    "allOf": "list",
    "anyOf": "list",
    "contains": "schema",
    "contentSchema": "schema",
    "definitions": "schemas",
    "dependencies": "schemas",
    "dependentSchemas": "schemas",
    "else": "schema",
    "if": "schema",
    "items": "either",
    "not": "schema",
    "oneOf": "list",
    "patternProperties": "schemas",
    "prefixItems": "list",
    "properties": "schemas",
    "propertyNames": "schema",
    "then": "schema",
    "unevaluatedItems": "schema",
    "unevaluatedProperties": "schema",
}


def draft_of(uri: str) -> tuple[bool, Draft | None]:
    """Whether a `$schema` is known, and its draft; None for draft 3, which is not read."""
    uri = uri.removesuffix("#")
    return uri in _URIS, _URIS.get(uri)


def identifier(schema: Mapping[str, Any], draft: Draft) -> str | None:
    """The URI reference that a schema names itself by; up to draft 7 none beside a `$ref`."""
    if draft <= Draft.DRAFT7 and "$ref" in schema:
        return None
    found = schema.get("id" if draft == Draft.DRAFT4 else "$id")
    return found if isinstance(found, str) else None


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The schemas that stand right inside a schema, each with its path from there."""
    for keyword, value in schema.items():
        position = POSITIONS.get(keyword)
        if position is None:
            continue
        if isinstance(value, Mapping) and position == "schemas":
            for name, member in cast("Mapping[str, Any]", value).items():
                yield (keyword, str(name)), member
        elif isinstance(value, list) and position in ("list", "either"):
            for number, member in enumerate(value):
                yield (keyword, str(number)), member
        elif isinstance(value, Mapping) and position in ("schema", "either"):
            yield (keyword,), value
