"""The DiffusionGemma objective over the very canvases the engine builds.

For every turn of the model in a conversation there is a choice canvas, and a canvas for the call's
slots, for the answer, or for the whole call written freely. Loss: cross-entropy at the free
positions (uniform corruption, or the mask token) plus next-token loss of the causal encoder on what
the model says. Must not know optimisers or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from random import Random
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from agentkit_engine.dialect import Dialect
from agentkit_engine.layouts.canvas import lay_out, pour, slot_width, surface
from agentkit_engine.syntax import GEMMA
from agentkit_engine.template import Hole, Path, Schema, Text, outline
from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.model import FusedPass

_ANSWER_WIDTHS = (24, 32, 48, 64)
_FREE_WIDTHS = (32, 48, 64)
_FREE_SHARE = 0.15  # how often a call is written freely, too
_EXACT_SHARE = 0.6  # how often slots are as wide as the engine makes them, not wider or narrower
_PURE_NOISE = 0.45  # how often a canvas is nothing but noise, as the first denoise step sees it
_GAP = 0.25  # how often one stretch of it is, as later steps see it: what comes first is sure first
_LATER_FILLER = 0.1  # weight of filler behind the first: easy, and most of a slot
_NOWHERE = 10**6


@dataclass(frozen=True, slots=True)
class Block:
    """One canvas and what it should become.

    Attributes:
        at: how many prompt tokens it sees.
        tokens: the clean canvas.
        free: which positions are denoised.
    """

    at: int
    tokens: tuple[int, ...]
    free: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens, its canvases, and where the model itself speaks (start, stop)."""

    tokens: tuple[int, ...]
    blocks: tuple[Block, ...]
    spoken: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Tokens and canvas positions together."""
        return len(self.tokens) + sum(len(block.tokens) for block in self.blocks)


class Canvases:
    """Turns conversations into examples, with one tokenizer and dialect."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, dialect: Dialect) -> None:
        self._tokenizer: Any = tokenizer  # annotated for every kind of input at once
        self._symbols = {bytes([byte]): token.encode() for byte, token in GEMMA.symbols.items()}
        self.filler, self.absent = self._id(dialect.filler), self._id(dialect.absent)
        self.mask, self.end = self._id(dialect.mask), self._id(dialect.end)
        self._string_width = dialect.string_width
        self._open, self._close = dialect.call_open.encode(), dialect.call_close.encode()

    def encode(self, surface: bytes) -> list[int]:
        """Surface bytes to token ids; symbols become their special tokens."""
        for symbol, token in self._symbols.items():
            surface = surface.replace(symbol, token)
        backend = self._tokenizer.backend_tokenizer
        return list(backend.encode(surface.decode(), add_special_tokens=False).ids)

    def _id(self, token: str | None) -> int:
        return int(self._tokenizer.convert_tokens_to_ids(token))

    def _render(self, conversation: Conversation, upto: int, *, prompt: bool = True) -> list[int]:
        """The first `upto` messages, with `prompt` ready for the model to speak."""
        text = self._tokenizer.apply_chat_template(
            conversation.messages[:upto],
            tools=conversation.tools or None,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return self.encode(text.encode())

    def example(self, conversation: Conversation, random: Random) -> Example:
        """All canvases of one conversation over one encoder sequence."""
        if conversation.extraction is not None:
            task = conversation.extraction
            prompt = self._render(conversation, len(conversation.messages))
            schema = task.tool["function"]["parameters"]
            block = self._slots(schema, task.arguments, len(prompt), random)
            return Example(tuple(prompt), tuple(filter(None, [block])), ())
        blocks: list[Block] = []
        spoken: list[tuple[int, int]] = []
        tokens: list[int] = []
        for index, message in enumerate(conversation.messages):
            if message["role"] != "assistant":
                continue
            prompt = self._render(conversation, index)
            tokens = self._render(conversation, index + 1, prompt=False)
            if tokens[: len(prompt)] != prompt:
                raise ValueError("the chat template does not extend its own prompt")
            spoken.append((len(prompt), len(tokens)))
            blocks += self._turn(conversation, message, len(prompt), random)
        return Example(tuple(tokens), tuple(blocks), tuple(spoken))

    def _turn(
        self, conversation: Conversation, message: dict[str, Any], at: int, random: Random
    ) -> list[Block]:
        if not message.get("tool_calls"):
            choice = self._choice(conversation, None, at, random)
            return [choice, self._answer(message["content"], at, random)]
        call = message["tool_calls"][0]["function"]
        found = [self._choice(conversation, call["name"], at, random)]
        if random.random() < _FREE_SHARE:
            found.append(self._free(call, at, random))
        tools = (tool["function"] for tool in conversation.tools)
        schema = next(tool["parameters"] for tool in tools if tool["name"] == call["name"])
        around = (self._open + call["name"].encode(), self._close)
        block = self._slots(schema, call["arguments"], at, random, around=around)
        return [*found, block] if block else found

    def _choice(
        self, conversation: Conversation, name: str | None, at: int, random: Random
    ) -> Block:
        names = [self.encode(tool["function"]["name"].encode()) for tool in conversation.tools]
        chosen = [self.absent] if name is None else self.encode(name.encode())
        width = max(map(len, [chosen, *names]))
        if random.random() < 0.4:
            width += random.randint(0, 2)
        padded = chosen + [self.filler] * (width - len(chosen))
        opening = self.encode(self._open)
        return Block(at, (*opening, *padded), (False,) * len(opening) + (True,) * width)

    def _answer(self, text: str, at: int, random: Random) -> Block:
        ids = self.encode(text.encode())
        width = random.choice((len(ids) + random.randint(0, 8), *_ANSWER_WIDTHS, 64))
        padded = ids + [self.filler] * (width - len(ids))
        return Block(at, (*padded, self.end), (True,) * len(padded) + (False,))

    def _free(self, call: dict[str, Any], at: int, random: Random) -> Block:
        ids = self.encode(
            self._open + call["name"].encode() + GEMMA.dumps(call["arguments"]) + self._close
        )
        width = next((w for w in _FREE_WIDTHS if w >= len(ids) and random.random() < 0.7), len(ids))
        padded = ids + [self.filler] * (width - len(ids))
        return Block(at, tuple(padded), (True,) * len(padded))

    def _slots(
        self, schema: Schema, arguments: dict[str, Any], at: int, random: Random, *,
        around: tuple[bytes, bytes] = (b"", b""),
    ) -> Block | None:  # fmt: skip
        values = _by_path(arguments)
        exact = random.random() < _EXACT_SHARE

        def width_of(hole: Hole) -> int:
            typical = slot_width(
                hole, syntax=GEMMA, encode=self.encode, string_width=self._string_width
            )
            if hole.path not in values:
                return typical if exact else random.randint(1, typical)
            needed = len(self.encode(surface(values[hole.path], hole, GEMMA)))
            return max(typical, needed) if exact else needed + random.randint(0, 6)

        segments = (Text(around[0]), *outline(schema, GEMMA), Text(around[1]))
        canvas = lay_out(segments, encode=self.encode, width_of=width_of, filler=self.filler)
        if not canvas.slots:
            return None
        tokens = pour(
            canvas, values, syntax=GEMMA, encode=self.encode, filler=self.filler, absent=self.absent
        )
        return Block(at, tokens, tuple(canvas.free()))


def _by_path(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every value under its path: an object under its own path as well as its members'."""
    found: dict[Path, Any] = {path: value}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= _by_path(item, (*path, key))
    return found


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded examples: E encoder positions, N canvas positions, R spoken positions.

    Attributes:
        encoded: [B, E] int64.
        clean: [B, N] int64.
        noisy: [B, N] int64, the clean canvas with corrupted free positions.
        weight: [B, N] float32, what each position counts in the denoising loss.
        positions: [B, E + N] int64.
        mask: [B, 1, E + N, E + N] bool.
        spoken: [B, R] int64, positions whose next token the encoder should foretell; _NOWHERE pads.
    """

    encoded: Tensor
    clean: Tensor
    noisy: Tensor
    weight: Tensor
    positions: Tensor
    mask: Tensor
    spoken: Tensor

    @property
    def tokens(self) -> int:
        """Positions that a pass computes, padding included."""
        return self.encoded.numel() + self.clean.numel()

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


def collate(
    examples: Sequence[Example], canvases: Canvases, *, vocabulary: int, mask_share: float,
    random: Random,
) -> Batch:  # fmt: skip
    """Pads examples into a batch and corrupts the free positions.

    Args:
        mask_share: how many canvases are corrupted with the mask token rather than random tokens.
    """
    longest = -(-max(len(e.tokens) for e in examples) // 16) * 16
    widest = -(-max(e.size - len(e.tokens) for e in examples) // 16) * 16
    rows = [_row(e, canvases, longest, widest, vocabulary, mask_share, random) for e in examples]
    encoded, clean, noisy, weight, positions, limit, block = (
        torch.tensor([row[k] for row in rows]) for k in range(7)
    )
    spoken = [[p for start, stop in e.spoken for p in range(start - 1, stop - 1)] for e in examples]
    most = max(1, *(len(s) for s in spoken))
    return Batch(
        encoded,
        clean,
        noisy,
        weight,
        positions,
        _mask(limit, block, longest),
        torch.tensor([s + [_NOWHERE] * (most - len(s)) for s in spoken]),
    )


_Row: TypeAlias = tuple[
    list[int], list[int], list[int], list[float], list[int], list[int], list[int]
]  # encoded, clean, noisy, weight, positions, limit, block


def _row(
    example: Example, canvases: Canvases, longest: int, widest: int, vocabulary: int,
    mask_share: float, random: Random,
) -> _Row:  # fmt: skip
    clean: list[int] = []
    noisy: list[int] = []
    weight: list[float] = []
    positions = list(range(longest))
    limit = [0] * longest  # how much of the encoder a position sees; encoder positions are causal
    block = [0] * longest  # which canvas a position belongs to; 0 is the encoder, -1 padding
    for number, piece in enumerate(example.blocks, 1):
        clean += piece.tokens
        noisy += _corrupted(piece, canvases, vocabulary, mask_share, random)
        weight += _weights(piece, canvases.filler)
        positions += range(piece.at, piece.at + len(piece.tokens))
        limit += [piece.at] * len(piece.tokens)
        block += [number] * len(piece.tokens)
    empty = widest - len(clean)
    pad = canvases.filler
    return (
        [*example.tokens, *[pad] * (longest - len(example.tokens))],
        clean + [pad] * empty,
        noisy + [pad] * empty,
        weight + [0.0] * empty,
        positions + [0] * empty,
        limit + [0] * empty,
        block + [-1] * empty,
    )


def _corrupted(
    piece: Block, canvases: Canvases, vocabulary: int, mask_share: float, random: Random
) -> list[int]:
    """The canvas with some free positions replaced by the mask token or by random tokens."""
    noisy = _noisy_positions(piece, canvases.filler, random)
    masked = random.random() < mask_share
    found = list(piece.tokens)
    for place in noisy:
        found[place] = canvases.mask if masked else random.randrange(vocabulary)
    return found


def _noisy_positions(piece: Block, filler: int, random: Random) -> list[int]:
    free = [place for place, flag in enumerate(piece.free) if flag]
    draw = random.random()
    if draw < _PURE_NOISE:
        return free
    if draw < _PURE_NOISE + _GAP:
        said = sum(piece.tokens[place] != filler for place in free)
        start = random.randrange(said + 1)
        stop = len(free) if random.random() < 0.5 else random.randint(start, len(free))
        return free[start:stop]
    level = random.random()
    return [place for place in free if random.random() < level]


def _weights(piece: Block, filler: int) -> list[float]:
    """What each position counts: pins nothing, filler behind filler little."""
    found: list[float] = []
    previous = -1
    for token, free in zip(piece.tokens, piece.free, strict=True):
        later = token == filler and previous == filler
        found.append((_LATER_FILLER if later else 1.0) if free else 0.0)
        previous = token
    return found


def _mask(limit: Tensor, block: Tensor, encoded: int) -> Tensor:
    """Causal among the encoder's tokens; a canvas sees its prompt and the whole of itself."""
    total = limit.shape[1]
    key = torch.arange(total)
    query_encodes, key_encodes = key[:, None] < encoded, key[None] < encoded
    causal = query_encodes & key_encodes & (key[None] <= key[:, None])
    prompt = ~query_encodes & key_encodes & (key[None] < limit[..., None])
    same = (block[..., None] == block[:, None]) & ~key_encodes
    return (causal | prompt | same)[:, None]


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the objective, nats a token."""

    total: Tensor
    denoise: float
    causal: float


def losses(
    fused: FusedPass, batch: Batch, *, condition: bool,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Losses:  # fmt: skip
    """One training pass; with `condition` the canvas first sees its own first guess
    (self-conditioning).

    Args:
        condition: run a pass without gradient and feed its soft embeddings back.
        autocast: gives the precision context.
    """
    width = batch.encoded.shape[1]
    arguments = (batch.encoded, batch.noisy, batch.positions, batch.mask)
    with autocast():
        soft = _soft_guess(fused, arguments, width) if condition else None
        hidden = fused(*arguments, soft)
        supervised = batch.weight > 0
        denoise = F.cross_entropy(
            fused.logits(hidden[:, width:][supervised]), batch.clean[supervised], reduction="none"
        )
        weight = batch.weight[supervised]
        denoise = (denoise * weight).sum() / weight.sum()
        rows, columns = (batch.spoken < _NOWHERE).nonzero(as_tuple=True)
        at = batch.spoken[rows, columns]
        causal = F.cross_entropy(
            fused.logits(hidden[rows, at]), batch.encoded[rows, at + 1], reduction="sum"
        ) / max(1, len(at))  # a batch may hold nothing that the model says
    return Losses(denoise + causal, denoise.item(), causal.item())


@torch.no_grad()
def _soft_guess(
    fused: FusedPass, arguments: tuple[Tensor, Tensor, Tensor, Tensor], width: int
) -> Tensor:
    guess = fused.logits(fused(*arguments)[:, width:]).softmax(-1)
    embeddings = fused.model.lm_head.weight
    return (guess.to(embeddings.dtype) @ embeddings) * fused.text.hidden_size**0.5
