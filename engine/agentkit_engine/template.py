"""Templates: what a canvas may become, said without a tokenizer or a model.

Knows JSON Schema only as far as it shapes a canvas: which bytes of a value are the same in every
instance (literals) and where values go (holes). Must not know tokens, automata or models: the
grammar says what may fill a hole, the layouts where it lies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

from agentkit_engine.errors import SchemaTooLarge, TemplateError, UnsupportedSchema
from agentkit_engine.grammar.sources import Schema as Schema
from agentkit_engine.grammar.sources import schema_of
from agentkit_engine.patience import keep_on
from agentkit_engine.syntax import Syntax

Path: TypeAlias = tuple[str | int, ...]

_OBJECT_KEYWORDS = {"properties", "required", "additionalProperties", "type"}
_ANNOTATIONS = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$id", "$defs", "definitions",
}  # fmt: skip
_MAX_REFERENCES = 16
_MOST_SEGMENTS = 20_000  # no canvas holds as many


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

    Build it with `json_schema`, `choice`, `regex`, `text`, `infill` or `edit`.
    """

    kind: Literal["json_schema", "choice", "regex", "text", "infill", "edit"]
    schema: Schema | None = None
    options: tuple[str, ...] = ()
    pattern: str = ""
    max_tokens: int = 0
    prefix: str = ""
    suffix: str = ""
    old: str = ""
    keep: float = 0.0

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
        """Exactly one of `options`.

        Raises:
            TemplateError: there is none, or one of them is no text or an empty one.
        """
        if isinstance(options, str) or not options or not all(map(_is_text, options)):
            raise TemplateError(
                f"a choice needs a list of non-empty strings, not {options!r}; pass at least one"
            )
        return cls("choice", options=tuple(dict.fromkeys(map(_encodable, options))))

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

    @classmethod
    def infill(
        cls, prefix: str, suffix: str, *, max_tokens: int, pattern: str | None = None
    ) -> Template:
        """The text between `prefix` and `suffix`, of which the model sees both.

        The value is the text of the hole, which may be empty. Its length is decided together with
        what it says. Prefix, hole and suffix are tokenised each by itself. Of a prefix or a suffix
        that the canvas has no room for, only what is nearest to the hole stands on it; put the
        rest of the prefix into the context.

        A causal encoder reads nothing of what stands behind a hole: here `verify` is "off" by
        default, "rerank" goes by how it reads hole and suffix, and "exact" is refused.

        Args:
            max_tokens: of the hole. Prefix and suffix share what it leaves of the canvas.
            pattern: what the hole must match from end to end, as in `regex`.
        """
        if max_tokens < 1:
            raise TemplateError(f"max_tokens is {max_tokens}; a hole needs at least 1 token")
        return cls(
            "infill",
            pattern=pattern or "",
            max_tokens=max_tokens,
            prefix=_encodable(prefix),
            suffix=_encodable(suffix),
        )

    @classmethod
    def edit(
        cls,
        text: str,
        span: tuple[int, int],
        *,
        max_tokens: int | None = None,
        pattern: str | None = None,
        keep: float = 0.0,
    ) -> Template:
        """`text` with the characters from `span[0]` to `span[1]` written anew, the rest kept.

        The value is the whole new text. What stood there before may come back. As in `infill`,
        the new part's length is found, and `verify` can't be "exact".

        Args:
            max_tokens: of the new part; by default twice those of the old, 16 at least, as far as
                the canvas has room.
            pattern: what the new part must match from end to end, as in `regex`.
            keep: the share of the old part's tokens, evenly spread, that the model is shown at the
                first step, if they are not more than `max_tokens`. A hint: none of them must stay.
        """
        start, stop = span
        if not 0 <= start <= stop <= len(text):
            raise TemplateError(
                f"the span {span!r} does not lie in a text of {len(text)} characters; give the "
                "first character that may change and the one behind the last"
            )
        if max_tokens is not None and max_tokens < 1:
            raise TemplateError(f"max_tokens is {max_tokens}; a hole needs at least 1 token")
        if not 0 <= keep <= 1:
            raise TemplateError(f"keep is {keep}; it is a share, from 0 to 1")
        return cls(
            "edit",
            pattern=pattern or "",
            max_tokens=max_tokens or 0,
            prefix=_encodable(text[:start]),
            suffix=_encodable(text[stop:]),
            old=_encodable(text[start:stop]),
            keep=keep,
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TemplateError(f"{text!r} holds a lone surrogate; remove it") from error
    return text


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
    absent: Collection[Path] = (),
) -> tuple[Segment, ...]:
    """The literals and holes of `schema`'s instances as `syntax` writes them, in order.

    Required objects are opened up into their keys; a required string has its quotes outside the
    hole; whatever may be absent, or may be of several shapes, is one hole.

    Args:
        root: the document that `schema` is a part of, if it is not all of it.
        absent: where optional keys lie that are left out.
    """
    whole = schema if root is None else root
    return tuple(_join(_Outline(syntax, whole, frozenset(absent)).of(schema, "", ())))


@dataclass(frozen=True, slots=True)
class _Outline:
    syntax: Syntax
    root: Schema
    absent: frozenset[Path]

    def of(self, schema: Schema, pointer: str, path: Path) -> Iterator[Segment]:
        schema, pointer = resolve(schema, self.root, pointer)
        if _is_record(schema):
            yield from self._record(schema, pointer, path)
        elif _is_constant(schema):
            yield Text(self.syntax.dumps(schema["const"]))
        else:
            yield from self._hole(schema, pointer, path, optional=False)

    def _record(self, schema: Mapping[str, Any], pointer: str, path: Path) -> Iterator[Segment]:
        syntax, required = self.syntax, set(schema.get("required", ()))
        separator = b"{"
        for key, value in schema.get("properties", {}).items():
            below, where = (*path, key), f"{pointer}/properties/{escape_pointer(key)}"
            if below in self.absent:
                continue
            yield Text(separator + syntax.key(key) + syntax.key_separator)
            separator = syntax.item_separator
            if key in required:
                yield from self.of(value, where, below)
            else:
                value, where = resolve(value, self.root, where)
                yield from self._hole(value, where, below, optional=True)
        yield Text(b"{}" if separator == b"{" else b"}")

    def _hole(
        self, schema: Schema, pointer: str, path: Path, *, optional: bool
    ) -> Iterator[Segment]:
        if not _is_string(schema):
            yield Hole(path, schema, pointer, optional=optional)
            return
        yield Text(self.syntax.quote)
        yield Hole(path, schema, pointer, optional=optional, content_only=True)
        yield Text(self.syntax.quote)


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
    for number, segment in enumerate(segments):
        keep_on()
        if number > _MOST_SEGMENTS:  # references can multiply a schema without end
            raise SchemaTooLarge(number, _MOST_SEGMENTS, "parts")
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


def path_of(pointer: str) -> Path:
    """The path of a JSON pointer, its parts as they are written: an index stays a string.

    Raises:
        TemplateError: it is none.
    """
    if pointer and not pointer.startswith("/"):
        raise TemplateError(
            f"{pointer!r} is no JSON pointer; begin with '/', or take '' for the whole value"
        )
    parts = pointer.split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def skeleton(schema: Schema, *, root: Schema | None = None) -> Any:
    """The value `outline` opens up: its records and constants, None where a hole is."""
    whole = schema if root is None else root
    schema, _ = resolve(schema, whole, "")
    if _is_record(schema):
        required = set(schema.get("required", ()))
        return {
            key: skeleton(value, root=whole) if key in required else None
            for key, value in schema.get("properties", {}).items()
        }
    return schema["const"] if _is_constant(schema) else None
