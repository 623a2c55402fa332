"""The items of a chat, as chat templates take them.

Knows the items of `/v1/responses`. Must not know what is asked behind them, nor where those before
them are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agentkit_engine.server.chat.asked import Turned
from agentkit_engine.server.chat.openai.messages import arguments_of, words
from agentkit_engine.server.chat.openai.responses_wire import Item
from agentkit_engine.server.transport.problems import Refused

T = TypeVar("T")

_SHOWN = 64  # characters of an id that is not known


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat as it grows.

    Attributes:
        messages: as chat templates take them, but for those of the role "system", which may stand
            anywhere.
        called: id of a call -> name of the tool.
    """

    messages: tuple[dict[str, Any], ...] = ()
    called: Mapping[str, str] = field(default_factory=dict[str, str])

    def followed_by(self, items: Sequence[Item]) -> Chat:
        """This chat with more behind it.

        Raises:
            Refused: an item is of a kind that can't be had, or lacks something; names it.
        """
        reader = _Reader(dict(self.called))
        for number, item in enumerate(items):
            reader.read(item, f"input.{number}")
        return Chat((*self.messages, *reader.messages), reader.called)

    def answered(self, turned: Turned) -> Chat:
        """This chat with what came of a turn behind it."""
        said: dict[str, Any] = {"role": "assistant", "content": turned.text or ""}
        if turned.calls:
            said["tool_calls"] = [_call(call.name, call.arguments) for call in turned.calls]
        called = {call.id: call.name for call in turned.calls}
        return Chat((*self.messages, said), {**self.called, **called})

    def headed(self, instructions: str) -> tuple[str, tuple[dict[str, Any], ...]]:
        """The system's message, and those behind it.

        What the system says at the beginning belongs to the first; chat templates have no place for
        more of it later on, where it is said as a user says it.
        """
        first = next((n for n, one in enumerate(self.messages) if one["role"] != "system"), None)
        head, later = self.messages[:first], () if first is None else self.messages[first:]
        said = (instructions, *(one["content"] for one in head))
        told = (one | {"role": "user"} if one["role"] == "system" else one for one in later)
        return "\n\n".join(filter(None, said)), tuple(told)


class _Reader:
    """Reads items one by one. Calls in a row are of one message, as they were made."""

    def __init__(self, called: dict[str, str]) -> None:
        self.called = called
        self.messages: list[dict[str, Any]] = []

    def read(self, item: Item, place: str) -> None:
        """Adds what an item says."""
        match item.type or "message":
            case "message":
                role = _needed(item.role, f"{place}.role")
                said = _words(item.content, f"{place}.content")
                self._add("system" if role == "developer" else role, said)
            case "function_call":
                self._call(item, place)
            case "function_call_output":
                name = self._caller(item, place)
                self._add("tool", _words(item.output, f"{place}.output"), name=name)
            case "reasoning":
                pass  # what a model thought is not told to the next one
            case kind:
                why = f"items of type {kind!r} are not supported; send messages and function calls"
                raise Refused(400, "UnsupportedValue", why, f"{place}.type")

    def _add(self, role: str, said: str, **more: Any) -> None:
        self.messages.append({"role": role, "content": said, **more})

    def _call(self, item: Item, place: str) -> None:
        name = _needed(item.name, f"{place}.name")
        written = _needed(item.arguments, f"{place}.arguments")
        call = _call(name, arguments_of(written, f"{place}.arguments"))
        self.called[_needed(item.call_id, f"{place}.call_id")] = name
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self._add("assistant", "")
        self.messages[-1].setdefault("tool_calls", []).append(call)

    def _caller(self, item: Item, place: str) -> str:
        """The tool whose result it is."""
        id = _needed(item.call_id, f"{place}.call_id")
        if id not in self.called:
            why = f"no call before this result has the id {id[:_SHOWN]!r}"
            raise Refused(400, "InvalidRequest", why, f"{place}.call_id")
        return self.called[id]


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _words(content: object, place: str) -> str:
    try:
        said = words(_needed(content, place))
    except ValueError as error:
        raise Refused(400, "InvalidRequest", f"{place}: {error}", place) from error
    if not isinstance(said, str):
        raise Refused(400, "InvalidRequest", f"{place} is neither text nor parts of it", place)
    return said


def _needed(value: T | None, place: str) -> T:
    if value is None:
        raise Refused(400, "MissingRequiredParameter", f"{place} is missing", place)
    return value
