"""Reading schemas: what a formula says of a value is what `jsonschema` says, in every draft.

YES is only said of valid values and NO only of invalid ones; UNKNOWN is left where validators
disagree. Formulas are judged by `formulas.holds`, values by `jsonschema`.
"""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from formulas import holds
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for

from agentkit_engine.errors import SchemaTooLarge, TemplateError, UnsupportedSchema
from agentkit_engine.grammar.formula import (
    FALSE,
    TRUE,
    AllOf,
    AnyOf,
    Covered,
    Formula,
    IsKind,
    ItemCount,
    Items,
    Keys,
    Members,
    Not,
    NumberIn,
    Reference,
    Required,
    TextIn,
    all_of,
    any_of,
    exactly_one,
    negation,
)
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.schema.document import Document
from agentkit_engine.grammar.schema.drafts import Draft
from agentkit_engine.grammar.schema.keywords import KEYWORDS
from agentkit_engine.grammar.schema.names import texts_of
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader, when
from agentkit_engine.grammar.text.formats import FORMATS, format_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.truth import Between, Truth

YES, NO, UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN
DRAFT4 = "http://json-schema.org/draft-04/schema#"
DRAFT6 = "http://json-schema.org/draft-06/schema#"
DRAFT7 = "http://json-schema.org/draft-07/schema"
DRAFT2019 = "https://json-schema.org/draft/2019-09/schema"
DRAFT2020 = "https://json-schema.org/draft/2020-12/schema"


def read(schema: Any, documents: dict[str, Any] | None = None, **options: Any) -> Reader:
    chosen: dict[str, Any] = {"open": True, **options}
    return Reader(Document(schema, documents=documents), Options(**chosen))


def truth(schema: Any, value: Any, **options: Any) -> Truth:
    reader = read(schema, **options)
    return holds(reader, reader.formula(reader.root), value)


def root(schema: Any) -> Formula:
    reader = read(schema)
    return reader.formula(reader.root)


def valid(schema: Any, value: Any) -> bool:
    cls = validator_for(schema, default=jsonschema.Draft202012Validator)
    return bool(cls(schema, format_checker=cls.FORMAT_CHECKER).is_valid(value))


