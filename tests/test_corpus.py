"""The corpus: reproducible, valid by its own schemas, and held out where it says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tiny import tiny_tokenizer

from agentkit_engine.training.corpus import shipped, words
from agentkit_engine.training.corpus.conversations import NO_TOOL, Conversation, corpus
from agentkit_tools import calculator, clock
from agentkit_tools.todo import TodoList

SMALL_TALK = {
    "Hello! How can I help?",
    "You are welcome.",
    "Goodbye!",
    "I am fine, thank you.",
    "I am agentkit's small model.",
}


@pytest.fixture(scope="module")
def many() -> list[Conversation]:
    return list(islice(corpus(1), 2000))


def functions(conversation: Conversation) -> dict[str, dict[str, Any]]:
    """The declared tools by name."""
    return {tool["function"]["name"]: tool["function"] for tool in conversation.tools}


def calls(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """What the model calls, in order."""
    for message in conversation.messages:
        for call in message.get("tool_calls", ()):
            yield call["function"]


def made_up(seed: int, *, held: bool, count: int) -> list[Conversation]:
    """Conversations about none of the shipped tools."""
    return list(islice(corpus(seed, held=held, shipped_share=0.0), count))


def called_names(conversations: list[Conversation]) -> set[str]:
    """The tools that are called, or whose bare schema is to be filled."""
    found = {call["name"] for one in conversations for call in calls(one)}
    return found | {one.extraction.name for one in conversations if one.extraction}


def readings(name: str) -> list[tuple[str, str]]:
    """The (verb, noun) that a made-up name may be of: `find_old_hotel`, `old_hotel_find`."""
    parts = [part.lower() for part in re.findall("[A-Z]?[a-z]+", name)]
    both = ((parts[0], parts[-1]), (parts[-1], parts[-2]))
    return [(verb, noun) for verb, noun in both if verb in words.VERBS]


def test_the_same_seed_gives_the_same_conversations() -> None:
    first, again, other = (list(islice(corpus(seed), 50)) for seed in (3, 3, 4))
    assert first == again
    assert not any(one in other for one in first)


def test_a_seed_gives_the_same_in_every_process() -> None:
    code = (
        "from itertools import islice\n"
        "from agentkit_engine.training.corpus.conversations import corpus\n"
        "print([(one.tools, one.messages) for one in islice(corpus(3, held=True), 50)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [(one.tools, one.messages) for one in islice(corpus(3, held=True), 50)]
    assert printed == {f"{here}\n"}


def test_words_stand_once_where_twice_would_hold_out_less() -> None:
    assert len(set(words.NOUNS)) == len(words.NOUNS)
    assert set(words.NOUNS) > words.HELD_NOUNS
    assert set(words.VERBS) > words.HELD_VERBS


def test_training_names_no_tool_after_a_held_out_word() -> None:
    conversations = made_up(5, held=False, count=1000)
    names = {name for one in conversations for name in functions(one)} | called_names(conversations)
    assert len(names) > 1000
    for name in names:
        assert any(
            verb not in words.HELD_VERBS and noun not in words.HELD_NOUNS
            for verb, noun in readings(name)
        ), name


def test_held_out_conversations_call_no_tool_with_a_noun_of_training() -> None:
    trained = set(words.NOUNS) - words.HELD_NOUNS
    names = called_names(made_up(5, held=True, count=1000))
    assert len(names) > 500
    for name in names:
        assert any(noun not in trained for _, noun in readings(name)), name
    found = {word for name in names for reading in readings(name) for word in reading}
    assert found >= words.HELD_NOUNS | words.HELD_VERBS


def test_every_call_is_valid_and_of_a_declared_tool(many: list[Conversation]) -> None:
    formats = Draft202012Validator.FORMAT_CHECKER
    count = 0
    for conversation in many:
        tools = functions(conversation)
        filled = [(tools[call["name"]], call["arguments"]) for call in calls(conversation)]
        if (task := conversation.extraction) is not None:
            assert not conversation.tools
            filled.append((task.tool["function"], task.arguments))
        for function, arguments in filled:
            Draft202012Validator(function["parameters"], format_checker=formats).validate(arguments)
            count += 1
    assert count > 1500


def test_no_two_tools_of_a_conversation_have_one_name(
    many: list[Conversation], monkeypatch: pytest.MonkeyPatch
) -> None:
    # with so few words one name is often drawn twice
    monkeypatch.setattr(words, "VERBS", {"find": ("find",)})
    monkeypatch.setattr(words, "NOUNS", words.NOUNS[1:4])
    for conversation in [*many, *made_up(2, held=False, count=300)]:
        assert len(functions(conversation)) == len(conversation.tools)


def test_every_declaration_is_a_good_schema(many: list[Conversation]) -> None:
    for conversation in many:
        assert all(function["description"] for function in functions(conversation).values())
    for conversation in many[:400]:
        for function in functions(conversation).values():
            Draft202012Validator.check_schema(function["parameters"])


def test_without_a_call_the_model_refuses_or_chats(many: list[Conversation]) -> None:
    refused = 0
    for conversation in many:
        pairs = zip(conversation.messages, conversation.messages[1:], strict=False)
        for before, message in pairs:
            if message["role"] != "assistant":
                continue
            text = message["content"]
            if message.get("tool_calls"):
                assert text == ""
            elif before["role"] == "user":
                assert text in {NO_TOOL, *SMALL_TALK}
                refused += text == NO_TOOL
            else:
                assert text not in {NO_TOOL, *SMALL_TALK}
        if any(message["content"] == NO_TOOL for message in conversation.messages):
            assert not list(calls(conversation))
            assert conversation.messages[-1]["content"] == NO_TOOL
    assert refused > 100


def test_a_request_says_every_string_that_its_call_carries(many: list[Conversation]) -> None:
    for conversation in many:
        said = [m["content"].lower() for m in conversation.messages if m["role"] == "user"]
        for call in calls(conversation):
            for value in call["arguments"].values():
                if isinstance(value, str):
                    assert any(value.lower() in request for request in said), call


def test_the_shipped_tools_are_declared_word_for_word(tmp_path: Path) -> None:
    todo = TodoList(tmp_path / "todo.sqlite3").tools()
    tools = [*calculator.toolset.tools, *clock.toolset.tools, *todo]
    declared = [tool["function"] for tool in shipped.DECLARATIONS]
    assert declared == [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in tools
    ]
    # a dict is equal in any order, a prompt is not
    assert [list(function["parameters"]["properties"]) for function in declared] == [
        list(tool.parameters["properties"]) for tool in tools
    ]


def test_every_prompt_is_a_prefix_of_the_whole(many: list[Conversation]) -> None:
    template = files("agentkit_engine.training").joinpath("chat_template.jinja").read_text("utf-8")
    tokenizer: Any = tiny_tokenizer()

    def render(conversation: Conversation, upto: int, *, prompt: bool) -> str:
        text = tokenizer.apply_chat_template(
            conversation.messages[:upto],
            tools=conversation.tools or None,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return str(text)

    for conversation in many[:300]:
        whole = render(conversation, len(conversation.messages), prompt=False)
        for index, message in enumerate(conversation.messages):
            if message["role"] == "assistant":
                prompt = render(conversation, index, prompt=True)
                turn = render(conversation, index + 1, prompt=False)
                assert whole.startswith(turn)
                assert turn.startswith(prompt)
                assert turn != prompt
