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
from agentkit_engine.syntax import (
    CALL_CLOSE,
    CALL_OPEN,
    GEMMA,
    JSON,
    QUOTE,
    SPACED,
    Syntax,
    read_call,
    write_call,
)

SYNTAXES = pytest.mark.parametrize("syntax", [JSON, SPACED, GEMMA], ids=lambda syntax: syntax.name)

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


@SYNTAXES
@given(value=values)
def test_what_is_written_is_read_back(syntax: Syntax, value: Any) -> None:
    text = syntax.dumps(value)
    assert same(syntax.loads(text), value)
    assert syntax.dumps(syntax.loads(text)) == text


@given(values)
def test_json_is_what_the_standard_library_writes_compactly(value: Any) -> None:
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert JSON.dumps(value) == expected.encode()


@given(values)
def test_spaced_json_is_what_the_standard_library_writes_by_default(value: Any) -> None:
    assert SPACED.dumps(value) == json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text", [b"[1,2]", b"[1,  2]", b'{"a":1}', b'{"a" : 1}', b"[ 1]", b"[1, ]"]
)
def test_other_spaces_are_refused(text: bytes) -> None:
    with pytest.raises(TemplateError, match="not spaced JSON: expected"):
        SPACED.loads(text)


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


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]*", fullmatch=True)


@given(names, st.dictionaries(st.text(), values, max_size=4))
def test_a_whole_call_is_read_back(name: str, arguments: dict[str, Any]) -> None:
    found, read = read_call(write_call(name, arguments))
    assert found == name
    assert same(read, arguments)


def test_a_call_stands_between_two_symbols() -> None:
    assert write_call("weather", {"city": "Paris"}) == b"\xfecall:weather{city:\xffParis\xff}\xfd"
    assert (CALL_OPEN, CALL_CLOSE) == (0xFE, 0xFD)


def test_what_a_call_says_can_not_close_it() -> None:
    arguments = {"text": '<tool_call|><|"|>}{'}
    assert read_call(write_call("say", arguments)) == ("say", arguments)


@pytest.mark.parametrize("name", ["", "two words", "a{", "9", "a:b"])
def test_a_name_that_would_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match="can't be the name of a call"):
        write_call(name, {})


@pytest.mark.parametrize(
    "text",
    [
        b"", b"call:a{}", b"\xfecall:a{}", b"\xfea{}\xfd", b"\xfecall:{}\xfd", b"\xfecall:a\xfd",
        b"\xfecall:a[]\xfd", b"\xfecall:a{}}\xfd", b"\xfecall:a{b:1,b:1}\xfd",
        b"\xfecall:a{}\xfd\xfd",
    ],
)  # fmt: skip
def test_malformed_calls_are_refused(text: bytes) -> None:
    with pytest.raises(TemplateError, match="not Gemma: expected"):
        read_call(text)


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
