"""JSON pointers: written, read, and followed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.pointer import names_in, pointer_of, value_at


@given(st.lists(st.text()))
def test_what_is_written_reads_back(names: list[str]) -> None:
    assert names_in(pointer_of(*names)) == names


def test_the_signs_that_mean_something_are_written_as_others() -> None:
    assert pointer_of("a/b", 0, "~c") == "/a~1b/0/~0c"
    assert pointer_of() == ""


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("", {"a": [{"b/c": 1}]}), ("/a/0", {"b/c": 1}), ("/a/0/b~1c", 1)],
)
def test_a_pointer_is_followed(pointer: str, value: Any) -> None:
    assert value_at(pointer, {"a": [{"b/c": 1}]}) == value


@pytest.mark.parametrize("pointer", ["/b", "/a/1", "/a/x", "/a/-1", "/a/0/b/c"])
def test_where_nothing_is_there_is_nothing(pointer: str) -> None:
    with pytest.raises(LookupError):
        value_at(pointer, {"a": [{"b": 1}]})
