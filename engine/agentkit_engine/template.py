"""Templates: what a canvas may become, said without a tokenizer or a model.

Knows JSON Schema only as far as it shapes a canvas: which bytes of a value are the same in every
instance (literals) and where values go (holes). Must not know tokens, automata or models: the
grammar says what may fill a hole, `canvas.py` where it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

from agentkit_engine.errors import TemplateError, UnsupportedSchema
from agentkit_engine.grammar.sources import Schema as Schema
from agentkit_engine.grammar.sources import schema_of
from agentkit_engine.syntax import Syntax

Path: TypeAlias = tuple[str | int, ...]

_OBJECT_KEYWORDS = {"properties", "required", "additionalProperties", "type"}
_ANNOTATIONS = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$id", "$defs", "definitions",
}  # fmt: skip
_MAX_REFERENCES = 16
_INLINED_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A literal: surface bytes (symbols included) that stand in every filling."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Hole:
    """A value to be filled in.

    Attributes:
        path: where the value lies in the instance.
        schema: what may stand there.
        pointer: where that schema lies in its document (JSON pointer, for errors).
        optional: the key may be absent.
        content_only: the value is a string whose quotes are literals around the hole.
    """

    path: Path
    schema: Schema
    pointer: str
    optional: bool = False
    content_only: bool = False


Segment: TypeAlias = Text | Hole


@dataclass(frozen=True, slots=True)
class Template:
    """What is asked of the engine: a JSON value, one of some choices, a pattern, or text.

    Build it with `json_schema`, `choice`, `regex` or `text`.
    """

    kind: Literal["json_schema", "choice", "regex", "text"]
    schema: Schema | None = None
    options: tuple[str, ...] = ()
    pattern: str = ""
    max_tokens: int = 0

    @classmethod
    def json_schema(cls, schema: Any) -> Template:
        """A JSON value that `schema` accepts.

        Args:
            schema: JSON Schema (drafts 4 to 2020-12), or a Python type that says the same: a
                pydantic model, a dataclass, a `TypedDict`, `list[int]`, ...

        Raises:
            TemplateError: it is neither. What a schema says that can't be guaranteed is named
                (`UnsupportedSchema`) when the template meets a checkpoint.
        """
        return cls("json_schema", schema=schema_of(schema))

    @classmethod
    def choice(cls, options: Sequence[str]) -> Template:
        """Exactly one of `options`."""
        if isinstance(options, str) or not options or not all(options):
            raise TemplateError(
                f"a choice needs a list of non-empty strings, not {options!r}; pass at least one"
            )
        return cls("choice", options=tuple(dict.fromkeys(options)))

    @classmethod
    def regex(cls, pattern: str, *, max_tokens: int = 0) -> Template:
        """Text that `pattern` matches from end to end (ECMA-262 subset, no look-around).

        Args:
            max_tokens: how long it may get; 0 leaves it to the pattern's shortest match.
        """
        return cls("regex", pattern=pattern, max_tokens=max_tokens)

    @classmethod
    def text(cls, max_tokens: int) -> Template:
        """Free text of at most `max_tokens` tokens."""
        if max_tokens < 1:
            raise TemplateError(f"max_tokens is {max_tokens}; text needs at least 1 token")
        return cls("text", max_tokens=max_tokens)


def resolve(schema: Schema, root: Schema, pointer: str) -> tuple[Schema, str]:
    """Follows `$ref` inside the document; returns the schema it ends at and its pointer.

    Raises:
        UnsupportedSchema: the reference leaves the document, leads nowhere or in a circle.
    """
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema, pointer
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise UnsupportedSchema("$ref", pointer, f"{reference!r} lies outside the document")
        target: Any = root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise UnsupportedSchema("$ref", pointer, f"{reference!r} leads nowhere")
            target = target[key]
        rest = {k: v for k, v in schema.items() if k != "$ref" and k not in _ANNOTATIONS}
        if rest:
            return schema, pointer  # the grammar decides what stands beside a reference
        schema, pointer = target, reference[1:]
    raise UnsupportedSchema("$ref", pointer, "the references form a circle")


def outline(
    schema: Schema,
    syntax: Syntax,
    *,
    root: Schema | None = None,
    pointer: str = "",
    path: Path = (),
) -> tuple[Segment, ...]:
    """The literals and holes of `schema`'s instances as `syntax` writes them, in order.

    Required objects are opened up into their keys; a required string has its quotes outside the
    hole; whatever may be absent, or may be of several shapes, is one hole.
    """
    return tuple(_join(_outline(schema, syntax, schema if root is None else root, pointer, path)))


def _outline(
    schema: Schema, syntax: Syntax, root: Schema, pointer: str, path: Path
) -> Iterator[Segment]:
    schema, pointer = resolve(schema, root, pointer)
    if _is_record(schema):
        yield from _record(schema, syntax, root, pointer, path)
    elif _is_constant(schema):
        yield Text(syntax.dumps(schema["const"]))
    elif _is_string(schema):
        yield Text(syntax.quote)
        yield Hole(path, schema, pointer, content_only=True)
        yield Text(syntax.quote)
    else:
        yield Hole(path, schema, pointer)


def _record(
    schema: Mapping[str, Any], syntax: Syntax, root: Schema, pointer: str, path: Path
) -> Iterator[Segment]:
    required = set(schema.get("required", ()))
    separator = b"{"
    for key, value in schema.get("properties", {}).items():
        below, where = (*path, key), f"{pointer}/properties/{escape_pointer(key)}"
        yield Text(separator + syntax.key(key) + syntax.key_separator)
        separator = syntax.item_separator
        if key in required:
            yield from _outline(value, syntax, root, where, below)
            continue
        value, where = resolve(value, root, where)
        if _is_string(value):
            yield Text(syntax.quote)
            yield Hole(below, value, where, optional=True, content_only=True)
            yield Text(syntax.quote)
        else:
            yield Hole(below, value, where, optional=True)
    yield Text(b"}" if schema.get("properties") else b"{}")


def _is_constant(schema: Schema) -> TypeGuard[Mapping[str, Any]]:
    """Nothing but a constant, of the right type if one is named; the rest is for the grammar."""
    if not isinstance(schema, Mapping) or set(schema) - _ANNOTATIONS - {"type"} != {"const"}:
        return False
    kind = schema.get("type")
    return kind is None or (kind == "string" and isinstance(schema["const"], str))


def _is_record(schema: Schema) -> TypeGuard[Mapping[str, Any]]:
    """An object whose keys are all declared, so that its canvas can be laid out in advance."""
    return (
        isinstance(schema, Mapping)
        and (schema.get("type") == "object" or "properties" in schema)
        and schema.get("type", "object") == "object"
        and set(schema) <= _OBJECT_KEYWORDS | _ANNOTATIONS
        and isinstance(schema.get("additionalProperties", False), bool)
        and _declares_what_it_requires(schema)
    )


def _declares_what_it_requires(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        isinstance(properties, Mapping)
        and isinstance(required, list)
        and all(isinstance(name, str) and name in properties for name in required)
    )


def _is_string(schema: Schema) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if schema.get("type") == "string":
        return True
    return (
        "type" not in schema
        and bool(schema.get("enum"))
        and all(isinstance(value, str) for value in schema["enum"])
    )


def _join(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Joins neighbouring literals, so that each is tokenised as a whole."""
    pending = b""
    for segment in segments:
        if isinstance(segment, Text):
            pending += segment.content
            continue
        if pending:
            yield Text(pending)
        pending = b""
        yield segment
    if pending:
        yield Text(pending)


