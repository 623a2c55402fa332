"""Forms: templates compiled for one checkpoint, ready to be denoised.

Knows how a template becomes a row of tokens with free regions, the automaton of each region, and how
to read the filled row back as a value. Must not know models or probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import jsonschema

from agentkit_engine.canvas import Canvas, Slot, lay_out, slot_width
from agentkit_engine.dialect import Dialect, DialectTokens
from agentkit_engine.errors import CanvasTooShort, EngineError, LayoutError, UnsatisfiableSchema
from agentkit_engine.grammar import (
    TokenAutomaton,
    Vocabulary,
    compile_choice,
    compile_regex,
    compile_schema,
    compile_text,
)
from agentkit_engine.syntax import Syntax
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

Layout: TypeAlias = Literal["slots", "float"]

_WIDTHS = (16, 32, 64, 128, 256)
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Free positions from `start` to `stop` that must become a sequence `automaton` accepts."""

    start: int
    stop: int
    pointer: str
    automaton: TokenAutomaton


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Free positions from `start` that must become one of some token sequences.

    Attributes:
        sequences: the options' tokens; None is "anything else", told by the first token.
    """

    start: int
    stop: int
    sequences: tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One row of a batch.

    Attributes:
        name: what a drawing calls the row.
        tokens: pinned ids; None where a position is free.
        regions: what the free positions may become; free positions outside them are never emitted.
        read: the value of a filled row (and the gate: it never passes what the schema refuses).
    """

    name: str
    tokens: tuple[int | None, ...]
    regions: tuple[Region | Options, ...]
    read: Callable[[Sequence[int]], Any]

    @property
    def width(self) -> int:
        return len(self.tokens)


