"""Canvases: a row longer than the model's canvas, cut into pieces that are filled one by one.

Knows forms, regions and their automata. Must not know models or how a piece is filled. A region
that a cut goes through is carried across it: its first piece may end in any state from which a
value can still be finished in the room behind the cut, the next begins in the state where it ended,
so that whatever the pieces become, the whole is valid. What is said twice can't be seen in a piece:
such a region is filled by the strict part of its automaton, in which no key can be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from agentkit_engine.filling.solution import Filled
from agentkit_engine.layouts.forms import Choice, Form, Region

__all__ = ["Piece", "beginning", "piece_of", "spans"]

_SPARED = 4  # a cut comes as much as a 4th of a canvas sooner if it then goes through no value


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What one canvas holds of a row, from the position `start` on, and what it is filled with.

    A row that the canvas has room for is one piece.
    """

    start: int
    filled: Filled

    @property
    def stop(self) -> int:
        return self.start + self.filled.form.width

    @property
    def parted(self) -> frozenset[str]:
        """The values of which it may hold a part only (JSON pointers)."""
        regions = self.filled.form.regions
        return frozenset(r.pointer for r in regions if isinstance(r, Region) and r.parted)


def spans(form: Form, room: int) -> list[range]:
    """The row in pieces of at most `room` positions; cut between values where that costs little."""
    found: list[range] = []
    start = 0
    while start < form.width:
        stop = start + room
        if stop < form.width:
            soon = stop - room // _SPARED
            ends = (region.stop for region in form.regions if soon <= region.stop <= stop)
            stop = max(ends, default=stop)
        found.append(range(start, min(stop, form.width)))
        start = stop
    return found


def piece_of(form: Form, span: range, filled: Sequence[int], name: str) -> Form:
    """A part of a row as a form of its own, which has no value.

    Args:
        filled: the row up to `span`.
        name: its own.
    """
    tokens = list(form.tokens[span.start : span.stop])
    regions: list[Region | Choice] = []
    for region in form.regions:
        start = max(region.start, span.start) - span.start
        stop = min(region.stop, span.stop) - span.start
        if start >= stop:
            continue
        if isinstance(region, Choice) or region.width == stop - start:
            regions.append(replace(region, start=start, stop=stop))
            continue
        part = _carried(region, start, stop, span, filled[region.start :])
        if part is None:
            tokens[start:stop] = [region.padding] * (stop - start)
        else:
            regions.append(part)
    return Form(name, tuple(tokens), tuple(regions), read=lambda row: None)


def beginning(form: Form, filled: Sequence[int], silent: Collection[int | None]) -> tuple[int, ...]:
    """What the beginning of a row says.

    Args:
        filled: the row, up to where it is filled.
        silent: tokens that are never said; they are left out where nothing better is known.
    """
    if form.literal is None:
        return tuple(token for token in filled if token not in silent)
    said: list[int] = []
    last, reached = -1, 0
    for number, region in enumerate(form.regions):
        if not isinstance(region, Region) or region.start >= len(filled):
            break
        value, reached = region.said(filled), region.stop
        if value is not None:
            said += [*form.literal(last, number), *value]
            last = number
    return (*said, *filled[reached:])  # behind the last value: pins, cut by the canvas's end


def _carried(
    region: Region, start: int, stop: int, span: range, before: Sequence[int]
) -> Region | None:
    """A part of a region; None where the value has ended before it.

    Args:
        start, stop: where it lies in the piece.
        before: what the region holds so far.
    """
    whole = region.automaton.strict or region.automaton
    if before and before[-1] in whole.tail:
        return None
    state = whole.start
    for token in before:
        state = whole.step(state, token)
    part = whole.carried(state, region.stop - span.start - stop)
    return replace(region, start=start, stop=stop, automaton=part, present=part, parted=True)
