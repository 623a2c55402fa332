"""An OpenAPI document: text -> plain JSON values, and what a reference in them names.

Knows JSON, YAML and JSON pointers. Must not know operations or schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import yaml  # type: ignore[import-untyped]  # no stubs, no py.typed

from agentkit import DefinitionError

JSON: TypeAlias = dict[str, Any]

MAX_NODES = 400_000
"""Values in a document, each alias of YAML counted with all that it stands for."""
MAX_DEPTH = 200
_VERSION = re.compile(r"3\.[01]\.\d+")
# YAML 1.2 as OpenAPI wants it: what JSON has. In YAML 1.1, `no` is false and dates are dates.
_SCALARS = (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", "-0123456789"),
)


class BadDocument(DefinitionError):
    """A part of the document that can't be used; says where, why and the mend."""

    def __init__(self, pointer: str, why: str) -> None:
        super().__init__(f"OpenAPI document, at {pointer or '/'}: {why}")
        self.pointer = pointer
        self.why = why


class Document:
    """A document, of which parts are asked for by pointer.

    root: the whole. old: whether its schemas are those of OpenAPI 3.0, a dialect of their own.
    """

    def __init__(self, root: JSON) -> None:
        """Check what it says it is.

        Raises:
            BadDocument: it is no OpenAPI 3.0 or 3.1.
        """
        version = root.get("openapi")
        if "swagger" in root:
            raise BadDocument("/swagger", "this is Swagger 2.0; convert it to OpenAPI 3")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise BadDocument("/openapi", f"{version!r} is no version 3.0.x or 3.1.x")
        if not isinstance(root.get("paths"), dict):
            raise BadDocument("/paths", "there are none; an API needs an object of paths")
        self.root = root
        self.old = version.startswith("3.0")

    def resolved(self, value: Any, pointer: str) -> tuple[JSON, str]:
        """An object, or the one that its "$ref" names; and where that lies.

        Raises:
            BadDocument: it is none, or the reference leads nowhere, elsewhere or in a circle.
        """
        seen: set[str] = set()
        while True:
            if not isinstance(value, dict):
                raise BadDocument(pointer, f"{type(value).__name__} where an object is needed")
            found = cast("JSON", value)
            if not isinstance(found.get("$ref"), str):
                return found, pointer
            if pointer in seen:
                raise BadDocument(pointer, "the reference leads back to itself; name an object")
            seen.add(pointer)
            value, pointer = self.named(found["$ref"], pointer)

    def named(self, reference: str, pointer: str) -> tuple[Any, str]:
        """What a reference at `pointer` names, and where that lies."""
        if not reference.startswith("#/"):
            raise BadDocument(
                f"{pointer}/$ref",
                f"{reference!r} leads out of the document; bundle all of it into one file",
            )
        target = unquote(reference[1:])
        value: Any = self.root
        for part in target[1:].split("/"):
            value = _member(value, part.replace("~1", "/").replace("~0", "~"))
            if value is _NOTHING:
                raise BadDocument(f"{pointer}/$ref", f"{reference!r} names nothing")
        return value, target


_NOTHING = object()


def _member(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return cast("JSON", value).get(part, _NOTHING)
    if isinstance(value, list) and part.isdecimal():
        items = cast("Sequence[Any]", value)
        return items[int(part)] if int(part) < len(items) else _NOTHING
    return _NOTHING


def step(pointer: str, *parts: str | int) -> str:
    """The pointer to a member."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join([pointer, *(f"/{part}" for part in escaped)])


def read_document(text: str) -> Document:
    """The document that JSON or YAML text holds.

    Raises:
        BadDocument: it is neither, or no OpenAPI 3.0 or 3.1.
    """
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else _from_yaml(text)
    except json.JSONDecodeError:
        value = _from_yaml(text)  # YAML's own braces
    except RecursionError:
        raise BadDocument("", f"it nests more than {MAX_DEPTH} levels deep") from None
    plain = _Plain().copy(value, "", 0)
    if not isinstance(plain, dict):
        raise BadDocument("", f"it holds {type(plain).__name__}, and no object")
    return Document(cast("JSON", plain))


def _loader() -> Any:
    """YAML's own loader of plain values, in C where that is there, with the scalars of 1.2."""
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    made: Any = type("Loader", (safe,), {"yaml_implicit_resolvers": {}})
    for name, pattern, first in _SCALARS:
        made.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(pattern), list(first))
    return made


_LOADER = _loader()


def _from_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _LOADER)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadDocument("", f"it is neither JSON nor YAML: {error}") from None


class _Plain:
    """Copies JSON values, so that what YAML's aliases share is counted, and bounded."""

    def __init__(self) -> None:
        self._nodes = 0

    def copy(self, value: Any, pointer: str, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise BadDocument(pointer, "it is too large or nests too deeply; bundle less of it")
        if isinstance(value, Mapping):
            members = cast("Mapping[object, Any]", value)
            return {
                str(name): self.copy(member, step(pointer, str(name)), depth + 1)
                for name, member in members.items()
            }
        if isinstance(value, list):
            items = cast("Sequence[Any]", value)
            return [self.copy(item, step(pointer, i), depth + 1) for i, item in enumerate(items)]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise BadDocument(pointer, f"{type(value).__name__} is no JSON value; write it as text")
