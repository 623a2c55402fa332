"""The machine: formulas become automata that write valid values only, and how much of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from languages import valid

from agentkit_engine.errors import SchemaTooLarge, UnsatisfiableSchema, UnsupportedSchema
from agentkit_engine.grammar import ByteAutomaton, Options, schema_automaton
from agentkit_engine.syntax import GEMMA, JSON

OPEN = Options(order="any", open=True)
WIDE = Options(order="any", open=True, typical_states=100_000, max_states=500_000)


def writes(automaton: ByteAutomaton, value: Any) -> bool:
    return automaton.accepts(JSON.dumps(value))


PAIR = {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
CLOSED = {**PAIR, "type": "object", "additionalProperties": False}

CASES: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("not", {"type": "integer", "not": {"minimum": 3}}, [2, -5], [3, 4]),
    ("not an object", {"type": "object", "properties": {"a": {"not": {"type": "object"}}}},
     [{"a": 1}, {"a": [{}]}, {}], [{"a": {}}]),
    ("oneOf", {"oneOf": [{"type": "integer"}, {"minimum": 2, "type": "number"}]},
     [1, 2.5], [2, 3, 1.5]),
    ("oneOf of objects",
     {"type": "object", "properties": {"a": True, "b": True},
      "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
     [{"a": 1}, {"b": None}], [{}, {"a": 1, "b": 2}]),
    ("allOf of objects",
     {"allOf": [{**PAIR, "type": "object"}, {"required": ["b"]},
                {"properties": {"b": {"minLength": 2}}}]},
     [{"a": 1, "b": "xy"}, {"b": "xyz"}], [{"a": 1}, {"b": "x"}, {"a": "1", "b": "xy"}]),
    ("if, then, else",
     {"type": "object", "properties": {"kind": {"enum": ["n", "s"]}, "value": True},
      "required": ["kind", "value"],
      "if": {"properties": {"kind": {"const": "n"}}},
      "then": {"properties": {"value": {"type": "number"}}},
      "else": {"properties": {"value": {"type": "string"}}}},
     [{"kind": "n", "value": 1}, {"kind": "s", "value": "x"}],
     [{"kind": "n", "value": "x"}, {"kind": "s", "value": 1}, {"kind": "n"}]),
    ("dependentRequired", {**CLOSED, "dependentRequired": {"a": ["b"]}},
     [{}, {"b": "x"}, {"a": 1, "b": "x"}], [{"a": 1}]),
    ("dependentSchemas", {**CLOSED, "dependentSchemas": {"a": {"maxProperties": 1}}},
     [{"a": 1}, {"b": "x"}], [{"a": 1, "b": "x"}]),
    ("prefixItems", {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}],
                     "items": False}, [[], [1], [1, "x"]], [["x"], [1, 2], [1, "x", 3]]),
    ("contains", {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9},
                  "contains": {"const": 7}, "maxContains": 1},
     [[7], [1, 7], [7, 2, 3]], [[], [1], [7, 7]]),
    ("uniqueItems, few values", {"type": "array", "items": {"enum": ["x", "y", 1]},
                                 "uniqueItems": True},
     [[], ["x"], ["y", "x", 1]], [["x", "x"], [1, 1]]),
    ("uniqueItems, any values", {"type": "array", "items": {"type": "string"},
                                 "uniqueItems": True},
     [[], ["a"], ["b", "a", "c"]], [["a", "a"], ["a", "b", "a"]]),
    ("uniqueItems of one array only",
     {"type": "object", "properties": {
         "p": {"type": "array", "items": {"type": "array", "items": {"type": "number"}},
               "uniqueItems": True},
         "q": {"type": "array", "items": {"type": "number"}}}},
     [{"p": [[1, 1], [1]], "q": [2, 2]}], [{"p": [[1], [1]]}, {"p": [[1], [2], [1.0]]}]),
    ("a map", {"type": "object", "additionalProperties": {"type": "integer"}},
     [{}, {"x": 1}, {"b": 1, "a": 2}], [{"x": "1"}]),
    ("patternProperties", {"type": "object", "patternProperties": {"^n": {"type": "integer"}},
                           "additionalProperties": False},
     [{"n1": 1, "n2": 2}, {}], [{"m": 1}, {"n1": "x"}]),
    ("propertyNames", {"type": "object", "propertyNames": {"maxLength": 2},
                       "additionalProperties": True}, [{"ab": [1]}, {}], [{"abc": 1}]),
    ("minProperties", {"type": "object", "additionalProperties": {"type": "null"},
                       "minProperties": 2, "maxProperties": 3},
     [{"a": None, "b": None}, {"z": None, "é": None, "": None}],
     [{"a": None}, {"a": None, "b": None, "c": None, "d": None}]),
    ("a value that is counted far", {"contains": {"const": [None, None, None]}, "type": "array"},
     [[[None, None, None]]], [[[None, None]], [], [[None] * 4]]),
    ("keys in plenty, though none is named", {"oneOf": [True, {"maxProperties": 2}]},
     [{"a": 1, "b": 2, "c": None}], [{}, {"a": 1, "b": 1}, 3]),
    ("anything", True, [1, "x", None, [1, {"a": [True]}], {"a": {"b": []}}], []),
    ("nothing said of the inside", {"type": "object", "properties": {"x": {}}},
     [{}, {"x": {"y": [1]}}], [[]]),
    ("a tree", {"$ref": "#/$defs/node", "$defs": {"node": {
        "type": "object", "required": ["v"], "additionalProperties": False,
        "properties": {"v": {"type": "integer"},
                       "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}},
     [{"v": 1}, {"v": 1, "kids": [{"v": 2, "kids": [{"v": 3}]}, {"v": 4}]}],
     [{"kids": []}, {"v": 1, "kids": [{}]}]),
    ("unevaluatedProperties",
     {"type": "object", "properties": {"a": {"type": "integer"}},
      "anyOf": [{"properties": {"b": {"const": 1}}, "required": ["b"]},
                {"properties": {"c": {"const": 1}}, "required": ["c"]}],
      "unevaluatedProperties": False},
     [{"a": 1, "b": 1}, {"b": 1, "c": 1}], [{"a": 1}, {"b": 1, "c": 2}]),
    ("a choice told late",
     {"anyOf": [
         {"type": "object", "properties": {"v": {"type": "integer"}, "t": {"const": "i"}},
          "required": ["v", "t"], "additionalProperties": False},
         {"type": "object", "properties": {"v": {"type": ["integer", "string"]},
                                           "t": {"const": "s"}},
          "required": ["v", "t"], "additionalProperties": False}]},
     [{"v": 1, "t": "i"}, {"v": 1, "t": "s"}, {"v": "x", "t": "s"}],
     [{"v": "x", "t": "i"}, {"v": 1, "t": "x"}]),
    ("constants", {"enum": [{"a": [1, {"b": None}]}, [], 2.0, "x"]},
     [{"a": [1, {"b": None}]}, [], 2, "x"], [{"a": [1, {}]}, [0], {}, "y"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_valid_values_are_written_and_invalid_ones_never(
    schema: Any, good: list[Any], bad: list[Any]
) -> None:
    for options in (Options(), OPEN):
        automaton = schema_automaton(schema, options=options)
        for value in good:
            assert valid(schema, value)
            assert writes(automaton, value), (options.order, value)
        for value in bad:
            assert not writes(automaton, value), (options.order, value)


def test_keys_come_as_declared_or_in_any_order() -> None:
    schema = {**PAIR, "type": "object", "required": ["a"]}
    assert writes(schema_automaton(schema), {"a": 1, "b": "x"})
    assert not writes(schema_automaton(schema), {"b": "x", "a": 1})
    either = schema_automaton(schema, options=Options(order="any"))
    assert writes(either, {"a": 1, "b": "x"})
    assert writes(either, {"b": "x", "a": 1})
    assert not writes(either, {"b": "x"})


def test_more_required_keys_than_can_be_remembered_come_as_declared() -> None:
    names = [f"k{number}" for number in range(9)]
    schema = {"properties": {name: {"type": "null"} for name in names}, "required": names}
    automaton = schema_automaton(schema, options=Options(order="any", key_limit=4))
    assert writes(automaton, dict.fromkeys(names))
    assert not writes(automaton, dict.fromkeys(reversed(names)))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": True}, "patternProperties": {"^b": True}},
        {"type": "object"},
    ],
)
def test_a_key_never_comes_twice(schema: Any) -> None:
    for options in (Options(), OPEN):
        automaton = schema_automaton(schema, options=options)
        assert automaton.accepts(b'{"b":1}')
        assert not automaton.accepts(b'{"b":1,"b":2}')
        assert automaton.strict is not None
        assert automaton.strict.repeats is None
        assert automaton.strict.accepts(b'{"b":1}')
        assert not automaton.strict.accepts(b'{"b":1,"b":2}')


def test_keys_beside_the_declared_ones_are_written_only_when_they_are_spoken_of() -> None:
    extra = {"a": 1, "z": 1}
    assert not writes(schema_automaton({**PAIR, "type": "object"}), extra)
    assert writes(schema_automaton({**PAIR, "type": "object", "additionalProperties": True}), extra)
    assert writes(schema_automaton({**PAIR, "type": "object"}, options=OPEN), extra)
    assert not writes(schema_automaton(CLOSED, options=OPEN), extra)


def test_a_schema_that_names_no_type_is_written_as_what_it_speaks_of() -> None:
    assert writes(schema_automaton({"minLength": 2}), "ab")
    assert not writes(schema_automaton({"minLength": 2}), 3)
    assert writes(schema_automaton({"minLength": 2}, options=OPEN), 3)
    with pytest.raises(UnsatisfiableSchema):  # of a number, minLength holds
        schema_automaton({"not": {"minLength": 2}, "type": "number"})


def test_nesting_goes_as_deep_as_the_budget_admits() -> None:
    deep: Any = 1
    for _ in range(3):
        deep = [deep]
    assert writes(schema_automaton(True), deep)
    shallow = schema_automaton(True, options=Options(depth=1))
    assert writes(shallow, [1])
    assert not writes(shallow, [[1]])
    assert shallow.states < schema_automaton(True).states <= Options().typical_states


def test_what_needs_nesting_gets_it_and_what_never_ends_is_unsatisfiable() -> None:
    inner: Any = {"type": "integer"}
    for _ in range(12):
        inner = {"type": "array", "items": inner, "minItems": 1, "maxItems": 1}
    value: Any = 5
    for _ in range(12):
        value = [value]
    assert writes(schema_automaton(inner), value)
    node = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}
    endless = {"$ref": "#/$defs/n", "$defs": {"n": node}}
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton(endless)


@pytest.mark.parametrize(
    "schema",
    [False, {"enum": []}, {"type": "string", "minLength": 3, "maxLength": 2}, {"not": {}},
     {"type": "object", "required": ["a"], "properties": {"a": False}}],
)  # fmt: skip
def test_no_valid_value(schema: Any) -> None:
    with pytest.raises(UnsatisfiableSchema):
        schema_automaton(schema)


def test_gemma_writes_bare_keys_and_quotes_others() -> None:
    schema = {**CLOSED, "patternProperties": {"^x": {"type": "boolean"}}}
    schema = {**schema, "properties": {**PAIR["properties"], "two words": {"type": "null"}}}
    automaton = schema_automaton(schema, syntax=GEMMA)
    for value in ({"a": 1, "b": 'say "x"'}, {"two words": None}, {"xy": True, "xz": False}):
        assert automaton.accepts(GEMMA.dumps(value)), value
    assert not automaton.accepts(GEMMA.dumps({"y": True}))
    assert not automaton.accepts(GEMMA.dumps({"xy": True}) + b",")


def shared(levels: int) -> Any:
    """A schema in which every level holds the one below twice."""
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"oneOf": [schema, {"properties": {"a": schema}}]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        shared(20),
        {"type": "array", "minItems": 10**6, "items": {"type": "integer"}},
        {"type": "object", "properties": {f"p{n}": {"type": "array", "items": {
            "type": "object", "properties": {f"q{m}": {"enum": [f"v{m}{k}" for k in range(50)]}
                                             for m in range(40)}}} for n in range(40)}},
        {"type": "string", "pattern": "[01]*1[01]{40}"},
        {"allOf": [{"anyOf": [{"properties": {f"k{n}": {"const": n}}, "required": [f"k{n}"]},
                              {"properties": {f"k{n}": {"const": -n}}}]} for n in range(1, 40)]},
        {"enum": [f"{n:06d}" for n in range(100_000)]},
        {"$ref": "#/$defs/a0", "$defs": {f"a{n}": {"properties": {
            "l": {"$ref": f"#/$defs/a{n + 1}"}, "r": {"$ref": f"#/$defs/a{n + 1}"}}}
            for n in range(30)} | {"a30": {}}},
    ],
    ids=["sharing", "count", "size", "pattern", "alternatives", "enum", "references"],
)  # fmt: skip
def test_a_bomb_ends_in_a_clear_error_or_an_automaton(schema: Any) -> None:
    try:
        automaton = schema_automaton(schema, options=Options(max_seconds=4))
    except (SchemaTooLarge, UnsupportedSchema):
        return
    assert automaton.states <= Options().max_states


def test_values_that_only_open_options_write_are_told_of() -> None:
    schema = {"properties": {"a": True}, "oneOf": [True, {"maxProperties": 2}]}
    with pytest.raises(UnsatisfiableSchema, match=r"Options\(open=True\)"):
        schema_automaton(schema)
    with pytest.raises(UnsatisfiableSchema, match=r"''\. Loosen"):
        schema_automaton({"type": "integer", "minimum": 3, "maximum": 2})


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from([None, True, 0, 1, 2, -1, 1.5, "", "a", "ab"])
SMALL = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2)
VALUES = SMALL | st.lists(SMALL, max_size=3) | st.dictionaries(NAMES, SMALL, max_size=3)
COUNT = st.integers(0, 2)


Schemas: TypeAlias = st.SearchStrategy[Any]

RULES: dict[str, Callable[[Schemas], Schemas]] = {
    "type": lambda inner: st.sampled_from(["object", "array", "string", "integer", "null"]),
    "const": lambda inner: SCALARS,
    "enum": lambda inner: st.lists(SCALARS, min_size=1, max_size=3),
    "properties": lambda inner: st.dictionaries(NAMES, inner, max_size=2),
    "patternProperties": lambda inner: st.dictionaries(
        st.sampled_from(["^a", "b|c"]), inner, max_size=1),
    "additionalProperties": lambda inner: inner,
    "unevaluatedProperties": lambda inner: inner,
    "propertyNames": lambda inner: st.sampled_from([{"maxLength": 1}, {"enum": ["a", "b"]}]),
    "required": lambda inner: st.lists(NAMES, max_size=2, unique=True),
    "minProperties": lambda inner: COUNT,
    "maxProperties": lambda inner: COUNT,
    "dependentRequired": lambda inner: st.dictionaries(
        NAMES, st.lists(NAMES, max_size=1), max_size=1),
    "dependentSchemas": lambda inner: st.dictionaries(NAMES, inner, max_size=1),
    "items": lambda inner: inner,
    "prefixItems": lambda inner: st.lists(inner, min_size=1, max_size=2),
    "unevaluatedItems": lambda inner: inner,
    "contains": lambda inner: inner,
    "minItems": lambda inner: COUNT,
    "maxItems": lambda inner: COUNT,
    "minLength": lambda inner: COUNT,
    "maxLength": lambda inner: COUNT,
    "minimum": lambda inner: COUNT,
    "exclusiveMaximum": lambda inner: COUNT,
    "multipleOf": lambda inner: st.integers(1, 2),
    "pattern": lambda inner: st.sampled_from(["^a", "b$", "^$"]),
    "not": lambda inner: inner,
    "allOf": lambda inner: st.lists(inner, min_size=1, max_size=2),
    "anyOf": lambda inner: st.lists(inner, min_size=1, max_size=2),
    "oneOf": lambda inner: st.lists(inner, min_size=1, max_size=3),
    "if": lambda inner: inner,
    "then": lambda inner: inner,
    "else": lambda inner: inner,
}  # fmt: skip


@st.composite
def _rule(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    keyword = draw(st.sampled_from(sorted(RULES)))
    return {keyword: draw(RULES[keyword](inner))}


def _schema(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(_rule(inner), min_size=1, max_size=3).map(
        lambda rules: {keyword: value for rule in rules for keyword, value in rule.items()}
    )


SCHEMAS = st.recursive(st.booleans() | _schema(st.booleans()), _schema, max_leaves=5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=8))
def test_random_schemas_write_exactly_their_values(schema: Any, values: list[Any]) -> None:
    """Never an invalid value; and, written openly, every valid one of a simple kind."""
    try:
        closed = schema_automaton(schema)
    except UnsatisfiableSchema:
        closed = None
    except SchemaTooLarge:
        return
    try:
        wide = schema_automaton(schema, options=WIDE)
    except UnsatisfiableSchema:
        wide = None
    for value in values:
        text = json.dumps(value, separators=(",", ":")).encode()
        if valid(schema, value):
            assert wide is not None, value
            assert wide.accepts(text), value
        else:
            assert closed is None or not closed.accepts(text), value
            assert wide is None or not wide.accepts(text), value
