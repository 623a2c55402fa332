"""Patterns: the subset of ECMA-262 regular expressions that are regular, as expressions.

Knows pattern text and characters. Must not know schemas or tokens. Validators differ on what the
classes for digits, words and spaces match beyond ASCII, so a class is kept as two sets: the
characters that every dialect agrees on (`sure`) and those that some dialect may match (`maybe`).
Only sure ones are written; a negated class takes what is left of the other's `maybe`. Anchors may
stand at the ends of an alternative.
"""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from agentkit_engine.errors import UnsupportedSchema
from agentkit_engine.grammar.characters import Characters, characters, complement, one, union
from agentkit_engine.grammar.expression import EMPTY, Expression, choice, repeat, sequence
from agentkit_engine.grammar.strings import Alphabet

__all__ = ["pattern_expression"]

_BEYOND_ASCII: Characters = ((0x80, 0x10FFFF),)
_DIGITS = union(((0x30, 0x39),))
_WORD = union(_DIGITS, ((0x41, 0x5A), (0x61, 0x7A)), one("_"))
_SPACE = characters(" \t\n\r\f\v")
_SOME_SPACE = union(
    _SPACE, ((0x1C, 0x1F), (0x2000, 0x200A)), characters("\x85\xa0\u1680\u2028\u2029\u202f"),
    characters("\u205f\u3000\ufeff"),
)  # fmt: skip
_LINE_ENDS = characters("\n\r\u2028\u2029")
_MAX_DEPTH = 50
_CONTROL_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_COUNTED = re.compile(r"\{([0-9]{1,6})(,([0-9]{1,6})?)?\}")
_OPEN_COUNTED = re.compile(r"\{,[0-9]+\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")


@dataclass(frozen=True, slots=True)
class _Class:
    sure: Characters
    maybe: Characters

    def __invert__(self) -> "_Class":
        return _Class(complement(self.maybe), complement(self.sure))

    def __or__(self, other: "_Class") -> "_Class":
        return _Class(union(self.sure, other.sure), union(self.maybe, other.maybe))


def _exactly(wanted: Characters) -> _Class:
    return _Class(wanted, wanted)


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


@dataclass(frozen=True, slots=True)
class _Group:
    """Alternatives with anchors in them, which the caller must place."""

    alternatives: "list[list[_Term]]"


_Term = Expression | _Group | Literal["^", "$"]


def pattern_expression(
    pattern: str, alphabet: Alphabet, *, whole: bool = False, pointer: str = ""
) -> Expression:
    """The texts that `pattern` matches somewhere, or from end to end if `whole`.

    Raises UnsupportedSchema (keyword 'pattern') for what is not regular or what dialects read
    differently: look-around, back-references, named groups, possessive quantifiers.
    """
    parser = _Parser(pattern, alphabet, pointer)
    alternatives = parser.alternatives()
    if parser.at < len(pattern):
        parser.refuse("unbalanced ')'")
    return parser.placed(alternatives, open_start=not whole, open_end=not whole)


