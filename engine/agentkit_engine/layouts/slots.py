"""The layout `slots`: literals are pinned, every value has a region of fixed width.

For checkpoints that were taught to fill slots. A filler token pads a value, another stands for an
absent optional key; both are dropped when the row is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from agentkit_engine.canvas import Canvas, Slot, lay_out
from agentkit_engine.errors import CanvasTooShort, UnsatisfiableSchema
from agentkit_engine.forms import Form, Options, Region, Writing, gate
from agentkit_engine.grammar import TokenAutomaton, compile_schema
from agentkit_engine.template import (
    Hole,
    Path,
    Schema,
    Segment,
    Template,
    Text,
    json_pointer,
    outline,
    skeleton,
)

_ABSENT: Any = object()


class Slots:
    """Lays templates, calls and choices out in slots."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        filler, absent = writing.tokens.filler, writing.tokens.absent
        assert filler is not None  # a dialect that knows slots has both
        assert absent is not None
        self._filler, self._absent = filler, absent

    def template(self, template: Template, room: int) -> Form:
        """A template by itself, on a row of at most `room` tokens."""
        if template.schema is not None:
            return self._schema("value", template.schema, room)
        automaton, typical = self._writing.plain(template)
        width = max(min(typical, room - 1), automaton.enough_tokens)
        if width + 1 > room:
            raise CanvasTooShort(needed=width + 1, available=room)
        region = Region(0, width, "", automaton.fill(self._filler))
        row = (*[None] * width, self._writing.tokens.end)
        return Form("value", row, (region,), self._writing.text)

    def call(self, name: str, parameters: Schema) -> Form:
        """A call, its name pinned."""
        tokens = self._writing.tokens
        return self._schema(
            name,
            parameters,
            self._writing.canvas_length,
            head=name.encode(),
            opening=tokens.call_open,
            closing=tokens.call_close,
        )

    def choice(self, names: Sequence[str]) -> Form:
        """A slot for the name of a call, where the marker of absence says there is none."""
        opening = self._writing.tokens.call_open
        written = [self._writing.encode(name.encode()) for name in names] + [[self._absent]]
        width = max(map(len, written))
        padded = [(*option, *[self._filler] * (width - len(option))) for option in written]
        options = Options(len(opening), len(opening) + width, tuple(padded))
        return Form("", (*opening, *[None] * width), (options,), lambda row: None)

    def _schema(
        self,
        name: str,
        schema: Schema,
        room: int,
        *,
        head: bytes = b"",
        opening: Sequence[int] = (),
        closing: Sequence[int] = (),
    ) -> Form:
        segments = _headed(head, outline(schema, self._writing.syntax))
        automata = {s.path: self._automaton(s, schema) for s in segments if isinstance(s, Hole)}
        canvas = self._fit(segments, automata, room, opening, closing)
        tokens: list[int | None] = list(canvas.tokens)
        regions: list[Region] = []
        for slot in canvas.slots:
            automaton = automata[slot.hole.path]
            if automaton is None:  # an optional key that no value fits is always absent
                tokens[slot.start] = self._absent
                continue
            tokens[slot.start : slot.stop] = [None] * slot.width
            marker = self._absent if slot.hole.optional else None
            filled = automaton.fill(self._filler, marker=marker)
            regions.append(Region(slot.start, slot.stop, json_pointer(slot.hole.path), filled))
        check = gate(schema)

        def read(row: Sequence[int]) -> Any:
            return check(self._read(row, schema, canvas.slots))

        return Form(name, tuple(tokens), tuple(regions), read)

    def _automaton(self, hole: Hole, root: Schema) -> TokenAutomaton | None:
        try:
            return compile_schema(
                hole.schema,
                vocabulary=self._writing.vocabulary,
                syntax=self._writing.syntax,
                root=root,
                pointer=hole.pointer,
                content_only=hole.content_only,
            )
        except UnsatisfiableSchema:
            if hole.optional:
                return None
            raise

    def _fit(
        self,
        segments: Sequence[Segment],
        automata: Mapping[Path, TokenAutomaton | None],
        room: int,
        opening: Sequence[int],
        closing: Sequence[int],
    ) -> Canvas:
        """Lays the slots out by their typical widths, narrower where they don't fit the room."""
        least = {
            path: max(1, found.enough_tokens) if found else 1 for path, found in automata.items()
        }
        typical = {s.path: self._writing.width(s) for s in segments if isinstance(s, Hole)}
        place = partial(
            lay_out,
            segments,
            encode=self._writing.encode,
            filler=self._filler,
            opening=opening,
            closing=closing,
        )
        canvas = place(width_of=lambda hole: max(typical[hole.path], least[hole.path]))
        if canvas.width <= room:
            return canvas
        smallest = place(width_of=lambda hole: least[hole.path])
        if smallest.width > room:
            raise CanvasTooShort(needed=smallest.width, available=room)
        spare = (room - smallest.width) / (canvas.width - smallest.width)

        def shrunk(hole: Hole) -> int:
            low = least[hole.path]
            return low + int(spare * (max(typical[hole.path], low) - low))

        return place(width_of=shrunk)

    def _read(self, row: Sequence[int], schema: Schema, slots: Sequence[Slot]) -> Any:
        value = skeleton(schema)
        for slot in slots:
            found = self._value(row[slot.start : slot.stop], slot.hole)
            value = _put(value, slot.hole.path, found)
        return value

    def _value(self, tokens: Sequence[int], hole: Hole) -> Any:
        if hole.optional and tokens[0] == self._absent:
            return _ABSENT
        syntax, surface = self._writing.syntax, self._writing.surface(tokens)
        if hole.content_only:
            surface = syntax.quote + surface + syntax.quote
        return syntax.loads(surface)


def _headed(head: bytes, segments: Sequence[Segment]) -> list[Segment]:
    """`segments` with a literal before them, joined to the first one's literal."""
    if head and segments and isinstance(segments[0], Text):
        return [Text(head + segments[0].content), *segments[1:]]
    return [Text(head), *segments] if head else list(segments)


def _put(value: Any, path: Path, found: Any) -> Any:
    """`value` with what was found at `path`; an absent key is taken out."""
    if not path:
        return found
    inner = value
    for part in path[:-1]:
        inner = inner[part]
    if found is _ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = found
    return value
