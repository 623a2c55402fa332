"""Conversations of the corpus, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerFast

from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.corpus.scenes import Part, corpus
from agentkit_engine.training.tokenizer import train_tokenizer


def some(seed: int | str, count: int, **part: Any) -> list[Conversation]:
    """The conversations of some scenes."""
    return [one for scene in islice(corpus(seed, Part(**part)), count) for one in scene]


@cache
def small_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as training makes it, from less."""
    return train_tokenizer(texts(some(10, 120)), vocabulary=800)


def texts(conversations: Sequence[Conversation]) -> Iterator[str]:
    """What a tokenizer may learn from."""
    return (json.dumps([one.tools, one.messages]) for one in conversations)


def functions(conversation: Conversation) -> dict[str, dict[str, Any]]:
    """The declared tools by name."""
    return {tool["function"]["name"]: tool["function"] for tool in conversation.tools}


def parameters(conversation: Conversation, name: str) -> dict[str, Any]:
    """The schema of a declared tool's arguments."""
    found: dict[str, Any] = functions(conversation)[name]["parameters"]
    return found


def calls(conversation: Conversation) -> Iterator[dict[str, Any]]:
    """What the model calls, in order."""
    for message in conversation.messages:
        for call in message.get("tool_calls", ()):
            yield call["function"]


def filled(conversation: Conversation) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The schemas of calls, and of what is extracted, with what is filled in."""
    for call in calls(conversation):
        yield parameters(conversation, call["name"]), call["arguments"]
    if (task := conversation.extraction) is not None:
        yield task.declared.schema, task.arguments


def roles(conversation: Conversation) -> str:
    """One letter a message: user, call, tool, answer."""
    letters = {"user": "u", "tool": "t", "system": ""}
    return "".join(
        "c" if message.get("tool_calls") else letters.get(message["role"], "a")
        for message in conversation.messages
    )
