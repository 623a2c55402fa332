"""Surface syntaxes: one way to write a value, and the same value read back."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_engine import errors
from agentkit_engine.errors import (
    AgentKitError,
    CanvasTooShort,
    ContextTooLong,
    SchemaTooLarge,
    TemplateError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.syntax import GEMMA, JSON, QUOTE, Syntax

SYNTAXES = pytest.mark.parametrize("syntax", [JSON, GEMMA], ids=lambda syntax: syntax.name)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@given(values)
def test_json_round_trip(value: Any) -> None:
    assert same(JSON.loads(JSON.dumps(value)), value)


@given(values)
def test_gemma_round_trip(value: Any) -> None:
    assert same(GEMMA.loads(GEMMA.dumps(value)), value)


@given(values)
def test_json_is_what_the_standard_library_writes_compactly(value: Any) -> None:
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert JSON.dumps(value) == expected.encode()


def test_gemma_writes_bare_keys_and_symbols_for_quotes() -> None:
    assert GEMMA.dumps({"a": "x", "n": 4}) == b"{a:\xffx\xff,n:4}"
    assert GEMMA.dumps({"two words": [True, None]}) == b"{\xfftwo words\xff:[true,null]}"
    assert GEMMA.symbols == {QUOTE: '<|"|>'}


def test_gemma_needs_no_escapes() -> None:
    assert GEMMA.dumps('say "hi"\\\n') == b'\xffsay "hi"\\\n\xff'


@pytest.mark.parametrize("name", ["a", "_x", "max_results", "a.b-c", "A9"])
def test_plain_keys_are_bare_in_gemma(name: str) -> None:
    assert GEMMA.key(name) == name.encode()
    assert JSON.key(name) == f'"{name}"'.encode()


@pytest.mark.parametrize("name", ["", "9a", "two words", "é", "a:b", "a\n", '"'])
def test_other_keys_are_quoted_in_gemma(name: str) -> None:
    assert GEMMA.key(name) == b"\xff" + name.encode() + b"\xff"


@SYNTAXES
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), [float("nan")]])
def test_numbers_without_a_json_form_are_refused(syntax: Syntax, value: object) -> None:
    with pytest.raises(TemplateError, match="no JSON form"):
        syntax.dumps(value)


@SYNTAXES
@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}])
def test_lone_surrogates_are_refused(syntax: Syntax, value: object) -> None:
    with pytest.raises(TemplateError, match="lone surrogate"):
        syntax.dumps(value)


@SYNTAXES
@pytest.mark.parametrize("value", [{1: 2}, {None: 1}, {1, 2}, b"x", object()])
def test_what_is_not_json_is_refused(syntax: Syntax, value: object) -> None:
    with pytest.raises(TemplateError, match=r"not a (string|JSON value)"):
        syntax.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" 1", b"1 ", b"01", b"1.", b".5", b"+1", b"1e999", b"NaN", b"Infinity", b"tru",
        b'"a', b"'a'", b'"\\x"', b'"\\ud800"', b'"a\nb"', b"[1,]", b"[1 ,2]", b"[", b"{", b'{"a"}',
        b'{"a":1,"a":2}', b"{a:1}", b'{"a":1,}', b'"\xff"', b'"\xc3"', b"[" * 5000, b"9" * 5000,
    ],
)  # fmt: skip
def test_malformed_json_is_refused(text: bytes) -> None:
    with pytest.raises(TemplateError, match="not JSON: expected"):
        JSON.loads(text)


@pytest.mark.parametrize(
    "text", [b"\xffa", b'"a"', b"{a 1}", b"{9:1}", b"{a:1,a:2}", b"{a}", b"\xff\xc3\xff", b"{:1}"]
)
def test_malformed_gemma_is_refused(text: bytes) -> None:
    with pytest.raises(TemplateError, match="not Gemma: expected"):
        GEMMA.loads(text)


def test_escaped_quotes_do_not_close_a_string() -> None:
    assert JSON.loads(b'["a\\"","b\\\\","\\\\\\"c"]') == ['a"', "b\\", '\\"c']


@pytest.mark.parametrize(
    "error",
    [
        UnsupportedSchema("not", "/properties/a", "it is new"),
        UnsatisfiableSchema("/a", "nothing fits"),
        SchemaTooLarge(3, 2),
        CanvasTooShort(9, 4),
        ContextTooLong(10, 5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_attributes_through_pickling(error: AgentKitError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert str(copy) == str(error)
    assert all(str(part) in str(error) for part in error.args)


def test_one_tree_drawn_in_full() -> None:
    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert name in tree
        assert issubclass(getattr(errors, name), AgentKitError)
    assert sorted(errors.__all__) == errors.__all__
