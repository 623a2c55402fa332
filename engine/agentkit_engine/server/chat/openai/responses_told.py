"""The JSON of a response, from its beginning to its end.

Knows its shape. Must not know how it came about, nor how it is sent.
"""

from __future__ import annotations

import time
from typing import Any

from agentkit_engine.filling.outcome import Decision
from agentkit_engine.server.chat.asked import TurnCall, Turned, new_id
from agentkit_engine.server.chat.effort import about_json
from agentkit_engine.server.chat.openai.responses_wire import ResponseForm, Tool
from agentkit_engine.server.chat.openai.told import JSON
from agentkit_engine.server.transport.bodies import write_json
from agentkit_engine.server.transport.problems import Problem


class Told:
    """One response: what was asked for, told again, and what comes of it.

    Attributes:
        id: of the response.
        message_id: of the message in it, where it has one.
    """

    def __init__(self, form: ResponseForm, *, model: str) -> None:
        self.id, self.message_id = new_id("resp_"), new_id("msg_")
        self._begun = int(time.time())
        self._asked = _asked(form, model)

    def begun(self) -> JSON:
        """Before anything comes of it."""
        return self._response("in_progress")

    def ended(self, turned: Turned, logprobs: JSON | None) -> JSON:
        """With all that came of it."""
        cut = self._cut(turned)
        status = "incomplete" if cut else "completed"
        output = [call_item(call) for call in turned.calls]
        if turned.text is not None:
            nats = logprobs["content"] if logprobs else []
            part = text_part(turned.text, nats)
            output.append(message_item(self.message_id, part, status=status))
        return self._response(
            status,
            completed_at=None if cut else int(time.time()),
            incomplete_details={"reason": "max_output_tokens"} if cut else None,
            output=output,
            usage=_usage(turned.decision),
            agentkit={**about_json([turned]), "full": turned.reason == "length"},
        )

    def failed(self, problem: Problem) -> JSON:
        """With what went wrong."""
        error = {"code": _failure(problem), "message": problem.message}
        return self._response("failed", error=error)

    def _cut(self, turned: Turned) -> bool:
        """Whether the client's limit was met.

        One that takes all the room this model has for an answer is not cut: clients that set no
        limit take a response that is incomplete for a failure.
        """
        most = self._asked["max_output_tokens"]
        full = turned.reason == "length"
        return full and most is not None and turned.decision.tokens >= most

    def _response(self, status: str, **more: Any) -> JSON:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._begun,
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            **self._asked,
            **more,
        }


def message_item(id: str, *content: JSON, status: str) -> JSON:
    """An answer as an item of the output."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(content),
    }


def text_part(text: str, logprobs: list[JSON]) -> JSON:
    """What an answer says."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(call: TurnCall) -> JSON:
    """A call as an item of the output."""
    return {
        "id": f"fc_{call.id.removeprefix('call_')}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": write_json(call.arguments).decode(),
    }


def _asked(form: ResponseForm, model: str) -> JSON:
    """What of the request is told again, with the defaults of this server."""
    format = form.text.format if form.text else None
    return {
        "model": model,
        "instructions": form.instructions,
        "previous_response_id": form.previous_response_id,
        "tools": [_tool(tool) for tool in form.tools or ()],
        "tool_choice": "auto" if form.tool_choice is None else form.tool_choice,
        "parallel_tool_calls": bool(form.parallel_tool_calls),
        "text": {"format": {"type": "text"} if format is None else format},
        "max_output_tokens": form.max_output_tokens,
        "temperature": form.temperature or 0.0,
        "metadata": form.metadata or {},
        "store": form.store is not False,
        "background": False,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "top_logprobs": form.likely or 0,
        "top_p": 1.0,
        "truncation": "disabled",
    }


def _tool(tool: Tool) -> JSON:
    """Schemas always hold, whatever was said of it; only what was denied stays so."""
    return {**tool.model_dump(), "strict": tool.strict is not False}


def _usage(decision: Decision) -> JSON:
    """Tokens of the chat, and positions that were filled behind it."""
    prompt, filled = decision.prompt_tokens, decision.tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": decision.cached_tokens,
            "cache_write_tokens": prompt - decision.cached_tokens,
        },
        "output_tokens": filled,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + filled,
    }


def _failure(problem: Problem) -> str:
    """What a program tells a failure by; clients know no others."""
    if problem.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if problem.status < 500 else "server_error"