EXACT: list[tuple[Any, list[Any], list[Any]]] = [
    # type
    ({"type": "null"}, [None], [False, 0, "", [], {}]),
    ({"type": "boolean"}, [True, False], [None, 0, 1, "true"]),
    ({"type": "integer"}, [0, -3, 1.0, 10**30], [1.5, True, "1"]),
    ({"type": "number"}, [0, 1.5], [True, "1", None]),
    ({"type": ["integer", "number"]}, [1.5], ["1"]),
    ({"type": ["string", "integer"]}, ["", 2], [2.5, None]),
    ({"type": ["null", "boolean", "number", "string", "array", "object"]}, [None, 1, {}], []),
    # enum, const
    ({"enum": ["a", 1, None, [2], {"k": False}]}, ["a", 1, 1.0, None, [2], {"k": False}],
     [True, "b", [2, 2], [], {"k": 0}, {}, {"k": False, "l": 1}]),
    ({"enum": []}, [], [None, "a"]),
    ({"const": 1}, [1, 1.0], [True, 2, "1"]),
    ({"const": False}, [False], [0, None, []]),
    ({"const": [1, [True]]}, [[1, [True]], [1.0, [True]]], [[1, [1]], [True, [True]], [1]]),
    ({"const": {"a": {"b": []}}}, [{"a": {"b": []}}], [{"a": {}}, {"a": {"b": {}}}, {}, []]),
    ({"const": {}}, [{}], [{"a": 1}, []]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], [1, "b"]),
    # objects
    ({"properties": {"a": {"type": "string"}}}, [{}, {"a": ""}, {"b": 1}, 3], [{"a": 1}]),
    ({"properties": {"a": False, "b": True}}, [{}, {"b": 1}], [{"a": 1}]),
    ({"required": ["a", "b"]}, [{"a": 1, "b": 2}, []], [{"a": 1}, {}]),
    ({"patternProperties": {"^x": {"type": "null"}, "y$": False}}, [{"x": None, "z": 1}],
     [{"x1": 1}, {"ay": 1}, {"xy": None}]),
    ({"additionalProperties": False}, [{}, 1], [{"a": 1}]),
    ({"properties": {"a": {}}, "patternProperties": {"^b": {}}, "additionalProperties": False},
     [{"a": 1, "b1": 2}], [{"c": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}},
     [{"a": 1, "c": None}], [{"c": 1}]),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}, {}, "long"], [{"abc": 1}]),
    ({"propertyNames": {"enum": ["a", "b", 3]}}, [{"a": 1}], [{"c": 1}]),
    ({"propertyNames": {"oneOf": [{"minLength": 2}, {"maxLength": 3}]}}, [{"a": 1, "abcd": 1}],
     [{"ab": 1}]),
    ({"propertyNames": False}, [{}], [{"a": 1}]),
    ({"propertyNames": {"type": "integer"}}, [{}], [{"a": 1}]),
    ({"minProperties": 1, "maxProperties": 2}, [{"a": 1}, {"a": 1, "b": 1}, []],
     [{}, {"a": 1, "b": 1, "c": 1}]),
    ({"maxProperties": 0.0}, [{}], [{"a": 1}]),
    ({"dependentRequired": {"a": ["b", "c"]}}, [{"a": 1, "b": 1, "c": 1}, {"b": 1}],
     [{"a": 1, "b": 1}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}, "c": False}}, [{"a": 1, "b": 1}, {}],
     [{"a": 1}, {"c": 1}]),
    # arrays
    ({"items": {"type": "null"}}, [[], [None, None], {}], [[None, 1]]),
    ({"prefixItems": [{"type": "null"}, True, {"type": "boolean"}], "items": False},
     [[], [None], [None, 1, True]], [[1], [None, 1, 1], [None, 1, True, 1]]),
    ({"prefixItems": [{"const": 1}]}, [[1, 2], []], [[2]]),
    ({"contains": {"type": "null"}}, [[1, None], {}], [[], [1]]),
    ({"contains": {"type": "null"}, "minContains": 2, "maxContains": 3},
     [[None, None], [None, None, 1, None]], [[None], [None] * 4]),
    ({"contains": {"type": "null"}, "minContains": 0}, [[], [1], [None]], []),
    ({"contains": {"type": "null"}, "minContains": 0, "maxContains": 1}, [[], [None]],
     [[None] * 2]),
    ({"minContains": 3}, [[]], []),
    ({"contains": True, "maxContains": 1}, [[1]], [[], [1, 2]]),
    ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "abc"], [[], [1, 2, 3]]),
    ({"uniqueItems": True}, [[1, True, "1"], [[1], [True]], [{"a": 1}, {"a": 2}]],
     [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    # strings
    ({"minLength": 2, "maxLength": 3}, ["ab", "é😀", "abc", 1], ["a", "abcd", ""]),
    ({"minLength": 3, "maxLength": 2}, [1], ["", "abc"]),
    ({"pattern": "^a+b"}, ["ab", "aabc", 1], ["b", "ba", ""]),
    ({"pattern": "^.{0,2}[a-c]", "minLength": 2}, ["ab", "xxc"], ["a", "xxxa"]),
    # numbers
    ({"minimum": 1, "maximum": 2.5}, [1, 2.5, 1.0, "0"], [0.999, 2.6, -3]),
    ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5], [1, 2, 1.0]),
    ({"minimum": 1, "exclusiveMinimum": 1, "maximum": 9}, [2, 9], [1, 9.5]),
    ({"multipleOf": 3}, [0, 3, -6, 9.0, "1"], [1, 4.5]),
    ({"minimum": float("-inf"), "maximum": float("inf")}, [10**400, 0], []),
    ({"minimum": float("inf")}, ["a"], [10**300]),
    # combinations
    ({"allOf": [{"minimum": 1}, {"maximum": 2}, True]}, [1, 2, "x"], [0, 3]),
    ({"allOf": []}, [1], []),
    ({"anyOf": [{"type": "null"}, {"minimum": 3}]}, [None, 3, "x"], [2]),
    ({"anyOf": [False, {"type": "null"}]}, [None], [1]),
    ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, [2, 6], [4, "both"]),
    ({"oneOf": [True, True]}, [], [1]),
    ({"oneOf": [False]}, [], [1]),
    ({"not": {"type": "object", "required": ["a"]}}, [{}, 1], [{"a": 1}]),
    ({"not": {"not": {"type": "null"}}}, [None], [1]),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 1}},
     [{"a": 1, "b": 1}, {"b": 1}], [{"a": 1}, {"b": 1, "c": 1}]),
    ({"then": False, "else": False}, [1], []),
    ({"if": False, "else": {"type": "null"}}, [None], [1]),
    (True, [1, None], []),
    (False, [], [1, None]),
    ({}, [1], []),
    ({"x-made-up": 1, "title": "T", "nullable": True}, [1], []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), EXACT)
