"""What is asked of `/v1/responses` in tests, and how what it tells is read."""

from __future__ import annotations

import json
from typing import Any, Literal

import jsonschema
import openai
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseUsage
from pydantic import BaseModel
from serving import Served

from agentkit_engine.server.chat.openai.responses_events import NAMES

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "the weather of a city",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Berlin", "Lagos"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
NOTE: dict[str, Any] = {
    "type": "function",
    "name": "note",
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 12}},
        "required": ["text"],
        "additionalProperties": False,
    },
}
SCHEMAS = {tool["name"]: tool["parameters"] for tool in (WEATHER, NOTE)}
HELLO = "is it warm in Paris?"
CALLS: dict[str, Any] = {"input": HELLO, "tools": [WEATHER, NOTE], "tool_choice": "required"}


class Trip(BaseModel):
    """An answer by a schema."""

    city: Literal["Paris", "Berlin"]
    nights: int


def client_of(served: Served) -> openai.OpenAI:
    """OpenAI's own client of a server that runs."""
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="k", max_retries=0)


def calls_of(response: Response) -> list[ResponseFunctionToolCall]:
    """Its calls, all of them as their schemas have it."""
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    assert len({call.call_id for call in calls}) == len(calls)
    return calls


def used(response: Response) -> ResponseUsage:
    """What it took."""
    assert response.usage is not None
    return response.usage


class Read:
    """A stream as it is read: what it tells in pieces must be what it tells as a whole."""

    def __init__(self, stream: Any) -> None:
        self.names: list[str] = []
        self.deltas = 0
        self._items: list[dict[str, Any]] = []
        events = list(stream)
        for number, event in enumerate(events):
            assert event.sequence_number == number
            assert event.type in NAMES
            self.names.append(event.type)
            self._read(event)
        self.response: Response = events[-1].response
        assert self.names[:2] == ["response.created", "response.in_progress"]
        assert [item["done"] for item in self._items] == self.response.output

    def _read(self, event: Any) -> None:
        item = self._items[-1] if self._items else {}
        match event.type:
            case "response.created" | "response.in_progress":
                assert event.response.status == "in_progress"
                assert event.response.output == []
            case "response.output_item.added":
                assert event.output_index == len(self._items)
                assert event.item.status == "in_progress"
                self._items.append({"id": event.item.id, "said": ""})
            case "response.content_part.added":
                assert event.part.text == ""
            case "response.output_text.delta" | "response.function_call_arguments.delta":
                assert event.delta
                assert (event.output_index, event.item_id) == (len(self._items) - 1, item["id"])
                item["said"] += event.delta
                self.deltas += 1
            case "response.output_text.done":
                assert event.text == item["said"]
            case "response.function_call_arguments.done":
                assert event.arguments == item["said"]
            case "response.content_part.done":
                assert event.part.text == item["said"]
            case "response.output_item.done":
                assert event.item.id == item["id"]
                item["done"] = event.item
            case end:
                assert end in ("response.completed", "response.incomplete")
