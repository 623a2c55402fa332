"""What a conversation is made of: four kinds of message, and their JSON form.

Knows nothing of agents, tools or models. A history is append-only: messages are frozen, and a
run only ever adds to the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, TypeAdapter


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
    """What the agent answered; it ends a run."""

    text: str
    role: Literal["answer"] = field(default="answer", kw_only=True)


Message: TypeAlias = UserMessage | CallMessage | ResultMessage | AnswerMessage
History: TypeAlias = tuple[Message, ...]


@cache
def _adapter() -> TypeAdapter[History]:
    # Built on first use: importing the package should not pay for it.
    return TypeAdapter(tuple[Annotated[Message, Discriminator("role")], ...])


def dump_messages(messages: Iterable[Message]) -> str:
    """Write messages as a JSON array; `load_messages` reads it back equal."""
    return _adapter().dump_json(tuple(messages)).decode()


def load_messages(text: str | bytes) -> History:
    """Read what `dump_messages` wrote.

    Raises:
        pydantic.ValidationError: the text is not a JSON array of messages.
    """
    return _adapter().validate_json(text)