def test_a_keyword_is_read_exactly(schema: Any, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        assert truth(schema, value) == YES, value
        assert valid(schema, value)
    for value in wrong:
        assert truth(schema, value) == NO, value
        assert not valid(schema, value)


UNEVALUATED: list[tuple[Any, list[Any], list[Any]]] = [
    ({"unevaluatedProperties": False}, [{}, 1], [{"a": 1}]),
    ({"properties": {"a": {}}, "patternProperties": {"^p": {}}, "unevaluatedProperties": False},
     [{"a": 1, "p1": 1}], [{"b": 1}]),
    ({"additionalProperties": {"type": "null"}, "unevaluatedProperties": False},
     [{"a": None}], [{"a": 1}]),
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": {"type": "null"}},
     [{"a": 1, "b": None}], [{"b": 1}]),
    ({"anyOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}}, "required": ["b"]}],
      "unevaluatedProperties": False},
     [{"a": None}, {"b": None}, {"a": None, "b": None}], [{"a": None, "b": 1}, {"a": 1}, {}]),
    ({"if": {"required": ["k"], "properties": {"k": {}}}, "then": {"properties": {"a": {}}},
      "else": {"properties": {"b": {}}}, "unevaluatedProperties": False},
     [{"k": 1, "a": 1}, {"b": 1}], [{"k": 1, "b": 1}, {"a": 1}]),
    ({"dependentSchemas": {"k": {"properties": {"a": {}}}}, "properties": {"k": {}},
      "unevaluatedProperties": False}, [{"k": 1, "a": 1}, {}], [{"a": 1}]),
    ({"not": {"not": {"properties": {"a": {}}}}, "unevaluatedProperties": False}, [{}], [{"a": 1}]),
    ({"$ref": "#/$defs/base", "$defs": {"base": {"properties": {"a": {}}}},
      "properties": {"b": {}}, "unevaluatedProperties": False}, [{"a": 1, "b": 1}], [{"c": 1}]),
    ({"allOf": [{"unevaluatedProperties": True}], "unevaluatedProperties": False},
     [{"a": 1}], []),
    ({"properties": {"a": {}}, "allOf": [{"unevaluatedProperties": False}]}, [{}], [{"a": 1}]),
    ({"oneOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]},
                {"allOf": [{"anyOf": [{"properties": {"b": {}}, "required": ["b"]}]}]}],
      "unevaluatedProperties": False}, [{"a": 1}, {"b": 1}], [{"a": 2, "b": 1}, {"a": 1, "b": 1}]),
    ({"unevaluatedItems": False}, [[], 1], [[1]]),
    ({"prefixItems": [{}], "unevaluatedItems": {"type": "null"}}, [[1, None]], [[1, 2]]),
    ({"items": {"type": "integer"}, "unevaluatedItems": False}, [[1, 2]], [["a"]]),
    ({"contains": {"type": "null"}, "unevaluatedItems": False}, [[None]], [[None, 1], []]),
    ({"anyOf": [{"prefixItems": [{"const": 1}]}, {"prefixItems": [{"const": 2}, {}]}],
      "unevaluatedItems": False}, [[1], [2, 5], []], [[1, 5], [2, 5, 5], [3]]),
    ({"allOf": [{"prefixItems": [{}]}, {"contains": {"const": 7}}], "unevaluatedItems": False},
     [[1, 7], [7]], [[1, 2, 7]]),
    ({"allOf": [{"items": {"type": "null"}}], "unevaluatedItems": False}, [[None]], [[1]]),
    ({"if": {"prefixItems": [{"const": 1}]}, "then": {"prefixItems": [{}, {}]},
      "unevaluatedItems": False}, [[1, 2], []], [[1, 2, 3], [2]]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), UNEVALUATED)
def test_what_is_left_over_is_judged_through_every_branch(
    schema: Any, right: list[Any], wrong: list[Any]
) -> None:
    test_a_keyword_is_read_exactly(schema, right, wrong)


