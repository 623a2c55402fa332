"""The schemas of a document as plain JSON Schema (2020-12), references resolved.

Knows both dialects: 3.0's own (`nullable`, `exclusiveMinimum: true`) and 3.1's, which is JSON
Schema. A reference is replaced by what it names, unless that is recursive: then it is kept, under
"$defs". Must not know where a schema is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from agentkit_tools.openapi.document import JSON, BadDocument, Document, step

MAX_INLINED = 5_000
"""Schemas in one tool's arguments; more is an operation too large to offer."""

_SINGLE = (
    *("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "dependentSchemas")
_KEPT = frozenset(
    {"type", "enum", "const", "default", "description", "pattern", "minLength", "maxLength"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "required"}
    | {"minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties"}
    | {"maxProperties", "dependentRequired", *_SINGLE, *_SEVERAL, *_NAMED}
)
_REFUSED = ("$dynamicRef", "$dynamicAnchor", "$id", "$anchor", "$recursiveRef")
# Formats that say something of the text; those of numbers, and of how a field is drawn, do not.
_FORMATS = frozenset(
    {"date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
)
_INT32 = (-(2**31), 2**31 - 1)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


class Schemas:
    """Turns the schemas of one operation into JSON Schema.

    definitions: those that are recursive, by the name under which "$defs" has them.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}  # pointer of a recursive schema -> its name
        self._count = 0
        self.definitions: dict[str, JSON] = {}

    def plain(self, schema: Any, pointer: str) -> JSON:
        """A schema as plain JSON Schema.

        Raises:
            BadDocument: it is none, or uses what can't be read.
        """
        made = self._schema(schema, pointer, ())
        return cast("JSON", made)

    def _schema(self, schema: Any, pointer: str, inside: tuple[str, ...]) -> Any:
        self._count += 1
        if self._count > MAX_INLINED:
            raise BadDocument(pointer, f"more than {MAX_INLINED} schemas; offer fewer fields")
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, dict):
            raise BadDocument(pointer, f"{type(schema).__name__} is no schema; give an object")
        node = cast("JSON", schema)
        for keyword in _REFUSED:
            if keyword in node:
                raise BadDocument(step(pointer, keyword), "can't be read; use $ref instead")
        if "$ref" not in node:
            return self._members(node, pointer, inside)
        target = self._referred(node["$ref"], pointer, inside)
        beside = {} if self._document.old else {k: v for k, v in node.items() if k != "$ref"}
        rest = self._members(beside, pointer, inside)
        if not rest:
            return target
        if set(rest) <= {"description", "default"} and "$ref" not in target:
            return target | rest
        return {"allOf": [target], **rest}

    def _referred(self, reference: Any, pointer: str, inside: tuple[str, ...]) -> JSON:
        if not isinstance(reference, str):
            raise BadDocument(step(pointer, "$ref"), "a reference is text, as '#/components/…'")
        schema, target = self._document.named(reference, pointer)
        if target in self._names:
            return {"$ref": f"#/$defs/{self._names[target]}"}
        if target in inside:
            raise _Recursive(target)
        try:
            made = self._schema(schema, target, (*inside, target))
        except _Recursive as found:
            if found.target != target:
                raise
            return self._defined(schema, target, inside)
        return cast("JSON", made)

    def _defined(self, schema: Any, target: str, inside: tuple[str, ...]) -> JSON:
        """A recursive schema goes under a name, known before its inside is read again."""
        name = _UNSAFE.sub("_", target.rpartition("/")[2]) or "Recursive"
        while name in self._names.values():
            name += "_"
        self._names[target] = name
        try:
            made = self._schema(schema, target, (*inside, target))
        except _Recursive:  # of one further out, which takes its name first
            del self._names[target]
            raise
        self.definitions[name] = cast("JSON", made)
        return {"$ref": f"#/$defs/{name}"}

    def _members(self, node: JSON, pointer: str, inside: tuple[str, ...]) -> JSON:
        made: JSON = {name: value for name, value in node.items() if name in _KEPT}
        for name in _SINGLE:
            if name in made:
                made[name] = (
                    made[name]
                    if isinstance(made[name], bool)
                    else self._schema(made[name], step(pointer, name), inside)
                )
        for name in _SEVERAL:
            if name in made:
                made[name] = [
                    self._schema(one, step(pointer, name, i), inside)
                    for i, one in enumerate(self._list(made[name], step(pointer, name)))
                ]
        for name in _NAMED:
            if name in made:
                made[name] = {
                    key: self._schema(one, step(pointer, name, key), inside)
                    for key, one in self._object(made[name], step(pointer, name)).items()
                    if not self._read_only(one, step(pointer, name, key))
                }
        _drop_read_only(made, node)
        _format(made, node.get("format"))
        return _of_old(made, node) if self._document.old else made

    def _read_only(self, schema: Any, pointer: str) -> bool:
        """Whether only the server says it: what is sent must not have it."""
        try:
            found, _ = self._document.resolved(schema, pointer)
        except BadDocument:
            return False  # told where the schema itself is read
        return found.get("readOnly") is True

    @staticmethod
    def _list(value: Any, pointer: str) -> Sequence[Any]:
        if not isinstance(value, list) or not value:
            raise BadDocument(pointer, "it needs a list of schemas")
        return cast("Sequence[Any]", value)

    @staticmethod
    def _object(value: Any, pointer: str) -> JSON:
        if not isinstance(value, dict):
            raise BadDocument(pointer, "it needs an object of schemas")
        return cast("JSON", value)


class _Recursive(Exception):
    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


def _drop_read_only(made: JSON, node: JSON) -> None:
    if isinstance(made.get("required"), list) and isinstance(node.get("properties"), dict):
        gone = set(node["properties"]) - set(made.get("properties", {}))
        made["required"] = [name for name in made["required"] if name not in gone]
        if not made["required"]:
            del made["required"]


def _format(made: JSON, form: Any) -> None:
    if form in _FORMATS:
        made["format"] = form
    elif form == "int32" and made.get("type") == "integer":
        made.setdefault("minimum", _INT32[0])
        made.setdefault("maximum", _INT32[1])


def _of_old(made: JSON, node: JSON) -> JSON:
    """What OpenAPI 3.0 says in its own way."""
    for bound in ("Minimum", "Maximum"):
        exclusive, inclusive = f"exclusive{bound}", bound.lower()
        said = made.get(exclusive)
        if isinstance(said, bool):
            del made[exclusive]
        if said is True and inclusive in made:
            made[exclusive] = made.pop(inclusive)
    if node.get("nullable") is True:
        if isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
            if "enum" in made and None not in made["enum"]:
                made["enum"] = [*made["enum"], None]
        elif made:
            beside: JSON = {k: made.pop(k) for k in ("description", "default") if k in made}
            return {"anyOf": [made, {"type": "null"}], **beside}
    return made
