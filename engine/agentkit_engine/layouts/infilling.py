"""Infilling: a hole between two texts, by a checkpoint's tokens.

Knows templates of the kinds "infill" and "edit", and how much of a row their texts may take. What
kind of region the hole is, is the layout's business: one whose fillers tell how long the text is,
or one whose end is found. Must not know models or probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from agentkit_engine.errors import CanvasTooShort
from agentkit_engine.grammar import TokenAutomaton
from agentkit_engine.layouts.forms import Form, Region, Writing
from agentkit_engine.template import Template

__all__ = ["Hollow", "infilling"]

_LEAST_ROOM = 16  # of an edit that says no max_tokens


@dataclass(frozen=True, slots=True, eq=False)
class Hollow:
    """A hole and what stands around it.

    Attributes:
        prefix, suffix: the tokens next to the hole, as many as there is room for.
        value: what may stand in the hole.
        room: tokens there are for that.
        typical: how many it is first taken to have: those of an edit's old text, else half.
        hints: tokens that the first step shows, by their place in the hole.
        read: the template's value, of the hole's tokens.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    value: TokenAutomaton
    room: int
    typical: int
    hints: dict[int, int]
    read: Callable[[Sequence[int]], str]


def infilling(
    writing: Writing,
    template: Template,
    canvas: int,
    region_of: Callable[[Hollow], Region],
    *,
    without: tuple[str, ...] = (),
) -> Form:
    """A row of at most `canvas` tokens: prefix, hole, suffix, and the token that ends it.

    Args:
        region_of: the hole's region, which begins behind the prefix.
        without: texts of the hole that are ruled out.

    Raises:
        CanvasTooShort: what is asked for the hole does not fit, or it is shorter than all that its
            pattern matches.
    """
    one = _hollow(writing, template, canvas, without)
    region, end = region_of(one), (*one.suffix, writing.tokens.end)
    first = {region.start + place: token for place, token in one.hints.items()}
    if region.markers is not None:
        first.update(enumerate(region.tail(one.typical), region.start + one.typical))

    def literal(before: int, to: int) -> tuple[int, ...]:
        return one.prefix if before < 0 else end

    def another(rows: Sequence[Sequence[int]], pointers: Sequence[str]) -> Form:
        ruled_out = (*without, *(writing.text(region.said(row) or ()) for row in rows))
        return infilling(writing, template, canvas, region_of, without=ruled_out)

    return Form(
        name="value",
        tokens=(*one.prefix, *[None] * region.width, *(() if region.markers else end)),
        regions=(region,),
        read=lambda row: one.read(region.said(row) or ()),
        literal=literal,
        without=another,
        first=first,
        two_sided=True,
    )


def _hollow(writing: Writing, template: Template, canvas: int, without: tuple[str, ...]) -> Hollow:
    value = _value(writing, template.pattern, without)
    old = writing.encode(template.old.encode())
    room = template.max_tokens or min(
        canvas - 1, max(_LEAST_ROOM, 2 * len(old), value.enough_tokens)
    )
    if room + 1 > canvas:
        raise CanvasTooShort(needed=room + 1, available=canvas)
    if value.enough_tokens > room:
        raise CanvasTooShort(needed=value.enough_tokens, available=room)
    prefix = writing.encode(template.prefix.encode())
    suffix = writing.encode(template.suffix.encode())
    before, behind = _shares(len(prefix), len(suffix), canvas - 1 - room)
    hinted = template.kind == "edit" and len(old) <= room

    def read(tokens: Sequence[int]) -> str:
        text = writing.text(tokens)
        return template.prefix + text + template.suffix if template.kind == "edit" else text

    return Hollow(
        prefix=tuple(prefix[len(prefix) - before :]),
        suffix=tuple(suffix[:behind]),
        value=value,
        room=room,
        typical=len(old) if hinted else (room + 1) // 2,
        hints=_kept(old, template.keep) if hinted else {},
        read=read,
    )


@lru_cache(maxsize=8)
def _value(writing: Writing, pattern: str, without: tuple[str, ...]) -> TokenAutomaton:
    """What may stand in a hole: the same for all holes but for their pattern."""
    asked = Template("regex" if pattern else "text", pattern=pattern)
    return writing.plain(asked, without=without)[0]


def _shares(prefix: int, suffix: int, room: int) -> tuple[int, int]:
    """How much of two lengths fits: half of the room each, and what the other does not need."""
    before = min(prefix, max(room // 2, room - suffix))
    return before, min(suffix, room - before)


def _kept(tokens: Sequence[int], share: float) -> dict[int, int]:
    """A share of the tokens, evenly spread."""
    return {
        place: token
        for place, token in enumerate(tokens)
        if int((place + 1) * share) > int(place * share)
    }