def escape_pointer(key: str) -> str:
    """One reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def json_pointer(path: Path) -> str:
    """`path` as a JSON pointer (RFC 6901): `("a", 0)` is `"/a/0"`, the whole value is `""`."""
    return "".join(f"/{escape_pointer(str(part))}" for part in path)


def skeleton(schema: Schema, *, root: Schema | None = None) -> Any:
    """The value `outline` opens up: its records and constants, None where a hole is."""
    schema, _ = resolve(schema, schema if root is None else root, "")
    if _is_record(schema):
        whole = schema if root is None else root
        required = set(schema.get("required", ()))
        return {
            key: skeleton(value, root=whole) if key in required else None
            for key, value in schema.get("properties", {}).items()
        }
    return schema["const"] if _is_constant(schema) else None


def inline(schema: Schema) -> Any:
    """`schema` with its references written out, as chat templates want it; deep ones stay."""
    if not isinstance(schema, Mapping):
        return schema
    hidden = ("$defs", "definitions")
    shown = {key: value for key, value in schema.items() if key not in hidden}
    return _inlined(shown, schema, _INLINED_DEPTH)


def _inlined(part: Any, root: Schema, depth: int) -> Any:
    if isinstance(part, list):
        return [_inlined(item, root, depth) for item in part]
    if not isinstance(part, Mapping):
        return part
    if isinstance(part.get("$ref"), str) and depth:
        target, _ = resolve({"$ref": part["$ref"]}, root, "")
        if isinstance(target, Mapping):
            beside = {key: value for key, value in part.items() if key != "$ref"}
            return _inlined({**target, **beside}, root, depth - 1)
    return {key: _inlined(value, root, depth) for key, value in part.items()}