BY_DRAFT: list[tuple[Any, list[Any], list[Any]]] = [
    ({"$schema": DRAFT4, "minimum": 1, "exclusiveMinimum": True}, [2], [1]),
    ({"$schema": DRAFT4, "maximum": 1, "exclusiveMaximum": False}, [1], [2]),
    ({"$schema": DRAFT4, "exclusiveMinimum": True}, [0], []),
    ({"$schema": DRAFT4, "const": 1, "contains": False, "if": True, "then": False}, [2, [3]], []),
    ({"$schema": DRAFT4, "$ref": "#/definitions/n", "maxLength": 1,
      "definitions": {"n": {"type": "string"}}}, ["long"], [1]),
    ({"$schema": DRAFT7, "items": [{"type": "null"}], "additionalItems": False},
     [[None], []], [[1], [None, None]]),
    ({"$schema": DRAFT7, "additionalItems": False}, [[1]], []),
    ({"$schema": DRAFT7, "items": {}, "additionalItems": False}, [[1]], []),
    ({"$schema": DRAFT7, "prefixItems": [False], "unevaluatedProperties": False},
     [[1], {"a": 1}], []),
    ({"$schema": DRAFT7, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
     [{"a": 1, "b": 1}, {"c": 1, "d": 1}, {}], [{"a": 1}, {"c": 1}]),
    ({"$schema": DRAFT7, "dependentRequired": {"a": ["b"]}}, [{"a": 1}], []),
    ({"$schema": DRAFT6, "contains": {"const": 1}, "minContains": 2}, [[1]], [[2]]),
    ({"$schema": DRAFT6, "if": True, "then": False}, [1], []),
    ({"$schema": DRAFT7, "properties": {"a": {"$ref": "#/definitions/n", "minimum": 5}},
      "definitions": {"n": {"type": "integer"}}}, [{"a": 1}], [{"a": "x"}]),
    ({"$schema": DRAFT2019, "properties": {"a": {"$ref": "#/$defs/n", "minimum": 5}},
      "$defs": {"n": {"type": "integer"}}}, [{"a": 5}], [{"a": 1}]),
    ({"$schema": DRAFT2019, "items": [{"type": "null"}], "unevaluatedItems": False},
     [[None]], [[None, 1]]),
    ({"$schema": DRAFT2019, "$recursiveAnchor": True, "properties": {"a": {"$recursiveRef": "#"}},
      "additionalProperties": False}, [{"a": {"a": {}}}], [{"a": {"b": 1}}]),
    ({"$schema": "http://example.com/custom", "$defs": {}, "minimum": 1}, [1], [0]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), BY_DRAFT)
def test_a_draft_is_told_by_its_uri(schema: Any, right: list[Any], wrong: list[Any]) -> None:
    test_a_keyword_is_read_exactly(schema, right, wrong)


def test_a_draft_may_be_given() -> None:
    reader = Reader(
        Document({"minimum": 1, "exclusiveMinimum": True}, draft=Draft.DRAFT4), Options(open=True)
    )
    assert holds(reader, reader.formula(reader.root), 1) == NO


OLDER_WORDS: list[tuple[Any, list[Any], list[Any], list[Any]]] = [
    # read as it was meant, although a validator of Draft 2020-12 ignores it
    ({"dependencies": {"a": ["b"]}}, [{"a": 1, "b": 1}, {}, 3], [], [{"a": 1}]),
    ({"not": {"dependencies": {"a": ["b"]}}}, [], [{}, {"a": 1, "b": 1}], [{"a": 1}]),
    # which it takes for a bound of 1, or of 0
    ({"minimum": -3, "exclusiveMinimum": True}, [2], [-4], [0, 1]),
    ({"maximum": 3, "exclusiveMaximum": False}, [-1], [4], [3]),
    # which has no other meaning
    ({"items": [{"type": "null"}], "additionalItems": False}, [[], [None]], [[1], [None, 1]], []),
    ({"definitions": {"n": {"type": "null"}}, "$ref": "#/definitions/n"}, [None], [1], []),
]


@pytest.mark.parametrize(("schema", "right", "wrong", "open_"), OLDER_WORDS)
def test_older_words_bind_but_are_never_held_against_a_value(
    schema: Any, right: list[Any], wrong: list[Any], open_: list[Any]
) -> None:
    assert [truth(schema, value) for value in right] == [YES] * len(right)
    assert [truth(schema, value) for value in wrong] == [NO] * len(wrong)
    assert [truth(schema, value) for value in open_] == [UNKNOWN] * len(open_)


REFERENCES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, [None], [1]),
    ({"$ref": "#/$defs/t~0/prefixItems/1",
      "$defs": {"t~": {"prefixItems": [False, {"type": "null"}]}}}, [None], [1]),
    ({"properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
     [{"next": {"next": {}}}], [{"next": {"nxt": 1}}]),
    ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}}, [None], [1]),
    ({"$id": "http://e.com/root.json", "items": {"$ref": "item.json"},
      "$defs": {"i": {"$id": "item.json", "$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}}},
     [[None]], [[1]]),
    ({"$id": "http://e.com/a/", "items": {"$ref": "/a/b#x"},
      "$defs": {"i": {"$id": "b", "$defs": {"n": {"$anchor": "x", "type": "null"}}}}},
     [[None]], [[1]]),
    ({"$id": "urn:example:root", "$ref": "urn:example:root#/$defs/n",
      "$defs": {"n": {"type": "null"}}}, [None], [1]),
    ({"$schema": DRAFT7, "$ref": "#foo", "definitions": {"n": {"$id": "#foo", "type": "null"}}},
     [None], [1]),
    ({"$schema": DRAFT4, "items": {"$ref": "n.json"}, "id": "http://e.com/r.json",
      "definitions": {"n": {"id": "n.json", "type": "null"}}}, [[None]], [[1]]),
    ({"$ref": "#/components/schemas/n", "components": {"schemas": {"n": {"type": "null"}}}},
     [None], [1]),
    ({"properties": {"$ref": {"type": "null"}}}, [{"$ref": None}], [{"$ref": 1}]),
    ({"const": {"$ref": "#/nowhere"}}, [{"$ref": "#/nowhere"}], [1]),
    ({"$ref": "#/$defs/no", "$defs": {"no": False}}, [], [1]),
    ({"$ref": DRAFT2020}, [{"minLength": 1}, True], [{"minLength": -1}, {"properties": {"a": 3}}]),
    ({"$ref": DRAFT7 + "#"}, [{"items": [{}]}], [{"items": [3]}]),
    # the outermost anchor of that name on the way here is the one that counts
    ({"$id": "http://e.com/strict", "$dynamicAnchor": "node", "$ref": "tree", "required": ["data"],
      "$defs": {"t": {"$id": "tree", "$dynamicAnchor": "node", "type": "object",
                      "properties": {"kids": {"items": {"$dynamicRef": "#node"}}}}}},
     [{"data": 1, "kids": [{"data": 2}]}], [{"data": 1, "kids": [{}]}, {}]),
    ({"$dynamicRef": "#n", "$defs": {"n": {"$anchor": "n", "type": "null"}}}, [None], [1]),
    ({"$dynamicRef": "#/$defs/n", "$defs": {"n": {"type": "null"}}}, [None], [1]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), REFERENCES)
def test_a_reference_leads_to_its_schema(schema: Any, right: list[Any], wrong: list[Any]) -> None:
    test_a_keyword_is_read_exactly(schema, right, wrong)


def test_documents_may_be_given_and_nothing_is_fetched() -> None:
    schema = {"items": {"$ref": "http://e.com/a/n.json#/$defs/n"}}
    with pytest.raises(UnsupportedSchema, match="nothing is fetched") as refusal:
        root(schema)
    assert (refusal.value.keyword, refusal.value.pointer) == ("$ref", "/items")
    other = {"$defs": {"n": {"$ref": "m.json"}}}
    given = {
        "http://e.com/a/n.json": other,
        "http://e.com/a/m.json": {"type": "null", "minimum": "x"},
    }
    reader = read(schema, given)
    assert holds(reader, reader.formula(reader.root), [None]) == YES
    assert holds(reader, reader.formula(reader.root), [1]) == NO


def test_a_place_in_another_document_is_named_with_it() -> None:
    reader = read({"items": {"$ref": "http://e.com/n#/$defs/n"}},
                  {"http://e.com/n": {"$defs": {"n": {"type": "int"}}}})  # fmt: skip
    items = reader.formula(reader.root)
    assert isinstance(items, AnyOf)
    with pytest.raises(UnsupportedSchema, match="'int' is not a type") as refusal:
        reader.formula(reader.place("/items"))
    assert refusal.value.pointer == "http://e.com/n#/$defs/n"


REFUSED: list[tuple[Any, str, str]] = [
    ({"type": "int"}, "type", ""),
    ({"type": []}, "type", ""),
    ({"type": 3}, "type", ""),
    ({"enum": "a"}, "enum", ""),
    ({"enum": [float("nan")]}, "enum", ""),
    ({"const": object()}, "const", ""),
    ({"minLength": "3"}, "minLength", ""),
    ({"maxLength": -1}, "maxLength", ""),
    ({"minItems": 1.5}, "minItems", ""),
    ({"maxItems": True}, "maxItems", ""),
    ({"maxProperties": None}, "maxProperties", ""),
    ({"uniqueItems": 1}, "uniqueItems", ""),
    ({"minimum": "1"}, "minimum", ""),
    ({"maximum": float("nan")}, "maximum", ""),
    ({"multipleOf": 0}, "multipleOf", ""),
    ({"multipleOf": float("inf")}, "multipleOf", ""),
    ({"$schema": DRAFT4, "exclusiveMinimum": 3}, "exclusiveMinimum", ""),
    ({"pattern": 1}, "pattern", ""),
    ({"pattern": "(?=a)"}, "pattern", ""),
    ({"allOf": [{"pattern": "(?=a)"}]}, "pattern", "/allOf/0"),
    ({"patternProperties": {"(": {}}}, "patternProperties", ""),
    ({"format": 1}, "format", ""),
    ({"required": "a"}, "required", ""),
    ({"required": True}, "required", ""),
    ({"required": [1]}, "required", ""),
    ({"properties": []}, "properties", ""),
    ({"dependentRequired": []}, "dependentRequired", ""),
    ({"dependentRequired": {"a": "b"}}, "dependentRequired", ""),
    ({"allOf": {}}, "allOf", ""),
    ({"anyOf": []}, "anyOf", ""),
    ({"oneOf": []}, "oneOf", ""),
    ({"prefixItems": {}}, "prefixItems", ""),
    ({"prefixItems": [], "items": []}, "items", ""),
    ({"$ref": 1}, "$ref", ""),
    ({"$ref": "#/$defs/a"}, "$ref", ""),
    ({"$ref": "#nowhere"}, "$ref", ""),
    ({"$ref": "#/prefixItems/01", "prefixItems": [{}, {}]}, "$ref", ""),
    ({"$ref": "#/title", "title": "T"}, "$ref", ""),
    ({"$ref": "http://[e.com"}, "$ref", ""),
    ({"$ref": "#"}, "$ref", ""),
    ({"allOf": [{"$ref": "#"}]}, "$ref", "/allOf/0"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
     "$ref", "/$defs/b"),
    ({"unevaluatedProperties": False, "anyOf": [{"$ref": "#"}]}, "$ref", "/anyOf/0"),
    ({"$schema": "http://json-schema.org/draft-03/schema#"}, "$schema", ""),
    ({"$schema": 3}, "$schema", ""),
    ({"$ref": "#/$defs/a/$defs/b",
      "$defs": {"a": {"$id": "x", "$schema": DRAFT7, "$defs": {"b": {}}}}}, "$ref", ""),
    # validators differ
    ({"$schema": DRAFT2019, "contains": {"const": 1}, "unevaluatedItems": False},
     "unevaluatedItems", ""),
    ({"$schema": DRAFT2019, "additionalProperties": {}, "unevaluatedProperties": False},
     "unevaluatedProperties", ""),
    ({"$id": "http://e.com/a", "$dynamicAnchor": "n", "$ref": "b",
      "$defs": {"b": {"$id": "b", "$ref": "#n", "$defs": {"c": {"$dynamicAnchor": "n"}}}}},
     "$ref", "/$defs/b"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "keyword", "pointer"), REFUSED)
def test_what_can_not_be_read_is_refused_by_keyword_and_place(
    schema: Any, keyword: str, pointer: str
) -> None:
    with pytest.raises(UnsupportedSchema) as refusal:
        root(schema)
    assert (refusal.value.keyword, refusal.value.pointer) == (keyword, pointer)


@pytest.mark.parametrize("schema", [3, None, [], "string", {"allOf": [3]}])
def test_a_schema_is_an_object_or_a_boolean(schema: Any) -> None:
    with pytest.raises(TemplateError, match="a schema is an object or a boolean"):
        root(schema)


def test_keywords_about_kinds_that_are_ruled_out_are_not_looked_at() -> None:
    assert truth({"type": "string", "required": True, "minimum": "x"}, "a") == YES


def test_nesting_has_an_end() -> None:
    schema: Any = {}
    for _ in range(200):
        schema = {"not": schema}
    with pytest.raises(SchemaTooLarge):
        root(schema)


def test_what_is_repeated_over_and_over_has_an_end() -> None:
    twice = {str(n): {"oneOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)}
    with pytest.raises(SchemaTooLarge):
        root({"$ref": "#/$defs/0", "$defs": {**twice, "30": {"minimum": 1}}})


def test_documents_with_vocabularies_of_their_own_are_refused() -> None:
    own = {"$id": "http://e.com/own", "$vocabulary": {DRAFT2020 + "/core": True}}
    with pytest.raises(UnsupportedSchema, match="takes keywords away"):
        read({"$schema": "http://e.com/own", "minimum": 1}, {"http://e.com/own": own})


def test_options_decide_on_formats_and_unknown_keywords() -> None:
    host = {"format": "ipv4"}
    assert [truth(host, text) for text in ("1.2.3.4", "1.2.3", "01.2.3.4")] == [YES, NO, NO]
    assert truth(host, "1.2.3", formats="ignore") == YES
    assert truth({"format": "postcode"}, "?") == YES
    with pytest.raises(UnsupportedSchema, match="'postcode' is not known"):
        truth({"format": "postcode"}, "?", unknown_formats="refuse")
    assert truth({"minimun": 3}, 1) == YES
    with pytest.raises(UnsupportedSchema, match="'minimun'"):
        truth({"minimun": 3}, 1, unknown_keywords="refuse")
    assert truth({"title": "T", "$defs": {}}, 1, unknown_keywords="refuse") == YES


def test_no_text_surely_lacks_a_format_that_some_draft_does_not_check() -> None:
    checked = jsonschema.Draft4Validator.FORMAT_CHECKER.checkers
    for name in FORMATS:
        texts = format_texts(name)
        assert texts is not None
        assert name in checked or texts.outer == TextSet.everything()


def test_numbers_beyond_doubles_are_in_doubt() -> None:
    assert truth({"const": 1e23}, 10**23) == UNKNOWN
    assert truth({"const": 10**23}, 10**23) == YES
    assert truth({"minimum": 1e23}, 10**23) == YES
    assert truth({"maximum": 1e23}, 10**23) == UNKNOWN
    assert truth({"const": 1e20}, 10**20) == YES  # which is a double


def test_long_texts_are_in_doubt_where_they_can_not_be_counted() -> None:
    schema = {"type": "string", "minLength": 2, "maxLength": 10**9}
    assert [truth(schema, "a" * length) for length in (1, 2, 512, 600)] == [NO, YES, YES, UNKNOWN]


def test_a_lone_surrogate_is_no_text() -> None:
    assert root({"const": "\ud800"}) == all_of(
        IsKind("string"), TextIn(Between.exactly(TextSet.nothing()))
    )


# What the formulas look like


def test_other_values_are_references_and_the_same_value_is_read_in_place() -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"type": "null"}, "a": {"title": "any"}, "c": False},
        "required": ["b"],
        "allOf": [{"minProperties": 1}],
        "additionalProperties": {"type": "null"},
    }
    reader = read(schema)
    formula = reader.formula(reader.root)
    assert isinstance(formula, AllOf)
    members = [part for part in formula.parts if isinstance(part, Members)]
    assert [member.keys for member in members] == [
        Keys(frozenset("b")),  # in the order of the schema
        Keys(frozenset("a")),
        Keys(frozenset("c")),
        Keys(frozenset("abc"), others=True),
    ]
    assert [member.value for member in members] == [
        Reference(reader.place("/properties/b")),
        TRUE,
        FALSE,
        Reference(reader.place("/additionalProperties")),
    ]
    assert [member.offered for member in members] == [False, False, False, True]
    assert IsKind("object") in formula.parts
    assert Required("b") in formula.parts
    assert reader.pointer(reader.place("/properties/b")) == "/properties/b"
    assert reader.formula(reader.place("/properties/b")) == IsKind("null")


def test_schemas_that_only_refer_are_the_schema_that_they_refer_to() -> None:
    schema = {
        "items": {"$ref": "#/$defs/a", "description": "shortened"},
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}},
    }
    reader = read(schema)
    place = reader.place("/$defs/b")
    assert reader.formula(reader.root) == when("array", Items(0, None, Reference(place)))
    assert reader.formula(place) == when("array", Items(0, None, Reference(place)))


