"""Traps that grammars of JSON fall into, each by name: whatever is written is valid."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from languages import sample, valid

from agentkit_engine.errors import SchemaTooLarge, UnsatisfiableSchema, UnsupportedSchema
from agentkit_engine.grammar import Options, schema_automaton
from agentkit_engine.syntax import GEMMA, JSON, SPACED, Syntax

OPEN = Options(order="any", open=True)
DRAFT4 = "http://json-schema.org/draft-04/schema#"
INTEGER, NUMBER, STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}


def writes(schema: Any, text: str, *, options: Options = OPEN) -> bool:
    return schema_automaton(schema, options=options).accepts(text.encode())


def check_samples(schema: Any, *, syntax: Syntax = JSON, options: Options = OPEN) -> None:
    """What is written of a schema is valid, and its strict part repeats nothing."""
    automaton = schema_automaton(schema, syntax=syntax, options=options)
    chance = random.Random(7)
    for part in (automaton, automaton.strict):
        if part is None:
            continue
        for turns in (2, 10, 40):
            text = sample(part, chance, turns=turns)
            assert part is automaton or automaton.strict is None or part.accepts(text)
            if part.accepts(text):
                assert valid(schema, syntax.loads(text)), (schema, text)


# Numbers.


@pytest.mark.parametrize("text", ["-0", "-0.0", "1e400", "-1e400", "01", "1.", ".5", "+1", "1e5"])
def test_numbers_that_readers_disagree_about_are_never_written(text: str) -> None:
    for schema in (NUMBER, INTEGER, {}):
        assert not writes(schema, text)


def test_an_enum_with_minus_zero_writes_zero() -> None:
    assert writes({"enum": [-0.0]}, "0")
    assert not writes({"enum": [-0.0]}, "-0.0")


@pytest.mark.parametrize("bound", [math.inf, 1e300, 10**400, 10**5000], ids=range(4))
def test_bounds_beyond_every_double(bound: float) -> None:
    for keyword in ("maximum", "exclusiveMaximum"):
        try:
            assert writes({**NUMBER, keyword: bound}, "12")
        except SchemaTooLarge:  # more digits than Python reads
            assert bound == 10**5000
    for keyword in ("minimum", "exclusiveMinimum", "multipleOf"):
        with suppress(UnsatisfiableSchema, UnsupportedSchema, SchemaTooLarge):
            check_samples({**NUMBER, keyword: bound})


def test_one_point_zero_is_an_integer_but_not_in_draft_4() -> None:
    assert not writes(INTEGER, "1.0")  # written without its point
    assert writes({"not": INTEGER}, "1.5")
    assert not writes({"not": INTEGER}, "1.0")
    for schema in ({"not": INTEGER}, INTEGER, {"enum": [1.0]}, {"enum": [[1.0]]}):
        check_samples({"$schema": DRAFT4, **schema})
    assert not writes({"$schema": DRAFT4, **INTEGER}, "1.0")


def test_integers_beyond_2_to_the_53() -> None:
    big = 2**53 + 1
    assert writes({"const": big}, str(big))
    assert not writes({"const": big}, str(big - 1))
    exact = {**INTEGER, "minimum": big, "maximum": big + 2}
    found = [value for value in range(big - 4, big + 6) if writes(exact, str(value))]
    assert found == [big, big + 1, big + 2]
    assert not writes({**NUMBER, "minimum": float(2**60)}, str(2**60 - 1))


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"minimum": 5}, ["5", "6", "50", "5.5"], ["4", "-5", "4.999"]),
        ({"maximum": -5}, ["-5", "-50", "-5.5"], ["5", "-4", "0"]),
        ({"exclusiveMinimum": 0}, ["0.1", "0.000001", "1"], ["0", "-1", "0.0"]),
        ({"exclusiveMaximum": 0.1}, ["0", "0.09", "-1"], ["0.1", "0.11", "1"]),
        ({"minimum": 1.5, "type": "integer"}, ["2", "10"], ["1", "1.5"]),
    ],
)
def test_one_sided_ranges(bounds: Any, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert writes({**NUMBER, **bounds}, text), text
    for text in bad:
        assert not writes({**NUMBER, **bounds}, text), text


@pytest.mark.parametrize("divisor", [3, 7, 0.5, 0.1, 0.01, 2.5, 1e-7, 1e10, 0.3, 1.1, 12.5])
def test_multiples_by_the_division_of_doubles(divisor: float) -> None:
    schema = {**NUMBER, "multipleOf": divisor, "minimum": -500, "maximum": 500}
    check_samples(schema)
    if divisor != 1e-7:  # all that is written is a multiple of that
        check_samples({"not": {"multipleOf": divisor}, **NUMBER})
    automaton = schema_automaton(schema)
    for hundredths in range(-600, 600, 7):
        value = hundredths / 100
        if automaton.accepts(JSON.dumps(value)):
            assert valid(schema, value)


def test_a_multiple_that_doubles_miss_is_not_written() -> None:
    assert not valid({"multipleOf": 0.01}, 4.35)
    assert not writes({"multipleOf": 0.01, **NUMBER}, "4.35")
    assert writes({"multipleOf": 0.01, **NUMBER}, "4.25")


def test_one_equals_one_point_zero_but_not_true() -> None:
    assert writes({"enum": [1.0]}, "1")
    assert not writes({"enum": [1]}, "true")
    assert not writes({"enum": [[0], {"a": 1}]}, '{"a":true}')
    assert not writes({"uniqueItems": True, "type": "array"}, "[1,1.0]")
    assert writes({"uniqueItems": True, "type": "array"}, "[1,true]")


# Strings.


def test_surrogate_pairs_are_one_character() -> None:
    assert writes({**STRING, "maxLength": 1}, '"😀"')
    assert not writes({**STRING, "minLength": 2}, '"😀"')
    assert writes({**STRING, "pattern": "^.$"}, '"😀"')
    assert not writes(STRING, '"\\ud83d\\ude00"')  # one spelling each
    assert not writes(STRING, '"\\ud83d"')
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton({"const": "\ud83d"})


def test_bytes_that_are_no_utf8_are_never_written() -> None:
    automaton = schema_automaton(STRING)
    broken = (b"\x80", b"\xc3", b"\xed\xa0\xbd", b"\xc0\xaf", b"\xf5\x80\x80\x80", b"\xe2\x82")
    for text in (*broken, b"\n", b"\x00", b"\\x", b"\\u12"):
        assert not automaton.accepts(b'"' + text + b'"'), text
    assert automaton.accepts('"\x7f\u2028\ufffd"'.encode())


def test_a_dollar_matches_no_line_feed() -> None:
    for text in ('"a\\n"', '"a\n"'):
        assert not writes({**STRING, "pattern": "^a$"}, text)
    assert not writes({**STRING, "not": {"pattern": "^a$"}}, '"a\\n"')  # to Python it matches


def test_digits_beyond_ascii_are_neither_written_nor_excluded() -> None:
    for pattern in (r"^\d$", r"^\D$", r"^\w$", r"^[^\W]$"):
        assert not writes({**STRING, "pattern": pattern}, '"٣"')


@pytest.mark.parametrize("text", ["a@\n", "@\u2028", "\r@", "::1\n", "1.2.3.4\n"])
def test_what_only_a_lax_reader_takes_for_a_format_is_in_neither_part(text: str) -> None:
    for name in ("email", "idn-email", "ipv4", "ipv6"):
        for schema in ({**STRING, "format": name}, {**STRING, "not": {"format": name}}):
            if writes(schema, json.dumps(text, ensure_ascii=False)):
                assert valid(schema, text)


# Combinations.


def test_one_of_excludes_what_two_branches_allow() -> None:
    schema: dict[str, Any] = {"oneOf": [{**INTEGER, "maximum": 5}, {**NUMBER, "minimum": 3}]}
    written = [n for n in range(10) if writes(schema, str(n))]
    assert written == [0, 1, 2, 6, 7, 8, 9]
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton({"oneOf": [STRING, STRING]})
    objects = {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}
    assert not writes(objects, '{"a":1,"b":2}')
    assert not writes(objects, '{"b":1,"a":2}')


def test_recursion_is_unrolled_and_always_ends() -> None:
    tree: dict[str, Any] = {"type": "array", "items": {"$ref": "#"}}
    for depth in range(1, 5):
        assert writes(tree, "[" * depth + "]" * depth)
    check_samples(tree)
    with pytest.raises(UnsupportedSchema):
        schema_automaton({"$ref": "#"})
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton({**tree, "minItems": 1})


def test_what_a_branch_evaluates_is_told_in_an_object_that_is_judged_twice() -> None:
    """The object under "c" is judged by two statements at once, only one of which must hold."""
    inner = {"if": {"patternProperties": {"a{2,}": {}}}, "unevaluatedProperties": {"type": "null"}}
    schema = {"type": "object", "properties": {"c": inner}, **inner}
    assert not valid(schema, {"c": {"a": 2}})
    for options in (Options(), OPEN):
        assert not writes(schema, '{"c":{"a":2}}', options=options)
        assert writes(schema, '{"c":{"a":null,"aa":2}}', options=options)


def test_two_schemas_with_one_anchor_are_refused() -> None:
    part = {"$dynamicAnchor": "n", "type": "string"}
    schema = {"$dynamicAnchor": "n", "$defs": {"n": part}, "items": {"$dynamicRef": "#n"}}
    with pytest.raises(UnsupportedSchema, match="same anchor"):
        schema_automaton(schema)
    assert writes({**schema, "items": INTEGER}, "[1]")


@pytest.mark.parametrize("syntax", [JSON, SPACED, GEMMA], ids=lambda one: one.name)
def test_no_key_comes_twice_however_it_is_spelled(syntax: Syntax) -> None:
    free: Any = {"type": "object", "additionalProperties": INTEGER}
    named: Any = {"properties": {"a": INTEGER}, "patternProperties": {"^[ab]": INTEGER}}
    for schema in (free, {**free, "minProperties": 2}, named):
        for options in (Options(), OPEN):
            check_samples(schema, syntax=syntax, options=options)
            automaton = schema_automaton(schema, syntax=syntax, options=options)
            once, more = syntax.dumps({"a": 1, "b": 2}), syntax.item_separator
            assert automaton.accepts(once)
            again = once[:-1] + more + syntax.key("a") + syntax.key_separator + b"3}"
            assert not automaton.accepts(again)
    escaped = b'{"a":1,"\\u0061":2}'
    assert not schema_automaton({"type": "object", "additionalProperties": True}).accepts(escaped)


def test_unknown_keywords_are_refused_when_asked() -> None:
    schema = {"properties": {"a": {"maxLenght": 3}}, "type": "object"}
    assert writes(schema, '{"a":"long"}')
    with pytest.raises(UnsupportedSchema, match="maxLenght"):
        schema_automaton(schema, options=Options(unknown_keywords="refuse"))


# Bombs.


def _items(inner: Any) -> Any:
    return {"items": inner}


def _excluded(inner: Any) -> Any:
    return {"not": inner}


def _listed(inner: Any) -> Any:
    return [inner]


def deep(levels: int, wrap: Callable[[Any], Any]) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(levels):
        schema = wrap(schema)
    return schema


MANY = [f"key_{number}" for number in range(20_000)]
BOMBS: dict[str, Any] = {
    "deep arrays": deep(3000, _items),
    "deep not": deep(3000, _excluded),
    "deep constant": {"const": deep(3000, _listed)},
    "objects listed": {"enum": [{"a": n, "b": [n]} for n in range(3000)]},
    "texts excluded": {**STRING, "not": {"enum": MANY}},
    "exponential pattern": {**STRING, "pattern": "^(a|b)*a(a|b){40}$"},
    "optional characters": {**STRING, "pattern": "^" + "a?" * 3000 + "a" * 3000 + "$"},
    "pattern of keys": {"patternProperties": {"[01]*1[01]{40}": INTEGER}, "type": "object"},
    "pattern of names": {"propertyNames": {"pattern": "y[ab]*a[ab]{30}"}, "type": "object"},
    "groups": {**STRING, "pattern": "(" * 3000 + ")" * 3000},
    "contains": {"type": "array", "contains": {"const": 1}, "minContains": 10**6},
    "items": {"type": "array", "minItems": 1e300},
    "members": {"type": "object", "minProperties": 10**6},
    "divisors": {**INTEGER, "allOf": [{"multipleOf": one} for one in range(2, 60)]},
    "keys": {"type": "object", "properties": dict.fromkeys(MANY, INTEGER)},
    "keys required": {"type": "object", "required": MANY},
    "alternatives": {"oneOf": [{"required": [name], "properties": {name: {"type": "null"}},
                                "type": "object"} for name in MANY[:200]]},
    "references": {"$ref": "#/$defs/a0", "$defs": {
        **{f"a{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/a{n + 1}"}] * 2,
                     "minItems": 2} for n in range(30)}, "a30": {}}},
    "a chain": {"$ref": "#/$defs/a0", "$defs": {
        **{f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(3000)}, "a3000": {}}},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_a_clear_error_or_an_automaton(name: str) -> None:
    options = Options(max_seconds=1.0, max_states=50_000)
    try:
        automaton = schema_automaton(BOMBS[name], options=options)
    except (SchemaTooLarge, UnsupportedSchema, UnsatisfiableSchema):
        return
    assert 0 < automaton.states <= options.max_states
    assert not automaton.empty
