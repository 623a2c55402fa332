"""Whether a schema is supported, and what is not written although it would be valid.

Knows which keywords stand in a schema, and how far each is honoured. Must not know what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from agentkit_engine.grammar.machine.compilation import value_automaton
from agentkit_engine.grammar.machine.recursion import cyclic
from agentkit_engine.grammar.schema.document import Document, Place
from agentkit_engine.grammar.schema.drafts import subschemas
from agentkit_engine.grammar.schema.keywords import KEYWORDS
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.grammar.text.formats import format_texts
from agentkit_engine.syntax import JSON, Syntax

__all__ = ["Inspection", "Remark", "inspect_schema", "places"]

_UNKNOWN = "The keyword is not known."
_OTHER_DRAFT = "The keyword has no meaning in this draft."
_UNKNOWN_FORMAT = "The format is not known."
_RECURSION = "The schema contains itself, which is written to a limited depth."


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of a keyword, and the JSON pointers of the schemas it stands in."""

    keyword: str
    pointers: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """A schema that is supported.

    Attributes:
        states: the size of its automaton over bytes.
        parts: keywords of whose valid values not all are written.
        ignored: keywords that look as if they said something, and are taken as annotations.
    """

    states: int
    parts: tuple[Remark, ...]
    ignored: tuple[Remark, ...]


def inspect_schema(
    schema: Any, *, options: Options | None = None, syntax: Syntax = JSON
) -> Inspection:
    """What becomes of a schema.

    Raises:
        UnsupportedSchema, UnsatisfiableSchema, SchemaTooLarge: it can't be honoured.
    """
    reader = Reader(Document(schema), options or Options())
    automaton = value_automaton(reader, reader.root, syntax)
    parts: dict[tuple[str, str], list[str]] = {}
    ignored: dict[tuple[str, str], list[str]] = {}
    for place in places(reader.document):
        for name, value in cast("Mapping[str, Any]", place.schema).items():
            known = KEYWORDS.get(name)
            if known is None:
                ignored.setdefault((name, _UNKNOWN), []).append(place.where)
            elif known.honoured != "annotation" and place.draft not in known.drafts:
                ignored.setdefault((name, _OTHER_DRAFT), []).append(place.where)
            elif name == "format" and _is_silent(value, reader.options):
                ignored.setdefault((name, _UNKNOWN_FORMAT), []).append(place.where)
            elif known.honoured == "part":
                parts.setdefault((name, known.note), []).append(place.where)
    around = sorted(reader.pointer(place) for place in cyclic(reader, reader.root))
    if around:
        parts["$ref", _RECURSION] = around
    return Inspection(automaton.states, _remarks(parts), _remarks(ignored))


def places(document: Document) -> Iterator[Place]:
    """Every schema object of the main document."""
    waiting = [document.root]
    while waiting:
        place = waiting.pop()
        if not isinstance(place.schema, Mapping):
            continue
        yield place
        inner = subschemas(cast("Mapping[str, Any]", place.schema))
        waiting += reversed([document.inside(place, *path) for path, _ in inner])


def _is_silent(name: object, options: Options) -> bool:
    return options.formats == "ignore" or (isinstance(name, str) and format_texts(name) is None)


def _remarks(found: Mapping[tuple[str, str], list[str]]) -> tuple[Remark, ...]:
    return tuple(Remark(name, tuple(where), note) for (name, note), where in found.items())
