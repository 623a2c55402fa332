"""Grammars: a schema's language is a part of its valid values, and refusals name their place."""

from __future__ import annotations

import enum
import itertools
import json
import random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from languages import sample, schemas, valid
from pydantic import BaseModel, Field

from agentkit_engine.errors import (
    SchemaTooLarge,
    TemplateError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.grammar import schema_automaton
from agentkit_engine.syntax import GEMMA, JSON, Syntax

SYNTAXES = (JSON, GEMMA)


def accepts(schema: Any, value: Any, syntax: Syntax = JSON) -> bool:
    return schema_automaton(schema, syntax=syntax).accepts(syntax.dumps(value))


ACCEPTED: list[tuple[Any, list[Any]]] = [
    ({"type": "string"}, ["", "a", 'q"\\\n\t', "é日😀"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é😀\n"]),
    ({"type": "string", "pattern": "^[A-Z]{3}$", "maxLength": 3}, ["AMS"]),
    ({"type": "integer"}, [0, -1, 7, 10**15 - 1]),
    ({"type": "integer", "minimum": 2**53, "maximum": 2**53 + 5}, [2**53 + 1]),
    ({"type": "integer", "multipleOf": 7, "minimum": -30}, [-28, 0, 7, 700]),
    ({"type": "number"}, [0, -1, 2.0, 0.5, -3.25, 1234567.125]),
    ({"type": "number", "exclusiveMinimum": 0.1, "maximum": 1}, [0.11, 0.100001, 1, 1.0]),
    ({"type": ["string", "null"]}, ["x", None]),
    ({"type": ["integer", "number"], "maximum": 2}, [1, 1.5]),
    ({"enum": ["low", 3, None, True, 2.5, {"a": [1]}]}, ["low", 3, None, True, 2.5, {"a": [1]}]),
    ({"const": "x"}, ["x"]),
    ({"type": "array", "items": {"type": "boolean"}}, [[], [True], [True, False, True]]),
    ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3}, [[None, None]]),
    ({"type": "array", "items": False}, [[]]),
    ({"anyOf": [{"type": "integer"}, {"type": "string", "format": "date"}]}, [4, "2024-02-29"]),
    ({"allOf": [{"type": "string"}], "maxLength": 2}, ["ab"]),
    ({}, ["any", 1, 2.5, True, None]),
    (True, ["any"]),
    ({"properties": {"a": {}}, "required": ["a"]}, [{"a": "x"}]),
    (
        {"type": "object", "required": ["z"], "additionalProperties": {"type": "null"}},
        [{"z": None}],
    ),
    ({"type": "object"}, [{}]),
]

REFUSED: list[tuple[Any, list[Any]]] = [
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["a", "abcd", "😀"]),
    ({"type": "string", "pattern": "^[A-Z]+$", "maxLength": 3}, ["AMST", "", "ams"]),
    ({"type": "integer"}, [1.0, True, "1", 10**15]),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5.5}, [3, 6]),
    ({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 1}, [0.1, 1, 1.0, 0.0999]),
    ({"enum": ["low", 1]}, ["high", True, 1.0]),
    ({"enum": ["low", "lowest", 4], "type": "string", "maxLength": 3}, ["lowest", 4]),
    ({"const": True}, [1, False]),
    ({"items": {"type": "null"}, "minItems": 2, "maxItems": 3}, [[None], [None] * 4]),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, [{"b": 1}]),
    ({"type": "object", "properties": {"a": False}}, [{"a": 1}]),
    ({"type": "string", "$ref": "#/$defs/n", "$defs": {"n": {"minLength": 4}}}, ["abc"]),
]  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(("schema", "values"), ACCEPTED, ids=lambda part: json.dumps(part)[:50])
def test_accepted(schema: Any, values: list[Any], syntax: Syntax) -> None:
    for value in values:
        assert accepts(schema, value, syntax), value
        assert valid(schema, value), value


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(("schema", "values"), REFUSED, ids=lambda part: json.dumps(part)[:50])
def test_refused(schema: Any, values: list[Any], syntax: Syntax) -> None:
    for value in values:
        assert not accepts(schema, value, syntax), value


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("required", [[], ["a"], ["c"], ["b", "d"], ["a", "b", "c", "d"]])
def test_optional_keys_in_every_combination(required: list[str], syntax: Syntax) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}, "d": {"const": 4}},
        "required": required,
        "additionalProperties": False,
    }
    automaton = schema_automaton(schema, syntax=syntax)
    everything = {"a": 1, "b": 2, "c": 3, "d": 4}
    for size in range(5):
        for names in itertools.permutations("abcd", size):
            value = {name: everything[name] for name in names}
            expected = list(names) == sorted(names) and set(required) <= set(names)
            assert automaton.accepts(syntax.dumps(value)) == expected
    assert not automaton.accepts(b"{,}")


