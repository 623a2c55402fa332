"""The wire: the JSON that is asked of sessions, and how this API writes.

Knows shapes and names, and what the engine calls them. Must not know sessions, routes or HTTP.
What comes in is checked here, so that nothing behind has to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agentkit_engine.filling.settings import DecidingOptions, FillingOptions
from agentkit_engine.server.native.answers import FailedJSON, FunctionJSON, error_json
from agentkit_engine.server.transport.dialect import Dialect

LONGEST_ID = 64
SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", min_length=16, max_length=LONGEST_ID)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Wire(BaseModel):
    """A request's body. A name that is misspelled is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tool(Wire):
    """A tool on offer; `parameters` is a JSON Schema of type object."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    parameters: dict[str, Any]

    @property
    def function(self) -> FunctionJSON:
        """As it came."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }

    @property
    def declaration(self) -> dict[str, Any]:
        """As chat templates take it."""
        return {"type": "function", "function": self.function}


class CalledFunction(Wire):
    """What an assistant's message called."""

    name: str
    arguments: dict[str, Any]


class ToolCall(Wire):
    """A call in an assistant's message."""

    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Wire):
    """A message as chat templates take it; the system's is `Opening.instructions`."""

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class Opening(Wire):
    """Makes a session.

    id: chosen by the client, at random; so it can delete a session whose making it gave up.
    output: the JSON Schema that every answer is to satisfy; None for answers in words.
    messages: the chat so far.
    """

    id: SessionId | None = None
    instructions: str = ""
    tools: list[Tool] = []
    output: dict[str, Any] | None = None
    messages: list[Message] = []

    @property
    def calls(self) -> dict[str, dict[str, Any]]:
        """What may be called: the schemas of arguments, by the tools' names."""
        return {tool.name: tool.parameters for tool in self.tools}

    @field_validator("tools")
    @classmethod
    def _named_once(cls, tools: list[Tool]) -> list[Tool]:
        names = Counter(tool.name for tool in tools)
        for name, times in names.items():
            if times > 1:
                raise ValueError(f"two tools are named {name!r}; rename one")
        return tools


class Extending(Wire):
    """Adds messages.

    after: how many messages they stand behind, so that sending the same again does no harm: what
        the session has beyond is dropped. By default all that it has.
    """

    after: Count | None = None
    messages: list[Message] = []


class Settings(Wire):
    """What may be asked of a decision; None leaves it to the engine."""

    steps: Positive | Literal["auto"] | None = None
    max_calls: Positive | None = None
    temperature: Temperature | None = None
    seed: int | None = None
    max_tokens: Positive | None = None
    verify: Literal["off", "rerank", "exact"] | None = None
    layout: Literal["slots", "float"] | None = None

    def of_deciding(self) -> DecidingOptions:
        """As `Session.decide` takes them."""
        given = self.model_dump(exclude_none=True)
        if "max_tokens" in given:
            given["answer_tokens"] = given.pop("max_tokens")
        return cast(DecidingOptions, given)

    def of_refilling(self) -> FillingOptions:
        """As `Session.refill` takes them, which is not verified."""
        names = {"steps", "temperature", "seed"}
        return cast(FillingOptions, self.model_dump(include=names, exclude_none=True))


class Deciding(Extending):
    """Adds messages and decides. stream: drafts come as events, then the decision."""

    settings: Settings = Settings()
    stream: bool = False


class Refilling(Extending):
    """Fills rejected values again: JSON pointer -> why it won't do.

    origin: of a call, or of a decision's answer, as the decision told it.
    """

    origin: str
    rejected: Annotated[dict[str, str], Field(min_length=1)]
    settings: Settings = Settings()


class Forking(Wire):
    """A second session that goes on from the first `messages`; by default from all."""

    id: SessionId | None = None
    messages: Count | None = None


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """As the engine's sessions take them."""
    return [message.model_dump(exclude_none=True) for message in messages]


NATIVE = Dialect(error=error_json, problem=FailedJSON)
