"""Schemas nobody wrote, and values near them, before three judges: ours, jsonschema, llguidance.

jsonschema says what is valid. llguidance (1.9.1 known) decides the same question as we do, with
other means: a schema as a language of texts. Where both take a schema, neither should find much in
the other's language that it lacks. Only tests of one schema by several judges belong here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from languages import valid

from agentkit_engine.errors import SchemaTooLarge, UnsatisfiableSchema, UnsupportedSchema
from agentkit_engine.grammar import schema_automaton

Judge = Callable[[Any], bool]
"""Whether a value's compact JSON is in a schema's language."""

REFUSALS = (SchemaTooLarge, UnsatisfiableSchema, UnsupportedSchema)
REFUSED, MISSED = 0.05, 0.02
"""Shares at most: schemas refused that have a valid value; valid values missed by the others."""

NAMES = ["a", "b c", "é", "d_1"]
TEXTS = ["", "a", "ab", "abc", "é", "aé", 'q"\\', "\n", "😀", "x1", "127.0.0.1", "2024-02-29"]
NUMBERS = [0, 1, 2, 3, 4, 5, 7, 10, -1, -2, 0.5, 1.5, 2.25, -0.25]
LISTED: list[Any] = ["a", "ab", 'q"', 1, 2, None, True, False, 2.5, [1], {"a": 1}]


def ours(schema: Any) -> Judge | None:
    """Our judge, or None where the schema is refused."""
    try:
        automaton = schema_automaton(schema)
    except REFUSALS:
        return None

    def judge(value: Any) -> bool:
        return bool(automaton.accepts(written(value).encode()))

    return judge


@cache
def _llguidance() -> tuple[Any, Any]:
    library = pytest.importorskip("llguidance", reason="llguidance, a dev extra, is not installed")
    return library, library.LLTokenizer("byte")


def peer(schema: Any) -> Judge | None:
    """llguidance's judge over single bytes, or None where it refuses the schema."""
    library, tokenizer = _llguidance()
    grammar = library.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    compiled = library.LLMatcher(tokenizer, grammar, log_level=0)
    if compiled.is_error():
        return None

    def judge(value: Any) -> bool:
        text, matcher = list(written(value).encode()), compiled.deep_copy()
        if matcher.validate_tokens(text) < len(text):
            return False
        return bool(matcher.consume_tokens(text) and matcher.is_accepting())

    return judge


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def scalars(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas without schemas in them."""
    low, more = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    start = draw(st.sampled_from(NUMBERS))
    listed = draw(st.lists(st.sampled_from(LISTED), min_size=1))
    pattern = draw(st.sampled_from(["^[a-é]+$", "^a?b*$", "[0-9]", "^(a|q)", "^.{2,3}$"]))
    plain = draw(st.sampled_from(["boolean", "null", "string", "integer", "number"]))
    number = draw(st.sampled_from(["integer", "number"]))
    return draw(
        st.sampled_from(
            [
                {},
                {"type": plain},
                {"type": ["null", "integer"]},
                {"type": "string", "minLength": low, "maxLength": low + more},
                {"type": "string", "pattern": pattern},
                {"type": "string", "format": draw(st.sampled_from(["ipv4", "date"]))},
                {"type": number, "minimum": start, "exclusiveMaximum": start + more + 1},
                {"type": "integer", "multipleOf": low + 1},
                {"enum": listed},
                {"const": listed[0]},
            ]
        )
    )


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """An object's schema, its keywords in the mixtures in which they meet."""
    properties = draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=3))
    found: dict[str, Any] = {"type": "object", "properties": properties}
    required = draw(st.sets(st.sampled_from(NAMES), max_size=2))
    if required:
        found["required"] = sorted(required)
    extra = draw(st.sampled_from(["closed", "closed", "open", "schema"]))
    if extra != "open":
        found["additionalProperties"] = False if extra == "closed" else draw(inner)
    rare: dict[str, st.SearchStrategy[Any]] = {
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(1, 3),
        "patternProperties": st.fixed_dictionaries({"^d": inner}),
        "propertyNames": st.just({"maxLength": 2}),
        "dependentRequired": st.just({"a": ["d_1"]}),
    }
    for word in draw(st.sets(st.sampled_from(sorted(rare)), max_size=1)):
        found[word] = draw(rare[word])
    return found


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    least = draw(st.integers(0, 2))
    found: dict[str, Any] = {"type": "array", "items": draw(inner)}
    found |= {"minItems": least, "maxItems": least + draw(st.integers(0, 2))}
    rare: dict[str, st.SearchStrategy[Any]] = {
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "contains": inner,
        "uniqueItems": st.just(True),
    }
    for word in draw(st.sets(st.sampled_from(sorted(rare)), max_size=1)):
        found[word] = draw(rare[word])
    return found