class _Parser:
    """Recursive descent over one pattern; `at` is the character it stands before."""

    def __init__(self, pattern: str, alphabet: Alphabet, pointer: str) -> None:
        self.pattern = pattern
        self.alphabet = alphabet
        self.pointer = pointer
        self.at = 0
        self.depth = 0

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

    def placed(
        self, alternatives: list[list[_Term]], *, open_start: bool, open_end: bool
    ) -> Expression:
        """Lets any text stand around each alternative where no anchor forbids it."""
        options: list[Expression] = []
        for terms in alternatives:
            rest = list(terms)
            free_start, free_end = open_start, open_end
            while rest and rest[0] == "^":
                rest.pop(0)
                free_start = False
            while rest and rest[-1] == "$":
                rest.pop()
                free_end = False
            if len(rest) == 1 and isinstance(rest[0], _Group):
                inner = rest[0].alternatives
                options.append(self.placed(inner, open_start=free_start, open_end=free_end))
                continue
            parts: list[Expression] = []
            for term in rest:
                if isinstance(term, _Group | str):
                    self.refuse("an anchor inside a sequence")
                parts.append(term)
            before = self.alphabet.text() if free_start else EMPTY
            after = self.alphabet.text() if free_end else EMPTY
            options.append(sequence(before, *parts, after))
        return choice(options)

    def alternatives(self) -> list[list[_Term]]:
        found: list[list[_Term]] = [[]]
        while self.at < len(self.pattern) and self.peek() != ")":
            if self.takes("|"):
                found.append([])
            else:
                found[-1].append(self.quantified(self.term()))
        return found

    def quantified(self, term: _Term) -> _Term:
        bounds = self.bounds()
        if bounds is None:
            return term
        if isinstance(term, _Group | str):
            self.refuse("a repeated anchor")
        self.takes("?")  # lazy or greedy, the language is the same
        if self.peek() in {"*", "+", "?"} or _COUNTED.match(self.pattern, self.at):
            self.refuse("a quantifier after a quantifier")
        return repeat(term, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.takes(sign):
                return bounds
        counted = _COUNTED.match(self.pattern, self.at)
        if counted is None:
            if _OPEN_COUNTED.match(self.pattern, self.at):
                self.refuse("'{,n}' means different things in different dialects; write '{0,n}'")
            return None
        least = int(counted[1])
        most = least if counted[2] is None else int(counted[3]) if counted[3] else None
        if most is not None and most < least:
            self.refuse("a quantifier out of order")
        self.at = counted.end()
        return least, most

    def term(self) -> _Term:
        start = self.at
        if self.takes("("):
            return self.group()
        if self.takes("["):
            return self.alphabet.spell(self.members().sure)
        if self.takes("\\"):
            return self.alphabet.spell(self.escape(in_class=False).sure)
        character = self.pattern[start]
        self.at += 1
        if character == "^":
            return "^"
        if character == "$":
            return "$"
        if character == ".":
            return self.alphabet.spell(complement(_LINE_ENDS))
        if character in "*+?":
            self.refuse("a quantifier with nothing to repeat")
        return self.alphabet.spell(one(character))

    def group(self) -> _Term:
        if self.takes("?") and not self.takes(":"):
            self.refuse("look-around, named groups and inline flags are not supported")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.refuse(f"more than {_MAX_DEPTH} groups inside each other")
        alternatives = self.alternatives()
        if not self.takes(")"):
            self.refuse("a group that is not closed")
        self.depth -= 1
        plain = [
            [term for term in terms if not isinstance(term, _Group | str)] for terms in alternatives
        ]
        if [len(terms) for terms in plain] != [len(terms) for terms in alternatives]:
            return _Group(alternatives)
        return choice(sequence(*terms) for terms in plain)

    def members(self) -> _Class:
        """The inside of a bracketed class, up to its closing bracket."""
        negated = self.takes("^")
        if self.peek() == "]":
            self.refuse("an empty class; dialects differ on '[]'")
        found = _exactly(())
        while not self.takes("]"):
            low = self.member()
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in {"]", ""}:
                self.at += 1
                low = self.span(low, self.member())
            found |= low
        return ~found if negated else found

    def member(self) -> _Class:
        if self.at >= len(self.pattern):
            self.refuse("a class that is not closed")
        if self.takes("\\"):
            return self.escape(in_class=True)
        self.at += 1
        return _exactly(one(self.pattern[self.at - 1]))

    def span(self, low: _Class, high: _Class) -> _Class:
        ends = (*low.maybe, *high.maybe)
        if len(ends) != 2 or any(first != last for first, last in ends):
            self.refuse("a range between classes")
        if ends[0][0] > ends[1][0]:
            self.refuse("a range out of order")
        return _exactly(union(((ends[0][0], ends[1][0]),)))

    def escape(self, *, in_class: bool) -> _Class:
        """What a backslash introduces, `at` standing behind it."""
        letter = self.peek()
        coded = _HEX.match(self.pattern, self.at)
        if coded:
            self.at = coded.end()
            code = int(coded[1] or coded[2], 16)
            return _exactly(union(((code, code),)))
        self.at += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter in _CONTROL_ESCAPES:
            return _exactly(one(_CONTROL_ESCAPES[letter]))
        if letter == "b" and in_class:
            return _exactly(one("\b"))
        if not letter or letter.isalnum() or letter == "_" or ord(letter) > 0x7E:
            self.refuse(f"the escape before {letter!r} is not supported")
        return _exactly(one(letter))
