"""How a value is written on the canvas, and read back from it.

Knows three surface syntaxes as bytes: compact JSON, JSON with spaces, and the native syntax of
Gemma 4, whose whole calls it writes too. Must not know schemas, automata or tokenizers. A special
token that takes part in a syntax is stood for by a *symbol*, a byte that UTF-8 never uses, so that
all of a canvas is one byte string.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from agentkit_engine.errors import TemplateError

__all__ = [
    "CALL_CLOSE",
    "CALL_OPEN",
    "GEMMA",
    "JSON",
    "QUOTE",
    "SPACED",
    "SYNTAXES",
    "Syntax",
    "read_call",
    "syntax_of",
    "write_call",
]

QUOTE = 0xFF
"""The symbol of the special token that delimits Gemma's strings."""
CALL_OPEN = 0xFE
"""The symbol of the special token that opens a call of Gemma's, `<|tool_call>`."""
CALL_CLOSE = 0xFD
"""The symbol of the special token that closes it, `<tool_call|>`."""

_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CALL_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]*(?=\{)")
_OPENING = bytes([CALL_OPEN]) + b"call:"
_CLOSING = bytes([CALL_CLOSE])
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Mapping[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}
_STRING = json.JSONEncoder(ensure_ascii=False).encode
_SCAN: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Syntax:
    """One surface syntax. `quote` delimits strings; without `escapes` their text stands raw.

    `symbols` maps the symbol bytes that the syntax uses to the texts of their special tokens.
    """

    name: str
    quote: bytes
    escapes: bool
    bare_keys: bool
    item_separator: bytes
    key_separator: bytes
    symbols: Mapping[int, str] = field(default_factory=dict[int, str], hash=False)

    def dumps(self, value: object) -> bytes:
        """The one way this syntax writes a JSON value; raises TemplateError if it has none."""
        if value is None or isinstance(value, bool):
            return json.dumps(value).encode()
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, int):
            return str(value).encode()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise TemplateError(f"{value!r} has no JSON form; use a finite number or null")
            return repr(value).encode()
        if isinstance(value, list | tuple):
            items = cast("list[object]", value)
            return b"[" + self.item_separator.join(map(self.dumps, items)) + b"]"
        if isinstance(value, dict):
            return b"{" + self.item_separator.join(map(self._member, value.items())) + b"}"
        raise TemplateError(f"{value!r} is not a JSON value; got {type(value).__name__!r}")

    def loads(
        self, text: bytes, *, on_array: Callable[[int, list[Any]], None] | None = None
    ) -> Any:
        """The value that `text` writes, whole; raises TemplateError where it is malformed.

        Stricter than most readers: no white space between tokens, no NaN, no repeated key.
        `on_array` is told of every array: the byte behind its opening bracket, and its items.
        """
        reader = _Reader(self, text, on_array)
        try:
            value = reader.value()
        except RecursionError as error:
            raise reader.error("less nesting") from error
        if reader.at != len(text):
            raise reader.error("the end of the text")
        return value

    def key(self, name: str) -> bytes:
        """The literal of an object's key, with its quotes unless the syntax leaves them off."""
        if self.bare_keys and _BARE_KEY.fullmatch(name):
            return name.encode()
        return self._string(name)

    def _member(self, item: tuple[object, object]) -> bytes:
        name, value = item
        if not isinstance(name, str):
            raise TemplateError(f"the key {name!r} is not a string; JSON has string keys only")
        return self.key(name) + self.key_separator + self.dumps(value)

    def _string(self, text: str) -> bytes:
        try:
            if self.escapes:
                return _STRING(text).encode()
            return self.quote + text.encode() + self.quote
        except UnicodeEncodeError as error:
            raise TemplateError(
                f"{text!r} holds a lone surrogate, which UTF-8 can't write; remove it"
            ) from error


