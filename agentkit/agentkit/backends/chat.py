"""Messages and tools as chat templates take them.

Knows messages. Must not know who renders them.
"""

from __future__ import annotations

from typing import Any

from agentkit.message import (
    AnswerMessage,
    CallMessage,
    FeedbackMessage,
    Message,
    ResultMessage,
    UserMessage,
)


def chat_message(message: Message) -> dict[str, Any]:
    """A message."""
    match message:
        case UserMessage(text=text) | FeedbackMessage(text=text):
            return {"role": "user", "content": text}
        case AnswerMessage(text=text):
            return {"role": "assistant", "content": text}
        case CallMessage(calls=calls):
            functions = [{"name": call.tool, "arguments": call.arguments} for call in calls]
            listed = [{"type": "function", "function": function} for function in functions]
            return {"role": "assistant", "content": "", "tool_calls": listed}
        case ResultMessage(tool=tool, content=content, is_error=failed):
            return {
                "role": "tool",
                "name": tool,
                "content": f"error: {content}" if failed else content,
            }
