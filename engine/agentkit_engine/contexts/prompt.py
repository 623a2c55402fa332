"""Prompts: messages and tools through the checkpoint's own chat template, into tokens.

Knows tokenizers and chat templates. Must not know models, canvases or where messages come from.

A chat is first *written*, as its template does, and then tokenised. A written text is not yet plain
text: a control token that somebody spelled in a message is stood for by a pair of surrogates, which
no message can hold, so that it is never taken for one that the template wrote. A `Transcript`
remembers how a written text was tokenised, so that a chat that has grown keeps its tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError as JinjaError
from transformers import PreTrainedTokenizerBase

from agentkit_engine.errors import CheckpointError
from agentkit_engine.template import Schema, resolve

_INLINED_DEPTH = 2

# What stands for the n-th control token: two halves of a surrogate pair, 1,024 values each.
_HIGH, _LOW, _HALF = 0xD800, 0xDC00, 0x400
_STAND_IN = re.compile("([\ud800-\udbff][\udc00-\udfff])")
# Stands for a user's first words where only what comes before them is of interest.
_WORDS = "\udbff\udfff"


@dataclass(frozen=True, slots=True)
class Transcript:
    """A written chat and its tokens, which are kept as it grows.

    Attributes:
        text: as `write_prompt` gives it.
        tokens: its tokens; those of the model's own words are the canvas's, whatever a tokenizer
            would have made of them.
        marks: (characters, tokens) of the beginnings of `text` that were tokenised on their own,
            shortest first, the whole included. Splitting there is right: a model stood there.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()

    def followed_by(self, text: str, tokens: Sequence[int]) -> Transcript:
        """This transcript with more text behind it, of which the tokens are known."""
        if not tokens:
            return self
        whole, ids = self.text + text, (*self.tokens, *tokens)
        return Transcript(whole, ids, (*self.marks, (len(whole), len(ids))))

    def rewritten(self, text: str, tokenizer: PreTrainedTokenizerBase) -> Transcript:
        """The transcript of `text`: the longest mark that still holds, the rest tokenised anew."""
        same = _common_length(self.text, text)
        marks = tuple(mark for mark in self.marks if mark[0] <= same)
        characters, kept = marks[-1] if marks else (0, 0)
        known = Transcript(text[:characters], self.tokens[:kept], marks)
        rest = text[characters:]
        return known.followed_by(rest, encode_written(tokenizer, rest))


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    add_generation_prompt: bool = True,
) -> list[int]:
    """Writes a chat as the checkpoint's template does, as token ids.

    What messages and tools say stays text: a control token spelled in it (`<turn|>`) is written in
    ordinary tokens, so no content can end a turn or open a call.

    Args:
        tokenizer: the checkpoint's, with its chat template.
        messages: `{"role": ..., "content": ...}`; a call is an "assistant" message with
            `"tool_calls": [{"type": "function", "function": {"name": ..., "arguments": {...}}}]`,
            its arguments a mapping; a result is a "tool" message.
        tools: `{"type": "function", "function": {"name", "description", "parameters"}}`.
        add_generation_prompt: ends where the model's own words begin.

    Raises:
        CheckpointError: there is no chat template, or it refuses this chat.
    """
    written = write_prompt(tokenizer, messages, tools, add_generation_prompt=add_generation_prompt)
    return encode_written(tokenizer, written)


def write_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    add_generation_prompt: bool = True,
) -> str:
    """`render_prompt`, but the written text and not its tokens."""
    control = _control(tokenizer)
    return _apply_template(
        tokenizer,
        [control.shield(message) for message in messages],
        [control.shield(tool) for tool in tools],
        add_generation_prompt=add_generation_prompt,
    )


def write_head(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What every chat that begins with `messages` and `tools` begins with, as written text.

    It ends before the control token that opens the next turn, so that tokenising may be split
    there. Empty where the template marks no turns, or does not take a user's message next.
    """
    control = _control(tokenizer)
    probe = [*map(control.shield, messages), {"role": "user", "content": _WORDS}]
    try:
        text = _apply_template(
            tokenizer,
            probe,
            [control.shield(tool) for tool in tools],
            add_generation_prompt=False,
        )
    except CheckpointError:
        return ""
    before, words, _ = text.partition(_WORDS)
    opened = [match.start() for match in control.pattern.finditer(before)]
    return before[: opened[-1]] if words and opened else ""


def write_start(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a text that is no chat begins with: the token that begins one, or else ends one.

    Raises:
        CheckpointError: the tokenizer declares neither.
    """
    for token in (tokenizer.bos_token, tokenizer.cls_token, tokenizer.eos_token):
        if token:
            return str(token)
    raise CheckpointError(
        f"the tokenizer of {tokenizer.name_or_path!r} declares no token that a text begins or ends "
        "with, so nothing can be filled in without a chat; extend the session with a message"
    )


def write_said(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], text: str) -> str | None:
    """The plain `text` of a canvas's `tokens` as written text; None where they don't fit together.

    The tokens tell which control tokens of the text are such, and which are only spelled in it.
    """
    control = _control(tokenizer)
    parts: list[str] = []
    run: list[int] = []
    for token in [*tokens, None]:
        if token is not None and token not in control.ids:
            run.append(token)
            continue
        content = tokenizer.decode(run, clean_up_tokenization_spaces=False) if run else ""
        parts.append(control.shield(str(content)))
        run = []
        if token is not None:
            parts.append(control.ids[token])
    written = "".join(parts)
    if control.plain(written) == text:
        return written
    # this tokenizer does not decode what it encodes; all that looks like a control token must be
    real = [control.ids[token] for token in tokens if token in control.ids]
    return text if control.pattern.findall(text) == real else None


