"""Reading a schema document: what the schema at each place says, as a formula.

Knows how keywords of one schema go together, and which schemas are about the same value. Must not
know how formulas are decided or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from agentkit_engine.errors import SchemaTooLarge, TemplateError, UnsupportedSchema
from agentkit_engine.grammar.formula import (
    KINDS,
    TRUE,
    Constant,
    Expected,
    Formula,
    IsKind,
    Kind,
    Reference,
    all_of,
    any_of,
    negation,
)
from agentkit_engine.grammar.schema import values
from agentkit_engine.grammar.schema.document import Document, Place
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.keywords import KEYWORDS, RULES
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.rules import Node
from agentkit_engine.grammar.schema.values import allowed_kinds

__all__ = ["Reader", "when"]

_MAX_NESTING = 64
"""Schemas of one value inside one another."""
_MAX_SCHEMAS = 100_000
"""Schemas that one formula may be made of, each counted as often as it is referred to."""

_COMBINING = frozenset({"$dynamicRef", "$ref", "allOf", "anyOf", "const", "enum", "oneOf"})
"""Keywords beside which it is theirs to say which kinds of value are meant."""

_RULE_OF = {keyword: number for number, rule in enumerate(RULES) for keyword in rule.keywords}
_SILENT = frozenset(name for name, one in KEYWORDS.items() if one.honoured == "annotation")


def when(kind: Kind, said: Formula) -> Formula:
    """Something that is said of one kind of value only."""
    return TRUE if said == TRUE else any_of(negation(IsKind(kind)), said)


class Reader:
    """Reads the schemas of one document, each when it is asked for and once.

    A place is named by an opaque key. What a schema says of the same value (`allOf`, `$ref`, ...)
    is read into one formula; schemas of other values (`properties`, `items`, ...) are `Reference`s.
    `formula` raises UnsupportedSchema where something can't be guaranteed.
    """

    def __init__(self, document: Document, options: Options | None = None) -> None:
        self.document = document
        self.options = options or Options()
        self._keys: dict[tuple[object, ...], str] = {}
        self._places: dict[str, Place] = {}
        self._formulas: dict[str, Formula] = {}
        self._reading: dict[str, None] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0  # of what is being read, in schemas
        self.root = self._key(document.root)

    def place(self, pointer: str) -> str:
        """The key of the schema at a JSON pointer into the main document."""
        return self._key(self.document.at(pointer))

    def pointer(self, place: str) -> str:
        """Where the place is, for messages."""
        return self._places[place].where

    def formula(self, place: str) -> Formula:
        """What the schema at a place says."""
        try:
            return self._formula(self._places[place])
        except RecursionError as error:
            raise SchemaTooLarge(_MAX_NESTING + 1, _MAX_NESTING, "levels of nesting") from error

    def child(self, place: Place, *path: str) -> Formula:
        """What a schema inside says of another value."""
        inner = self._shortened(self.document.inside(place, *path))
        if isinstance(inner.schema, bool):
            return Constant(inner.schema)
        if isinstance(inner.schema, Mapping) and _SILENT.issuperset(
            cast("Mapping[str, Any]", inner.schema)
        ):
            return TRUE
        return Reference(self._key(inner))

    def inline(self, place: Place, *path: str) -> Formula:
        """What a schema inside says of the same value."""
        return self._formula(self.document.inside(place, *path))

    def referred(self, place: Place, keyword: str) -> Formula:
        """What the target of a referring keyword says of the same value."""
        target = self.target(place, keyword)
        if self._key(target) in self._reading:
            raise UnsupportedSchema(keyword, place.where, "it refers to itself")
        return self._formula(target)

    def inner(self, place: Place, *path: str) -> Place:
        """The place of a schema inside."""
        return self.document.inside(place, *path)

    def target(self, place: Place, keyword: str) -> Place:
        """The target of a referring keyword."""
        reference = place.schema[keyword]
        if keyword == "$dynamicRef":
            return self.document.dynamic_target(place, reference)
        if keyword == "$recursiveRef":
            return self.document.recursive_target(place, reference)
        return self.document.target(place, reference)

    def node(self, place: Place) -> Node | None:
        """The schema object at a place, None for true and false."""
        if isinstance(place.schema, bool):
            return None
        if not isinstance(place.schema, Mapping):
            raise TemplateError(
                f"the schema at {place.where!r} is {place.schema!r}; a schema is an object or a "
                "boolean"
            )
        return Node(place, cast("Mapping[str, Any]", place.schema), self)

    def _key(self, place: Place) -> str:
        """The key of a place; a place that is read in several ways has several."""
        identity = place.identity
        if identity not in self._keys:
            name, number = place.where, 1
            while name in self._places:
                number += 1
                name = f"{place.where} ({number})"
            self._keys[identity] = name
            self._places[name] = place
        return self._keys[identity]

    def _shortened(self, place: Place) -> Place:
        """Where a schema leads that is a `$ref` and nothing else, so that equal ones are one."""
        seen: set[tuple[object, ...]] = set()
        while isinstance(place.schema, Mapping) and place.identity not in seen:
            seen.add(place.identity)
            schema = cast("Mapping[str, Any]", place.schema)
            alone = place.draft <= Draft.DRAFT7 or _SILENT.issuperset(schema.keys() - {"$ref"})
            if "$ref" not in schema or not alone:
                break
            place = self.document.target(place, schema["$ref"])
        return place

    def _formula(self, place: Place) -> Formula:
        key = self._key(place)
        if key in self._formulas:
            self._size += self._sizes[key]
            return self._formulas[key]
        if key in self._reading:
            raise UnsupportedSchema("$ref", place.where, "it refers to itself")
        if len(self._reading) >= _MAX_NESTING:
            raise SchemaTooLarge(len(self._reading) + 1, _MAX_NESTING, "levels of nesting")
        outer, self._size = self._size, 1
        self._reading[key] = None
        try:
            node = self.node(place)
            found = Constant(place.schema) if node is None else self._said(node)
        finally:
            del self._reading[key]
            size, self._size = self._size, outer + self._size
        if size > _MAX_SCHEMAS:
            raise SchemaTooLarge(size, _MAX_SCHEMAS, "schemas of one value")
        self._formulas[key], self._sizes[key] = found, size
        return found

    def _said(self, node: Node) -> Formula:
        """All that the keywords of one schema object say."""
        if node.draft <= Draft.DRAFT7 and "$ref" in node:
            return self.referred(node.place, "$ref")  # whatever stands beside it is ignored
        kinds = allowed_kinds(node)
        parts: list[Formula] = []
        combined: list[Formula] = []
        about: dict[Kind, list[Formula]] = {}
        for number in self._rules(node):
            rule = RULES[number]
            if node.draft not in rule.drafts:
                continue
            if rule.kind is None:
                (parts if rule in values.RULES else combined).append(rule.read(node))
            elif rule.kind in kinds:
                about.setdefault(rule.kind, []).append(rule.read(node))
        # Beside a single type there is no other kind to except. What a schema says itself comes
        # first: in that order keys are written.
        for kind, said in about.items():
            parts.append(all_of(*said) if len(kinds) == 1 else when(kind, all_of(*said)))
        if (
            about
            and kinds == KINDS
            and not self.options.open
            and _COMBINING.isdisjoint(node.schema)
        ):
            parts.append(Expected(frozenset(about)))
        return all_of(*parts, *combined)

    def _rules(self, node: Node) -> list[int]:
        """The rules of the keywords that stand in a schema, in their own order."""
        found: set[int] = set()
        for keyword in node.schema:
            if (number := _RULE_OF.get(keyword)) is not None:
                found.add(number)
            elif keyword not in _SILENT and self.options.unknown_keywords == "refuse":
                raise node.refuse(str(keyword), "the keyword is not known")
        return sorted(found)
