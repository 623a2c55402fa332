"""Prompts: messages and tools through the checkpoint's own chat template, into tokens.

Knows tokenizers and chat templates. Must not know models, canvases or where messages come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError as JinjaError
from transformers import PreTrainedTokenizerBase

from agentkit_engine.errors import CheckpointError

# Private-use characters that stand in for control tokens spelled in content while a template runs.
_FIRST_STAND_IN = 0xF0000
_STAND_INS = "[\U000f0000-\U000ffffd]"


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
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "take an instruction-tuned checkpoint, or put a chat_template.jinja into its folder"
        )
    pattern = _spelled(tokenizer)
    stand_ins: dict[str, str] = {}
    try:
        text = tokenizer.apply_chat_template(
            [_shield(message, pattern, stand_ins) for message in messages],
            tools=[_shield(tool, pattern, stand_ins) for tool in tools] or None,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except (JinjaError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the chat template of {tokenizer.name_or_path!r} refuses this chat: {error}"
        ) from error
    return _encode_shielded(str(text), stand_ins, tokenizer)


def encode_content(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token ids of `text` as content: a control token spelled in it stays text."""
    stand_ins: dict[str, str] = {}
    shielded = _shield(text, _spelled(tokenizer), stand_ins)
    return _encode_shielded(shielded, stand_ins, tokenizer)


def common_prefix_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common: what of a prefix can be kept."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return index
    return min(len(first), len(second))


def _encode_shielded(
    text: str, stand_ins: Mapping[str, str], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Token ids of a text with stand-ins, what they stand for in ordinary tokens."""
    spelled = list(stand_ins)
    tokens: list[int] = []
    for index, piece in enumerate(re.split(f"({_STAND_INS})", text)):
        if index % 2:  # cut behind its first character, it is no control token
            content = spelled[ord(piece) - _FIRST_STAND_IN]
            tokens += _encode(content[:1], tokenizer) + _encode(content[1:], tokenizer)
        else:
            tokens += _encode(piece, tokenizer)
    return tokens


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []


@lru_cache(maxsize=8)
def _spelled(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Finds the tokenizer's control tokens in a text, and what might be taken for a stand-in."""
    control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    longest_first = sorted(control, key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, longest_first), _STAND_INS]))


def _shield(value: Any, pattern: re.Pattern[str], stand_ins: dict[str, str]) -> Any:
    """`value` with a stand-in for all that `pattern` finds in its strings; new ones are noted."""

    def stand_in(match: re.Match[str]) -> str:
        return stand_ins.setdefault(match[0], chr(_FIRST_STAND_IN + len(stand_ins)))

    if isinstance(value, str):
        # half a surrogate pair, as broken JSON brings it in, has no tokens: it becomes U+FFFD
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return pattern.sub(stand_in, value)
    if isinstance(value, Mapping):
        return {
            _shield(key, pattern, stand_ins): _shield(item, pattern, stand_ins)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_shield(item, pattern, stand_ins) for item in value]
    return value
