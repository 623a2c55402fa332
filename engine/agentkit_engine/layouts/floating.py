"""The layout `float`: one automaton over the row, then the end and padding.

For checkpoints that were never taught slots: literals float to where the text ends, and the length
is decided together with the content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentkit_engine.canvas import lay_out
from agentkit_engine.errors import CanvasTooShort
from agentkit_engine.forms import Form, Options, Region, Writing, gate
from agentkit_engine.grammar import TokenAutomaton, compile_schema
from agentkit_engine.template import Schema, Template, outline

_WIDTHS = (16, 32, 64, 128, 256)


class Floating:
    """Lays templates, calls and choices out as running text."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def template(self, template: Template, room: int) -> Form:
        """A template by itself, on a row of at most `room` tokens."""
        writing = self._writing
        if template.schema is not None:
            automaton, typical = self._schema(template.schema)
            read = self._reader(template.schema, start=0)
        else:
            automaton, typical = writing.plain(template)
            read = writing.text
        needed = automaton.enough_tokens + 1
        if needed > room:
            raise CanvasTooShort(needed=needed, available=room)
        width = min(room, self._narrowest(max(typical + 1, needed)))
        region = Region(0, width, "", automaton.close(writing.tokens.end, writing.tokens.pad))
        return Form("value", (None,) * width, (region,), read)

    def call(self, name: str, parameters: Schema) -> Form:
        """A call, pinned up to its name."""
        tokens, room = self._writing.tokens, self._writing.canvas_length
        automaton, typical = self._schema(parameters)
        head = [*tokens.call_open, *self._writing.encode(name.encode())]
        needed = len(head) + automaton.enough_tokens + 1
        if needed > room:
            raise CanvasTooShort(needed=needed, available=room)
        width = self._narrowest(max(len(head) + typical + 1, needed))
        closed = automaton.close(tokens.call_close[0], tokens.pad)
        region = Region(len(head), width, "", closed)
        row = (*head, *[None] * (width - len(head)))
        return Form(name, row, (region,), self._reader(parameters, start=len(head)))

    def choice(self, names: Sequence[str]) -> Form:
        """How a row of noise would begin: as a call of one of `names`, or as none of them."""
        opening, encode = self._writing.tokens.call_open, self._writing.encode
        calls = [(*opening, *encode(name.encode()), *encode(b"{")) for name in names]
        longest = max((len(call) for call in calls), default=1)
        options = Options(0, longest, (*calls, None))
        return Form("", (None,) * self._narrowest(longest), (options,), lambda row: None)

    def _schema(self, schema: Schema) -> tuple[TokenAutomaton, int]:
        """The automaton of a schema, and the tokens an instance of typical values takes."""
        writing = self._writing
        automaton = compile_schema(schema, vocabulary=writing.vocabulary, syntax=writing.syntax)
        typical = lay_out(
            outline(schema, writing.syntax),
            encode=writing.encode,
            width_of=writing.width,
            filler=writing.tokens.pad,
        )
        return automaton, typical.width

    def _reader(self, schema: Schema, *, start: int) -> Callable[[Sequence[int]], Any]:
        check = gate(schema)

        def read(row: Sequence[int]) -> Any:
            return check(self._writing.syntax.loads(self._writing.surface(row[start:])))

        return read

    def _narrowest(self, wanted: int) -> int:
        """The smallest usual width with room for `wanted`, as far as the model's canvas goes."""
        usual = (width for width in _WIDTHS if width >= wanted)
        return min(next(usual, wanted), self._writing.canvas_length)