class _Reader:
    """Recursive descent over one text; `at` is the byte it stands before."""

    def __init__(
        self,
        syntax: Syntax,
        text: bytes,
        on_array: Callable[[int, list[Any]], None] | None = None,
    ) -> None:
        self.syntax = syntax
        self.text = text
        self.at = 0
        self.on_array = on_array

    def error(self, expected: str) -> TemplateError:
        found = self.text[self.at : self.at + 20]
        return TemplateError(
            f"not {self.syntax.name}: expected {expected} at byte {self.at}, found {found!r}"
        )

    def takes(self, literal: bytes) -> bool:
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def expect(self, literal: bytes) -> None:
        if not self.takes(literal):
            raise self.error(repr(literal))

    def value(self) -> Any:
        if self.takes(b"{"):
            return self.members()
        if self.takes(b"["):
            return self.items()
        if self.text.startswith(self.syntax.quote, self.at):
            return self.string()
        for word, value in _WORDS.items():
            if self.takes(word):
                return value
        return self.number()

    def items(self) -> list[Any]:
        values: list[Any] = []
        if self.takes(b"]"):
            return values
        start = self.at
        values.append(self.value())
        while self.takes(self.syntax.item_separator):
            values.append(self.value())
        self.expect(b"]")
        if self.on_array is not None:
            self.on_array(start, values)
        return values

    def members(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.takes(b"}"):
            return values
        self.member(values)
        while self.takes(self.syntax.item_separator):
            self.member(values)
        self.expect(b"}")
        return values

    def member(self, values: dict[str, Any]) -> None:
        start = self.at
        name = self.key()
        if name in values:
            self.at = start
            raise self.error(f"another key than {name!r}, which stands there twice")
        self.expect(self.syntax.key_separator)
        values[name] = self.value()

    def key(self) -> str:
        if not self.syntax.bare_keys or self.text.startswith(self.syntax.quote, self.at):
            return self.string()
        end = self.text.find(self.syntax.key_separator, self.at)
        name = self.text[self.at : end].decode(errors="replace")
        if end < 0 or not _BARE_KEY.fullmatch(name):
            raise self.error("a key")
        self.at = end
        return name

    def string(self) -> str:
        start = self.at
        self.expect(self.syntax.quote)
        end = self.closing_quote()
        body = self.text[self.at : end]
        try:
            if self.syntax.escapes:
                text, _ = _SCAN(body.decode() + '"', 0)
                text.encode()
            else:
                text = body.decode()
        except ValueError as error:
            self.at = start
            raise self.error("a string") from error
        self.at = end + len(self.syntax.quote)
        return text

    def closing_quote(self) -> int:
        end = self.text.find(self.syntax.quote, self.at)
        while self.syntax.escapes and end >= 0:
            before = self.text[self.at : end]
            if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
                break
            end = self.text.find(self.syntax.quote, end + 1)
        if end < 0:
            raise self.error(f"a string closed by {self.syntax.quote!r}")
        return end

    def number(self) -> int | float:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.error("a value")
        try:
            whole = match[1] is None and match[2] is None
            value = int(match[0]) if whole else float(match[0])
        except ValueError as error:
            raise self.error("a shorter number") from error
        if not math.isfinite(value):
            raise self.error("a number that fits a double")
        self.at = match.end()
        return value


JSON = Syntax("JSON", b'"', True, False, b",", b":")
SPACED = Syntax("spaced JSON", b'"', True, False, b", ", b": ")
GEMMA = Syntax(
    "Gemma",
    bytes([QUOTE]),
    False,
    True,
    b",",
    b":",
    MappingProxyType({QUOTE: '<|"|>'}),
)


SYNTAXES: Mapping[str, Syntax] = MappingProxyType({"json": JSON, "spaced": SPACED, "gemma": GEMMA})
"""The syntaxes by the names that dialects and the command line use."""


def syntax_of(named: Syntax | str) -> Syntax:
    """The syntax of a name, or the syntax itself; raises TemplateError for an unknown name."""
    if isinstance(named, Syntax):
        return named
    if named not in SYNTAXES:
        known = ", ".join(map(repr, SYNTAXES))
        raise TemplateError(f"{named!r} is not a syntax; known are {known}")
    return SYNTAXES[named]


def write_call(name: str, arguments: Mapping[str, Any]) -> bytes:
    """A whole call as Gemma 4 writes it: `<|tool_call>call:NAME{...}<tool_call|>`, with symbols.

    Raises:
        TemplateError: the name has no place in a call, or the arguments have no JSON form.
    """
    if not _BARE_KEY.fullmatch(name):
        raise TemplateError(
            f"{name!r} can't be the name of a call; begin with a letter or '_', and go on with "
            "letters, digits, '_', '.' and '-'"
        )
    return _OPENING + name.encode() + GEMMA.dumps(dict(arguments)) + _CLOSING


def read_call(text: bytes) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a whole call; raises TemplateError where it is malformed."""
    reader = _Reader(GEMMA, text)
    reader.expect(_OPENING)
    match = _CALL_NAME.match(text, reader.at)
    if match is None:
        raise reader.error("the name of a call and its arguments")
    if not text.endswith(_CLOSING):
        reader.at = len(text)
        raise reader.error(repr(_CLOSING))
    arguments = GEMMA.loads(text[match.end() : -1])
    return match[0].decode(), arguments
