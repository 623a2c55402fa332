"""Strings, numbers, formats and patterns: what is written for the leaves of a schema."""

from __future__ import annotations

import calendar
import itertools
import random
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from languages import sample, valid

from agentkit_engine.errors import UnsatisfiableSchema, UnsupportedSchema
from agentkit_engine.grammar import schema_automaton
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.regex import pattern_expression
from agentkit_engine.grammar.strings import PLAIN
from agentkit_engine.syntax import JSON

FREE_STRING = schema_automaton({"type": "string"})


@pytest.mark.parametrize(
    "text",
    [b"-0", b"00", b"01", b"+1", b"1e3", b"1E400", b"-", b"1.", b".5", b"-0.0", b"1.50", b"1.00",
     b"0.1234567", b"--1", b"1.-5"],
)  # fmt: skip
def test_odd_numbers_are_never_written(text: bytes) -> None:
    assert not schema_automaton({"type": "number"}).accepts(text)
    assert not schema_automaton({"type": "integer"}).accepts(text)


@pytest.mark.parametrize("text", [b'"\\u0061"', b'"\\/"', b'"\\ud83d\\ude00"', b'"\n"', b'"\xff"'])
def test_a_character_has_one_spelling(text: bytes) -> None:
    assert not schema_automaton({"type": "string"}).accepts(text)


@given(st.text())
def test_every_json_string_can_be_written(text: str) -> None:
    assert FREE_STRING.accepts(JSON.dumps(text))


@given(st.integers(-120, 1300), st.integers(-120, 1300), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_integer_ranges_are_exact(
    low: int, high: int, low_excluded: bool, high_excluded: bool
) -> None:
    schema: dict[str, Any] = {
        "type": "integer",
        "exclusiveMinimum" if low_excluded else "minimum": low,
        "exclusiveMaximum" if high_excluded else "maximum": high,
    }
    expected = set(range(low + low_excluded, high + 1 - high_excluded))
    if not expected:
        with pytest.raises(UnsatisfiableSchema):
            schema_automaton(schema)
        return
    automaton = schema_automaton(schema)
    assert {n for n in range(-1500, 1500) if automaton.accepts(b"%d" % n)} == expected


@given(st.integers(-3000, 3000), st.integers(0, 3000), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_number_ranges_are_exact(
    low: int, width: int, low_excluded: bool, high_excluded: bool
) -> None:
    least, most = Decimal(low) / 100, Decimal(low + width) / 100
    schema: dict[str, Any] = {
        "type": "number",
        "exclusiveMinimum" if low_excluded else "minimum": float(least),
        "exclusiveMaximum" if high_excluded else "maximum": float(most),
    }
    if width == 0 and (low_excluded or high_excluded):
        with pytest.raises(UnsatisfiableSchema):
            schema_automaton(schema)
        return
    automaton = schema_automaton(schema)
    for thousandth in range(low * 10 - 25, (low + width) * 10 + 25, 7):
        value = thousandth / 1000
        inside = least < Decimal(thousandth) / 1000 < most
        on_edge = (value == float(least) and not low_excluded) or (
            value == float(most) and not high_excluded
        )
        assert automaton.accepts(JSON.dumps(value)) == (
            (inside or on_edge) and repr(value) != "-0.0"
        )


def test_dates_are_those_of_the_calendar() -> None:
    automaton = schema_automaton({"type": "string", "format": "date"}, content_only=True)
    for year, month, day in itertools.product(
        [1000, 1900, 1996, 2000, 2023, 2024, 2100, 9999], range(14), range(33)
    ):
        exists = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
        assert automaton.accepts(f"{year}-{month:02}-{day:02}".encode()) == exists


FORMATS = {
    "date": (["2024-02-29"], ["2023-02-29", "24-01-01", "2024-1-1", "0000-01-01"]),
    "time": (["10:30:00Z", "23:59:59.25+02:00"], ["24:00:00Z", "10:30Z", "10:30:00", "10:30:60Z"]),
    "date-time": (["2026-03-04T10:30:00Z"], ["2026-03-04 10:30:00Z", "2026-03-04"]),
    "email": (["a@x.org", "ana.li+x@mail.example.com"], ["a", "a@b", ".a@x.org", "a..b@x.org"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000", "x"]),
    "ipv4": (["0.0.0.0", "255.249.199.9"], ["256.1.1.1", "01.1.1.1", "1.1.1", "1.1.1.1.1"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    schema = {"type": "string", "format": name}
    automaton = schema_automaton(schema)
    good, bad = FORMATS[name]
    assert all(automaton.accepts(JSON.dumps(text)) for text in good)
    assert not any(automaton.accepts(JSON.dumps(text)) for text in bad)
    chance = random.Random(name)
    for _ in range(50):
        value = JSON.loads(sample(automaton, chance))
        assert valid(schema, value), value


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", r"\ba", r"\p{L}", "(?<n>a)", "(?i)a", "a++", "*a",
     "a**", "a{2,1}", "a{,3}", "(a", "a)", "[a", "[]", "[z-a]",
     r"[\d-z]", "a^b", "(^a)*", r"\Z", "\\",
     "(" * 60 + ")" * 60],
)  # fmt: skip
def test_patterns_that_are_not_supported(pattern: str) -> None:
    with pytest.raises(UnsupportedSchema, match="pattern") as caught:
        schema_automaton({"properties": {"p": {"type": "string", "pattern": pattern}}})
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/properties/p")


PATTERNS = [
    "", "a", "^a", "a$", "^a$", "^$", "^a|b$", "^(a|bc)$", "(^a$)|(^b)", "a.b", "^a*b+c?$",
    "(ab)+c", "^[ab]{2}$", "^[^a]+$", "^[a-c-]+$", "^a{2,}$", "^a{1,2}b{0}$", r"^\d+\.\d$",
    r"^[\w-]+$",
    r"^\x61\u0062$",
    r"^\S+$", r"[\s]", r"^a\/b$", "a{b", "^(?:a|)b$", r"^[\]a]+?$", "a|", "^(a(b|c)?)*$",
    "^[^\\d]b$",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_what_the_validator_means(pattern: str) -> None:
    automaton = build(pattern_expression(pattern, PLAIN))
    for length in range(5):
        for letters in itertools.product("abc1.", repeat=length):
            text = "".join(letters)
            assert automaton.accepts(text.encode()) == bool(re.search(pattern, text)), text
    for text in ["a-b", "a/b", "a{b", "a b", "]", "\n", "_", "a]", "-", "a\nb", "é"]:
        if automaton.accepts(text.encode()):
            assert re.search(pattern, text), text


@pytest.mark.parametrize(
    "pattern", [r"^\d$", r"^\w$", r"^\s$", r"^\D$", r"^\W$", r"^[^\s]$", r"^[^\w]$"]
)
def test_only_what_every_dialect_agrees_on_is_written(pattern: str) -> None:
    """Python's classes know all of Unicode, those of ECMA-262 do not."""
    automaton = build(pattern_expression(pattern, PLAIN))
    for text in ["1", "a", "_", " ", "-", "\t", "é", "٣", "日", "\u2028", "\ufeff", "\x85", "€"]:
        if automaton.accepts(text.encode()):
            assert re.search(pattern, text), text
            assert re.search(pattern, text, re.ASCII), text
