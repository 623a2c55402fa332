"""Forms: one row of a batch, as denoising sees it, and how a checkpoint writes.

Knows tokens, free regions, their automata, and how a filled row is read back as a value. Must not
know models or probabilities, nor how a template comes to lie on a row: that is a layout's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jsonschema
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from agentkit_engine.dialect import Dialect, DialectTokens, Spoken
from agentkit_engine.errors import EngineError, TemplateError
from agentkit_engine.grammar import (
    TokenAutomaton,
    Vocabulary,
    compile_choice,
    compile_regex,
    compile_text,
)
from agentkit_engine.layouts.canvas import slot_width
from agentkit_engine.panics import panics_as_recursion
from agentkit_engine.syntax import Syntax
from agentkit_engine.template import Hole, Schema, Template

_CANVASES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Free positions from `start` to `stop` that must become a sequence `automaton` accepts.

    Make it with `slot`, `floating` or `before`.

    Attributes:
        pointer: where its value lies in the whole (JSON pointer).
        automaton: a value and its tail, or the marker of absence and the tail.
        present: `automaton` without the marker.
        value: values alone, with neither tail nor marker.
        ending: tokens that stand behind a value and count as said.
        padding: the token that fills the rest, and is never said.
        absent: the marker of an optional key that is left out; None: it must be there.
        markers: in the sequences of `automaton`, what stands for `ending` and for what is behind
            it, where the ending is a text (see `lattice.placing`); None: they are the row's tokens.
        parted: it is a part of a value, the rest of which stands on other canvases.
    """

    start: int
    stop: int
    pointer: str
    automaton: TokenAutomaton
    present: TokenAutomaton
    value: TokenAutomaton
    ending: tuple[int, ...]
    padding: int
    absent: int | None
    markers: tuple[int, int] | None = None
    parted: bool = False

    @classmethod
    def slot(
        cls,
        start: int,
        stop: int,
        pointer: str,
        value: TokenAutomaton,
        *,
        filler: int,
        absent: int | None = None,
    ) -> Region:
        """A slot: a value, then fillers; or `absent`, then fillers."""
        present = value.fill(filler)
        whole = present if absent is None else value.fill(filler, marker=absent)
        return cls(start, stop, pointer, whole, present, value, (), filler, absent)

    @classmethod
    def floating(
        cls, start: int, stop: int, value: TokenAutomaton, *, end: int, pad: int
    ) -> Region:
        """Running text: a value, the token `end`, then padding."""
        whole = value.close(end, pad)
        return cls(start, stop, "", whole, whole, value, (end,), pad, None)

    @classmethod
    def before(
        cls,
        start: int,
        stop: int,
        value: TokenAutomaton,
        *,
        text: Sequence[int],
        end: int,
        pad: int,
    ) -> Region:
        """A hole before a text: a value, `text` right behind it, the token `end`, then padding."""
        markers = _markers(value)
        whole = value.close(*markers)
        return cls(start, stop, "", whole, whole, value, (*text, end), pad, None, markers)

    @property
    def width(self) -> int:
        return self.stop - self.start

    @property
    def room(self) -> int:
        """Tokens there are for a value."""
        return self.width - len(self.ending)

    def said(self, row: Sequence[int]) -> tuple[int, ...] | None:
        """The value's tokens in a filled row; None where it is absent."""
        tokens = tuple(row[self.start : self.stop])
        if self.absent is not None and tokens[:1] == (self.absent,):
            return None
        tail = {*self.ending[-1:], self.padding}
        behind = next((k for k, token in enumerate(reversed(tokens)) if token not in tail), None)
        said = 0 if behind is None else len(tokens) - behind
        return tokens[: said - len(self.ending[:-1])]

    def sequence(self, row: Sequence[int]) -> tuple[int, ...]:
        """What `automaton` reads of a filled row."""
        if self.markers is None:
            return tuple(row[self.start : self.stop])
        value, (marker, rest) = self.said(row) or (), self.markers
        return (*value, marker, *[rest] * (self.room - len(value)))

    def written(self, sequence: Sequence[int]) -> tuple[int, ...]:
        """What stands in the row for a sequence that `automaton` accepts."""
        if self.markers is None:
            return tuple(sequence)
        value = tuple(sequence[: sequence.index(self.markers[0])])
        return (*value, *self.tail(len(value)))

    def tail(self, used: int) -> tuple[int, ...]:
        """What stands behind a value of `used` tokens, up to the region's end."""
        return (*self.ending, *[self.padding] * (self.room - used))


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Free positions from `start` that must become one of some token sequences.

    Attributes:
        sequences: the options' tokens; None is "anything else", told by the first token.
    """

    start: int
    stop: int
    sequences: tuple[tuple[int, ...] | None, ...]


Without: TypeAlias = "Callable[[Sequence[Sequence[int]], Sequence[str]], Form]"


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One row of a batch; or one to be cut into several canvases, if it is wider than the model's.

    Attributes:
        name: what a drawing calls the row.
        tokens: pinned ids; None where a position is free.
        regions: what the free positions may become; those outside a region are never emitted.
        read: the value of a filled row (and the gate: it never passes what the schema refuses).
        literal: what is said between two of its regions, those between them being absent: from
            region k (-1: the beginning) to region j (their number: the end). None where nothing of
            the row is said in the model's own words.
        without: a form of the same values as those of the first of some filled rows, but for those
            at some JSON pointers: there it says what none of the rows does.
        first: what free positions show at the first step, by position; all others are noise.
        two_sided: what is filled in depends on what stands behind it, of which a causal reader
            knows nothing.
        role: what the row says: a call, an answer, or the value of a template.
        plain: its value is a text as it is written, not JSON.
    """

    name: str
    tokens: tuple[int | None, ...]
    regions: tuple[Region | Choice, ...]
    read: Callable[[Sequence[int]], Any]
    literal: Callable[[int, int], tuple[int, ...]] | None = None
    without: Without | None = None
    first: Mapping[int, int] = field(default_factory=dict[int, int])
    two_sided: bool = False
    role: Spoken = "template"
    plain: bool = False

    @property
    def width(self) -> int:
        return len(self.tokens)

    @property
    def values(self) -> list[Region]:
        """The regions of values, in order; choices left out."""
        return [region for region in self.regions if isinstance(region, Region)]

    @property
    def free(self) -> int:
        """How many positions are filled."""
        return sum(region.stop - region.start for region in self.regions)

    def full(self, row: Sequence[int]) -> bool:
        """Whether it is a text that takes every token there is room for: more may be unsaid."""
        return self.plain and all(
            len(region.said(row) or ()) >= region.room for region in self.values
        )

    def placed(self, row: Sequence[int]) -> dict[int, int]:
        """What stands behind the holes before a text, where a filled row places it."""
        found: dict[int, int] = {}
        for region in self.regions:
            if isinstance(region, Region) and region.markers is not None:
                begin = region.start + len(region.said(row) or ())
                found.update(enumerate(row[begin : region.stop], begin))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """How one checkpoint writes: its vocabulary, syntax and special tokens.

    Attributes:
        encode: surface bytes to token ids.
        canvas_length: the widest canvas, in tokens.
    """

    vocabulary: Vocabulary
    syntax: Syntax
    dialect: Dialect
    tokens: DialectTokens
    encode: Callable[[bytes], list[int]]
    canvas_length: int

    @property
    def longest(self) -> int:
        """The widest row: so many canvases, filled one after the other."""
        return _CANVASES * self.canvas_length

    def surface(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens that an automaton let through; filler and end have none."""
        known = self.vocabulary.token_bytes
        return b"".join(known[token] or b"" for token in tokens)

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say."""
        return self.surface(tokens).decode()

    def width(self, hole: Hole) -> int:
        """The typical width of a hole's value, in tokens."""
        string_width = self.dialect.string_width
        return slot_width(hole, syntax=self.syntax, encode=self.encode, string_width=string_width)

    def plain(
        self, template: Template, *, without: Sequence[str] = ()
    ) -> tuple[TokenAutomaton, int]:
        """The automaton of a template that is no schema, and the width it would like.

        Args:
            without: values that are ruled out.
        """
        known = self.vocabulary
        match template.kind:
            case "choice":
                options = [option for option in template.options if option not in without]
                widest = max(len(self.encode(option.encode())) for option in template.options)
                return compile_choice(options, vocabulary=known), widest
            case "regex":
                found = compile_regex(template.pattern, vocabulary=known, without=without)
                return found, template.max_tokens or 2 * max(8, found.min_tokens)
            case _:
                return compile_text(vocabulary=known, without=without), template.max_tokens


def _markers(value: TokenAutomaton) -> tuple[int, int]:
    """Two tokens that write nothing in a value."""
    free = (value.class_of < 0).nonzero()[0][:2].tolist()
    if len(free) < 2:
        raise TemplateError(
            "every token of this vocabulary writes text; to place a text behind a hole takes two "
            "that don't, such as special tokens"
        )
    return free[0], free[1]


def gate(schema: Schema) -> Callable[[Any], Any]:
    """The last gate: what `jsonschema` refuses is never emitted. It has never fired."""
    chosen = validator_for(schema, default=jsonschema.Draft202012Validator)
    validator = chosen(schema, format_checker=chosen.FORMAT_CHECKER)

    def check(value: Any) -> Any:
        try:
            with panics_as_recursion():
                fault = best_match(validator.iter_errors(value))
        except (re.error, RecursionError):
            # a pattern that Python can't read, such as \p{L}, or an `if` that leads back to itself
            # and decides on nothing: the grammar knows better
            return value
        if fault is not None:
            raise EngineError(
                f"the grammar let {value!r} through, which the schema refuses ({fault.message}); "
                "this is a defect of agentkit, please report the schema"
            )
        return value

    return check
