"""The messages of a chat completion, as chat templates take them.

Knows roles, parts and ids of calls. Must not know tools on offer, nor how a turn is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator

from agentkit_engine.server.chat.openai.tools import Body
from agentkit_engine.server.transport.problems import Refused

_WORDS = ("text", "input_text", "output_text", "refusal")


def words(content: object) -> object:
    """The text of a message's parts; what is none is left for the form to refuse."""
    if not isinstance(content, list):
        return content
    return "\n".join(map(_text, cast("list[object]", content)))


def _text(part: object) -> str:
    about = cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {}
    kind = about.get("type")
    if kind not in _WORDS:
        raise ValueError(f"a part is of the type {kind!r}; this model reads text alone")
    text = about.get("refusal" if kind == "refusal" else "text")
    if not isinstance(text, str):
        raise ValueError(f"a part of the type {kind!r} holds no text")
    return text


class CalledFunction(Body):
    """What was called; `arguments` is JSON."""

    name: str
    arguments: str


class ToolCall(Body):
    """A call in an assistant's message."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    """A message of any role; which fields count depends on that."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(words)] = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


def chat_of(messages: Sequence[Message]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """The instructions, and the messages behind them.

    What is said to the model at the beginning are the instructions; chat templates have no place
    for more of that later on, where it is said as a user says it.

    Raises:
        Refused: arguments are no JSON object, or a result is of no call before it.
    """
    instructions: list[str] = []
    chat: list[dict[str, Any]] = []
    called: dict[str, str] = {}  # id -> tool
    for number, message in enumerate(messages):
        place, text = f"messages.{number}", message.content or message.refusal or ""
        match message.role:
            case "system" | "developer" if not chat:
                instructions.append(text)
            case "system" | "developer" | "user":
                chat.append({"role": "user", "content": text})
            case "assistant":
                calls = message.tool_calls or []
                called |= {call.id: call.function.name for call in calls}
                listed = [_call(call, f"{place}.tool_calls.{k}") for k, call in enumerate(calls)]
                more = {"tool_calls": listed} if listed else {}
                chat.append({"role": "assistant", "content": text, **more})
            case "tool":
                name = _caller(message.tool_call_id, called, place)
                chat.append({"role": "tool", "name": name, "content": text})
    return "\n\n".join(instructions), tuple(chat)


def _call(call: ToolCall, place: str) -> dict[str, Any]:
    function = {
        "name": call.function.name,
        "arguments": arguments_of(call.function.arguments, f"{place}.function.arguments"),
    }
    return {"type": "function", "function": function}


def arguments_of(text: str, place: str) -> dict[str, Any]:
    """The arguments of a call that was made before.

    Raises:
        Refused: they are no JSON object.
    """
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise Refused(
            400, "InvalidRequest", f"the arguments are no JSON: {error}", place
        ) from error
    if not isinstance(found, dict):
        raise Refused(400, "InvalidRequest", "the arguments are no JSON object", place)
    return cast("dict[str, Any]", found)


def _caller(id: str | None, called: Mapping[str, str], place: str) -> str:
    """The tool whose result it is."""
    if id is not None and id in called:
        return called[id]
    known = ", ".join(map(repr, called)) or "none"
    why = f"no call before this result has the id {id!r}; known are {known}"
    raise Refused(400, "InvalidRequest", why, f"{place}.tool_call_id")
