"""The events of a response, in their order: each item is opened, told and closed before the next.

Knows the events and what a turn tells. Must not know HTTP, nor how a turn is taken.

Nothing is told before something is certain, so what is wrong with a request is answered with its
status. What goes wrong after that is told as `response.failed`.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from agentkit_engine.server.chat.asked import CallDelta, Delta, TurnCall
from agentkit_engine.server.chat.openai.responses_told import (
    Told,
    call_item,
    message_item,
    text_part,
)
from agentkit_engine.server.chat.openai.told import JSON
from agentkit_engine.server.transport.connection import Tell
from agentkit_engine.server.transport.dialect import Dialect, named_event
from agentkit_engine.server.transport.problems import Problem

NAMES = (
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
)


class ResponseEvents:
    """The events of one response.

    Attributes:
        dialect: writes them; a problem, too, is an event with a name and a number of its own.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._numbers = count()
        self._begun = self._speaking = False
        self._closed = 0  # items
        self.dialect = Dialect(
            error=self._failed, event=lambda _, value: named_event(value["type"], value)
        )

    def hear(self, tell: Tell, delta: Delta) -> None:
        """Tells more of an answer, or a call."""
        self._begin(tell)
        if isinstance(delta, CallDelta):
            self._call(tell, delta.call)
        else:
            self._say(tell, delta.text)

    def finish(self, tell: Tell, response: JSON) -> None:
        """Closes what is open, and tells the whole."""
        self._begin(tell)
        if self._speaking:
            self._close(tell, response["output"][-1])
        self._tell(tell, f"response.{response['status']}", response=response)

    def _begin(self, tell: Tell) -> None:
        if not self._begun:
            self._begun = True
            for name in ("response.created", "response.in_progress"):
                self._tell(tell, name, response=self._told.begun())

    def _call(self, tell: Tell, call: TurnCall) -> None:
        item = call_item(call)
        arguments = item["arguments"]
        place = {"item_id": item["id"], "output_index": self._closed}
        opened = item | {"status": "in_progress", "arguments": ""}
        self._tell(tell, "response.output_item.added", output_index=self._closed, item=opened)
        self._tell(tell, "response.function_call_arguments.delta", **place, delta=arguments)
        self._tell(tell, "response.function_call_arguments.done", **place, arguments=arguments)
        self._tell(tell, "response.output_item.done", output_index=self._closed, item=item)
        self._closed += 1

    def _say(self, tell: Tell, text: str) -> None:
        place = self._place()
        if not self._speaking:
            self._speaking = True
            item = message_item(self._told.message_id, status="in_progress")
            self._tell(tell, "response.output_item.added", output_index=self._closed, item=item)
            part = text_part("", [])
            self._tell(tell, "response.content_part.added", **place, part=part)
        self._tell(tell, "response.output_text.delta", **place, delta=text, logprobs=[])

    def _close(self, tell: Tell, item: JSON) -> None:
        [part] = item["content"]
        said = {"text": part["text"], "logprobs": part["logprobs"]}
        self._tell(tell, "response.output_text.done", **self._place(), **said)
        self._tell(tell, "response.content_part.done", **self._place(), part=part)
        self._tell(tell, "response.output_item.done", output_index=self._closed, item=item)

    def _place(self) -> JSON:
        return {
            "item_id": self._told.message_id,
            "output_index": self._closed,
            "content_index": 0,
        }

    def _failed(self, problem: Problem) -> JSON:
        return self._event("response.failed", response=self._told.failed(problem))

    def _tell(self, tell: Tell, name: str, **value: Any) -> None:
        tell(name, self._event(name, **value))

    def _event(self, name: str, **value: Any) -> JSON:
        return {"type": name, "sequence_number": next(self._numbers), **value}
