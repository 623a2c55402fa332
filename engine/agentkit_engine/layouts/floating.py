"""The layout `float`: one automaton over the row, then the end and padding.

For checkpoints that were never taught slots: literals float to where the text ends, and the length
is decided together with the content. Knows templates and automata. Must not know models or
probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentkit_engine.errors import CanvasTooShort
from agentkit_engine.grammar import TokenAutomaton, compile_schema
from agentkit_engine.layouts.canvas import lay_out
from agentkit_engine.layouts.excluding import OTHER, excluding
from agentkit_engine.layouts.forms import Choice, Form, Region, Without, Writing, gate
from agentkit_engine.layouts.infilling import Hollow, infilling
from agentkit_engine.template import Schema, Template, outline, path_of

_WIDTHS = (16, 32, 64, 128, 256)


class Floating:
    """Lays templates, calls and choices out as running text."""

    several = False  # one call's length says where the next begins

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def template(self, template: Template, room: int, limit: int) -> Form:
        """A template by itself, on a row of at most `room` tokens; `limit` if it needs more."""
        writing = self._writing
        if template.schema is not None:
            return self._schema("value", template.schema, (), writing.tokens.end, room, limit)
        if template.kind in ("infill", "edit"):
            return infilling(writing, template, room, self._hole)
        automaton, typical = writing.plain(template)
        most = template.max_tokens
        width = self._width(0, automaton, typical, limit if most else room, limit)
        stop = min(width, max(most, automaton.enough_tokens) + 1) if most else width
        width = width if width <= writing.canvas_length else stop

        def form(automaton: TokenAutomaton) -> Form:
            def without(rows: Sequence[Sequence[int]], pointers: Sequence[str]) -> Form:
                texts = [writing.text(row) for row in rows]
                return form(writing.plain(template, without=texts)[0])

            known = (automaton, writing.tokens.end, writing.text, without)
            return self._form("value", (), width, *known, stop=stop)

        return form(automaton)

    def _hole(self, one: Hollow) -> Region:
        start, tokens = len(one.prefix), self._writing.tokens
        stop = start + one.room + len(one.suffix) + 1
        place = (start, stop, one.value)
        return Region.before(*place, text=one.suffix, end=tokens.end, pad=tokens.pad)

    def call(self, name: str, parameters: Schema) -> Form:
        """A call, pinned up to its name."""
        tokens = self._writing.tokens
        head = (*tokens.call_open, *self._writing.encode(name.encode()))
        rooms = (self._writing.canvas_length, self._writing.longest)
        return self._schema(name, parameters, head, tokens.call_close[0], *rooms)

    def choice(self, names: Sequence[str], calls: int = 1) -> Form:
        """How a row of noise would begin: as a call of one of `names`, or as none of them."""
        assert calls == 1
        opening, encode = self._writing.tokens.call_open, self._writing.encode
        said = [(*opening, *encode(name.encode()), *encode(b"{")) for name in names]
        longest = max(map(len, said), default=1)
        options = Choice(0, longest, (*said, None))
        return Form(
            "",
            (None,) * min(self._usual(longest), self._writing.canvas_length),
            (options,),
            lambda row: None,
        )

    def _schema(
        self,
        name: str,
        schema: Schema,
        head: tuple[int, ...],
        end: int,
        room: int,
        limit: int,
    ) -> Form:
        """A value of `schema` between `head` and `end`."""
        writing = self._writing
        typical = lay_out(
            outline(schema, writing.syntax),
            encode=writing.encode,
            width_of=writing.width,
            filler=writing.tokens.pad,
        ).width
        read = self._reader(schema, start=len(head))

        def form(said: Schema, pointer: str = "", width: int | None = None) -> Form:
            automaton = compile_schema(
                said,
                vocabulary=writing.vocabulary,
                syntax=writing.syntax,
                root=said,
                pointer=pointer,
            )
            width = self._width(len(head), automaton, typical, width or room, limit)

            def without(rows: Sequence[Sequence[int]], pointers: Sequence[str]) -> Form:
                rejected = [tuple(path_of(pointer)) for pointer in pointers]
                value, *earlier = map(read, rows)
                other = excluding(schema, "", value, rejected=rejected, earlier=earlier)
                return form(other, OTHER, len(rows[0]))

            return self._form(name, head, width, automaton, end, read, without)

        return form(schema)

    def _form(
        self,
        name: str,
        head: tuple[int, ...],
        width: int,
        automaton: TokenAutomaton,
        end: int,
        read: Callable[[Sequence[int]], Any],
        without: Without,
        *,
        stop: int | None = None,
    ) -> Form:
        """A row of `width` tokens; text and end lie before `stop`, if that comes sooner."""
        stop = width if stop is None else stop

        def literal(before: int, to: int) -> tuple[int, ...]:
            return head if before < 0 else (end,)

        pad = self._writing.tokens.pad
        region = Region.floating(len(head), stop, automaton, end=end, pad=pad)
        row = (*head, *[None] * (stop - len(head)), *[pad] * (width - stop))
        return Form(name, row, (region,), read, literal, without)

    def _width(
        self, head: int, automaton: TokenAutomaton, typical: int, room: int, limit: int
    ) -> int:
        """As wide as typical values need, and wide enough for the shortest."""
        needed = head + automaton.enough_tokens + 1
        if needed > limit:
            raise CanvasTooShort(needed=needed, available=limit)
        if needed > self._writing.canvas_length:  # more than one anyway: half as much again
            return min(limit, max(head + typical + 1, 3 * needed // 2))
        return min(room if needed <= room else limit, self._usual(max(head + typical + 1, needed)))

    def _reader(self, schema: Schema, *, start: int) -> Callable[[Sequence[int]], Any]:
        check = gate(schema)

        def read(row: Sequence[int]) -> Any:
            return check(self._writing.syntax.loads(self._writing.surface(row[start:])))

        return read

    def _usual(self, wanted: int) -> int:
        """The smallest usual width with room for `wanted`; just that above one canvas."""
        usual = (width for width in _WIDTHS if width >= wanted)
        return max(wanted, min(next(usual, wanted), self._writing.canvas_length))
