"""JSON Schemas: of Python types, and as they are; and what is wrong with a value.

Knows pydantic and JSON; must not know functions, tools or agents.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaValue,
    PydanticJsonSchemaWarning,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema, from_json

from agentkit.defining.docstring import parse_docstring
from agentkit.errors import DefinitionError
from agentkit.pointer import pointer_of
from agentkit_engine.panics import panics_as_recursion

_VERBATIM = {"default", "const", "enum", "examples"}  # values, not schemas
_ANNOTATIONS = {"title", "discriminator"}  # dropped: they say nothing that a model needs
_NAMED = {"properties", "patternProperties", "$defs"}  # maps of name to schema
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/([^"]+)"')
_MAX_GOT = 60  # characters of a bad value that are quoted


def schema_of(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """The schema of what an adapter reads: definitions inlined, titles dropped.

    Raises what pydantic raises where a type has none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", PydanticJsonSchemaWarning)
        schema = adapter.json_schema(schema_generator=_Readable)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    plain = cast(dict[str, Any], _plain(schema, definitions))
    # Only recursive types are still referred to, and those they refer to in turn.
    needed: dict[str, Any] = {}
    while missing := _REFERENCE.findall(json.dumps([plain, needed])):
        if all(name in needed for name in missing):
            return plain | {"$defs": needed}
        needed |= {name: _plain(definitions[name], {}) for name in missing}
    return plain


class _Readable(GenerateJsonSchema):
    """Says of each type only what is read back: all that the schema allows binds."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        # pydantic's own allows any text beside numbers, most of which it then refuses to read
        said = cast(dict[str, Any], schema)
        made: JsonSchemaValue = {"type": "number"}
        for key, keyword in _BOUNDS.items():
            if said.get(key) is not None:
                made[keyword] = float(said[key])
        digits, places = said.get("max_digits"), said.get("decimal_places")
        if digits is not None or places is not None:
            made.setdefault("multipleOf", float(Decimal(1).scaleb(-(places or 0))))
        if digits is not None:
            limit = 10.0 ** (digits - (places or 0))
            made["exclusiveMaximum"] = min(limit, made.get("exclusiveMaximum", limit))
            made["exclusiveMinimum"] = max(-limit, made.get("exclusiveMinimum", -limit))
        return made

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^-?\d{1,15}(\.\d{1,9})?[+-]\d{1,15}(\.\d{1,9})?j$"}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        # Python's are of less than a billion days
        return {**super().timedelta_schema(schema), "pattern": "^P(T?[0-9]{1,6}[A-Z])+$"}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if schema.get("keys_schema", {}).get("type") == "int":
            made["propertyNames"] = {"pattern": r"^-?\d{1,15}$"}
        return made


def _plain(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    """Inline what "$ref" names and drop titles, so that prompts and pointers stay plain."""
    if isinstance(schema, list):
        return [_plain(item, definitions, inside) for item in cast(Sequence[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast(dict[str, Any], schema)
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions and name not in inside:
        target = _plain(definitions[name], definitions, (*inside, name))
        node = {key: value for key, value in node.items() if key != "$ref"}
        return target | _plain(node, definitions, inside)
    clean: dict[str, Any] = {}
    for key, value in node.items():
        if key in _NAMED:
            clean[key] = {n: _plain(item, definitions, inside) for n, item in value.items()}
        elif key in _VERBATIM:
            clean[key] = value
        elif key not in _ANNOTATIONS:
            clean[key] = _plain(value, definitions, inside)
    return _described(clean)


def _described(node: dict[str, Any]) -> dict[str, Any]:
    """What a class's docstring says of its attributes goes to where they are."""
    if not isinstance(node.get("description"), str) or not isinstance(node.get("properties"), dict):
        return node
    doc = parse_docstring(node["description"])
    for name, text in doc.parameters.items():
        if name in node["properties"]:
            node["properties"][name] = {"description": text} | node["properties"][name]
    return node | {"description": doc.description}