UNSUPPORTED: list[tuple[Any, str, str]] = [
    ({"type": "string", "pattern": "a(?=b)"}, "pattern", ""),
    ({"type": "object", "properties": {"a/b~": {"pattern": r"(a)\1"}}}, "pattern",
     "/properties/a~1b~0"),
    ({"type": "integer", "minimum": True}, "minimum", ""),
    ({"type": "integer", "minimum": "1"}, "minimum", ""),
    ({"type": "string", "minLength": -1}, "minLength", ""),
    ({"type": "string", "maxLength": 1.5}, "maxLength", ""),
    ({"type": "text"}, "type", ""),
    ({"type": ["string", "any"]}, "type", ""),
    ({"enum": "ab"}, "enum", ""),
    ({"type": "object", "required": "a"}, "required", ""),
    ({"type": "object", "properties": []}, "properties", ""),
    ({"allOf": {}}, "allOf", ""),
    ({"$ref": "https://example.org/schema"}, "$ref", ""),
    ({"$ref": "#/$defs/missing"}, "$ref", ""),
    ({"$ref": "#anchor"}, "$ref", ""),
    ({"$ref": "#"}, "$ref", ""),
    ({"type": "object", "patternProperties": {"^x": True}, "additionalProperties": False,
      "minProperties": 2}, "uniqueItems", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "keyword", "pointer"), UNSUPPORTED, ids=lambda part: str(part)[:60]
)
def test_refusals_name_keyword_and_pointer(schema: Any, keyword: str, pointer: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        schema_automaton(schema)
    assert (caught.value.keyword, caught.value.pointer) == (keyword, pointer)
    assert repr(keyword) in str(caught.value)
    assert repr(pointer) in str(caught.value)


def test_disjoint_one_of() -> None:
    shapes = {
        "oneOf": [
            {"type": "null"},
            {"type": "integer", "maximum": 3},
            {"type": "number", "minimum": 4},
            {"type": "string", "maxLength": 2},
            {"enum": ["abc", "abd"]},
            {"$ref": "#/$defs/cat"},
            {"$ref": "#/$defs/dog"},
        ],
        "$defs": {
            name: {"properties": {"kind": {"const": name}}, "required": ["kind"], "type": "object"}
            for name in ("cat", "dog")
        },
    }
    values: list[Any] = [None, 3, 4.5, "ab", "abd", {"kind": "dog"}]
    for value in values:
        assert accepts(shapes, value)
        assert valid(shapes, value)
    others: list[Any] = [3.5, "abx", {}, {"kind": "cow"}]
    for value in others:
        assert not accepts(shapes, value)


def test_one_of_asks_about_values_that_are_never_written() -> None:
    """Extra keys are not written, yet {"a": 1} fulfils both branches."""
    schema = {
        "type": "object",
        "oneOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "integer"}}},
        ],
    }
    assert not valid(schema, {"a": 1})
    assert not accepts(schema, {"a": 1})
    assert accepts(schema, {"a": 1, "b": "x"})
    assert accepts(schema, {"b": 2})


def test_endless_recursion_has_no_value() -> None:
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton({"type": "array", "items": {"$ref": "#"}, "minItems": 1})


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (False, "''"),
        ({"enum": []}, "''"),
        ({"enum": [1], "type": "string"}, "''"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "''"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "''"),
        ({"properties": {"a": {"type": "array", "minItems": 2, "maxItems": 1}}, "required": ["a"]},
         "'/properties/a'"),
        ({"type": "object", "required": ["b"], "additionalProperties": False}, "''"),
        ({"type": "string", "anyOf": [{"type": "null"}]}, "''"),
    ],
)  # fmt: skip
def test_schemas_without_any_value(schema: Any, named: str) -> None:
    with pytest.raises(UnsatisfiableSchema, match=named):
        schema_automaton(schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 10**7},
        {"type": "array", "items": {"type": "null"}, "minItems": 10**9},
        {"type": "string", "pattern": "^(a{1000}){1000}$"},
    ],
    ids=["minLength", "minItems", "pattern"],
)
def test_huge_schemas_are_refused_soon(schema: Any) -> None:
    with pytest.raises(SchemaTooLarge):
        schema_automaton(schema)


