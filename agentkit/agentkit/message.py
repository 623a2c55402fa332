"""What a conversation is made of: five kinds of message, and their JSON form.

Knows nothing of agents, tools or models. A history is append-only: messages are frozen, and a
run only ever adds to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one tool. `arguments` are JSON values, as the backend filled them.

    `id` is unique within a history; a result names the call it answers by it.
    """

    id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What the user asked."""

    text: str
    role: Literal["user"] = field(default="user", kw_only=True)


@dataclass(frozen=True, slots=True)
class CallMessage:
    """The calls that one decision made; their results follow, in the same order."""

    calls: tuple[Call, ...]
    role: Literal["call"] = field(default="call", kw_only=True)


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """What a call gave back: the tool's result as text, or why there is none."""

    call_id: str
    tool: str
    content: str
    is_error: bool = False
    role: Literal["result"] = field(default="result", kw_only=True)


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """What the agent answered; it ends a run, unless a `FeedbackMessage` follows."""

    text: str
    role: Literal["answer"] = field(default="answer", kw_only=True)


@dataclass(frozen=True, slots=True)
class FeedbackMessage:
    """Why the answer before it won't do; the model is to answer again."""

    text: str
    role: Literal["feedback"] = field(default="feedback", kw_only=True)


Message: TypeAlias = UserMessage | CallMessage | ResultMessage | AnswerMessage | FeedbackMessage
History: TypeAlias = tuple[Message, ...]


def waiting_calls(messages: Sequence[Message]) -> tuple[Call, ...]:
    """The calls at the end of a history that have no result."""
    done: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, CallMessage):
            return tuple(call for call in message.calls if call.id not in done)
        if not isinstance(message, ResultMessage):
            return ()
        done.add(message.call_id)
    return ()


# A field that is not known is one that a newer version wrote: leaving it out would lose it.
_STRICT: ConfigDict = {"strict": True, "extra": "forbid", "ser_json_inf_nan": "constants"}


@cache
def _adapter() -> TypeAdapter[History]:
    return _strict(tuple[_read(), ...])  # type: ignore[misc]


@cache
def _one() -> TypeAdapter[Message]:
    return _strict(_read())


def _read() -> Any:
    from pydantic import Discriminator  # slow to import, and not every process writes messages

    return Annotated[Message, Discriminator("role")]


def _strict(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind, config=_STRICT)


def dump_messages(messages: Iterable[Message]) -> str:
    """Write messages as a JSON array; `load_messages` reads it back equal.

    Infinities and NaN, which JSON has no words for, are written as Python's `json` writes them.

    Raises:
        pydantic_core.PydanticSerializationError: a text is no Unicode, an argument no JSON.
    """
    return _adapter().dump_json(tuple(messages)).decode()


def load_messages(text: str | bytes) -> History:
    """Read what `dump_messages` wrote; nothing is guessed, converted or left out.

    Raises:
        pydantic.ValidationError: the text is not a JSON array of messages.
    """
    return _adapter().validate_json(text)


def dump_message(message: Message) -> str:
    """Write one message as a JSON object, as it stands in the array of `dump_messages`."""
    return _one().dump_json(message).decode()


def load_message(text: str | bytes) -> Message:
    """Read what `dump_message` wrote.

    Raises:
        pydantic.ValidationError: the text is no message.
    """
    return _one().validate_json(text)
