"""A history as chat messages, grown message by message.

Knows messages and their chat form, and what servers insist on: that a call is followed by its
result, and a result led by its call. Must not know a client or a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from agentkit.backend import ToolSpec
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    Message,
    ResultMessage,
    UserMessage,
)

Chat: TypeAlias = dict[str, Any]


class Transcript:
    """The chat messages of a conversation, but for the instructions."""

    def __init__(self, chat: Sequence[Chat] = (), waiting: Mapping[str, str] | None = None) -> None:
        self._chat = list(chat)
        self._waiting = dict(waiting or {})  # id -> tool of the calls that have no result yet

    def add(self, message: Message) -> None:
        """Append a message; those before it stay as they are."""
        if isinstance(message, ResultMessage):
            self._chat.append(self._result(message))
            return
        self._end_calls()
        match message:
            case UserMessage(text=text) | FeedbackMessage(text=text):
                self._chat.append(said("user", text))
            case AnswerMessage(text=text):
                self._chat.append(said("assistant", text))
            case CallMessage(calls=calls):
                listed = [_called(call) for call in calls]
                self._chat.append({"role": "assistant", "content": None, "tool_calls": listed})
                self._waiting = {call.id: call.tool for call in calls}

    def messages(self) -> list[Chat]:
        """All of it, ready to be decided on. The list is the caller's, its items are shared."""
        self._end_calls()
        return list(self._chat)

    def fork(self) -> Transcript:
        """A second one that goes on from here; the messages so far are shared."""
        return Transcript(self._chat, self._waiting)

    def _result(self, message: ResultMessage) -> Chat:
        content = f"error: {message.content}" if message.is_error else message.content
        if self._waiting.pop(message.call_id, None) is None:
            # The history was cut behind its call, or the call was given up before this came.
            return said("user", f"An earlier call of {message.tool} gave: {content}")
        return {**said("tool", content), "tool_call_id": message.call_id}

    def _end_calls(self) -> None:
        """Say of calls without a result that there is none: servers refuse a history without."""
        for call_id in self._waiting:
            told = said("tool", "error: this call was given up, it has no result")
            self._chat.append({**told, "tool_call_id": call_id})
        self._waiting.clear()


def said(role: str, text: str) -> Chat:
    """One message of words. What is no Unicode text, half a surrogate pair say, is escaped."""
    return {"role": role, "content": text.encode("utf-8", "backslashreplace").decode()}


def declared(tool: ToolSpec) -> dict[str, Any]:
    """A tool as a request offers it."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}


def _called(call: Call) -> dict[str, Any]:
    written = json.dumps(call.arguments, ensure_ascii=False)
    function = {
        "name": call.tool,
        "arguments": written.encode("utf-8", "backslashreplace").decode(),
    }
    return {"id": call.id, "type": "function", "function": function}