def test_a_kind_that_is_the_only_one_is_not_excepted() -> None:
    assert root({"type": "array", "minItems": 2}) == all_of(IsKind("array"), ItemCount(2))
    assert root({"minItems": 2}) == any_of(Not(IsKind("array")), ItemCount(2))
    assert root({"minItems": 0, "uniqueItems": False, "pattern": ""}) == TRUE


def test_what_needs_no_guard_has_none() -> None:
    closed = root({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False})
    assert closed == all_of(
        IsKind("object"),
        Members(Keys(frozenset("a")), TRUE),
        Members(Keys(frozenset("a"), others=True), FALSE),
    )
    guarded = root(
        {"type": "object", "anyOf": [{"properties": {"a": {}}, "required": ["a"]}, {}],
         "unevaluatedProperties": False}
    )  # fmt: skip
    assert isinstance(guarded, AllOf)
    assert any(isinstance(part, Covered) for part in guarded.parts)


def test_offered_keys_are_those_that_the_schema_speaks_of() -> None:
    def offered(schema: Any) -> list[bool]:
        formula = root({"type": "object", **schema})
        parts = formula.parts if isinstance(formula, AllOf) else ()
        return [part.offered for part in parts if isinstance(part, Members)]

    assert offered({"additionalProperties": True}) == [True]
    assert offered({"additionalProperties": False}) == [False]
    assert offered({"patternProperties": {"^a": {}, "^b": False}}) == [True, False]
    assert offered({"unevaluatedProperties": {"type": "null"}}) == [True]
    assert offered({}) == []


