"""What a rule for keywords is, and the schema object that it reads.

Knows places and formulas. Must not know any keyword by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from agentkit_engine.errors import UnsupportedSchema
from agentkit_engine.grammar.formula import FALSE, Formula, Keys, Kind, Members, any_of
from agentkit_engine.grammar.schema.document import Place
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["ALL", "Node", "Reading", "Rule", "contested", "is_number", "since"]

ALL = frozenset(Draft)


def since(first: Draft) -> frozenset[Draft]:
    """The drafts from this one on."""
    return frozenset(draft for draft in Draft if draft >= first)


class Reading(Protocol):
    """What a rule may ask of the reader."""

    options: Options

    def child(self, place: Place, *path: str) -> Formula:
        """What a schema inside says of another value, as a reference unless it is trivial."""
        ...

    def inline(self, place: Place, *path: str) -> Formula:
        """What a schema inside says of the same value."""
        ...

    def referred(self, place: Place, keyword: str) -> Formula:
        """What the target of a referring keyword says of the same value."""
        ...

    def inner(self, place: Place, *path: str) -> Place:
        """The place of a schema inside."""
        ...

    def target(self, place: Place, keyword: str) -> Place:
        """The target of a referring keyword."""
        ...

    def node(self, place: Place) -> Node | None:
        """The schema object at a place, None for true and false."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """A schema object at its place."""

    place: Place
    schema: Mapping[str, Any]
    reading: Reading

    @property
    def draft(self) -> Draft:
        return self.place.draft

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.schema

    def __getitem__(self, keyword: str) -> Any:
        return self.schema[keyword]

    def refuse(self, keyword: str, why: str) -> UnsupportedSchema:
        return UnsupportedSchema(keyword, self.place.where, why)

    def child(self, *path: str) -> Formula:
        """What the schema behind `path` says of another value."""
        return self.reading.child(self.place, *path)

    def inline(self, *path: str) -> Formula:
        """What the schema behind `path` says of this value."""
        return self.reading.inline(self.place, *path)

    def schemas(self, keyword: str) -> list[str]:
        """The names of the schemas that the keyword holds; none where it is absent."""
        value = self.schema.get(keyword, {})
        if not isinstance(value, Mapping):
            raise self.refuse(keyword, f"{value!r} is no object; it needs schemas by name")
        return [str(name) for name in cast("Mapping[str, Any]", value)]

    def branches(self, keyword: str) -> Iterator[tuple[str, str]]:
        """The paths of the schemas that the keyword lists."""
        value = self.schema.get(keyword, [])
        if not isinstance(value, list):
            raise self.refuse(keyword, f"{value!r} is no list; it needs a list of schemas")
        for number in range(len(value)):
            yield keyword, str(number)

    def names(self, keyword: str, value: Any) -> list[str]:
        """A list of names, as `keyword` holds it."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.refuse(keyword, f"{value!r} is no list of names")
        return value

    def count(self, keyword: str, default: int) -> int:
        """The value of a keyword that counts something."""
        value = self.schema.get(keyword, default)
        if not is_number(value) or not math.isfinite(value) or value < 0 or value != int(value):
            raise self.refuse(keyword, f"{value!r} is no count; it needs an integer from 0 on")
        return int(value)

    def flag(self, keyword: str) -> bool:
        """The value of a keyword that says yes or no."""
        value = self.schema.get(keyword, False)
        if not isinstance(value, bool):
            raise self.refuse(keyword, f"{value!r} is neither true nor false")
        return value

    def number(self, keyword: str) -> Any:
        """The value of a keyword that bounds numbers; it may be infinite."""
        value = self.schema[keyword]
        if not is_number(value) or value != value:  # only NaN differs from itself
            raise self.refuse(keyword, f"{value!r} is no number")
        return value


@dataclass(frozen=True, slots=True)
class Rule:
    """How some keywords that belong together are read.

    keywords: the rule is asked once where any of them stands in a schema. kind: the kind of value
    that they are about; what they say holds of every other. part: what of them is not honoured, in
    a sentence; such a keyword still never lets an invalid value pass. drafts: those that know them.
    """

    keywords: tuple[str, ...]
    read: Callable[[Node], Formula]
    kind: Kind | None = None
    part: str = ""
    drafts: frozenset[Draft] = ALL


def is_number(value: object) -> bool:
    """Whether a JSON value is a number: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def contested(strict: Formula) -> Formula:
    """What one reading of JSON Schema demands of an object and another does not.

    Where `strict` is false of an object with keys, the whole is neither true nor false.
    """
    everything, nothing = TextSet.everything(), TextSet.nothing()
    unknown = Members(Keys(patterns=(Between(nothing, everything),)), FALSE)
    return any_of(strict, unknown)