@st.composite
def combinations(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    word = draw(st.sampled_from(["anyOf", "anyOf", "oneOf", "allOf", "not", "if"]))
    if word == "not":
        return {"type": ["string", "integer", "null"], "not": draw(inner)}
    if word == "if":
        return {"if": draw(inner), "then": draw(inner), "else": draw(inner)}
    return {word: draw(st.lists(inner, min_size=1, max_size=3))}


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        scalars(),
        lambda inner: st.one_of(objects(inner), arrays(inner), combinations(inner)),
        max_leaves=5,
    )


ANYTHING = st.recursive(
    st.sampled_from([*TEXTS, *NUMBERS, *LISTED]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=4,
)


def near(schema: Any) -> st.SearchStrategy[Any]:
    """Values that have a chance to be valid, with an object's keys in the declared order."""
    if not isinstance(schema, dict):
        return ANYTHING
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return st.one_of(*map(near, schema[word]))
    if "if" in schema:
        return st.one_of(near(schema["then"]), near(schema["else"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kinds = {
        "string": st.sampled_from(TEXTS),
        "integer": st.integers(-3, 12),
        "number": st.sampled_from(NUMBERS),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    match schema.get("type"):
        case "array":
            return st.lists(near(schema["items"]), max_size=3)
        case "object":
            return _members(schema)
        case str() as kind:
            return kinds[kind]
        case list() as several:
            return st.one_of(*(kinds[kind] for kind in several))
        case _:
            return ANYTHING


@st.composite
def _members(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    required = schema.get("required", [])
    found: dict[str, Any] = {}
    for name, said in schema["properties"].items():
        if name in required or draw(st.booleans()):
            found[name] = draw(near(said))
    others = schema.get("additionalProperties", True)
    for name in required:
        if name not in found:
            found[name] = draw(near(others))
    return found


@st.composite
def trials(draw: st.DrawFn) -> tuple[dict[str, Any], list[Any]]:
    """A schema and values to judge by it."""
    schema = draw(schemas())
    chosen = st.one_of(near(schema), near(schema), ANYTHING)
    return schema, draw(st.lists(chosen, min_size=1, max_size=6))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trials())
def test_what_ours_accepts_is_valid(trial: tuple[dict[str, Any], list[Any]]) -> None:
    schema, values = trial
    accepts = ours(schema)
    for value in values:
        if accepts is not None and accepts(value):
            assert valid(schema, value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trials())
def test_llguidance_allows_what_ours_accepts(trial: tuple[dict[str, Any], list[Any]]) -> None:
    """So far as it takes the schema: its languages of these schemas are wider than ours."""
    schema, values = trial
    accepts, allows = ours(schema), peer(schema)
    for value in values:
        if accepts is not None and allows is not None and accepts(value):
            assert allows(value)


def counted(judge: Callable[[Any], Judge | None]) -> Counter[str]:
    """How a judge fares on the same 300 schemas every time, and on their valid values.

    schemas: those with a valid value at hand; refused: those of them that the judge refuses.
    values: valid values of the others; missed: those of them that the judge does not accept.
    """
    found: Counter[str] = Counter()

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(trials())
    def judged(trial: tuple[dict[str, Any], list[Any]]) -> None:
        schema, values = trial
        good = [value for value in values if valid(schema, value)]
        if not good:
            return
        accepts = judge(schema)
        found.update(schemas=1, refused=accepts is None)
        if accepts is not None:
            found.update(values=len(good), missed=sum(not accepts(value) for value in good))

    judged()
    return found


def test_few_schemas_are_refused_and_few_valid_values_missed() -> None:
    found = counted(ours)
    assert found["schemas"] > 100
    assert found["refused"] <= REFUSED * found["schemas"]
    assert found["missed"] <= MISSED * found["values"]


def test_ours_takes_as_many_schemas_as_llguidance() -> None:
    mine, theirs = counted(ours), counted(peer)
    assert mine["schemas"] == theirs["schemas"]
    assert mine["refused"] <= theirs["refused"]