def test_dynamic_scopes_are_told_apart_only_where_they_matter() -> None:
    schema = {"$id": "http://e.com/r", "items": {"$ref": "o"},
              "$defs": {"o": {"$id": "o", "items": {"$ref": "r"}}}}  # fmt: skip
    reader = read(schema)
    assert reader.formula(reader.place("/$defs/o")) == when(
        "array", Items(0, None, Reference(reader.root))
    )


# The language that a formula leaves to keys


def test_the_language_of_a_formula_is_what_it_says_of_strings() -> None:
    short, long = (TextIn(Between.exactly(TextSet.lengths(*span))) for span in ((0, 3), (2, None)))
    assert isinstance(short, TextIn)
    assert texts_of(when("string", short)) == short.texts
    assert (
        texts_of(when("number", NumberIn(Between.exactly(NumberSet.integers())))).inner
        == TextSet.everything()
    )
    assert texts_of(all_of(IsKind("number"), long)).outer == TextSet.nothing()
    once = texts_of(exactly_one(short, long))
    assert [text in once.inner for text in ("a", "ab", "abc", "abcd")] == [True, False, False, True]
    assert texts_of(negation(exactly_one(short, long))) == ~once
    assert texts_of(all_of()).inner == TextSet.everything()


# The table of keywords


