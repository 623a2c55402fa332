"""The layout `slots`: literals are pinned, every value has a region of fixed width.

For checkpoints that were taught to fill slots. A filler token pads a value, another stands for an
absent optional key; both are dropped when the row is read. Knows templates and automata. Must not
know models or probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from agentkit_engine.errors import CanvasTooShort, TemplateError, UnsatisfiableSchema
from agentkit_engine.grammar import TokenAutomaton, compile_schema
from agentkit_engine.layouts.canvas import Canvas, Slot, lay_out, lay_out_choice
from agentkit_engine.layouts.excluding import OTHER, excluding
from agentkit_engine.layouts.forms import Choice, Form, Region, Writing, gate
from agentkit_engine.layouts.infilling import Hollow, infilling
from agentkit_engine.template import (
    Hole,
    Path,
    Schema,
    Segment,
    Template,
    Text,
    json_pointer,
    outline,
    path_of,
    skeleton,
)

_ABSENT: Any = object()


class Slots:
    """Lays templates, calls and choices out in slots."""

    several = True  # calls can be chosen and filled in one canvas

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        filler, absent = writing.tokens.filler, writing.tokens.absent
        assert filler is not None  # a dialect that knows slots has both
        assert absent is not None
        self._filler, self._absent = filler, absent

    def template(self, template: Template, room: int, limit: int) -> Form:
        """A template by itself, on a row of at most `room` tokens; `limit` if it needs more."""
        if template.schema is not None:
            return self._schema("value", template.schema, room, limit)
        if template.kind in ("infill", "edit"):
            return infilling(self._writing, template, room, self._hole)
        automaton, typical = self._writing.plain(template)
        most = limit if template.max_tokens else room
        width = max(min(typical, most - 1), automaton.enough_tokens)
        if width + 1 > limit:
            raise CanvasTooShort(needed=width + 1, available=limit)
        return self._plain(template, automaton, width)

    def _plain(self, template: Template, automaton: TokenAutomaton, width: int) -> Form:
        end, text = self._writing.tokens.end, self._writing.text

        def literal(before: int, to: int) -> tuple[int, ...]:
            return () if to == 0 else (end,)

        def without(rows: Sequence[Sequence[int]], pointers: Sequence[str]) -> Form:
            texts = [text(row[:width]) for row in rows]
            other, _ = self._writing.plain(template, without=texts)
            return self._plain(template, other, width)

        region = Region.slot(0, width, "", automaton, filler=self._filler)
        return Form("value", (*[None] * width, end), (region,), text, literal, without)

    def _hole(self, one: Hollow) -> Region:
        start = len(one.prefix)
        return Region.slot(start, start + one.room, "", one.value, filler=self._filler)

    def call(self, name: str, parameters: Schema) -> Form:
        """A call, its name pinned."""
        tokens = self._writing.tokens
        return self._schema(
            name,
            parameters,
            self._writing.canvas_length,
            self._writing.longest,
            head=name.encode(),
            opening=tokens.call_open,
            closing=tokens.call_close,
        )

    def choice(self, names: Sequence[str], calls: int = 1) -> Form:
        """Slots for the names of calls, where the marker of absence says there is no more."""
        opening = self._writing.tokens.call_open
        written = [self._writing.encode(name.encode()) for name in names] + [[self._absent]]
        padded, starts, _ = lay_out_choice(
            written, opening=opening, filler=self._filler, calls=calls
        )
        slots = len(padded[0])
        options = tuple(Choice(start, start + slots, tuple(padded)) for start in starts)
        return Form("", (*opening, *[None] * slots) * calls, options, lambda row: None)

    def _schema(
        self,
        name: str,
        schema: Schema,
        room: int,
        limit: int,
        *,
        head: bytes = b"",
        opening: Sequence[int] = (),
        closing: Sequence[int] = (),
    ) -> Form:
        segments = _headed(head, outline(schema, self._writing.syntax))
        automata = {s.path: self._automaton(s, schema) for s in segments if isinstance(s, Hole)}
        canvas = self._fit(segments, automata, (room, limit), opening, closing)
        tokens: list[int | None] = list(canvas.tokens)
        holes: list[Slot] = []
        regions: list[Region] = []
        for slot in canvas.slots:
            automaton = automata[slot.hole.path]
            if automaton is None:
                tokens[slot.start] = self._absent  # a key that no value fits is always absent
            else:
                tokens[slot.start : slot.stop] = [None] * slot.width
                holes.append(slot)
                regions.append(self._region(slot, automaton))
        check = gate(schema)

        def read(row: Sequence[int]) -> Any:
            return check(self._read(row, schema, canvas.slots))

        def without(rows: Sequence[Sequence[int]], pointers: Sequence[str]) -> Form:
            regions = self._others(holes, rows, pointers, schema)
            places = {place for region in regions for place in range(region.start, region.stop)}
            rest = tuple(None if place in places else token for place, token in enumerate(rows[0]))
            return Form(name, rest, regions, read)

        said_last = closing or (self._writing.tokens.end,)
        literal = self._literals(schema, head, opening, said_last, automata)
        return Form(name, tuple(tokens), tuple(regions), read, literal, without)

    def _region(self, slot: Slot, automaton: TokenAutomaton, *, optional: bool = True) -> Region:
        absent = self._absent if slot.hole.optional and optional else None
        pointer = json_pointer(slot.hole.path)
        place = (slot.start, slot.stop, pointer)
        return Region.slot(*place, automaton, filler=self._filler, absent=absent)

    def _others(
        self,
        slots: Sequence[Slot],
        rows: Sequence[Sequence[int]],
        pointers: Sequence[str],
        schema: Schema,
    ) -> tuple[Region, ...]:
        """The regions of rejected values, which become others; a key that was absent comes."""
        known = {json_pointer(slot.hole.path): slot for slot in slots}
        rejected: dict[str, list[Path]] = {}
        for pointer in pointers:
            owner = next((p for p in known if pointer == p or pointer.startswith(f"{p}/")), None)
            if owner is None:
                raise TemplateError(
                    f"no value of its own was filled in at {pointer!r}; there are those at "
                    f"{', '.join(map(repr, known))}"
                )
            rejected.setdefault(owner, []).append(path_of(pointer[len(owner) :]))
        return tuple(
            self._other(known[owner], rows, inner, schema) for owner, inner in rejected.items()
        )

    def _other(
        self, slot: Slot, rows: Sequence[Sequence[int]], rejected: Sequence[Path], schema: Schema
    ) -> Region:
        """The region of a value that becomes another, just at the paths `rejected` in it."""
        hole = slot.hole
        found = [self._value(row[slot.start : slot.stop], hole) for row in rows]
        said = [each for each in found if each is not _ABSENT]
        if not said:
            automaton = self._automaton(hole, schema)
        else:
            value, *earlier = said
            paths = [()] if found[0] is _ABSENT else rejected
            root = excluding(schema, hole.pointer, value, rejected=paths, earlier=earlier)
            automaton = self._automaton(replace(hole, pointer=OTHER, optional=False), root)
        assert automaton is not None
        # it was absent before: then that was rejected, too
        optional = () in rejected and len(said) == len(found)
        return self._region(slot, automaton, optional=optional)

    def _literals(
        self,
        schema: Schema,
        head: bytes,
        opening: Sequence[int],
        closing: Sequence[int],
        automata: Mapping[Path, TokenAutomaton | None],
    ) -> Callable[[int, int], tuple[int, ...]]:
        """What is said from one region to another, those between left out."""
        paths = list(automata)
        filled = [path for path in paths if automata[path] is not None]

        @cache
        def literal(before: int, to: int) -> tuple[int, ...]:
            first = paths.index(filled[before]) + 1 if before >= 0 else 0
            last = paths.index(filled[to]) if to < len(filled) else len(paths)
            left = outline(schema, self._writing.syntax, absent=paths[first:last])
            text, segments = b"", iter(_headed(head, left))
            if before >= 0:
                while getattr(next(segments), "path", None) != filled[before]:
                    pass
            for segment in segments:
                if isinstance(segment, Hole):
                    break
                text = segment.content
            tokens = tuple(self._writing.encode(text))
            tokens = (*opening, *tokens) if before < 0 else tokens
            return (*tokens, *closing) if to == len(filled) else tokens

        return literal

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
        rooms: tuple[int, int],
        opening: Sequence[int],
        closing: Sequence[int],
    ) -> Canvas:
        """Lays the slots out by their typical widths, narrower where they don't fit the room.

        Args:
            rooms: what there is; and what there is if not even the narrowest fit into that.
        """
        holes = [segment for segment in segments if isinstance(segment, Hole)]
        least = {
            path: max(1, found.enough_tokens) if found else 1 for path, found in automata.items()
        }
        typical = {hole.path: max(self._writing.width(hole), least[hole.path]) for hole in holes}

        def place(widths: Mapping[Path, int]) -> Canvas:
            return lay_out(
                segments,
                encode=self._writing.encode,
                width_of=lambda hole: widths[hole.path],
                filler=self._filler,
                opening=opening,
                closing=closing,
            )

        canvas = place(typical)
        if canvas.width <= min(rooms[0], self._writing.canvas_length):
            return canvas
        listed = {hole.path: typical[hole.path] for hole in holes if _listed(hole.schema)}
        return self._narrowed(place, rooms, typical, least, listed)

    def _narrowed(
        self,
        place: Callable[[Mapping[Path, int]], Canvas],
        rooms: tuple[int, int],
        typical: Mapping[Path, int],
        least: Mapping[Path, int],
        listed: Mapping[Path, int],
    ) -> Canvas:
        """The slots between their least and their typical widths, in one canvas if that can be.

        What takes several canvases anyway gets half as much again as it needs. Slots of listed
        values are not narrowed as long as the rest has room, so that each value is possible.
        """
        room, limit = rooms
        low: dict[Path, int] = {**least, **listed}
        smallest = place(low)
        if smallest.width > limit:
            low = dict(least)
            smallest = place(low)
        if smallest.width > limit:
            raise CanvasTooShort(needed=smallest.width, available=limit)
        high: dict[Path, int] = {**typical}
        if smallest.width > self._writing.canvas_length:
            room = limit
            high |= {path: 3 * n // 2 for path, n in low.items() if n == high[path]}
            high |= listed
        canvas = place(high)
        if canvas.width <= room:
            return canvas
        spare = (room - smallest.width) / (canvas.width - smallest.width)
        return place({path: n + int(spare * (high[path] - n)) for path, n in low.items()})

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


def _listed(schema: Schema) -> bool:
    """Whether a schema lists its values, so that their widths are known."""
    if not isinstance(schema, Mapping):
        return False
    return bool({"enum", "const"} & schema.keys()) or schema.get("type") in ("boolean", "null")


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
