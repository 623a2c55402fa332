"""Regular expressions over characters, as an algebra of small frozen values.

Knows how languages are put together: one character of a set, sequence, choice, repetition, and the
two anchors. Must not know how patterns are spelled, schemas or bytes. `NOTHING` (the empty
language) is absorbed while building, so that a branch without any text disappears by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agentkit_engine.grammar.text.characters import ALL, Characters, characters

__all__ = [
    "ANY_TEXT",
    "EMPTY",
    "END",
    "NOTHING",
    "START",
    "Anchor",
    "Choice",
    "Expression",
    "One",
    "Repeat",
    "Series",
    "choice",
    "literal",
    "one_of",
    "repeat",
    "sequence",
]


@dataclass(frozen=True, slots=True)
class One:
    """One character of a set."""

    wanted: Characters


@dataclass(frozen=True, slots=True)
class Series:
    """One part after another; without any part the empty text."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of the options; without any option the empty language."""

    options: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` to `most` items (None: any number)."""

    item: Expression
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The empty text, at the end of the whole text or at its start only."""

    end: bool


Expression = One | Series | Choice | Repeat | Anchor

EMPTY = Series(())
NOTHING = Choice(())
START = Anchor(end=False)
END = Anchor(end=True)
ANY_TEXT = Repeat(One(ALL), 0, None)


def one_of(wanted: Characters) -> Expression:
    """One character of a set; nothing if that is empty."""
    return One(wanted) if wanted else NOTHING


def literal(text: str) -> Expression:
    """Exactly `text`."""
    return sequence(*(one_of(characters(character)) for character in text))


def sequence(*parts: Expression) -> Expression:
    """All parts in order; nothing if one of them is nothing."""
    kept: list[Expression] = []
    for part in parts:
        if part == NOTHING:
            return NOTHING
        kept.extend(part.parts if isinstance(part, Series) else (part,))
    return kept[0] if len(kept) == 1 else Series(tuple(kept))


def choice(options: Iterable[Expression]) -> Expression:
    """Any one of the options."""
    kept: dict[Expression, None] = {}
    for option in options:
        kept.update(dict.fromkeys(option.options if isinstance(option, Choice) else (option,)))
    return next(iter(kept)) if len(kept) == 1 else Choice(tuple(kept))


def repeat(item: Expression, least: int = 0, most: int | None = None) -> Expression:
    """`least` to `most` items; nothing if that can't be."""
    if most is not None and most < least:
        return NOTHING
    if item == NOTHING:
        return EMPTY if least == 0 else NOTHING
    if most == 0 or item == EMPTY:
        return EMPTY
    if (
        isinstance(item, Repeat)
        and item.least <= 1
        and item.most is None
        and (least <= 1 or item.least == 0)
    ):
        return Repeat(item.item, min(item.least, least), None)  # (x*){m,n}, (x+)* and the like
    return item if (least, most) == (1, 1) else Repeat(item, least, most)
