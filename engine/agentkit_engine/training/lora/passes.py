"""The objective through the real model's own forward: encoder once, its canvases behind it.

Knows masks and losses. Must not know how canvases come about, peft or optimisers. `FusedPass` is
faster and knows dense models only; here experts route and layers slide as they do when it is used.

Several examples lie in one sequence each of the encoder and of the decoder, and no padding between
them: masks keep them apart, positions start anew, and what conversations share is there once. A
mixture of experts reads its weights once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from agentkit_engine.training.corruption import Piece, weights

_TRUNK = -1


class Canvas(Piece, Protocol):
    """One canvas, and how much of its conversation it sees; see `canvases.Block`."""

    @property
    def at(self) -> int: ...


class Taught(Protocol):
    """A conversation, its canvases and where the model speaks; see `canvases.Example`."""

    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def blocks(self) -> Sequence[Canvas]: ...
    @property
    def spoken(self) -> Sequence[tuple[int, int]]: ...
    @property
    def shared(self) -> int: ...


def size_of(example: Taught, *, behind: Taught | None = None) -> int:
    """Tokens and canvas positions that an example adds to a pack, behind the one before it."""
    size = len(example.tokens) + sum(len(block.tokens) for block in example.blocks)
    return size - example.shared if behind and _same_trunk(example, behind) else size


def _same_trunk(one: Taught, other: Taught) -> bool:
    return one.tokens[: one.shared] == other.tokens[: other.shared]


@dataclass(frozen=True, slots=True)
class Pack:
    """Examples in one sequence: E encoder positions, N canvas positions, R spoken ones.

    Attributes:
        encoded: [E] int64, tokens the encoder reads.
        positions: [E] int64, each within its conversation.
        scene: [E] int64, which scene a token is of: what shares its first tokens.
        reader: [E] int64, which example a token is of; _TRUNK for shared ones.
        clean: [N] int64.
        noisy: [N] int64.
        weight: [N] float32, what each position counts in the denoising loss.
        places: [N] int64, positions behind what a canvas sees.
        stage: [N] int64, which scene a canvas position is of.
        owner: [N] int64, which example.
        canvas: [N] int64, which canvas it is of.
        at: [N] int64, how much of its example it sees.
        spoken: [R] int64, the encoder positions that should foretell the next token.
    """

    encoded: Tensor
    positions: Tensor
    scene: Tensor
    reader: Tensor
    clean: Tensor
    noisy: Tensor
    weight: Tensor
    places: Tensor
    stage: Tensor
    owner: Tensor
    canvas: Tensor
    at: Tensor
    spoken: Tensor

    @property
    def size(self) -> int:
        """Positions that a pass computes."""
        return len(self.encoded) + len(self.clean)

    def to(self, device: torch.device) -> Pack:
        """The same pack on another device."""
        return Pack(*(getattr(self, field.name).to(device) for field in fields(self)))


class _Packing:
    """A pack that is being filled."""

    def __init__(self, filler: int) -> None:
        self.encoder: list[tuple[int, int, int, int]] = []  # token, position, scene, reader
        self.canvases: list[tuple[float, ...]] = []  # the columns of a pack, from `clean` to `at`
        self.spoken: list[int] = []
        self._filler = filler
        self._scene = self._owner = self._canvas = -1
        self._before: Taught | None = None

    def add(self, example: Taught, noisy: Sequence[Sequence[int]]) -> None:
        """Puts an example behind the others, its canvases corrupted as told."""
        shared, before = example.shared, self._before
        if before is None or not shared or not _same_trunk(example, before):
            self._scene += 1
            self._read(example.tokens[:shared], 0, _TRUNK)
        self._before, self._owner = example, self._owner + 1
        start = len(self.encoder) - shared
        self._read(example.tokens[shared:], shared, self._owner)
        for first, stop in example.spoken:
            self.spoken += range(start + first - 1, start + stop - 1)
        for block, seen in zip(example.blocks, noisy, strict=True):
            self._canvas += 1
            places = range(block.at, block.at + len(block.tokens))
            counts = weights(block, seen, filler=self._filler)
            self.canvases += (
                (*cell, self._scene, self._owner, self._canvas, block.at)
                for cell in zip(block.tokens, seen, counts, places, strict=True)
            )

    def _read(self, tokens: Sequence[int], at: int, reader: int) -> None:
        self.encoder += (
            (token, place, self._scene, reader) for place, token in enumerate(tokens, at)
        )


def pack(examples: Sequence[Taught], noisy: Sequence[Sequence[Sequence[int]]], filler: int) -> Pack:
    """Puts examples behind one another; those of a scene, which share a trunk, are neighbours.

    Args:
        noisy: the corrupted canvases of each example.
        filler: the token that pads slots; behind another one it counts little.
    """
    packing = _Packing(filler)
    for example, corrupt in zip(examples, noisy, strict=True):
        packing.add(example, corrupt)
    columns = (*zip(*packing.encoder, strict=True), *zip(*packing.canvases, strict=True))
    spoken = torch.tensor(packing.spoken, dtype=torch.long)
    found: Any = (*map(torch.tensor, columns), spoken)  # a checker can't count the columns
    return Pack(*found)


@dataclass(frozen=True, slots=True)
class PackLoss:
    """The parts of the objective, nats a token."""

    total: Tensor
    denoise: float
    causal: float


def loss_of(model: Any, pack: Pack, *, condition: bool) -> PackLoss:
    """Cross-entropy at the free positions, and of what the encoder foretells.

    Args:
        condition: the canvas first sees its own first guess (self-conditioning), which costs one
            more pass of the decoder, without a gradient.
    """
    # without a configuration every layer keeps all keys: a canvas in the middle of a conversation
    # looks back from there, and masks say how far
    cache: Any = DynamicCache()
    output = model.model.encoder(
        input_ids=pack.encoded[None],
        attention_mask=_encoder_masks(model, pack),
        position_ids=pack.positions[None],
        past_key_values=cache,
    )
    given: dict[str, Any] = {
        "past_key_values": cache,
        "decoder_input_ids": pack.noisy[None],
        "decoder_attention_mask": _decoder_masks(model, pack),
        "decoder_position_ids": pack.places[None],
    }
    guess = None
    if condition:
        with torch.no_grad():
            guess = model(**given).logits
    logits: Tensor = model(**given, self_conditioning_logits=guess).logits[0]  # [N, V] float32
    supervised = pack.weight > 0
    found = F.cross_entropy(logits[supervised], pack.clean[supervised], reduction="none")
    weight = pack.weight[supervised]
    denoise = (found * weight).sum() / weight.sum()
    states: Tensor = output.last_hidden_state[0, pack.spoken]
    causal = F.cross_entropy(
        _head(model, states), pack.encoded[pack.spoken + 1], reduction="sum"
    ) / max(1, len(pack.spoken))  # there may be nothing that the model says
    return PackLoss(denoise + causal, denoise.item(), causal.item())


def _head(model: Any, states: Tensor) -> Tensor:
    """[R, H] to [R, V] logits, as the model's own forward makes them."""
    cap = model.final_logit_softcapping
    logits: Tensor = torch.tanh(model.lm_head(states).float() / cap) * cap
    return logits


