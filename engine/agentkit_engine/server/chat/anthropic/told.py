"""The JSON of what is answered: a message, whole and event by event.

Knows shapes and names, and what came of a turn. Must not know how the turn is taken, nor HTTP.
"""

from __future__ import annotations

from typing import Any

from agentkit_engine.server.chat.asked import Delta, TextDelta, TurnCall, Turned, new_id
from agentkit_engine.server.chat.effort import about_json
from agentkit_engine.server.transport.bodies import write_json
from agentkit_engine.server.transport.connection import Tell


def message_json(turned: Turned, *, model: str) -> dict[str, Any]:
    """What came of a turn; the text of an answer, or calls."""
    blocks = [_call(call, call.arguments) for call in turned.calls]
    if turned.text is not None:
        blocks.append(_words(turned.text))
    used = _usage(turned.decision.prompt_tokens, turned.decision.tokens)
    return _message(model, blocks, used) | _end(turned) | {"agentkit": about_json([turned])}


def warmed_json(tokens: int, *, model: str) -> dict[str, Any]:
    """A message that says nothing: its chat was encoded, and that is all that was asked for."""
    return _message(model, [], _usage(tokens, 0)) | {"stop_reason": "max_tokens"}


class MessageEvents:
    """The events of one message: each block is begun, told and ended before the next.

    The first comes once something is certain, so that what is wrong with a request is answered with
    its status.
    """

    def __init__(self, tell: Tell, *, model: str, prompt_tokens: int) -> None:
        self._tell_event, self._model, self._prompt_tokens = tell, model, prompt_tokens
        self._begun = False
        self._block = 0
        self._words = False  # whether the block is one of words, and open

    def hear(self, delta: Delta) -> None:
        """Tells more of the answer, or a call."""
        self._begin()
        if isinstance(delta, TextDelta):
            self._say(delta.text)
        else:
            self._call(delta.call)

    def finish(self, turned: Turned) -> None:
        """Ends the message."""
        self._begin()
        if turned.text == "":  # a stop text was the first that was said
            self._say("")
        if self._words:
            self._end_block()
        used = _usage(turned.decision.prompt_tokens, turned.decision.tokens)
        about = about_json([turned])
        self._tell("message_delta", delta=_end(turned), usage=used, agentkit=about)
        self._tell("message_stop")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            message = _message(self._model, [], _usage(self._prompt_tokens, 0))
            self._tell("message_start", message=message)

    def _say(self, text: str) -> None:
        if not self._words:
            self._words = True
            self._tell("content_block_start", index=self._block, content_block=_words(""))
        delta = {"type": "text_delta", "text": text}
        self._tell("content_block_delta", index=self._block, delta=delta)

    def _call(self, call: TurnCall) -> None:
        self._tell("content_block_start", index=self._block, content_block=_call(call, {}))
        delta = {"type": "input_json_delta", "partial_json": write_json(call.arguments).decode()}
        self._tell("content_block_delta", index=self._block, delta=delta)
        self._end_block()

    def _end_block(self) -> None:
        self._tell("content_block_stop", index=self._block)
        self._block += 1

    def _tell(self, name: str, **value: Any) -> None:
        self._tell_event(name, {"type": name, **value})


def _message(model: str, blocks: list[dict[str, Any]], used: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": used,
    }


def _words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def _call(call: TurnCall, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _end(turned: Turned) -> dict[str, Any]:
    """Why it ends."""
    if turned.stopped_by is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": turned.stopped_by}
    reasons = {"calls": "tool_use", "length": "max_tokens", "stop": "end_turn"}
    return {"stop_reason": reasons[turned.reason], "stop_sequence": None}


def _usage(prompt: int, filled: int) -> dict[str, Any]:
    """What was read and written; what of it was encoded already is not told apart."""
    return {
        "input_tokens": prompt,
        "output_tokens": filled,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
    }
