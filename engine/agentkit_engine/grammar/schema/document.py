"""Schema documents: the places in them, and what a reference at one place leads to.

Knows URIs, JSON pointers (RFC 6901), anchors and dynamic scopes, as JSON Schema 2020-12 (core, 8
and 9) and the drafts before it define them. Must not know what keywords mean. Nothing is ever
fetched: a reference leads into the document, into others that were given with it, or into the
drafts' own metaschemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import unquote, urldefrag, urljoin

from agentkit_engine.errors import SchemaTooLarge, TemplateError, UnsupportedSchema
from agentkit_engine.grammar.schema.drafts import (
    POSITIONS,
    Draft,
    Position,
    draft_of,
    identifier,
    subschemas,
)
from agentkit_engine.patience import keep_on

__all__ = ["Document", "Place"]

_VALIDATION = "https://json-schema.org/draft/2020-12/vocab/validation"
_RECURSIVE = ""
"""Stands for `$recursiveAnchor` among the dynamic anchors, as no name is empty."""


_MAX_SCHEMAS = 200_000


@dataclass(frozen=True, slots=True)
class Place:
    """A schema where it stands.

    document: the URI of the document, "" for the main one; pointer: the JSON pointer in it. base:
    what relative references start from. scope: of the resources that evaluation went through on the
    way here, the outermost first, those that were the first with one of their dynamic anchors.
    """

    document: str
    pointer: str
    schema: Any
    base: str
    draft: Draft
    scope: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The place in words: its pointer, behind the URI of any document but the main one."""
        return f"{self.document}#{self.pointer}" if self.document else self.pointer

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells two places apart; the schema itself follows from the rest."""
        return (self.document, self.pointer, self.base, self.draft, self.scope)


class Document:
    """A schema document and those it may refer to.

    root: the main document. draft: what it is read as where it has no `$schema`, else Draft 2020.
    documents: further documents by URI.
    """

    def __init__(
        self,
        root: Any,
        *,
        draft: Draft | None = None,
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        self._given = {urldefrag(uri)[0]: one for uri, one in (documents or {}).items()}
        self._resources: dict[str, Place] = {}
        self._anchors: dict[tuple[str, str], Place] = {}
        self._dynamic: dict[str, set[str]] = {}
        self._twice: set[str] = set()  # names that two anchors of one resource have
        self._draft = draft or Draft.DRAFT2020
        for uri, contents in self._given.items():
            self._crawl(uri, contents)
        root_place = self._crawl("", root)
        self.root = replace(root_place, scope=self._pushed((), root_place.base))

    def inside(self, place: Place, *path: str) -> Place:
        """The place of what stands behind `path` in a schema."""
        found = self._walk(place, path)
        if found is None:
            raise LookupError(f"nothing stands at {path!r} in the schema at {place.where!r}")
        return found

    def at(self, pointer: str) -> Place:
        """The place of a JSON pointer into the main document; TemplateError if it is none."""
        found = self._walk(self.root, _segments(pointer))
        if found is None:
            raise TemplateError(f"the schema has nothing at {pointer!r}")
        return found

    def target(self, place: Place, reference: object, keyword: str = "$ref") -> Place:
        """What a reference at `place` leads to; raises UnsupportedSchema where that is nothing."""
        found, dynamic = self._resolved(place, reference, keyword)
        other = self._outermost(place, dynamic) if dynamic is not None else None
        if other is not None and other.where != found.where:
            # The specification takes the anchor that stands there, `jsonschema` the outermost.
            why = f"{reference!r} is a dynamic anchor, which '$ref' takes no account of"
            raise UnsupportedSchema(keyword, place.where, why)
        return self._entered(place, found)

    def dynamic_target(self, place: Place, reference: object) -> Place:
        """What `$dynamicRef` leads to: the outermost of the dynamic anchors of that name."""
        found, dynamic = self._resolved(place, reference, "$dynamicRef")
        if dynamic is not None:
            found = self._outermost(place, dynamic) or found
        return self._entered(place, found)

    def recursive_target(self, place: Place, reference: object) -> Place:
        """What `$recursiveRef` of Draft 2019-09 leads to."""
        found, _ = self._resolved(place, reference, "$recursiveRef")
        if _recursive(found):
            outermost = self._outermost(place, _RECURSIVE)
            found = self._resources[outermost.base] if outermost is not None else found
        return self._entered(place, found)

    def _outermost(self, place: Place, anchor: str) -> Place | None:
        for uri in place.scope:
            if anchor in self._dynamic.get(uri, ()):
                return self._anchors[uri, anchor]
        return None

    def _entered(self, origin: Place, found: Place) -> Place:
        schema = found.schema
        if found.draft != origin.draft and isinstance(schema, Mapping) and "$schema" not in schema:
            why = "it leads into the middle of a schema of another draft"
            raise UnsupportedSchema("$ref", origin.where, why)
        return replace(found, scope=self._pushed(origin.scope, found.base))

    def _pushed(self, scope: tuple[str, ...], base: str) -> tuple[str, ...]:
        """The scope once a resource is entered, if that can make a difference."""
        anchors = self._dynamic.get(base)
        if not anchors or anchors <= set[str]().union(*(self._dynamic[uri] for uri in scope)):
            return scope
        return (*scope, base)

    def _resolved(self, place: Place, reference: object, keyword: str) -> tuple[Place, str | None]:
        """What a reference leads to, and its name if that is a dynamic anchor."""
        if not isinstance(reference, str):
            raise UnsupportedSchema(keyword, place.where, f"{reference!r} is not a URI reference")
        try:
            uri, fragment = urldefrag(
                place.base + reference if reference.startswith("#")
                else urljoin(place.base, reference)
            )  # fmt: skip
        except ValueError as error:
            why = f"{reference!r} is not a URI reference: {error}"
            raise UnsupportedSchema(keyword, place.where, why) from error
        resource = self._resource(uri)
        if resource is None:
            why = f"{reference!r} leads out of the document, and nothing is fetched"
            raise UnsupportedSchema(keyword, place.where, why)
        fragment = unquote(fragment)
        dynamic = None
        if not fragment or fragment.startswith("/"):
            found = self._walk(resource, _segments(fragment))
        elif fragment in self._twice:
            why = f"{reference!r} may lead to several schemas, which have the same anchor"
            raise UnsupportedSchema(keyword, place.where, why)
        else:
            found = self._anchors.get((resource.base, fragment))
            dynamic = fragment if fragment in self._dynamic.get(resource.base, ()) else None
        if found is None:
            raise UnsupportedSchema(keyword, place.where, f"{reference!r} leads nowhere")
        if not isinstance(found.schema, Mapping | bool):
            raise UnsupportedSchema(keyword, place.where, f"{reference!r} leads to no schema")
        return found, dynamic

    def _resource(self, uri: str) -> Place | None:
        if uri not in self._resources and "json-schema.org/" in uri:
            from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

            if uri in REGISTRY:
                self._crawl(uri, REGISTRY.contents(uri))
        return self._resources.get(uri)

    def _walk(self, start: Place, path: Sequence[str]) -> Place | None:
        """Follows a path from a schema, minding every `$id` and `$schema` on the way."""
        place, contents = start, start.schema
        position: Position | None = "schema"
        pointer = start.pointer
        for segment in path:
            if isinstance(contents, Mapping) and segment in contents:
                inner = cast("Mapping[str, Any]", contents)[segment]
            elif isinstance(contents, list) and _is_index(segment, contents):
                inner = contents[int(segment)]
            else:
                return None
            position = _next_position(position, segment, inner)
            contents, pointer = inner, pointer + "/" + _escaped(segment)
            if position == "schema" and isinstance(contents, Mapping):
                place = self._stepped(place, cast("Mapping[str, Any]", contents), pointer)
        if place.pointer == pointer:
            return place
        return replace(place, schema=contents, pointer=pointer)

    def _stepped(self, place: Place, schema: Mapping[str, Any], pointer: str) -> Place:
        """The place of a schema inside another."""
        draft, base = place.draft, place.base
        if "$schema" in schema:
            draft = self._draft_at(schema, place.draft, place.document, pointer)
        name = identifier(schema, draft)
        if name is not None and not name.startswith("#"):
            base = _joined(base, name)
        scope = self._pushed(place.scope, base)
        return Place(place.document, pointer, schema, base, draft, scope)

    def _draft_at(
        self, schema: Mapping[str, Any], default: Draft, document: str, pointer: str
    ) -> Draft:
        uri = schema["$schema"]
        if not isinstance(uri, str):
            raise UnsupportedSchema("$schema", pointer, f"{uri!r} is not a URI")
        known, draft = draft_of(uri)
        if known and draft is None:
            raise UnsupportedSchema("$schema", pointer, "draft 3 is not read; use a later one")
        own = self._given.get(urldefrag(uri)[0])
        if isinstance(own, Mapping) and uri != document:
            vocabulary = cast("Mapping[str, Any]", own).get("$vocabulary")
            if isinstance(vocabulary, Mapping) and _VALIDATION not in vocabulary:
                raise UnsupportedSchema("$schema", pointer, f"{uri!r} takes keywords away")
        return draft or default

    def _crawl(self, uri: str, contents: Any) -> Place:
        """Notes every resource and anchor of a document; returns the place of its root."""
        outer = Place(uri, "", contents, uri, self._draft)
        if not isinstance(contents, Mapping):
            return self._resources.setdefault(uri, outer)
        root = self._stepped(outer, cast("Mapping[str, Any]", contents), "")
        self._resources[uri] = root
        waiting, seen = [root], 0
        while waiting:
            keep_on()
            place = waiting.pop()
            seen += 1
            if seen > _MAX_SCHEMAS:
                raise SchemaTooLarge(seen, _MAX_SCHEMAS, "schemas in one document")
            schema = cast("Mapping[str, Any]", place.schema)
            self._note(place, schema)
            for path, inner in subschemas(schema):
                if isinstance(inner, Mapping):
                    pointer = place.pointer + "".join("/" + _escaped(part) for part in path)
                    inner = cast("Mapping[str, Any]", inner)
                    waiting.append(self._stepped(place, inner, pointer))
        return root

    def _note(self, place: Place, schema: Mapping[str, Any]) -> None:
        place = replace(place, scope=())
        if (name := identifier(schema, place.draft)) is not None:
            if not name.startswith("#"):
                self._resources.setdefault(place.base, place)
            elif place.draft <= Draft.DRAFT7:
                self._anchors.setdefault((place.base, name[1:]), place)
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = schema.get(keyword)
            if isinstance(anchor, str) and place.draft >= Draft.DRAFT2019:
                known = self._anchors.setdefault((place.base, anchor), place)
                if known.where != place.where:
                    self._twice.add(anchor)
                if keyword == "$dynamicAnchor":
                    self._dynamic.setdefault(place.base, set()).add(anchor)
        if _recursive(place):
            self._anchors.setdefault((place.base, _RECURSIVE), place)
            self._dynamic.setdefault(place.base, set()).add(_RECURSIVE)


def _recursive(place: Place) -> bool:
    schema = place.schema
    return isinstance(schema, Mapping) and schema.get("$recursiveAnchor") is True


def _joined(base: str, name: str) -> str:
    try:
        return urldefrag(urljoin(base, name))[0]
    except ValueError:  # not a URI at all, so nothing can refer to it
        return base


def _segments(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _escaped(segment: str) -> str:
    return segment.replace("~", "~0").replace("/", "~1")


def _next_position(position: Position | None, segment: str, inner: object) -> Position | None:
    """What stands behind `segment` of something that stands at `position`."""
    if position in ("schemas", "list"):
        return "schema"
    found = POSITIONS.get(segment) if position == "schema" else None
    return ("list" if isinstance(inner, list) else "schema") if found == "either" else found


def _is_index(segment: str, items: list[Any]) -> bool:
    return segment.isdecimal() and str(int(segment)) == segment and int(segment) < len(items)
