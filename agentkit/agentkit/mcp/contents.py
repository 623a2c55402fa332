"""What servers send, as text that a model reads: results, resources, prompts.

Knows the protocol's content blocks. Must not know connections. Nothing is said twice, and nothing
that is no text is written out: a picture is told as what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

import mcp_types as types

from agentkit.message import AnswerMessage, History, UserMessage

Block: TypeAlias = types.ContentBlock
Resource: TypeAlias = types.TextResourceContents | types.BlobResourceContents


def result_text(result: types.CallToolResult) -> str:
    """A call's result: its blocks, and of its structured content what they don't say."""
    parts = [block_text(block) for block in result.content]
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    structured = result.structured_content
    if structured is not None and not _said(structured, texts):
        parts.append(json.dumps(structured, ensure_ascii=False, separators=(",", ":")))
    return "\n".join(parts)


def block_text(block: Block) -> str:
    """One block of content."""
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent():
            return _binary("image", block.mime_type, block.data)
        case types.AudioContent():
            return _binary("audio", block.mime_type, block.data)
        case types.ResourceLink():
            named = [f"resource {block.name!r} at {block.uri}", block.mime_type]
            size = None if block.size is None else _sized(block.size)
            head = ", ".join(item for item in (*named, size) if item)
            return f"[{head}]" if block.description is None else f"[{head}: {block.description}]"
        case types.EmbeddedResource():
            return resource_text(block.resource, headed=True)


def resource_text(resource: Resource, *, headed: bool = False) -> str:
    """What a resource holds. headed: says first which one it is."""
    head = f"resource {resource.uri}"
    if isinstance(resource, types.BlobResourceContents):
        return _binary(head, resource.mime_type, resource.blob)
    return f"[{head}]\n{resource.text}" if headed else resource.text


def prompt_history(messages: Iterable[types.PromptMessage]) -> History:
    """A prompt's messages, as the history of a run takes them."""
    return tuple(
        UserMessage(block_text(message.content))
        if message.role == "user"
        else AnswerMessage(block_text(message.content))
        for message in messages
    )


def _said(structured: object, texts: list[str]) -> bool:
    """Whether a text says what is structured: as JSON, or as its one text."""
    whole = "\n".join(texts)
    if isinstance(structured, dict) and [*structured.values()] == [whole]:
        return True
    for text in (whole, *texts):
        try:
            if json.loads(text) == structured:
                return True
        except ValueError:
            continue
    return False


def _binary(what: str, mime_type: str | None, base64: str) -> str:
    size = len(base64.rstrip("=")) * 3 // 4
    return f"[{', '.join(filter(None, (what, mime_type, _sized(size))))}; not shown]"


def _sized(count: int) -> str:
    return f"{count} bytes" if count < 10_000 else f"{count / 1000:.0f} kB"
