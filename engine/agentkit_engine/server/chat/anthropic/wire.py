"""The wire: the JSON of what is asked.

Knows shapes and names. Must not know what they ask the engine for, nor what is answered. What this
server can't do is refused by its name; fields that it does not know are ignored, as are those that
only tell Anthropic how to run or bill a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

_STOPS = 64  # texts before which an answer ends; each is looked for in every draft
Name = Annotated[str, Field(min_length=1)]


class Wire(BaseModel):
    """A part of a request's body. Wrong types are refused, not converted."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TextBlock(Wire):
    """Words."""

    type: Literal["text"]
    text: str


class ToolUseBlock(Wire):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]


def _one_text(value: Any) -> Any:
    """A string stands for one block of text."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _readable(*known: str) -> Callable[[Any], Any]:
    def check(block: Any) -> Any:
        kind = block.get("type") if isinstance(block, dict) else None
        if isinstance(kind, str) and kind not in known:
            raise ValueError(f"this model reads no {kind!r}; send {' or '.join(map(repr, known))}")
        return block

    return check


Text: TypeAlias = Annotated[TextBlock, BeforeValidator(_readable("text"))]
Texts: TypeAlias = Annotated[list[Text], BeforeValidator(_one_text)]


class ToolResultBlock(Wire):
    """What a call came to."""

    type: Literal["tool_result"]
    tool_use_id: Name
    content: Texts | None = None
    is_error: bool | None = None


Block: TypeAlias = Annotated[
    Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")],
    BeforeValidator(_readable("text", "tool_use", "tool_result")),
]


class Message(Wire):
    """A message of the chat."""

    role: Literal["user", "assistant"]
    content: Annotated[list[Block], BeforeValidator(_one_text)]

    @field_validator("role", mode="before")
    @classmethod
    def _not_the_system(cls, role: Any) -> Any:
        if role == "system":
            raise ValueError("a system message can't stand here; write it as `system`")
        return role


class Tool(Wire):
    """A tool on offer; `input_schema` is a JSON Schema of type object."""

    type: Literal["custom"] | None = None
    name: Name
    description: str | None = None
    input_schema: dict[str, Any]

    @field_validator("type", mode="before")
    @classmethod
    def _of_the_client(cls, kind: Any) -> Any:
        if isinstance(kind, str) and kind != "custom":
            raise ValueError(
                f"{kind!r} is not known to this server; describe a tool of your own, which you run "
                "yourself, by its `input_schema`"
            )
        return kind

    @field_validator("input_schema")
    @classmethod
    def _of_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") != "object":
            raise ValueError('the "type" of a tool\'s schema is "object"')
        return schema


class ToolChoice(Wire):
    """Which tools may be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Wire):
    """What an answer is to satisfy."""

    type: Literal["json_schema"]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Wire):
    """How an answer is written."""

    format: OutputFormat | None = None


class Thinking(Wire):
    """Whether the model is to think first, which this one does not; what lets it choose will do."""

    type: Literal["disabled", "adaptive"]

    @field_validator("type", mode="before")
    @classmethod
    def _none(cls, kind: Any) -> Any:
        if kind in ("enabled", "between_tools"):
            raise ValueError("this model does not think; send 'disabled', or leave `thinking` out")
        return kind


class Counting(Wire):
    """A chat of which the tokens are counted.

    output_format: as earlier clients send what is now `output_config.format`.
    """

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    system: Texts | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    thinking: Thinking | None = None
    container: Any = None
    mcp_servers: Any = None
    thread: Any = None

    @field_validator("container", "mcp_servers")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        if value:
            raise ValueError("this server runs no containers and no servers of tools; leave it out")
        return value

    @field_validator("thread")
    @classmethod
    def _no_thread(cls, value: Any) -> Any:
        if value:
            raise ValueError("this server keeps no threads; send all messages, with `thread=False`")
        return value


class Asking(Counting):
    """One turn of a chat.

    max_tokens: of an answer in words; 0 only encodes the chat, for the next request to find. Calls
        and answers by a schema are as long as their schemas say.
    """

    max_tokens: Annotated[int, Field(ge=0)]
    stop_sequences: Annotated[list[Name], Field(max_length=_STOPS)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