def encode_written(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token ids of a written text; what is only spelled in it in ordinary tokens."""
    control = _control(tokenizer)
    tokens: list[int] = []
    for index, piece in enumerate(_STAND_IN.split(text)):
        if index % 2:  # cut behind its first character, it is no control token
            content = control.plain(piece)
            tokens += _encode(content[:1], tokenizer) + _encode(content[1:], tokenizer)
        else:
            tokens += _encode(piece, tokenizer)
    return tokens


def encode_content(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token ids of `text` as content: a control token spelled in it stays text."""
    return encode_written(tokenizer, _control(tokenizer).shield(text))


def inline(schema: Schema) -> Any:
    """`schema` with its references written out, as chat templates want it; deep ones stay."""
    if not isinstance(schema, Mapping):
        return schema
    hidden = ("$defs", "definitions")
    shown = {key: value for key, value in schema.items() if key not in hidden}
    return _inlined(shown, schema, _INLINED_DEPTH)


def _apply_template(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    *,
    add_generation_prompt: bool,
) -> str:
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "take an instruction-tuned checkpoint, or put a chat_template.jinja into its folder"
        )
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=tools or None,  # type: ignore[arg-type]
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except (JinjaError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the chat template of {tokenizer.name_or_path!r} refuses this chat: {error}"
        ) from error
    return str(text)


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []


def _common_length(first: str, second: str) -> int:
    """How many characters two texts begin with in common, by halving: texts compare quickly."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True, eq=False)
class _Control:
    """A tokenizer's control tokens: `pattern` finds them in a text, `ids` spells them.

    The n-th of `spelled` is stood for by the n-th stand-in, whatever chat it stands in.
    """

    pattern: re.Pattern[str]
    spelled: tuple[str, ...]
    stand_ins: Mapping[str, str]
    ids: Mapping[int, str]

    def shield(self, value: Any) -> Any:
        """`value` with a stand-in for every control token spelled in its strings."""
        if isinstance(value, str):
            # half a surrogate pair, as broken JSON brings it in, has no tokens: it becomes U+FFFD
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self.pattern.sub(lambda match: self.stand_ins[match[0]], value)
        if isinstance(value, Mapping):
            return {self.shield(key): self.shield(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.shield(item) for item in value]
        return value

    def plain(self, written: str) -> str:
        """A written text as a person reads it, the inverse of `shield`."""

        def spell(match: re.Match[str]) -> str:
            high, low = map(ord, match[0])
            return self.spelled[(high - _HIGH) * _HALF + low - _LOW]

        return _STAND_IN.sub(spell, written)


@lru_cache(maxsize=8)
def _control(tokenizer: PreTrainedTokenizerBase) -> _Control:
    ids = {
        token: added.content
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special
    }
    spelled = tuple(sorted(ids.values(), key=len, reverse=True))  # the longest that fits is meant
    stand_ins = {
        content: chr(_HIGH + index // _HALF) + chr(_LOW + index % _HALF)
        for index, content in enumerate(spelled)
    }
    # without control tokens, a pattern that finds nothing
    pattern = re.compile("|".join(map(re.escape, spelled)) or "(?!)")
    return _Control(pattern, spelled, stand_ins, ids)


def _inlined(part: Any, root: Schema, depth: int) -> Any:
    if isinstance(part, list):
        return [_inlined(item, root, depth) for item in part]
    if not isinstance(part, Mapping):
        return part
    if isinstance(part.get("$ref"), str) and depth:
        target, _ = resolve({"$ref": part["$ref"]}, root, "")
        if isinstance(target, Mapping):
            beside = {key: value for key, value in part.items() if key != "$ref"}
            return _inlined({**target, **beside}, root, depth - 1)
    return {key: _inlined(value, root, depth) for key, value in part.items()}
