"""Forms: one row of a batch, as denoising sees it, and how a checkpoint writes.

Knows tokens, free regions, their automata, and how a filled row is read back as a value. Must not
know models or probabilities, nor how a template comes to lie on a row: that is a layout's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from agentkit_engine.canvas import slot_width
from agentkit_engine.dialect import Dialect, DialectTokens
from agentkit_engine.errors import EngineError
from agentkit_engine.grammar import (
    TokenAutomaton,
    Vocabulary,
    compile_choice,
    compile_regex,
    compile_text,
)
from agentkit_engine.syntax import Syntax
from agentkit_engine.template import Hole, Schema, Template


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
        regions: what the free positions may become; those outside a region are never emitted.
        read: the value of a filled row (and the gate: it never passes what the schema refuses).
    """

    name: str
    tokens: tuple[int | None, ...]
    regions: tuple[Region | Options, ...]
    read: Callable[[Sequence[int]], Any]

    @property
    def width(self) -> int:
        return len(self.tokens)

    @property
    def free(self) -> int:
        """How many positions are filled."""
        return sum(region.stop - region.start for region in self.regions)


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """How one checkpoint writes: its vocabulary, syntax and special tokens.

    Attributes:
        encode: surface bytes to token ids.
        canvas_length: the widest row.
    """

    vocabulary: Vocabulary
    syntax: Syntax
    dialect: Dialect
    tokens: DialectTokens
    encode: Callable[[bytes], list[int]]
    canvas_length: int

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

    def plain(self, template: Template) -> tuple[TokenAutomaton, int]:
        """The automaton of a template that is no schema, and the width it would like."""
        match template.kind:
            case "choice":
                widest = max(len(self.encode(option.encode())) for option in template.options)
                return compile_choice(template.options, vocabulary=self.vocabulary), widest
            case "regex":
                found = compile_regex(template.pattern, vocabulary=self.vocabulary)
                return found, template.max_tokens or 2 * max(8, found.min_tokens)
            case _:
                return compile_text(vocabulary=self.vocabulary), template.max_tokens


def gate(schema: Schema) -> Callable[[Any], Any]:
    """The last gate: what `jsonschema` refuses is never emitted. It has never fired."""
    chosen = validator_for(schema, default=jsonschema.Draft202012Validator)
    validator = chosen(schema, format_checker=chosen.FORMAT_CHECKER)

    def check(value: Any) -> Any:
        fault = best_match(validator.iter_errors(value))
        if fault is not None:
            raise EngineError(
                f"the grammar let {value!r} through, which the schema refuses ({fault.message}); "
                "this is a defect of agentkit, please report the schema"
            )
        return value

    return check