def _encoder_masks(model: Any, pack: Pack) -> dict[str, Tensor]:
    """Causal within each conversation, in sliding layers within the window: [1, 1, E, E]."""
    back = pack.positions[:, None] - pack.positions
    own = (pack.reader == _TRUNK) | (pack.reader[:, None] == pack.reader)
    visible = (back >= 0) & (pack.scene[:, None] == pack.scene) & own
    window = model.config.text_config.sliding_window
    return _masks(model, visible, visible & (back < window))


def _decoder_masks(model: Any, pack: Pack) -> dict[str, Tensor]:
    """A canvas sees its prompt and the whole of itself: [1, 1, N, E + N].

    In sliding layers it sees of the prompt what a cache of the window still holds.
    """
    left = pack.at[:, None] - pack.positions  # [N, E], how far before the canvas a token stands
    read = (pack.reader == _TRUNK) | (pack.owner[:, None] == pack.reader)
    prompt = (left > 0) & (pack.stage[:, None] == pack.scene) & read
    own = pack.canvas[:, None] == pack.canvas
    near = prompt & (left < model.config.text_config.sliding_window)
    return _masks(model, torch.cat((prompt, own), 1), torch.cat((near, own), 1))


def _masks(model: Any, full: Tensor, sliding: Tensor) -> dict[str, Tensor]:
    return {
        "full_attention": _additive(model, full),
        "sliding_attention": _additive(model, sliding),
    }


def _additive(model: Any, visible: Tensor) -> Tensor:
    """0 where visible, else the lowest number there is."""
    blocked = torch.zeros(visible.shape, dtype=model.dtype, device=visible.device)
    return blocked.masked_fill_(~visible, torch.finfo(model.dtype).min)[None, None]
