"""Strings as a syntax writes them: character by character, then between quotes.

Knows which characters a syntax can hold and its one way of spelling each. Must not know schemas or
tokens. Every character has exactly one spelling, so that lengths, patterns and formats may be
intersected as byte languages.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

from agentkit_engine.grammar.characters import (
    ALL,
    Characters,
    complement,
    intersection,
    one,
    union,
    utf8,
)
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.expression import (
    NOTHING,
    Choice,
    Expression,
    Spliced,
    choice,
    literal,
    repeat,
)
from agentkit_engine.syntax import Syntax

__all__ = ["ESCAPED", "PLAIN", "Alphabet", "alphabet_of"]

_CONTROL: Characters = ((0x00, 0x1F),)
_TEXT = union(intersection(complement(union(_CONTROL, one("\x7f"))), ALL), one("\n"), one("\t"))


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters of string contents and their spelling."""

    characters: Characters
    escapes: bool

    def spell(self, wanted: Characters) -> Expression:
        """One character out of `wanted`, as far as this alphabet has it."""
        return _spell(intersection(wanted, self.characters), self.escapes)

    def text(self, *, least: int = 0, most: int | None = None) -> Expression:
        """`least` to `most` characters of any kind."""
        return repeat(self.spell(ALL), least, most)

    def write(self, text: str) -> Expression:
        """Exactly this text, which may hold characters out of the alphabet."""
        return literal(_escaped(text) if self.escapes else text.encode())


ESCAPED = Alphabet(ALL, escapes=True)
"""Contents of JSON strings: every character; quote, backslash and controls are escaped."""

PLAIN = Alphabet(_TEXT, escapes=False)
"""Raw text: every character but controls; of these only newline and tab."""


def alphabet_of(syntax: Syntax) -> Alphabet:
    """The alphabet of a syntax's strings."""
    return ESCAPED if syntax.escapes else PLAIN


def _escaped(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


@lru_cache(maxsize=4096)
def _spell(wanted: Characters, escapes: bool) -> Expression:
    spelled = [utf8(wanted)]
    if escapes:
        special = union(_CONTROL, one('"'), one("\\"))
        spelled = [utf8(intersection(wanted, complement(special)))]
        spelled += [
            literal(_escaped(chr(code)))
            for low, high in intersection(wanted, special)
            for code in range(low, high + 1)
        ]
    expression = choice(spelled)
    # finished into an automaton once, so that each of many copies stays small
    if isinstance(expression, Choice) and expression != NOTHING:
        return Spliced(build(expression))
    return expression