def test_every_keyword_that_a_validator_knows_is_known() -> None:
    validators = (
        jsonschema.Draft4Validator, jsonschema.Draft6Validator, jsonschema.Draft7Validator,
        jsonschema.Draft201909Validator, jsonschema.Draft202012Validator,
    )  # fmt: skip
    for draft, validator in zip(Draft, validators, strict=True):
        for keyword in validator.VALIDATORS:
            known = KEYWORDS[keyword]
            assert known.honoured != "annotation", keyword
            assert draft in known.drafts, (keyword, draft)
    assert list(KEYWORDS) == sorted(KEYWORDS)
    assert all((known.honoured == "part") == bool(known.note) for known in KEYWORDS.values())


# Any schema


_NAMES = st.sampled_from(["a", "b", "ab", "c"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    # No 0 and 1 beside booleans: `jsonschema` mistakes them for each other inside lists.
    st.sampled_from([None, True, False, 2, 3, 4.0, 4.5, -6, "", "a", "ab", "cab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_NAME_LISTS = st.lists(_NAMES, max_size=2, unique=True)
_TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
_FLAT: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
         "minContains", "maxContains"),
        st.integers(0, 3),
    ),
    **dict.fromkeys(("minimum", "exclusiveMaximum"), st.sampled_from([-6, 2, 2.5, 4])),
    "$ref": st.sampled_from(["#/definitions/leaf", "#/definitions/tree"]),
    "const": _VALUES,
    "dependentRequired": st.dictionaries(_NAMES, _NAME_LISTS, max_size=2),
    "enum": st.lists(_VALUES, max_size=3),
    "multipleOf": st.sampled_from([2, 3]),
    "pattern": st.sampled_from(["a", "^a", "^[^b]*b"]),
    "required": _NAME_LISTS,
    "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
    "uniqueItems": st.booleans(),
}  # fmt: skip


def _schemas(uri: str) -> st.SearchStrategy[Any]:
    """Schemas of any shape in one draft."""

    def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        some = st.lists(inner, min_size=1, max_size=3)
        named = st.dictionaries(_NAMES, inner, max_size=2)
        values = {
            **_FLAT,
            **dict.fromkeys(
                ("additionalProperties", "contains", "else", "if", "items", "not", "then",
                 "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
                inner,
            ),
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
            **dict.fromkeys(("properties", "dependentSchemas"), named),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
        }  # fmt: skip
        if uri != DRAFT2020:
            values["items"] = some | inner
            values["additionalItems"] = inner
            del values["unevaluatedItems"]  # `jsonschema` fails on some of Draft 2019-09
        if uri in (DRAFT6, DRAFT7):
            values["dependencies"] = st.dictionaries(_NAMES, inner | _NAME_LISTS, max_size=2)
        words = st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True)
        return words.flatmap(lambda used: st.fixed_dictionaries({one: values[one] for one in used}))

    return st.recursive(st.booleans(), objects, max_leaves=12).map(
        lambda schema: {"$schema": uri, "definitions": _DEFINITIONS, "allOf": [schema]}
    )


_DEFINITIONS = {
    "leaf": {"anyOf": [{"type": "string"}, {"required": ["a"]}]},
    "tree": {"properties": {"a": {"$ref": "#/definitions/tree"}, "b": {"items": {"$ref": "#"}}}},
}
_DRAFTS = (DRAFT6, DRAFT7, DRAFT2019, DRAFT2020)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_DRAFTS).flatmap(_schemas), st.lists(_VALUES, min_size=1, max_size=8))
def test_any_schema_is_read_as_a_validator_reads_it(schema: Any, values: list[Any]) -> None:
    try:
        read = [truth(schema, value) for value in values]
    except UnsupportedSchema as refusal:
        if (schema["$schema"], refusal.keyword) != (DRAFT2019, "unevaluatedProperties"):
            raise
        return  # where validators differ
    try:
        judged = [valid(schema, value) for value in values]
    except TypeError:  # additionalItems beside a boolean items, which jsonschema trips over
        reject()
    assert read == [YES if one else NO for one in judged]
