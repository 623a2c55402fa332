"""What a server wrote in one reply: read whole, or chunk by chunk as it comes.

Knows the shape of completions, and that servers keep to it more or less. Must not know requests,
schemas or decisions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from agentkit.backend import Cell, Row

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionTokenLogprob
    from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall
    from openai.types.completion_usage import CompletionUsage


@dataclass(slots=True)
class WrittenCall:
    """A call as it was written. text: its arguments; cells: the same, in pieces as they came."""

    name: str = ""
    text: str = ""
    cells: list[Cell] = field(default_factory=list[Cell])
    index: int | None = None
    id: str = ""

    def write(self, piece: str) -> None:
        """Go on with the arguments."""
        self.text += piece
        self.cells.append(Cell(piece, "settled"))


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the reply, and the logarithm of its probability."""

    text: bytes
    logprob: float


@dataclass(slots=True)
class Reply:
    """A reply so far.

    text: what it says in words, or why the model refuses; cells: the same, in the pieces they came
    in. finish: why it ended, in the server's word; empty while it goes on. tokens: written; 0 where
    the server does not say.
    """

    text: str = ""
    cells: list[Cell] = field(default_factory=list[Cell])
    calls: list[WrittenCall] = field(default_factory=list[WrittenCall])
    finish: str = ""
    model: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    likelihoods: list[Token] = field(default_factory=list[Token])

    @property
    def settled(self) -> int:
        """How many calls are complete: all but the last, until the reply has ended."""
        return len(self.calls) if self.finish else max(0, len(self.calls) - 1)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The reply as canvases: a cell a chunk."""
        words = [Row("", tuple(self.cells))] if self.cells else []
        return (*words, *(Row(call.name, tuple(call.cells)) for call in self.calls))

    def read(self, completion: ChatCompletion) -> None:
        """Take a whole completion.

        Raises:
            ValueError: it is none.
        """
        choices = getattr(completion, "choices", None)
        if not choices:
            raise ValueError(f"{_excerpt(completion)} is no chat completion")
        choice = choices[0]
        message = choice.message
        self._say(message.content or message.refusal)
        for call in message.tool_calls or ():
            function = getattr(call, "function", None)
            if function is not None:
                self.calls.append(WrittenCall(function.name or "", function.arguments or ""))
        self.finish = choice.finish_reason or "stop"
        self._count(completion.model, completion.usage)
        if choice.logprobs is not None:
            self._weigh(choice.logprobs.content or ())

    def add(self, chunk: ChatCompletionChunk) -> bool:
        """Take the next chunk; whether there is more to see than before.

        Raises:
            ValueError: it is none.
        """
        if not hasattr(chunk, "choices"):
            raise ValueError(f"{_excerpt(chunk)} is no chunk of a chat completion")
        self._count(chunk.model, chunk.usage)
        seen = False
        for choice in (chunk.choices or ())[:1]:
            delta = choice.delta
            seen = self._say(delta.content or delta.refusal)
            for part in delta.tool_calls or ():
                self._call(part)
                seen = True
            if choice.finish_reason:
                self.finish, seen = choice.finish_reason, True
            if choice.logprobs is not None:
                self._weigh(choice.logprobs.content or ())
        return seen

    def _say(self, text: str | None) -> bool:
        if text:
            self.text += text
            self.cells.append(Cell(text, "settled"))
        return bool(text)

    def _call(self, part: ChoiceDeltaToolCall) -> None:
        call = next((it for it in reversed(self.calls) if it.index == part.index), None)
        # Some servers number all calls 0; then another id begins another call.
        if call is None or (part.id and call.id and part.id != call.id):
            call = WrittenCall(index=part.index)
            self.calls.append(call)
        call.id = call.id or part.id or ""
        if part.function is not None:
            call.name = call.name or part.function.name or ""
            if part.function.arguments:
                call.write(part.function.arguments)

    def _count(self, model: str | None, usage: CompletionUsage | None) -> None:
        self.model = self.model or model or ""
        if usage is not None:
            self.prompt_tokens = usage.prompt_tokens or 0
            self.tokens = usage.completion_tokens or 0

    def _weigh(self, tokens: Sequence[ChatCompletionTokenLogprob]) -> None:
        for token in tokens:
            text = token.token.encode("utf-8", "replace") if token.bytes is None else token.bytes
            self.likelihoods.append(Token(bytes(text), token.logprob))


def read_json(text: str) -> Any:
    """JSON as the standard has it, and nothing that could not be written again as UTF-8.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(text, parse_constant=_no_json)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _no_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


def read_arguments(text: str) -> tuple[dict[str, Any], str]:
    """The arguments of a call, and why they can't be read. Nothing written means no arguments."""
    if not text.strip():
        return {}, ""
    try:
        value: Any = read_json(text)
    except ValueError as error:
        return {}, f"the arguments are no JSON ({error}): {shortened(text)}"
    if not isinstance(value, dict):
        return {}, f"the arguments are no JSON object: {shortened(text)}"
    return cast(dict[str, Any], value), ""


def shortened(text: str, most: int = 400) -> str:
    """The text, or its beginning and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} […] {text[-half:]}"


def _excerpt(answer: object) -> str:
    return repr(shortened(answer if isinstance(answer, str) else repr(answer), 200))
