"""What the tests of the OpenAI-compatible backend share: tools, a schema, conversations."""

from __future__ import annotations

from typing import Any

from chat_server import ChatServer

from agentkit import Message, UserMessage
from agentkit.backend import Decision, Draft, ModelSettings, ToolSpec
from agentkit.backends.openai import OpenAIBackend, OpenAIConversation

INTEGER = {"type": "integer"}
ADD = ToolSpec(
    "add",
    "Add two numbers.",
    {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "required": ["a", "b"]},
)
FIND = ToolSpec("find", "", {"type": "object", "properties": {"city": {"type": "string"}}})
POINT = {
    "type": "object",
    "properties": {"x": INTEGER, "label": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
}


def backend_at(server: ChatServer, **options: Any) -> OpenAIBackend:
    asked: dict[str, Any] = {"base_url": server.url, "max_retries": 0, **options}
    return OpenAIBackend("small", **asked)


async def opened(
    server: ChatServer, *messages: Message, output: Any = None, **options: Any
) -> OpenAIConversation:
    conversation = await backend_at(server, **options).open(
        instructions="Be brief.", tools=[ADD, FIND], output=output
    )
    await conversation.extend(messages or [UserMessage("go")])
    return conversation


async def decided(
    server: ChatServer, settings: ModelSettings | None = None, **how: Any
) -> Decision:
    conversation = await opened(server, **how)
    return await conversation.decide(settings=settings or ModelSettings())


async def drafted(
    server: ChatServer, settings: ModelSettings | None = None, **how: Any
) -> tuple[Decision, list[Draft]]:
    conversation = await opened(server, **how)
    seen: list[Draft] = []
    decision = await conversation.decide(settings=settings or ModelSettings(), on_draft=seen.append)
    return decision, seen


def chat(server: ChatServer, number: int = -1) -> list[dict[str, Any]]:
    """The messages of a request, instructions left out."""
    return [item for item in server.requests[number]["messages"] if item["role"] != "system"]
