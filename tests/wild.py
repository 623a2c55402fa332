"""Schemas nobody would write, of every keyword and draft, and values to judge them by."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["changed", "wild_schema", "wild_value"]

DRAFTS = (
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
NAMES = ("a", "b", "ab", "c d", "é", "x1", '"q', "😀", "")
PATTERNS = (
    "^a", "b$", "^$", "a|b", "^[a-c]{1,3}$", "[^a]", r"\d", r"^\w+$", r"\s", "^.{2}$", "^(ab)*$",
    "é", "(^a|b)c?", r"\D$", r"^\S", r"\W", r"^a\nb?$", ".", "a{2,}", "^(a|b|)$", "x*", "^(?!a)b",
)  # fmt: skip
FORMATS = (
    "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid",
    "uri-reference", "json-pointer", "relative-json-pointer", "regex", "uri-template", "iri",
    "iri-reference", "idn-email", "idn-hostname", "unheard-of",
)  # fmt: skip
BOUNDS = (0, 1, 2, -1, 1.5, 0.1, 1.0, 1e2, 2**53, 2**53 + 1, 1e300, 1e-7, 12.25, 5e-324, 1e16)
DIVISORS = (1, 2, 3, 0.5, 0.1, 0.01, 2.5, 7, 1.0, 1e-7, 1000, 0.3, 1e10, 12.5, 1.1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.0, 1.5, 2, "", "a", "ab", "b", "é", '"', "\\", "\n", "😀", [],
    [1], [1.0], [True], ["a", "b"], {}, {"a": 1}, {"a": 1.0, "b": []}, {"b": {"a": "a"}}, 0.1, 1e16,
    123456789012345678, -0.0, 1e-7, 1e21, "\u2028", "\x7f", "\x00",
)  # fmt: skip
COUNTS = (0, 1, 1, 2, 3, 2.0)


def wild_schema(random: Random) -> dict[str, Any]:
    """A whole document of one draft, with definitions that may lead anywhere."""
    draft = random.randrange(len(DRAFTS))
    makers = _Makers(random, draft)
    root = makers.schema(random.randint(1, 3))
    place = "definitions" if draft < 3 else "$defs"
    root[place] = {name: makers.schema(2) for name in makers.defined}
    if draft == 4 and makers.defined:
        random.choice([root, *root[place].values()])["$dynamicAnchor"] = "m"
    if draft == 3 and random.random() < 0.5:
        root["$recursiveAnchor"] = True
    return {**root, "$schema": DRAFTS[draft]}


class _Makers:
    """The keywords of one draft."""

    def __init__(self, random: Random, draft: int) -> None:
        self.random, self.draft = random, draft
        self.defined = [f"d{number}" for number in range(random.randint(0, 3))]
        self.keywords = self._simple() | self._nested()

    def schema(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for keyword in self.random.choices(list(self.keywords), k=self.random.randint(1, 5)):
            found[keyword] = self.keywords[keyword](depth)
        if self.draft == 0:  # there, bounds are made exclusive by a flag
            for keyword in found.keys() & {"exclusiveMinimum", "exclusiveMaximum"}:
                found[keyword[9:].lower()], found[keyword] = found[keyword], True
        return found

    def inner(self, depth: int) -> Any:
        if depth > 0 and self.random.random() < 0.85:
            return self.schema(depth - 1)
        trivial: list[Any] = [{}, {"not": {}}, {"type": self.random.choice(TYPES)}]
        return self.random.choice(trivial if self.draft == 0 else [True, False, *trivial])

    def some(self, depth: int) -> list[Any]:
        return [self.inner(depth) for _ in range(self.random.randint(1, 3))]

    def names(self) -> list[str]:
        return self.random.sample(NAMES, self.random.randint(1, 2))

    def by(self, names: tuple[str, ...]) -> Callable[[int], dict[str, Any]]:
        def make(depth: int) -> dict[str, Any]:
            chosen = self.random.sample(names, self.random.randint(1, 3))
            return {name: self.inner(depth) for name in chosen}

        return make

    def _simple(self) -> dict[str, Callable[[int], Any]]:
        choice, sample = self.random.choice, self.random.sample
        listed: dict[str, Callable[[int], Any]] = {
            "type": lambda _: choice((choice(TYPES), sample(TYPES, 3))),
            "enum": lambda _: sample(VALUES, self.random.randint(1, 6)),
            "required": lambda _: self.names(),
            "uniqueItems": lambda _: True,
            "pattern": lambda _: choice(PATTERNS),
            "format": lambda _: choice(FORMATS),
            "multipleOf": lambda _: choice(DIVISORS),
        }
        for keyword in ("Properties", "Items", "Length"):
            listed[f"min{keyword}"] = listed[f"max{keyword}"] = lambda _: choice(COUNTS)
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            listed[keyword] = lambda _: choice(BOUNDS)
        if self.draft >= 1:
            listed["const"] = lambda _: choice(VALUES)
        if self.draft >= 3:
            listed["minContains"] = listed["maxContains"] = lambda _: choice(COUNTS)
            listed["dependentRequired"] = lambda _: {name: self.names() for name in self.names()}
        return listed

    def _nested(self) -> dict[str, Callable[[int], Any]]:
        choice, place = self.random.choice, "definitions" if self.draft < 3 else "$defs"
        listed: dict[str, Callable[[int], Any]] = {
            "properties": self.by(NAMES),
            "patternProperties": self.by(PATTERNS),
            "allOf": self.some,
            "anyOf": self.some,
            "oneOf": self.some,
            "items": lambda depth: (
                self.some(depth) if self.draft < 4 and choice((0, 0, 1)) else self.inner(depth)
            ),
            "additionalItems": self.inner,
            "additionalProperties": self.inner,
            "not": self.inner,
        }
        newer = {
            1: ("contains", "propertyNames"),
            2: ("if", "then", "else"),
            3: ("unevaluatedItems", "unevaluatedProperties"),
        }
        for draft, keywords in newer.items():
            if self.draft >= draft:
                listed |= dict.fromkeys(keywords, self.inner)
        if self.draft < 3:
            listed["dependencies"] = lambda depth: {
                name: choice((self.names(), self.inner(depth))) for name in self.names()
            }
        else:
            listed["dependentSchemas"] = self.by(NAMES)
        if self.draft == 4:
            listed["prefixItems"] = self.some
        if self.defined:
            listed["$ref"] = lambda _: f"#/{place}/{choice(self.defined)}"
            if self.draft == 4:
                listed["$dynamicRef"] = lambda _: "#m"
        if self.draft == 3:
            listed["$recursiveRef"] = lambda _: "#"
        return listed


def wild_value(random: Random, depth: int = 2) -> Any:
    """A value of names and values that the schemas speak of."""
    draw = random.random()
    if depth == 0 or draw < 0.5:
        return random.choice(VALUES)
    if draw < 0.75:
        return [wild_value(random, depth - 1) for _ in range(random.randint(0, 3))]
    chosen = random.sample(NAMES, random.randint(0, 3))
    return {name: wild_value(random, depth - 1) for name in chosen}


def changed(random: Random, value: Any) -> Any:
    """A value a little different."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(list(value))
        rest = {one: inner for one, inner in value.items() if one != name}
        return random.choice((
            rest,
            {**value, name: changed(random, value[name])},
            {**value, random.choice(NAMES): wild_value(random, 1)},
        ))  # fmt: skip
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [
            *value[:place],
            changed(random, value[place]),
            *value[place + random.randint(0, 1) :],
        ]
    if isinstance(value, bool):
        return random.choice((not value, int(value)))
    if isinstance(value, int | float):
        return random.choice((value + 1, -value, value / 2, str(value)))
    if isinstance(value, str):
        return random.choice((value + "a", value[1:], value + "\n", "é" + value, value + "٣"))
    return wild_value(random, 1)
