"""How a checkpoint writes: its syntax, the layouts it was trained on, its special tokens.

Knows the file `agentkit.json` that lies beside the weights, and a tokenizer's ids. Must not know
models. A checkpoint without the file is a stock DiffusionGemma, which the defaults describe, or a
masked language model, which `Dialect.of_masked` describes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, PositiveInt, TypeAdapter, ValidationError

from agentkit_engine.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A control token within a longer text, as Gemma 4 spells them: <|tool_call>, <tool_call|>, <|"|>.
_CONTROL = re.compile(r"<\|[^<>|]+\|?>|<[^<>|]+\|>")


Spoken: TypeAlias = Literal["call", "answer", "template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectTokens:
    """The token ids of a dialect in one tokenizer; None where the dialect has no such token."""

    call_open: tuple[int, ...]
    call_close: tuple[int, ...]
    end: int
    pad: int
    filler: int | None
    absent: int | None
    mask: int | None


@dataclass(frozen=True, slots=True)
class Noise:
    """What a checkpoint's canvases begin as.

    Attributes:
        vocab_size: random tokens are below it.
        mask: the token of every free position; None for random ones.
        pad: stands behind a narrower row, where nothing sees it.
    """

    vocab_size: int
    mask: int | None
    pad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The contents of `agentkit.json`.

    Attributes:
        syntax: how values are written.
        layouts: what the checkpoint was trained on: fixed slots, or text that floats.
        start: what free positions hold at the first step: the mask token or random tokens.
        filler: pads a slot, behind its value ("slots" needs it).
        absent: stands in the slot of an optional key that is left out ("slots" needs it).
        mask: the mask token (the start "mask" needs it).
        call_open: stands before the name of the tool called.
        call_close: stands behind the arguments.
        end: ends a turn.
        pad: fills a canvas behind the end of the turn.
        answer_width: tokens there are for an answer; None for the whole canvas.
        string_width: tokens of a slot for a string of unknown length.
        shift: a masked model's logits at a position predict the token at the next one.
        spoken: what the causal encoder was trained to say. Only of that its word is asked for
            unless somebody wants it (`verify`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    syntax: Literal["gemma", "json", "spaced"] = "gemma"
    layouts: tuple[Literal["slots", "float"], ...] = ("float",)
    start: Literal["mask", "uniform"] = "uniform"
    filler: str | None = None
    absent: str | None = None
    mask: str | None = None
    call_open: str = "<|tool_call>call:"
    call_close: str = "<tool_call|>"
    end: str = "<turn|>"
    pad: str = "<pad>"
    answer_width: PositiveInt | None = None
    string_width: PositiveInt = 16
    shift: bool = False
    spoken: tuple[Spoken, ...] = ("call", "answer", "template")

    def __post_init__(self) -> None:
        if not self.layouts:
            raise CheckpointError("a dialect needs at least one layout: 'slots' or 'float'")
        if "slots" in self.layouts and (self.filler is None or self.absent is None):
            raise CheckpointError("the layout 'slots' needs the tokens 'filler' and 'absent'")
        if self.start == "mask" and self.mask is None:
            raise CheckpointError("the start 'mask' needs the token 'mask'")

    @classmethod
    def from_json(cls, text: str | bytes) -> Dialect:
        """Reads `agentkit.json`.

        Raises:
            CheckpointError: it is no JSON, or a key is unknown, of a wrong type or missing.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'the file'!r}: {fault['msg']}"
                for fault in error.errors(include_url=False)
            )
            raise CheckpointError(f"agentkit.json is not a dialect: {faults}") from error

    @classmethod
    def of_masked(
        cls, tokenizer: PreTrainedTokenizerBase, *, mask: int | None = None, shift: bool = False
    ) -> Dialect:
        """What a masked language model without `agentkit.json` is taken to write.

        JSON as running text, a call as `call:NAME{...}` in plain text, behind each of them the
        token that ends a text.

        Args:
            mask: the id of the mask token, where the tokenizer does not declare one itself.
            shift: as the attribute.

        Raises:
            CheckpointError: the tokenizer declares no mask, end or padding token.
        """
        if mask is not None and not tokenizer.mask_token:
            declared = tokenizer.convert_ids_to_tokens(mask)
        else:
            declared = tokenizer.mask_token
        end = tokenizer.eos_token or tokenizer.sep_token
        found = {"mask": declared, "end (eos or sep)": end, "pad": tokenizer.pad_token}
        lacking = [name for name, token in found.items() if not token]
        if lacking:
            raise CheckpointError(
                f"the tokenizer of {tokenizer.name_or_path!r} declares no token for "
                f"{', '.join(lacking)}; declare it in tokenizer_config.json, or say in an "
                "agentkit.json how the checkpoint writes"
            )
        return cls(
            syntax="json",
            start="mask",
            mask=str(declared),
            call_open="call:",
            call_close=str(end),
            end=str(end),
            pad=str(tokenizer.pad_token),
            shift=shift,
        )

    def to_json(self) -> str:
        """The text of `agentkit.json`, to be saved beside a checkpoint's weights."""
        return TypeAdapter(Dialect).dump_json(self, indent=2).decode() + "\n"

    def resolve(self, tokenizer: PreTrainedTokenizerBase) -> DialectTokens:
        """Looks the dialect's tokens up.

        Raises:
            CheckpointError: the tokenizer lacks some of them; names them all.
        """
        single = (self.end, self.pad, self.filler, self.absent, self.mask)
        within = _CONTROL.findall(self.call_open + self.call_close)
        missing = _missing((*(token for token in single if token is not None), *within), tokenizer)
        if missing:
            raise CheckpointError(
                f"the tokenizer has no token for {', '.join(map(repr, missing))}; "
                "add it to the tokenizer, or correct agentkit.json"
            )

        def one(token: str | None) -> int | None:
            return None if token is None else _encode(token, tokenizer)[0]

        return DialectTokens(
            call_open=tuple(_encode(self.call_open, tokenizer)),
            call_close=tuple(_encode(self.call_close, tokenizer)),
            end=_encode(self.end, tokenizer)[0],
            pad=_encode(self.pad, tokenizer)[0],
            filler=one(self.filler),
            absent=one(self.absent),
            mask=one(self.mask),
        )


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _missing(tokens: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Those of `tokens` that are not written as one token of their own."""
    return [
        token
        for token in dict.fromkeys(tokens)
        if len(ids := _encode(token, tokenizer)) != 1
        or tokenizer.convert_ids_to_tokens(ids[0]) != token
    ]
