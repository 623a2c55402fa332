"""Calls that were made beside those that were expected: equal as JSON, or meaning the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_engine.training.evaluation.matching import (
    Called,
    alike,
    alike_calls,
    is_default,
    same_calls,
    same_json,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_is_itself_however_it_is_read(value: Any) -> None:
    again = json.loads(json.dumps(value))
    assert same_json(value, again)
    assert alike(value, again)


@given(VALUES, VALUES)
def test_what_is_equal_means_the_same(one: Any, other: Any) -> None:
    assert same_json(one, other) == same_json(other, one)
    assert alike(one, other) == alike(other, one)
    assert alike(one, other) or not same_json(one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        ([1], [1.0], True),
        ([True], [1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": {"b": True}}, {"a": {"b": 1}}, False),
    ],
)
def test_equality_is_that_of_json(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("New York", "new-york", True),
        ("  St. John's ", "st johns", True),
        ("x", "y", False),
        ("5", 5, False),
        ("+", "-", False),  # nothing but punctuation is not nothing
        (5, 5.0, True),
        (5, 6, False),
        (True, 1, False),
        (["A b", "c"], ["ab", "C."], True),
        (["a", "b"], ["b", "a"], False),
        (["a"], ["a", "b"], False),
    ],
)
def test_what_means_the_same(one: Any, other: Any, same: bool) -> None:
    assert alike(one, other) is same


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "description": "The unit (default is 'metric')"},
        "days": {"type": "integer", "default": 3},
        "note": {"type": "string", "description": "Anything else"},
        "area": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "size": {"type": "number", "default": 1}},
            "required": ["name"],
        },
    },
    "required": ["city"],
}


@pytest.mark.parametrize(
    ("made", "expected", "same"),
    [
        ({"city": "Rome"}, {"city": "rome."}, True),
        ({"city": "Rome"}, {"city": "Paris"}, False),
        ({}, {"city": "Rome"}, False),
        ({"city": "Rome"}, {}, False),
        ({"city": "Rome"}, {"city": "Rome", "days": 3}, True),  # the default was left out
        ({"city": "Rome"}, {"city": "Rome", "days": 4}, False),
        ({"city": "Rome", "days": 3}, {"city": "Rome"}, True),  # the default was said
        ({"city": "Rome", "days": 4}, {"city": "Rome"}, False),
        ({"city": "Rome"}, {"city": "Rome", "unit": "Metric"}, True),
        ({"city": "Rome"}, {"city": "Rome", "unit": "imperial"}, False),
        ({"city": "Rome", "note": "warm"}, {"city": "Rome"}, False),
        ({"city": "Rome", "note": "warm"}, {"city": "Rome", "note": "Warm!"}, True),
        ({"city": "Rome", "other": 1}, {"city": "Rome"}, False),
        ({"city": "", "area": {"name": "b"}}, {"city": "", "area": {"name": "B", "size": 1}}, True),
        ({"city": "", "area": {"size": 1}}, {"city": "", "area": {"name": "b"}}, False),
    ],
)  # fmt: skip
def test_optional_arguments_may_be_left_to_their_defaults(
    made: Any, expected: Any, same: bool
) -> None:
    assert alike(made, expected, SCHEMA) is same
    # only as JSON are they the same if nothing was left out
    assert same_json(made, expected) <= same


@pytest.mark.parametrize(
    ("value", "description", "told"),
    [
        ("units", "The unit of measure (defaults to 'units' if not specified)", True),
        ("units", "The unit of measure", False),
        (5, "How many. Default is 5.", True),
        (5, "How many. Default is 50.", False),
        (5, "Default: 5.5", False),
        (5.5, "Default: 5.5", True),
        (-5, "Default: 5", False),
        (0, "default value is 0", True),
        (True, "Whether to go on, default true", True),
        (False, "Whether to go on. Defaults to False", True),
        (False, "Whether to go on. Defaults to True", False),
        ("new york", "The city. The default value is set to 'New York'", True),
        ("metric", "The unit; metric by default", True),
        ("imperial", "The unit; metric by default", False),
        (None, "Default is null", True),
        ("", "The default is an empty string", True),
        ("", "Default is ''", True),
        ("", "The default is nothing special", False),
        (["a", "b"], "Default is ['a', 'b']", True),
        ([], "Default is []", False),
        ({"a": 1}, "Default is {'a': 1}", False),
    ],
)
def test_a_description_may_tell_the_default(value: Any, description: str, told: bool) -> None:
    assert is_default(value, {"description": description}) is told


def test_a_declared_default_is_one() -> None:
    assert is_default("Metric", {"default": "metric"})
    assert is_default(5, {"default": 3, "description": "5 by default"})
    assert not is_default(5, {"default": 3})
    assert not is_default(5, {})
    assert not is_default(5, None)


def test_calls_at_once_have_no_order_but_each_counts_once() -> None:
    a, b = Called("f", {"x": "A"}), Called("f", {"x": "b"})
    like_a, other = Called("f", {"x": "a."}), Called("g", {"x": "a"})
    schemas = {"f": {"type": "object", "properties": {"x": {"type": "string"}}}}
    assert same_calls([a, b], [b, a])
    assert same_calls([], [])
    assert not same_calls([a], [])
    assert not same_calls([a, a], [a, b])
    assert not same_calls([a], [a, a])
    assert not same_calls([like_a], [a])
    assert alike_calls([b, like_a], [a, b], schemas)
    assert not alike_calls([like_a, like_a], [a, b], schemas)
    assert not alike_calls([other], [a], schemas)


def test_calls_are_paired_off_where_one_fits_several() -> None:
    schemas = {"f": {"properties": {"x": {"default": 1}}}}
    said, left_out, extra = Called("f", {"x": 1}), Called("f", {}), Called("f", {"x": 2})
    assert alike_calls([left_out, said], [said, said], schemas)
    assert not alike_calls([left_out, extra], [said, said], schemas)
