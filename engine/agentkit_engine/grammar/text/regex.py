"""Patterns: the subset of ECMA-262 regular expressions (with the u flag) that are regular.

Knows pattern text and characters. Must not know schemas or bytes. What ECMA-262 and Python's `re`
read differently is known from inside and outside only: `\\d`, `\\w` and `\\s` beyond ASCII, the
line ends that `.` leaves out, and `$`, which in Python also holds before a line feed at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from agentkit_engine.errors import UnsupportedSchema
from agentkit_engine.grammar.text.characters import (
    ALL,
    Characters,
    characters,
    complement,
    span,
    union,
)
from agentkit_engine.grammar.text.expression import (
    ANY_TEXT,
    EMPTY,
    END,
    START,
    Expression,
    choice,
    one_of,
    repeat,
    sequence,
)
from agentkit_engine.grammar.text.properties import property_characters
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between

__all__ = ["pattern_texts"]

_BEYOND_ASCII = span(0x80, 0x10FFFF)
_DIGITS = span(0x30, 0x39)
_WORD = union(_DIGITS, span(0x41, 0x5A), span(0x61, 0x7A), characters("_"))
_LINE_ENDS = characters("\n\r\u2028\u2029")
# what ECMA-262 and Python agree on, and what one of them takes for space
_SPACE = union(
    characters(" \t\n\r\f\v\xa0\u1680\u2028\u2029\u202f\u205f\u3000"), span(0x2000, 0x200A)
)
_SOME_SPACE = union(_SPACE, span(0x1C, 0x1F), characters("\x85\u180e\ufeff"))
_MAX_DEPTH = 50
_CONTROL_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_COUNTED = re.compile(r"\{([0-9]+)(,([0-9]+)?)?\}")
_OPEN_COUNTED = re.compile(r"\{,[0-9]+\}")
_MOST = 10_000_000  # a count above is as good as none for an automaton: neither is ever built
_PAIR = re.compile(r"u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,8})\}")
_PROPERTY = re.compile(r"([pP])\{([A-Za-z_]+)(?:=([A-Za-z_]+))?\}")
_GROUP_NAME = re.compile(r"\?P?<[A-Za-z_$][A-Za-z0-9_$]*>")


@dataclass(frozen=True, slots=True)
class _Class:
    """Characters that all dialects take (`sure`), and those that some may (`maybe`)."""

    sure: Characters
    maybe: Characters

    def __invert__(self) -> _Class:
        return _Class(complement(self.maybe), complement(self.sure))

    def __or__(self, other: _Class) -> _Class:
        return _Class(union(self.sure, other.sure), union(self.maybe, other.maybe))


@dataclass(frozen=True, slots=True)
class _Term:
    """Part of a pattern as its inner and its outer language."""

    sure: Expression
    maybe: Expression


_START = _Term(START, START)


def _exactly(wanted: Characters) -> _Class:
    return _Class(wanted, wanted)


_DOT = _Class(complement(_LINE_ENDS), complement(characters("\n")))
_DIGIT_CLASS = _Class(_DIGITS, union(_DIGITS, _BEYOND_ASCII))
_WORD_CLASS = _Class(_WORD, union(_WORD, _BEYOND_ASCII))
_SPACE_CLASS = _Class(_SPACE, _SOME_SPACE)
_ESCAPES = {
    "d": _DIGIT_CLASS,
    "D": ~_DIGIT_CLASS,
    "w": _WORD_CLASS,
    "W": ~_WORD_CLASS,
    "s": _SPACE_CLASS,
    "S": ~_SPACE_CLASS,
}


@lru_cache(maxsize=1024)
def pattern_texts(pattern: str, *, pointer: str, whole: bool = False) -> Between[TextSet]:
    """The texts that `pattern` matches somewhere, or from end to end if `whole`.

    inner: what ECMA-262 (with the u flag) and Python's `re` both match, as far as both compile the
    pattern: `\\p{L}`, `\\cJ`, `\\u{1F432}` and `[^]` are read as ECMA-262 does, though Python
    refuses them. outer: what at least one of them may match. Look-ahead stands behind a `^` that
    begins the pattern or one of its alternatives, since there it is an intersection.

    Raises UnsupportedSchema (keyword 'pattern') for what is not regular or has no one meaning:
    other look-around, back-references, word boundaries, inline flags, possessive quantifiers.
    Raises SchemaTooLarge where the automaton would be too large, within about a second.
    """
    parser = _Parser(pattern, pointer)
    found = parser.alternatives(top=True)
    if parser.at < len(pattern):
        parser.refuse("unbalanced ')'")
    texts = _texts(found, ends=parser.ends, whole=whole)
    for term, conditions in parser.conditioned:
        part = _texts(term, ends=parser.ends, whole=whole)
        for ahead, wanted in conditions:
            condition = _texts(ahead, ends=parser.ends, whole=False)
            part &= condition if wanted else ~condition
        texts |= part
    return texts


def _texts(term: _Term, *, ends: bool, whole: bool) -> Between[TextSet]:
    """The texts in which a term stands, or that it is."""
    around = EMPTY if whole else ANY_TEXT
    inner = TextSet.built(sequence(around, term.sure, around))
    if term.sure == term.maybe and not ends:
        return Between.exactly(inner)
    return Between(inner, TextSet.built(sequence(around, term.maybe, around), loose_end=True))


def _sequence(terms: Iterable[_Term]) -> _Term:
    found = list(terms)
    return _Term(
        sequence(*(term.sure for term in found)), sequence(*(term.maybe for term in found))
    )


class _Parser:
    """Recursive descent over one pattern; `at` is the character it stands before."""

    def __init__(self, pattern: str, pointer: str) -> None:
        self.pattern = pattern
        self.pointer = pointer
        self.at = 0
        self.depth = 0
        self.ends = False  # whether there is a `$`
        self.conditioned: list[tuple[_Term, list[tuple[_Term, bool]]]] = []

    def refuse(self, what: str) -> NoReturn:
        raise UnsupportedSchema(
            "pattern", self.pointer, f"{what} (character {self.at} of {self.pattern!r})"
        )

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def takes(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def alternatives(self, *, top: bool = False) -> _Term:
        """top: those with look-ahead go to `conditioned`."""
        options: list[_Term] = []
        while True:
            terms: list[_Term] = []
            conditions: list[tuple[_Term, bool]] = []
            while self.at < len(self.pattern) and self.peek() not in {"|", ")"}:
                if top and self.at_look_ahead() and set(terms) == {_START}:
                    conditions += self.look_ahead()
                else:
                    terms.append(self.quantified())
            if conditions:
                self.conditioned.append((_sequence(terms), conditions))
            else:
                options.append(_sequence(terms))
            if not self.takes("|"):
                break
        return _Term(
            choice(option.sure for option in options), choice(option.maybe for option in options)
        )

    def at_look_ahead(self) -> bool:
        return self.pattern.startswith(("(?=", "(?!"), self.at)

    def look_ahead(self) -> Iterator[tuple[_Term, bool]]:
        """What the text must begin with (or must not), if anything is said of that here."""
        while self.at_look_ahead():
            wanted = self.pattern[self.at + 2] == "="
            self.at += 3
            ahead = self.inside()
            yield _sequence([_START, ahead]), wanted

    def quantified(self) -> _Term:
        anchor = self.peek() in {"^", "$"}
        term = self.term()
        bounds = self.bounds()
        if bounds is None:
            return term
        if anchor:
            self.refuse("a repeated anchor")
        self.takes("?")  # lazy or greedy, the language is the same
        if self.peek() in {"*", "+", "?"} or _COUNTED.match(self.pattern, self.at):
            self.refuse("a quantifier after a quantifier")
        return _Term(repeat(term.sure, *bounds), repeat(term.maybe, *bounds))

    def bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.takes(sign):
                return bounds
        counted = _COUNTED.match(self.pattern, self.at)
        if counted is None:
            if _OPEN_COUNTED.match(self.pattern, self.at):
                self.refuse("'{,n}' means different things in different dialects; write '{0,n}'")
            return None
        least = _count(counted[1])
        most = least if counted[2] is None else _count(counted[3]) if counted[3] else None
        if most is not None and most < least:
            self.refuse("a quantifier out of order")
        self.at = counted.end()
        return least, most

    def term(self) -> _Term:
        if self.takes("("):
            return self.group()
        if self.takes("^"):
            return _START
        if self.takes("$"):
            self.ends = True
            return _Term(END, END)
        found = self.one()
        return _Term(one_of(found.sure), one_of(found.maybe))

    def one(self) -> _Class:
        """One character of some class."""
        if self.takes("["):
            return self.members()
        if self.takes("\\"):
            return self.escape(in_class=False)
        if self.takes("."):
            return _DOT
        character = self.peek()
        if character in {"*", "+", "?"} or _COUNTED.match(self.pattern, self.at):
            self.refuse("a quantifier with nothing to repeat")
        self.at += 1
        return _exactly(characters(character))

    def group(self) -> _Term:
        if self.peek() == "?" and not self.takes("?:"):
            name = _GROUP_NAME.match(self.pattern, self.at)
            if name is None:
                self.refuse("look-around here and inline flags are not supported")
            self.at = name.end()
        return self.inside()

    def inside(self) -> _Term:
        """The rest of a group, with its closing parenthesis."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.refuse(f"more than {_MAX_DEPTH} groups inside each other")
        found = self.alternatives()
        if not self.takes(")"):
            self.refuse("a group that is not closed")
        self.depth -= 1
        return found

    def members(self) -> _Class:
        """The inside of a bracketed class, up to its closing bracket."""
        negated = self.takes("^")
        if self.peek() == "]":
            return self.empty_members(negated=negated)
        found = _exactly(())
        while not self.takes("]"):
            low = self.member()
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in {"]", ""}:
                self.at += 1
                low = self.span(low, self.member())
            found |= low
        return ~found if negated else found

    def empty_members(self, *, negated: bool) -> _Class:
        """`[]` and `[^]`: no and every character; to Python the bracket is the first member."""
        if "]" in self.pattern[self.at + 1 :]:
            self.refuse("an empty class; dialects differ on '[]'")
        self.at += 1
        return _exactly(ALL if negated else ())

    def member(self) -> _Class:
        if self.at >= len(self.pattern):
            self.refuse("a class that is not closed")
        if self.takes("\\"):
            return self.escape(in_class=True)
        self.at += 1
        return _exactly(characters(self.pattern[self.at - 1]))

    def span(self, low: _Class, high: _Class) -> _Class:
        ends = (*low.maybe, *high.maybe)
        if len(ends) != 2 or any(first != last for first, last in ends):
            self.refuse("a range between classes")
        if ends[0][0] > ends[1][0]:
            self.refuse("a range out of order")
        wanted = span(ends[0][0], ends[1][0])
        return _Class(wanted if high.sure else (), wanted)

    def escape(self, *, in_class: bool) -> _Class:
        """What a backslash introduces, `at` standing behind it."""
        coded = self.code()
        if coded is not None:
            return coded
        named = _PROPERTY.match(self.pattern, self.at)
        if named:
            return self.property(named)
        letter = self.peek()
        after = self.pattern[self.at + 1 : self.at + 2]
        self.at += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter in _CONTROL_ESCAPES:
            return _exactly(characters(_CONTROL_ESCAPES[letter]))
        if letter == "b" and in_class:
            return _exactly(characters("\b"))
        if letter == "0" and not ("0" <= after <= "9"):
            return _exactly(characters("\0"))
        if letter == "c" and after.isascii() and after.isalpha():
            self.at += 1
            return _exactly(span(ord(after) % 32, ord(after) % 32))
        if not letter or letter.isalnum() or letter == "_" or ord(letter) > 0x7E:
            self.refuse(f"the escape before {letter!r} is not supported")
        return _exactly(characters(letter))

    def code(self) -> _Class | None:
        """The character of a numeric escape, if one stands here.

        A pair of surrogates is one character to ECMA-262 and none that a text can hold to Python.
        """
        pair = _PAIR.match(self.pattern, self.at)
        if pair:
            self.at = pair.end()
            code = 0x10000 + ((int(pair[1], 16) & 0x3FF) << 10) + (int(pair[2], 16) & 0x3FF)
            return _Class((), span(code, code))
        coded = _HEX.match(self.pattern, self.at)
        if coded is None:
            return None
        self.at = coded.end()
        code = int(coded[1] or coded[2] or coded[3], 16)
        if code > 0x10FFFF:
            self.refuse("a code point beyond 10FFFF")
        return _exactly(span(code, code))

    def property(self, named: re.Match[str]) -> _Class:
        """A Unicode property, as far as the versions of Unicode agree."""
        found = property_characters(named[2], named[3])
        if found is None:
            self.refuse(f"the property {named[0]!r} is not a general category")
        self.at = named.end()
        sure, unassigned = found
        wanted = _Class(sure, union(sure, unassigned))
        return ~wanted if named[1] == "P" else wanted


def _count(digits: str) -> int:
    return min(int(digits[:9]), _MOST)
