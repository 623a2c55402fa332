"""Random values of a schema: valid, different, pleasant to read, and always finished."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit_engine.errors import UnsatisfiableSchema, UnsupportedSchema
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.machine.compilation import value_automaton
from agentkit_engine.grammar.sampling import distances, random_text, sample_values
from agentkit_engine.grammar.schema.document import Document
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.syntax import GEMMA, JSON, SPACED, Syntax

TREE = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["label", "children"],
}
BOOKING = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "integer", "minimum": 1, "maximum": 20},
        "day": {"type": "string", "format": "date"},
        "mail": {"type": "string", "format": "email"},
        "window": {"type": "boolean"},
    },
    "required": ["city", "people"],
}
SCHEMAS: list[Any] = [
    True,
    {},
    TREE,
    BOOKING,
    {"type": "integer"},
    {"type": "number", "exclusiveMinimum": 123456, "maximum": 123460},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    {"type": "string", "pattern": "^[а-я]+$"},
    {"type": "string", "minLength": 40, "maxLength": 60},
    {"type": "string", "maxLength": 1},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    {"type": "object", "properties": {'"\\': {}, "two words": {}}, "required": ['"\\']},
    {"type": "array", "items": {"enum": ["x", "y", "z"]}, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer"}, "contains": {"const": 977}},
    {"type": "array", "prefixItems": [{"const": [1, {"a": None}]}], "minItems": 3, "maxItems": 3},
    {"anyOf": [{"type": "null"}, {"type": "string", "format": "uuid"}]},
]  # fmt: skip


def automaton_of(schema: Any, syntax: Syntax = JSON) -> ByteAutomaton:
    reader = Reader(Document(schema), Options())
    return value_automaton(reader, reader.root, syntax)


@pytest.mark.parametrize("syntax", [JSON, SPACED, GEMMA], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
def test_every_value_is_valid(schema: Any, syntax: Syntax) -> None:
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    values = sample_values(schema, 8, seed=3, syntax=syntax)
    assert len(values) == 8
    for value in values:
        validator.validate(value)


def test_values_differ_as_json_schema_tells_them_apart() -> None:
    values = sample_values({"type": "number", "minimum": 0, "maximum": 30}, 20, seed=0)
    assert len(set(values)) == 20


def test_a_small_language_is_drawn_whole_and_then_again() -> None:
    schema: dict[str, Any] = {"enum": ["a", "b", None, [], 1.5]}
    values = sample_values(schema, 5, seed=1)
    assert sorted(map(json.dumps, values)) == sorted(map(json.dumps, schema["enum"]))
    assert len(sample_values(schema, 12, seed=1)) == 12


def test_what_is_seldom_drawn_is_found_where_little_is_left() -> None:
    names = ["other" + "!" * number for number in range(60)]
    assert {*sample_values({"enum": names}, 60, seed=2)} == {*names}


def test_a_seed_draws_the_same_values_in_every_process() -> None:
    program = (
        "import json; from agentkit_engine.grammar.sampling import sample_values\n"
        "print(json.dumps(sample_values(json.loads(input()), 5, seed=7)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=json.dumps(BOOKING), capture_output=True, text=True)
    assert json.loads(done.stdout) == sample_values(BOOKING, 5, seed=7)
    assert sample_values(BOOKING, 5, seed=8) != sample_values(BOOKING, 5, seed=7)


def test_values_are_pleasant_to_read() -> None:
    for value in sample_values(BOOKING, 20, seed=0):
        assert re.fullmatch(r"[a-z]+( [a-z]+){0,2}", value["city"])
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", value.get("day", "2026-01-01"))
        assert re.fullmatch(r"[a-z]+@[a-z]+\.example\.org", value.get("mail", "a@b.example.org"))


def test_optional_keys_come_sometimes() -> None:
    values = sample_values(BOOKING, 40, seed=0)
    for key in ("day", "mail", "window"):
        assert 0 < sum(key in value for value in values) < 40


def test_free_keys_come_where_they_are_open() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    values = sample_values(schema, 30, seed=0, options=Options(open=True))
    assert any(value.keys() - {"a"} for value in values)
    assert any("a" in value for value in values)


def test_recursion_ends() -> None:
    def depth(tree: Any) -> int:
        return 1 + max((depth(child) for child in tree["children"]), default=0)

    values = sample_values(TREE, 30, seed=0)
    assert max(len(json.dumps(value)) for value in values) < 4000
    assert max(map(depth, values)) > 1


def test_what_has_no_value_raises_as_compiling_does() -> None:
    with pytest.raises(UnsatisfiableSchema):
        sample_values(False, 1)
    with pytest.raises(UnsupportedSchema, match="pattern"):
        sample_values({"type": "string", "pattern": r"(a)\1"}, 1)
    assert sample_values(True, 0) == []


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
def test_distances_are_those_of_a_search_state_by_state(schema: Any) -> None:
    automaton = automaton_of(schema)
    ahead = distances(automaton)
    far = automaton.states + 1
    for state in range(automaton.states):
        ways = [int(ahead[to]) for to in automaton.ways(state).values()]
        expected = 0 if automaton.ends(state) else min([1 + min(ways, default=far), far])
        assert ahead[state] == expected
    assert ahead.dtype == np.int32


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30), schema=st.sampled_from(SCHEMAS), turns=st.integers(0, 40))
def test_random_texts_are_in_the_language(seed: int, schema: Any, turns: int) -> None:
    automaton = automaton_of(schema)
    text = random_text(automaton, distances(automaton), Random(seed), turns=turns)
    assert automaton.accepts(text) or (automaton.repeats is not None and automaton.repeats(text))
