"""Contexts: a chat that grows, forks and goes back, and the encoded prefix of all it says.

Knows chat messages, prompts and the store of prefixes. Must not know forms, canvases, threads nor
when a model runs: what needs one is a work (`scheduling.work`). A context holds no prefix, only
the tokens of one; the store may let it go at any time, and it is then encoded anew from those.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerBase

from agentkit_engine.contexts.prefixes import PrefixStore, Stand
from agentkit_engine.contexts.prompt import (
    Transcript,
    encode_written,
    inline,
    write_head,
    write_prompt,
    write_said,
    write_start,
)
from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.errors import EngineError, TemplateError
from agentkit_engine.notes import arguments_note
from agentkit_engine.scheduling.work import Work, encode

ChatMessage: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A transcript, and that somebody stands behind it."""

    transcript: Transcript
    stand: Stand


class Context:
    """A chat and its place among the encoded prefixes. Used by one task at a time.

    Without any message and tools it is the start of a text that is no chat.

    Args:
        tokenizer: the checkpoint's, with its chat template.
        store: of the engine, shared by all its contexts.
        instructions: the system message, the first of `messages` where it is not empty.
        tools: declarations, `{"type": "function", "function": {"name", "description",
            "parameters"}}`.

    Raises:
        EngineError: a tool is no declaration.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        store: PrefixStore,
        *,
        instructions: str = "",
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._store = store
        self._tools = tuple(declared_tool(tool) for tool in tools)
        system = {"role": "system", "content": instructions}
        self._messages: tuple[ChatMessage, ...] = (system,) if instructions else ()
        self._first = len(self._messages)  # the system message stays where it is
        # what all chats with this system message and these tools begin with
        head = write_head(tokenizer, self._messages, self._tools) if instructions or tools else ""
        self._written = Transcript().followed_by(head, encode_written(tokenizer, head))
        self._head = self._place(self._written) if head else None
        self._here: _Place | None = None  # None until these messages are encoded
        self._said: _Place | None = None
        self._fresh = 0  # tokens encoded since somebody asked

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """The chat so far, as the checkpoint's template takes it."""
        return self._messages

    def extend(self, *messages: ChatMessage | str) -> Work[None]:
        """Adds messages and encodes what is new; a string is a user's message.

        On an error, and when the work is closed before its end, the context is as it was.

        Raises:
            EngineError: a message has no role.
            CheckpointError: the chat template refuses the chat.
            ContextTooLong: the chat is longer than the model's context.
        """
        grown = (*self._messages, *map(self._message, messages))
        transcript = self._write(grown)
        prefix = yield from self._encode(transcript)
        if messages:
            if self._said and not transcript.text.startswith(self._said.transcript.text):
                self._forget()
            self._said = None  # it is taken over, or does not count
        self._settle(grown, transcript, prefix)

    def prefix(self) -> Work[Prefix]:
        """The encoded prefix of all messages, up to where the model's own words begin.

        Asks for no forward where it is stored.

        Raises:
            CheckpointError: the chat template refuses the chat.
            ContextTooLong: the chat is longer than the model's context.
        """
        transcript = self._here.transcript if self._here else self._write(self._messages)
        prefix = yield from self._encode(transcript)
        self._settle(self._messages, transcript, prefix)
        return prefix

    def say(self, tokens: Sequence[int], text: str, prefix: Prefix | None = None) -> None:
        """The model has just said `tokens` behind all messages; nothing enters the context yet.

        Where the next messages turn out to say the same, just these tokens are taken over, however
        a tokenizer would write them; else they are forgotten, as they are by another `say`.

        Args:
            tokens: the canvas's own, fillers stripped.
            text: theirs, as the chat template would write it.
            prefix: the context with them behind it, where it is encoded already.

        Raises:
            EngineError: `prefix` is of other tokens.
        """
        self._forget()
        before = self._here.transcript if self._here else self._write(self._messages)
        written = write_said(self._tokenizer, tokens, text)
        if written is None or not tokens:
            return
        said = before.followed_by(written, tokens)
        if prefix is not None and prefix.tokens != said.tokens:
            raise EngineError(
                "what was said does not stand behind this context's messages; "
                "say it before they change, with the prefix it was encoded behind"
            )
        self._said = self._place(said)
        if prefix is not None:
            self._store.keep(prefix)

    def take_fresh(self) -> int:
        """How many tokens were encoded, and not found encoded, since this was asked last."""
        fresh, self._fresh = self._fresh, 0
        return fresh

    def fork(self) -> Context:
        """A second context that goes on from here; nothing is copied but the list of messages."""
        return copy.copy(self)  # all it holds is immutable

    def rewind(self, messages: int) -> None:
        """Drops all messages behind the first `messages`, and what was said behind them.

        Raises:
            EngineError: there are not as many, or the system message would be dropped.
        """
        if not self._first <= messages <= len(self._messages):
            raise EngineError(
                f"a context of {len(self._messages)} messages can't be rewound to {messages}; "
                f"give {self._first} to {len(self._messages)}"
            )
        self._forget()
        if messages < len(self._messages):
            self._messages = self._messages[:messages]
            self._here = None

    def close(self) -> None:
        """Stands nowhere any more: what only this context wanted is the first to be evicted."""
        self._forget()
        self._head = self._here = None

    def _message(self, message: ChatMessage | str) -> ChatMessage:
        return chat_message(message)

    def _place(self, transcript: Transcript) -> _Place:
        return _Place(transcript, self._store.stand(transcript.tokens))

    def _write(self, messages: Sequence[ChatMessage]) -> Transcript:
        """The transcript of `messages`, with the known tokens of all that it begins with."""
        if not messages and not self._tools:  # no chat: a text is written from its start
            return self._written.rewritten(write_start(self._tokenizer), self._tokenizer)
        text = write_prompt(self._tokenizer, messages, self._tools)
        known = self._written
        if self._said is not None and text.startswith(self._said.transcript.text):
            known = self._said.transcript
        return known.rewritten(text, self._tokenizer)

    def _encode(self, transcript: Transcript) -> Work[Prefix]:
        """The prefix of a transcript; the head is encoded by itself, for other contexts to find."""
        tokens = transcript.tokens
        found = self._store.longest(tokens)
        done = found.length if found else 0
        fresh = len(tokens) - done
        head = self._head.transcript.tokens if self._head else ()
        if done < len(head) and tokens[: len(head)] == head:
            found = yield from encode(head[done:], found)
            self._store.keep(found)
            done = len(head)
        if found is None or done < len(tokens):
            found = yield from encode(tokens[done:], found)
        self._fresh += fresh
        return found

    def _settle(
        self, messages: tuple[ChatMessage, ...], transcript: Transcript, prefix: Prefix
    ) -> None:
        """From here on the context is these messages, and stands behind them."""
        self._messages, self._written = messages, transcript
        before = self._here.transcript.tokens if self._here else ()
        self._here = self._place(transcript)
        if transcript.tokens[: len(before)] != before:
            self._store.drop(before)  # it opened a turn that the model never took
        self._store.keep(prefix)  # what the context has grown past may now go

    def _forget(self) -> None:
        """What was said does not count."""
        if self._said is not None:
            tokens = self._said.transcript.tokens
            self._said = None  # nobody stands there now, or another fork does
            self._store.drop(tokens)


def declared_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration whose parameters hold no references: chat templates don't follow them.

    Raises:
        EngineError: it is no declaration.
        UnsupportedSchema: a reference leads nowhere; notes which tool's.
    """
    function = tool.get("function")
    if not isinstance(function, Mapping) or "parameters" not in function:
        raise EngineError(
            f"the tool {tool!r} is no declaration; write it as "
            '{"type": "function", "function": {"name", "description", "parameters"}}'
        )
    try:
        parameters = inline(function["parameters"])
    except (TemplateError, RecursionError) as error:
        error.add_note(arguments_note(str(function.get("name", ""))))
        raise
    return {**tool, "function": {**function, "parameters": parameters}}


def chat_message(message: ChatMessage | str) -> ChatMessage:
    """A message of one's own, which nobody changes; a string is a user's.

    Raises:
        EngineError: it has no role.
    """
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    if not message.get("role"):
        raise EngineError(f"the message {message!r} has no role; say 'user', 'assistant' or 'tool'")
    return copy.deepcopy(message)