class FormMaker:
    """Compiles templates, calls and choices for one checkpoint; keeps what it compiled."""

    def __init__(
        self, *, vocabulary: Vocabulary, syntax: Syntax, dialect: Dialect, tokens: DialectTokens,
        encode: Callable[[bytes], list[int]], canvas_length: int,
    ) -> None:  # fmt: skip
        self._vocabulary, self._syntax = vocabulary, syntax
        self._dialect, self._tokens, self._encode = dialect, tokens, encode
        self._canvas_length = canvas_length
        self._kept: dict[Any, Form] = {}

    def layout(self, wanted: Layout | None) -> Layout:
        """`wanted` if the checkpoint knows it, its first one for None.

        Raises:
            LayoutError: the checkpoint was not trained on that layout.
        """
        known = self._dialect.layouts
        if wanted is not None and wanted not in known:
            raise LayoutError(
                f"this checkpoint knows the layouts {', '.join(map(repr, known))}, not {wanted!r}; "
                f"leave layout out or take {known[0]!r}"
            )
        return wanted or known[0]

    def template(self, template: Template, *, layout: Layout | None, width: int | None) -> Form:
        """A template by itself on a canvas of at most `width` tokens.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: what the schema says can't be guaranteed.
            CanvasTooShort: the canvas is too short for any valid filling.
        """
        chosen = self.layout(layout)
        key = (repr(template), chosen, width)
        return self._keep(key, lambda: self._template(template, chosen, self._room(width)))

    def call(self, name: str, parameters: Schema, *, layout: Layout | None) -> Form:
        """A call of `name`, its arguments by the schema `parameters`."""
        chosen = self.layout(layout)
        key = (name, json.dumps(parameters), chosen)
        return self._keep(key, lambda: self._call(name, parameters, chosen))

    def choice(self, names: Sequence[str], *, layout: Layout | None) -> Form:
        """Which of `names` is called; the value is its index, or None for none of them."""
        chosen = self.layout(layout)
        return self._keep((tuple(names), chosen), lambda: self._choice(names, chosen))

    def answer(self, *, layout: Layout | None) -> Form:
        """Free text that ends the turn."""
        room = self._dialect.answer_width or self._canvas_length - 1
        return self.template(Template.text(min(room, self._canvas_length - 1)), layout=layout, width=None)

    def _keep(self, key: Any, make: Callable[[], Form]) -> Form:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _room(self, width: int | None) -> int:
        if width is not None and width < 1:
            raise CanvasTooShort(needed=1, available=width)
        return min(width or self._canvas_length, self._canvas_length)

    def _template(self, template: Template, layout: Layout, room: int) -> Form:
        if layout == "float":
            return self._float(template, room)
        if template.kind == "json_schema":
            assert template.schema is not None
            return self._slots("value", template.schema, room)
        automaton, width = self._plain(template)
        width = max(min(width, room - 1), automaton.min_tokens)
        if width + 1 > room:
            raise CanvasTooShort(needed=width + 1, available=room)
        region = Region(0, width, "", automaton.fill(self._filler))
        return Form("value", (*[None] * width, self._tokens.end), (region,), lambda row: self._text(row[:width]))

    def _plain(self, template: Template) -> tuple[TokenAutomaton, int]:
        """The automaton of a template that is no schema, and the width it would like."""
        match template.kind:
            case "choice":
                widest = max(len(self._encode(option.encode())) for option in template.options)
                return compile_choice(template.options, vocabulary=self._vocabulary), widest
            case "regex":
                found = compile_regex(template.pattern, vocabulary=self._vocabulary)
                return found, 2 * max(8, found.min_tokens)
            case _:
                return compile_text(vocabulary=self._vocabulary), template.max_tokens

    # slots: literals are pinned, each value has a region of its own

    @property
    def _filler(self) -> int:
        assert self._tokens.filler is not None  # a dialect with slots has one
        return self._tokens.filler

    def _slots(
        self, name: str, schema: Schema, room: int, *, head: bytes = b"",
        opening: Sequence[int] = (), closing: Sequence[int] = (),
    ) -> Form:  # fmt: skip
        segments = _headed(head, outline(schema, self._syntax))
        automata = {s.path: self._automaton(s, schema) for s in segments if isinstance(s, Hole)}
        canvas = self._fit(segments, automata, room, opening, closing)
        tokens: list[int | None] = list(canvas.tokens)
        regions: list[Region] = []
        for slot in canvas.slots:
            automaton = automata[slot.hole.path]
            if automaton is None:  # an optional key that no value fits is always absent
                tokens[slot.start] = self._tokens.absent
                continue
            tokens[slot.start : slot.stop] = [None] * slot.width
            marker = self._tokens.absent if slot.hole.optional else None
            filled = automaton.fill(self._filler, marker=marker)
            regions.append(Region(slot.start, slot.stop, json_pointer(slot.hole.path), filled))
        gate = _gate(schema)
        read = partial(self._read_slots, schema=schema, slots=canvas.slots, gate=gate)
        return Form(name, tuple(tokens), tuple(regions), read)

    def _automaton(self, hole: Hole, root: Schema) -> TokenAutomaton | None:
        try:
            return compile_schema(
                hole.schema, vocabulary=self._vocabulary, syntax=self._syntax, root=root,
                pointer=hole.pointer, content_only=hole.content_only,
            )  # fmt: skip
        except UnsatisfiableSchema:
            if hole.optional:
                return None
            raise

    def _fit(
        self, segments: Sequence[Segment], automata: Mapping[Path, TokenAutomaton | None], room: int,
        opening: Sequence[int], closing: Sequence[int],
    ) -> Canvas:  # fmt: skip
        """Lays the slots out by their typical widths, narrower where they don't fit the room."""
        least = {path: max(1, found.min_tokens) if found else 1 for path, found in automata.items()}
        typical = {hole.path: self._width(hole) for hole in segments if isinstance(hole, Hole)}
        place = partial(
            lay_out, segments, encode=self._encode, filler=self._filler, opening=opening, closing=closing
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

    def _width(self, hole: Hole) -> int:
        return slot_width(
            hole, syntax=self._syntax, encode=self._encode, string_width=self._dialect.string_width
        )

    def _read_slots(
        self, row: Sequence[int], *, schema: Schema, slots: Sequence[Slot], gate: Callable[[Any], Any]
    ) -> Any:
        value = skeleton(schema)
        for slot in slots:
            found = self._slot_value(row[slot.start : slot.stop], slot.hole)
            value = _put(value, slot.hole.path, found)
        return gate(value)

    def _slot_value(self, tokens: Sequence[int], hole: Hole) -> Any:
        if hole.optional and tokens[0] == self._tokens.absent:
            return _ABSENT
        surface = self._surface(tokens)
        if hole.content_only:
            surface = self._syntax.quote + surface + self._syntax.quote
        return self._syntax.loads(surface)

    def _surface(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens that an automaton let through; filler and end are none."""
        known = self._vocabulary.token_bytes
        return b"".join(known[token] or b"" for token in tokens)

    def _text(self, tokens: Sequence[int]) -> str:
        return self._surface(tokens).decode()

    # calls and the choice between them

    def _call(self, name: str, parameters: Schema, layout: Layout) -> Form:
        opening, closing = self._tokens.call_open, self._tokens.call_close
        if layout == "slots":
            return self._slots(
                name, parameters, self._canvas_length, head=name.encode(), opening=opening, closing=closing
            )
        automaton = compile_schema(parameters, vocabulary=self._vocabulary, syntax=self._syntax)
        head = [*opening, *self._encode(name.encode())]
        width = self._narrowest(len(head) + self._typical(parameters) + 1, len(head) + automaton.min_tokens + 1)
        closed = automaton.close(closing[0], self._tokens.pad)
        region = Region(len(head), width, "", closed)
        tokens = (*head, *[None] * (width - len(head)))
        return Form(name, tokens, (region,), partial(self._read_float, start=len(head), gate=_gate(parameters)))

    def _choice(self, names: Sequence[str], layout: Layout) -> Form:
        opening = self._tokens.call_open
        written = [tuple(self._encode(name.encode())) for name in names]
        if layout == "slots":
            assert self._tokens.absent is not None
            written.append((self._tokens.absent,))
            width = max(map(len, written))
            padded = tuple((*option, *[self._filler] * (width - len(option))) for option in written)
            options = Options(len(opening), len(opening) + width, padded)
            tokens = (*opening, *[None] * width)
        else:
            # no call at all is whatever does not begin as one
            calls = tuple((*opening, *option, *self._encode(b"{")) for option in written)
            width = max(len(option) for option in calls)
            options = Options(0, width, (*calls, None))
            tokens = (None,) * self._narrowest(width, width)
        return Form("", tokens, (options,), lambda row: None)

    # float: one automaton over the canvas, then end and padding

    def _float(self, template: Template, room: int) -> Form:
        if template.kind == "json_schema":
            assert template.schema is not None
            automaton = compile_schema(template.schema, vocabulary=self._vocabulary, syntax=self._syntax)
            typical = self._typical(template.schema)
            read = partial(self._read_float, start=0, gate=_gate(template.schema))
        else:
            automaton, typical = self._plain(template)
            read = self._text
        width = min(room, self._narrowest(typical + 1, automaton.min_tokens + 1))
        if width < automaton.min_tokens + 1:
            raise CanvasTooShort(needed=automaton.min_tokens + 1, available=width)
        region = Region(0, width, "", automaton.close(self._tokens.end, self._tokens.pad))
        return Form("value", (None,) * width, (region,), read)

    def _typical(self, schema: Schema) -> int:
        """How many tokens an instance takes if every value is of typical length."""
        canvas = lay_out(
            outline(schema, self._syntax),
            encode=self._encode,
            width_of=self._width,
            filler=self._tokens.pad,
        )
        return canvas.width

    def _narrowest(self, wanted: int, needed: int) -> int:
        """The smallest usual width with room for `wanted`, as far as the model's canvas goes."""
        if needed > self._canvas_length:
            raise CanvasTooShort(needed=needed, available=self._canvas_length)
        usual = (width for width in _WIDTHS if width >= wanted)
        return min(next(usual, self._canvas_length), self._canvas_length)

    def _read_float(self, row: Sequence[int], *, start: int, gate: Callable[[Any], Any]) -> Any:
        return gate(self._syntax.loads(self._surface(row[start:])))


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


def _gate(schema: Schema) -> Callable[[Any], Any]:
    """The last gate: what `jsonschema` refuses is never emitted. It has never fired."""
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )

    def check(value: Any) -> Any:
        fault = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if fault is not None:
            raise EngineError(
                f"the grammar let {value!r} through, which the schema refuses ({fault.message}); "
                "this is a defect of agentkit, please report the schema"
            )
        return value

    return check
