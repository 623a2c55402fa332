"""Messages: their JSON form reads back equal, and nothing else is read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    History,
    Message,
    ResultMessage,
    UserMessage,
    dump_message,
    dump_messages,
    load_message,
    load_messages,
)

# Every character there is but halves of pairs, and often those that formats trip over.
odd = st.sampled_from(
    [
        "\x00",
        "\x7f",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\ufffe",
        "\u202e",
        "e\u0301",
        "👩‍👩‍👧",
        "\\u0041",
        '"',
        "\r\n",
    ]
)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(odd).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
calls = st.builds(Call, texts, texts, st.dictionaries(texts, values, max_size=3))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(UserMessage, texts),
    st.builds(CallMessage, st.lists(calls, max_size=3).map(tuple)),
    st.builds(ResultMessage, texts, texts, texts, st.booleans()),
    st.builds(AnswerMessage, texts),
    st.builds(FeedbackMessage, texts),
)


@given(st.lists(messages, max_size=5).map(tuple))
def test_dumped_messages_read_back_equal(history: tuple[Message, ...]) -> None:
    assert load_messages(dump_messages(history)) == history
    assert load_messages(dump_messages(history).encode()) == history


@given(messages)
def test_a_message_alone_is_written_as_it_is_in_a_history(message: Message) -> None:
    alone = dump_message(message)
    assert load_message(alone) == message
    assert f"[{alone}]" == dump_messages([message])


@given(messages)
def test_a_message_is_one_line(message: Message) -> None:
    assert "\n" not in dump_message(message)


def test_every_kind_of_message_is_tried_here() -> None:
    kinds = {UserMessage, CallMessage, ResultMessage, AnswerMessage, FeedbackMessage}
    assert set(get_args(Message)) == kinds


def test_the_json_form_names_the_role() -> None:
    history = (
        UserMessage("hi"),
        CallMessage((Call("call_1", "add", {"a": 1}),)),
        ResultMessage("call_1", "add", "2"),
        AnswerMessage("2"),
        FeedbackMessage("in words"),
    )
    assert json.loads(dump_messages(history)) == [
        {"text": "hi", "role": "user"},
        {"calls": [{"id": "call_1", "tool": "add", "arguments": {"a": 1}}], "role": "call"},
        {"call_id": "call_1", "tool": "add", "content": "2", "is_error": False, "role": "result"},
        {"text": "2", "role": "answer"},
        {"text": "in words", "role": "feedback"},
    ]


def test_a_file_of_version_1_still_loads() -> None:
    text = Path(__file__).with_name("messages_v1.json").read_bytes()
    history: History = (
        UserMessage("Add 2 and ü😀\u2028"),
        CallMessage(
            (
                Call("call_1", "add", {"a": 2, "b": [1.5, None, True, {"ü": "x"}]}),
                Call("call_2", "now", {}),
            )
        ),
        ResultMessage("call_1", "add", "no ü", is_error=True),
        ResultMessage("call_2", "now", "12:00"),
        AnswerMessage("dunno"),
        FeedbackMessage("Answer in words."),
        AnswerMessage("There is no sum."),
    )
    assert load_messages(text) == history
    assert json.loads(dump_messages(history)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Invalid JSON"),
        ("{}", "valid array"),
        ('[{"role": "user", "text": "x"}', "Invalid JSON"),
        ('[{"role": "system", "text": "x"}]', "'system' found using 'role'"),
        ('[{"text": "x"}]', "discriminator 'role'"),
        ('[{"role": "user"}]', "text"),
        ('[{"role": "user", "text": 1}]', "valid string"),
        ('[{"role": "user", "text": "x", "mood": "good"}]', "mood"),
        ('[{"role": "call", "calls": [{"id": "1", "tool": "t"}]}]', "arguments"),
        ('[{"role": "call", "calls": [{"id": "1", "tool": "t", "arguments": []}]}]', "object"),
        (
            '[{"role": "result", "call_id": "1", "tool": "t", "content": "", "is_error": "no"}]',
            "valid boolean",
        ),
        (r'[{"role": "user", "text": "\ud800"}]', "Invalid JSON"),
    ],
)
def test_what_is_no_message_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        load_messages(text)


@pytest.mark.parametrize("value", [object(), "\ud800", b"\xff"])
def test_what_json_cannot_say_is_not_written(value: Any) -> None:
    message = CallMessage((Call("call_1", "add", {"a": value}),))
    with pytest.raises(PydanticSerializationError):
        dump_messages([UserMessage("hi"), message])


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), -0.0, 10**400, 5e-324])
def test_numbers_at_the_edge_read_back_as_they_were(value: float) -> None:
    message = CallMessage((Call("call_1", "add", {"a": value}),))
    (read,) = load_messages(dump_messages([message]))
    assert repr(read) == repr(message)


def test_messages_are_frozen() -> None:
    message = UserMessage("hi")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.text = "ho"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
