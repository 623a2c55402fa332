"""The JSON of what is asked of `/v1/responses`.

Knows shapes and names. Must not know what is done with them, nor which of it can be had.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agentkit_engine.server.chat.models import ANY_MODEL
from agentkit_engine.server.chat.openai.tools import Body

Key = Annotated[str, Field(max_length=64)]
Note = Annotated[str, Field(max_length=512)]

_LOGPROBS = "message.output_text.logprobs"


class Item(Body):
    """An item of the chat: a message, a call, its result.

    Which fields it needs is said by `type`; one without is a message. `content` and `output` are
    words or parts of text, see `messages.words`, where they are needed.
    """

    type: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Any = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Any = None


class Tool(Body):
    """A tool; only those of type "function" can be had, which have a name."""

    type: str
    name: Annotated[str, Field(max_length=64)] = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Text(Body):
    """About answers; `format` is read by `tools.output_of`."""

    format: Any = None


def _items(given: object) -> object:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class ResponseForm(Body):
    """The body of POST /v1/responses; `tool_choice` is read by `tools.offer_of`.

    What stands behind `top_logprobs` is taken only where it asks for nothing. All that `include`
    may ask for else is never there.
    """

    model: str = ANY_MODEL
    input: Annotated[list[Item] | None, BeforeValidator(_items)] = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    metadata: Annotated[dict[Key, Note], Field(max_length=16)] | None = None
    store: bool | None = None
    stream: bool | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    top_p: float | None = None
    truncation: str | None = None

    @property
    def likely(self) -> int | None:
        """Tokens told beside each of an answer's; None where no probabilities are asked for."""
        asked = _LOGPROBS in (self.include or ()) or self.top_logprobs
        return self.top_logprobs or 0 if asked else None