def test_what_nests_too_deep_is_left_out() -> None:
    assert accepts(nested(300), [[[]]])
    assert not accepts(nested(300), json.loads("[" * 200 + "]" * 200))


def test_long_strings_are_bounded_by_what_a_canvas_holds() -> None:
    automaton = schema_automaton({"type": "string", "maxLength": 10**6})
    assert automaton.accepts(JSON.dumps("x" * 500))


@pytest.mark.parametrize("schema", [5, "string", None, [], {"properties": {"a": 5}}])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(TemplateError, match=r"object or a boolean|is no schema"):
        schema_automaton(schema)


def test_annotations_change_nothing() -> None:
    annotated = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://x/y",
        "title": "t", "description": "d", "default": 1, "examples": [1], "deprecated": True,
        "readOnly": True,
        "writeOnly": False, "$comment": "c", "$defs": {"unused": {"not": {}}}, "type": "integer",
    }  # fmt: skip
    assert accepts(annotated, 12)
    assert not accepts(annotated, "12")


def test_keywords_of_other_types_change_nothing() -> None:
    assert accepts({"type": "integer", "minLength": 3, "format": "int32", "pattern": "("}, 12)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_content_only_leaves_the_quotes_off(syntax: Syntax) -> None:
    for schema in [{"type": "string", "maxLength": 3}, {"enum": ["a", "b c"]}, {"const": ""}]:
        whole = schema_automaton(schema, syntax=syntax)
        content = schema_automaton(schema, syntax=syntax, content_only=True)
        for text in ["", "a", "b c", 'a"', "abcd"]:
            written = syntax.dumps(text)
            assert content.accepts(written[1:-1]) == whole.accepts(written)
        assert not content.accepts(syntax.dumps("a"))


@pytest.mark.parametrize(
    "schema", [{"type": ["string", "null"]}, {"type": "integer"}, {"enum": ["a", 1]}]
)
def test_content_only_needs_strings(schema: Any) -> None:
    with pytest.raises(TemplateError, match="other values than strings"):
        schema_automaton(schema, content_only=True)


def test_a_part_of_a_document() -> None:
    root: dict[str, Any] = {
        "properties": {"a~/b": {"$ref": "#/$defs/x%20y"}},
        "$defs": {"x y": {"type": "string", "pattern": "("}},
    }
    with pytest.raises(UnsupportedSchema) as caught:
        schema_automaton(root["properties"]["a~/b"], root=root, pointer="/properties/a~0~1b")
    assert caught.value.pointer == "/$defs/x y"


def test_a_syntax_may_be_named() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert schema_automaton(schema, syntax="spaced").accepts(b"[1, 2]")
    assert not schema_automaton(schema, syntax="json").accepts(b"[1, 2]")
    with pytest.raises(TemplateError, match="'json', 'spaced', 'gemma'"):
        schema_automaton(schema, syntax="yaml")


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: float = Field(ge=0, lt=10)
    label: str | None = None


class Drawing(BaseModel):
    kind: Literal["drawing"]
    colour: Colour
    points: list[Point] = Field(min_length=1, max_length=3)
    scale: int = Field(default=1, gt=0)
    parent: Drawing | None = None


def test_what_pydantic_emits() -> None:
    schema = Drawing.model_json_schema()
    automaton = schema_automaton(schema)
    point = {"x": 9.5, "label": "é"}
    value: dict[str, Any] = {"kind": "drawing", "colour": "red", "points": [point], "scale": 2}
    assert automaton.accepts(JSON.dumps(value))
    assert automaton.accepts(JSON.dumps({**value, "parent": {**value, "parent": None}}))
    assert not automaton.accepts(JSON.dumps({**value, "points": [{"x": 10}]}))
    chance = random.Random(4)
    for _ in range(30):
        Drawing.model_validate(JSON.loads(sample(automaton, chance, turns=120)))


@given(schemas(), st.sampled_from(SYNTAXES), st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_whatever_is_written_is_valid_and_read_back(schema: Any, syntax: Syntax, seed: int) -> None:
    automaton = schema_automaton(schema, syntax=syntax)
    chance = random.Random(seed)
    for _ in range(3):
        text = sample(automaton, chance)
        assert automaton.accepts(text)
        value = syntax.loads(text)
        assert valid(schema, value), (schema, text)
        assert syntax.loads(syntax.dumps(value)) == value
