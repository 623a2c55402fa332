"""The JSON of a chat completion that is answered, whole and in chunks.

Knows what came of a turn. Must not know what was asked for beyond that, nor HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agentkit_engine.filling.outcome import Effort
from agentkit_engine.server.chat.asked import (
    CallDelta,
    Delta,
    Reason,
    TextDelta,
    TurnCall,
    Turned,
    new_id,
)
from agentkit_engine.server.chat.effort import about_json
from agentkit_engine.server.chat.openai.logprobs import logprobs_json
from agentkit_engine.server.transport.bodies import write_json

JSON: TypeAlias = dict[str, Any]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]

_REASONS: Mapping[Reason, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "calls": "tool_calls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One completion: what all its JSON has in common.

    Attributes:
        likely: tokens told beside each of an answer's; None where no probabilities are asked for.
        end: what stands for the end of a text among them.
        usage: whether the last chunk tells what all of it took; then all have a place for it.
    """

    model: str
    likely: int | None
    end: str
    usage: bool
    id: str = field(default_factory=lambda: new_id("chatcmpl-"))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, turned: Sequence[Turned]) -> JSON:
        """All choices."""
        choices = [
            {
                "index": number,
                "message": _message(one),
                "logprobs": self.logprobs(one),
                "finish_reason": _REASONS[one.reason],
            }
            for number, one in enumerate(turned)
        ]
        return {
            **self._head("chat.completion"),
            "choices": choices,
            "usage": usage_json([one.decision for one in turned]),
            "agentkit": about_json(turned),
        }

    def chunk(self, choice: int, delta: JSON, **more: Any) -> JSON:
        """More of one choice."""
        told = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        usage: JSON = {"usage": None} if self.usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [told], **usage}

    def usage_chunk(self, turned: Sequence[Turned]) -> JSON:
        """What all of it took, of no choice."""
        usage = usage_json([one.decision for one in turned])
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def logprobs(self, turned: Turned) -> JSON | None:
        """The probabilities of an answer's tokens, where they are asked for."""
        if self.likely is None:
            return None
        return logprobs_json(turned, likely=self.likely, end=self.end)

    def _head(self, kind: str) -> JSON:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
        }


class Chunks:
    """The chunks of one completion, in the order in which they come."""

    def __init__(self, completion: Completion) -> None:
        self._completion = completion
        self._begun: set[int] = set()

    def told(self, delta: Delta) -> Iterator[JSON]:
        """What became certain."""
        match delta:
            case TextDelta(choice=choice, text=text):
                yield from self._begin(choice, "")
                yield self._completion.chunk(choice, {"content": text})
            case CallDelta(choice=choice, number=number, call=call):
                yield from self._begin(choice, None)
                listed = [{"index": number, **call_json(call)}]
                yield self._completion.chunk(choice, {"tool_calls": listed})

    def ended(self, turned: Sequence[Turned], logprobs: Sequence[JSON | None]) -> Iterator[JSON]:
        """The end of each choice, and of them all."""
        found: list[JSON] = []
        for number, (one, nats) in enumerate(zip(turned, logprobs, strict=True)):
            found += self._begin(number, None if one.text is None else "")
            if nats is not None:
                found.append(self._completion.chunk(number, {"content": ""}, logprobs=nats))
            reason = _REASONS[one.reason]
            found.append(self._completion.chunk(number, {}, finish_reason=reason))
        if self._completion.usage:
            found.append(self._completion.usage_chunk(turned))
        found[-1]["agentkit"] = about_json(turned)
        yield from found

    def _begin(self, choice: int, content: str | None) -> Iterator[JSON]:
        if choice not in self._begun:
            self._begun.add(choice)
            yield self._completion.chunk(choice, {"role": "assistant", "content": content})


def call_json(call: TurnCall) -> JSON:
    """A call, its arguments as JSON text."""
    arguments = write_json(call.arguments).decode()
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def usage_json(efforts: Sequence[Effort]) -> JSON:
    """Tokens of the context, and positions that were filled behind it."""
    prompt, filled = efforts[0].prompt_tokens, sum(one.tokens for one in efforts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": filled,
        "total_tokens": prompt + filled,
        "prompt_tokens_details": {"cached_tokens": efforts[0].cached_tokens},
    }


def _message(turned: Turned) -> JSON:
    message: JSON = {"role": "assistant", "content": turned.text, "refusal": None}
    if turned.calls:
        message["tool_calls"] = [call_json(call) for call in turned.calls]
    return message
