"""Anthropic's official client of a server, and what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import jsonschema
from anthropic.types import Message, MessageParam, ToolParam, ToolUseBlock
from serving import Served

WEATHER: ToolParam = {
    "name": "weather",
    "description": "the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Berlin", "Lagos"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
NOTE: ToolParam = {
    "name": "note",
    "input_schema": {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 12}},
        "required": ["text"],
        "additionalProperties": False,
    },
}
SCHEMAS: dict[str, Any] = {str(tool["name"]): tool["input_schema"] for tool in (WEATHER, NOTE)}
HELLO: MessageParam = {"role": "user", "content": "is it warm in Paris?"}
SAID: dict[str, Any] = {"max_tokens": 100, "messages": [HELLO]}
CALLS: dict[str, Any] = {**SAID, "tools": [WEATHER, NOTE], "tool_choice": {"type": "any"}}


class Model:
    """The official client, and the model that the server has."""

    def __init__(self, served: Served, **options: Any) -> None:
        self.name: str = served.app.state.service.model
        self._known: dict[str, Any] = {
            "base_url": served.url,
            "api_key": "k",
            "max_retries": 0,
            **options,
        }
        self.client = anthropic.Anthropic(**self._known)

    def asynchronous(self) -> anthropic.AsyncAnthropic:
        """One for the event loop of a test."""
        return anthropic.AsyncAnthropic(**self._known)

    def create(self, **asked: Any) -> Message:
        created = self.client.messages.create(model=self.name, **asked)
        assert isinstance(created, Message)
        return created

    def events(self, **asked: Any) -> Iterator[Any]:
        return iter(self.client.messages.create(model=self.name, stream=True, **asked))

    def count(self, **asked: Any) -> int:
        asked.pop("max_tokens", None)
        return self.client.messages.count_tokens(model=self.name, **asked).input_tokens


def text_of(message: Message) -> str:
    [block] = message.content
    assert block.type == "text"
    return block.text


def calls_of(message: Message) -> list[ToolUseBlock]:
    found = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert len(found) == len(message.content) > 0
    return found


def check_calls(message: Message) -> None:
    for call in calls_of(message):
        jsonschema.validate(call.input, SCHEMAS[call.name])
