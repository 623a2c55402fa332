"""Messages: their JSON form reads back equal, and nothing else is read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentkit import (
    AnswerMessage,
    Call,
    CallMessage,
    Message,
    ResultMessage,
    UserMessage,
    dump_messages,
    load_messages,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
calls = st.builds(Call, texts, texts, st.dictionaries(texts, values, max_size=3))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(UserMessage, texts),
    st.builds(CallMessage, st.lists(calls, max_size=3).map(tuple)),
    st.builds(ResultMessage, texts, texts, texts, st.booleans()),
    st.builds(AnswerMessage, texts),
)


@given(st.lists(messages, max_size=5).map(tuple))
def test_dumped_messages_read_back_equal(history: tuple[Message, ...]) -> None:
    assert load_messages(dump_messages(history)) == history


def test_the_json_form_names_the_role() -> None:
    history = (UserMessage("hi"), CallMessage((Call("call_1", "add", {"a": 1}),)))
    assert json.loads(dump_messages(history)) == [
        {"text": "hi", "role": "user"},
        {"calls": [{"id": "call_1", "tool": "add", "arguments": {"a": 1}}], "role": "call"},
    ]


@pytest.mark.parametrize("text", ["", "{}", '[{"role": "system", "text": "x"}]', '[{"text": "x"}]'])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        load_messages(text)


def test_messages_are_frozen() -> None:
    message = UserMessage("hi")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.text = "ho"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