class JsonSchema:
    """A plain JSON Schema, compiled: `read` copies a value that satisfies it."""

    def __init__(self, schema: Mapping[str, Any], where: str) -> None:
        """Compile; `where` is how errors name what the schema is of.

        Raises:
            DefinitionError: the schema is none, or `jsonschema` is not installed.
        """
        try:
            from jsonschema import Draft202012Validator
            from jsonschema.exceptions import SchemaError
            from jsonschema.validators import validator_for
            from referencing import Registry
        except ImportError as error:
            raise DefinitionError(
                f"{where}: a plain JSON Schema needs the package 'jsonschema'; install it, or the "
                "extra 'engine' that brings it: pip install 'agentkit-diffusion[engine]'"
            ) from error
        self.schema: dict[str, Any] = json.loads(json.dumps(schema))
        draft = validator_for(self.schema, default=Draft202012Validator)
        try:
            draft.check_schema(self.schema)
        except SchemaError as error:
            place = "".join(f"/{part}" for part in error.absolute_path)
            raise DefinitionError(
                f"{where}: no JSON Schema: at {place!r}: {error.message}; mend that keyword"
            ) from error
        # jsonschema's own registry would fetch what a schema refers to, from wherever that says
        nothing: Registry[Any] = Registry()
        self._errors = draft(
            self.schema, registry=nothing, format_checker=draft.FORMAT_CHECKER
        ).iter_errors

    def read(self, text: str | bytes) -> Any:
        """The value that JSON text holds.

        Raises:
            pydantic.ValidationError: it does not satisfy the schema.
            ValueError: it is no JSON, or nests more deeply than can be checked.
        """
        value = from_json(text, allow_inf_nan=False)
        try:
            with panics_as_recursion():
                found = [one for error in self._errors(value) for one in _line_errors(error)]
        except RecursionError as error:
            raise ValueError(
                "it nests too deeply to be checked, or its schema leads back to itself without "
                "end; nest less"
            ) from error
        if found:
            raise ValidationError.from_exception_data("arguments", found)
        return value


def _line_errors(error: Any) -> Iterator[InitErrorDetails]:
    """A finding of jsonschema as pydantic tells it: at the value that is missing or too much."""
    place, value = tuple(error.absolute_path), error.instance
    line = partial(InitErrorDetails, input=value)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in value:
                yield line(type="missing", loc=(*place, name))
    elif error.validator == "additionalProperties" and error.validator_value is False:
        known: Mapping[str, Any] = error.schema.get("properties", {})
        patterns: Mapping[str, Any] = error.schema.get("patternProperties", {})
        for name in value:
            if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                yield line(type="extra_forbidden", loc=(*place, name))
    else:
        told = PydanticCustomError("json_schema", "{why}", {"why": error.message})
        yield line(type=told, loc=place)


def problems_of(error: ValidationError, value: Any) -> dict[str, str]:
    """What is wrong with a JSON value: JSON pointer -> why.

    value: the one that was read, the root of all pointers.
    """
    found: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        pointer = _pointer(detail["loc"], value, missing=detail["type"] == "missing")
        if detail["type"] == "missing":
            why = "is required"
        elif detail["type"] == "extra_forbidden":
            why = "is not known here; leave it out"
        elif detail["type"] == "json_schema":
            why = detail["msg"]
        else:
            said = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            why = f"{said} (got {_shortened(detail['input'])})"
        found.setdefault(pointer, []).append(why)
    # Of a union each member complains: those that are right about the whole and wrong about its
    # parts are nearer to what was meant.
    return {
        pointer: "; or ".join(dict.fromkeys(reasons))
        for pointer, reasons in found.items()
        if not any(other.startswith(f"{pointer}/") for other in found)
    }


def _pointer(location: Sequence[str | int], value: Any, *, missing: bool) -> str:
    """pydantic's location without what is no key or index: names of union members and the like."""
    parts: list[str | int] = []
    for number, part in enumerate(location):
        if _holds(value, part):
            value = value[part]
        elif not (missing and number == len(location) - 1):
            continue
        parts.append(part)
    return pointer_of(*parts)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(cast(Any, value))
    return isinstance(value, Mapping) and part in value


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_GOT else f"{text[: _MAX_GOT - 1]}…"
