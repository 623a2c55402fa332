"""Regular expressions over bytes, as an algebra of small frozen values.

Knows how languages are put together: sequence, choice, repetition, members joined by a separator,
a finished automaton spliced in. Must not know schemas, syntaxes or tokens. `NOTHING` (the empty
language) is absorbed while building, so that a branch without any value disappears by itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentkit_engine.grammar.automaton import ByteAutomaton

__all__ = [
    "EMPTY",
    "NOTHING",
    "Bytes",
    "Choice",
    "Expression",
    "Joined",
    "Literal",
    "Repeat",
    "Series",
    "Spliced",
    "byte_range",
    "choice",
    "joined",
    "literal",
    "optional",
    "repeat",
    "sequence",
]


@dataclass(frozen=True, slots=True)
class Bytes:
    """One byte out of some inclusive ranges."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """These bytes, one after another; none of them is the empty string."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Series:
    """One part after another."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of the options; without any option the empty language."""

    options: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` to `most` items (None: any number) with a separator between two of them."""

    item: "Expression"
    least: int
    most: int | None
    separator: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """Members in order, each perhaps left out, with a separator between two that are there."""

    members: tuple[tuple["Expression", bool], ...]
    separator: bytes


@dataclass(frozen=True, slots=True)
class Spliced:
    """The language of a finished automaton."""

    automaton: "ByteAutomaton"


Expression = Bytes | Literal | Series | Choice | Repeat | Joined | Spliced

EMPTY = Literal(b"")
NOTHING = Choice(())


def literal(text: bytes) -> Expression:
    """Exactly `text`."""
    return Literal(text)


def byte_range(*ranges: tuple[int, int]) -> Expression:
    """One byte in any of the inclusive ranges."""
    return Bytes(ranges) if ranges else NOTHING


def sequence(*parts: Expression) -> Expression:
    """All parts in order; nothing if one of them is nothing."""
    if NOTHING in parts:
        return NOTHING
    kept = tuple(part for part in parts if part != EMPTY)
    if len(kept) == 1:
        return kept[0]
    return Series(kept) if kept else EMPTY


def choice(options: Iterable[Expression]) -> Expression:
    """Any one of the options."""
    kept = tuple(dict.fromkeys(option for option in options if option != NOTHING))
    return kept[0] if len(kept) == 1 else Choice(kept)


def optional(item: Expression) -> Expression:
    """The item or the empty string."""
    return choice((item, EMPTY))


def repeat(
    item: Expression, least: int = 0, most: int | None = None, *, separator: bytes = b""
) -> Expression:
    """`least` to `most` items; nothing if that can't be."""
    if most is not None and most < least:
        return NOTHING
    if item == NOTHING:
        return EMPTY if least == 0 else NOTHING
    if most == 0:
        return EMPTY
    return Repeat(item, least, most, separator)


def joined(members: Sequence[tuple[Expression, bool]], *, separator: bytes) -> Expression:
    """Members (expression, required) in order; nothing if a required one is nothing."""
    if any(required and member == NOTHING for member, required in members):
        return NOTHING
    return Joined(tuple(pair for pair in members if pair[0] != NOTHING), separator)
