"""The DiffusionGemma objective: batches of examples, corrupted, and the loss of a pass.

Cross-entropy at the free positions of the canvases (uniform corruption, or the mask token), with
self-conditioning, plus the next-token loss of the causal encoder on what the model says. After the
public recipes for the real model, of NeMo AutoModel and TRL; the mask token is our own addition.
Must not know what the canvases say, nor optimisers or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from itertools import groupby
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine.training.canvases import Canvases, Example
from agentkit_engine.training.corruption import corrupted, weights
from agentkit_engine.training.model import FusedPass, Seen
from agentkit_engine.training.pointing import Meant, Pointing, pointing_loss, where_to_look

_ROUND = 16  # lengths of trunks and rows are multiples: fewer shapes
_LEAST_ROW = 192  # short examples share a row, so that their trunk is not read for each


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples, some of each scene, padded and corrupted: R rows of L positions.

    Attributes:
        seen: what the model sees; its canvases are noisy.
        clean: [R, L] int64, the tokens as they should be.
        weight: [R, L] float32, what each position counts in the denoising loss.
        spoken: [S, 2] int64, row and column of the positions whose next token the encoder should
            foretell.
        pointing: where to look for the tools that are meant.
    """

    seen: Seen
    clean: Tensor
    weight: Tensor
    spoken: Tensor
    pointing: Pointing

    @property
    def tokens(self) -> int:
        """Positions that a pass computes, padding included."""
        return self.seen.trunk.numel() + self.clean.numel()

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        moved = {f.name: getattr(self.seen, f.name).to(device) for f in fields(self.seen)}
        return Batch(
            Seen(**moved),
            self.clean.to(device),
            self.weight.to(device),
            self.spoken.to(device),
            self.pointing.to(device),
        )


class _Row:
    """A row that is being filled: the own parts of some conversations of one scene."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.noisy: list[int] = []
        self.weight: list[float] = []
        self.positions: list[int] = []
        self.limit: list[int] = []  # how much of its conversation a position sees
        self.owner: list[int] = []  # the conversation it belongs to
        self.block: list[int] = []  # the canvas it is on; 0 is the encoder
        self.spoken: list[int] = []
        self.meant: list[tuple[int, range, range]] = []  # a tool, a request, a choice
        self._owners = self._blocks = 0

    def add(self, example: Example, noisy: Sequence[Sequence[int]], filler: int) -> None:
        """Puts an example behind the others, its canvases corrupted as told."""
        self._owners += 1
        start, shared = len(self.tokens), example.shared
        own = example.tokens[shared:]
        self._extend(own, own, [0.0] * len(own), range(shared, len(example.tokens)))
        self.limit += range(shared + 1, len(example.tokens) + 1)
        self.block += [0] * len(own)
        for begin, stop in example.spoken:
            self.spoken += range(start + begin - 1 - shared, start + stop - 1 - shared)
        for block, seen in zip(example.blocks, noisy, strict=True):
            self._blocks += 1
            width = len(block.tokens)
            places = range(block.at, block.at + width)
            if block.meant is not None:
                tool, size = block.meant
                choice = len(self.tokens)
                request = range(start, start + block.at - shared)
                self.meant.append((tool, request, range(choice, choice + size)))
            self._extend(block.tokens, seen, weights(block, seen, filler=filler), places)
            self.limit += [block.at] * width
            self.block += [self._blocks] * width

    def _extend(
        self, tokens: Sequence[int], noisy: Sequence[int], weight: Sequence[float], places: range
    ) -> None:
        self.tokens += tokens
        self.noisy += noisy
        self.weight += weight
        self.positions += places
        self.owner += [self._owners] * len(tokens)


def collate(
    examples: Sequence[Example], canvases: Canvases, *, vocabulary: int, mask_share: float,
    random: Random,
) -> Batch:  # fmt: skip
    """Packs examples into rows, those that share their first tokens behind one trunk.

    Args:
        mask_share: how many canvases are corrupted with the mask token rather than random tokens.
    """
    trunks = [list(scene) for _, scene in groupby(examples, lambda e: e.tokens[: e.shared])]
    width = _rounded(max(_LEAST_ROW, *(example.own for example in examples)))
    rows: list[_Row] = []
    group: list[int] = []
    for number, scene in enumerate(trunks):
        for packed in _packed(scene, width):
            row = _Row()
            for example in packed:
                noisy = [
                    corrupted(
                        block, filler=canvases.filler, vocabulary=vocabulary, random=random,
                        mask=canvases.mask if random.random() < mask_share else None,
                    )
                    for block in example.blocks
                ]  # fmt: skip
                row.add(example, noisy, canvases.filler)
            rows.append(row)
            group.append(number)
    return _batch(rows, [scene[0] for scene in trunks], group, canvases.filler)


def _packed(scene: Sequence[Example], width: int) -> Iterator[list[Example]]:
    """The examples of a scene in as few rows as simple packing finds."""
    rows: list[list[Example]] = []
    for example in sorted(scene, key=lambda e: -e.own):
        room = (row for row in rows if sum(e.own for e in row) + example.own <= width)
        row = next(room, None)
        if row is None:
            rows.append([example])
        else:
            row.append(example)
    yield from rows


def _rounded(length: int) -> int:
    return -(-length // _ROUND) * _ROUND


def _batch(
    rows: Sequence[_Row], firsts: Sequence[Example], group: Sequence[int], pad: int
) -> Batch:
    width = _rounded(max(len(row.tokens) for row in rows))
    shared = [first.tokens[: first.shared] for first in firsts]
    longest = _rounded(max(map(len, shared)))

    def padded(name: str, value: float) -> Tensor:
        found = [getattr(row, name) for row in rows]
        return torch.tensor([one + [value] * (width - len(one)) for one in found])

    block, owner, positions = padded("block", -1), padded("owner", -1), padded("positions", 0)
    groups = torch.tensor(group)
    lengths = torch.tensor([len(one) for one in shared])[groups]
    own = _visible(block, owner, positions, padded("limit", 0))
    trunk_seen = torch.arange(longest)[None, None] < lengths[:, None, None]
    seen = Seen(
        trunk=torch.tensor([[*one, *[pad] * (longest - len(one))] for one in shared]),
        group=groups,
        tokens=padded("noisy", pad),
        canvas=block > 0,
        positions=positions,
        mask=torch.cat((trunk_seen.expand(-1, width, -1), own), 2)[:, None],
    )
    spoken = [(number, column) for number, row in enumerate(rows) for column in row.spoken]
    meant = [Meant(number, *one) for number, row in enumerate(rows) for one in row.meant]
    return Batch(
        seen,
        padded("tokens", pad),
        padded("weight", 0.0),
        torch.tensor(spoken, dtype=torch.long).reshape(-1, 2),
        where_to_look(firsts, group, meant),
    )


def _visible(block: Tensor, owner: Tensor, positions: Tensor, limit: Tensor) -> Tensor:
    """[R, L, L]: what the encoder reads of its conversation up to its limit; its whole canvas."""
    read = (block == 0)[:, None] & (owner[..., None] == owner[:, None])
    before = positions[:, None] < limit[..., None]
    same = (block[..., None] == block[:, None]) & (block > 0)[:, None]
    return (read & before) | same


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the objective, nats a token."""

    total: Tensor
    denoise: float
    causal: float
    pointing: float


def losses(
    fused: FusedPass, batch: Batch, *, condition: bool, pointing: float = 0.0,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Losses:  # fmt: skip
    """One training pass; with `condition` the canvas first sees its own first guess
    (self-conditioning).

    Args:
        condition: run a pass without gradient and feed its soft embeddings back.
        pointing: weight of `pointing.pointing_loss`.
        autocast: gives the precision context.
    """
    with autocast():
        soft = soft_guess(fused, batch.seen) if condition else None
        hidden, attended = fused.attended(batch.seen, soft)
        supervised = batch.weight > 0
        denoise = F.cross_entropy(
            fused.logits(hidden[supervised]), batch.clean[supervised], reduction="none"
        )
        weight = batch.weight[supervised]
        denoise = (denoise * weight).sum() / weight.sum().clamp(min=1)  # a batch may hold no canvas
        rows, columns = batch.spoken.unbind(1)
        causal = F.cross_entropy(
            fused.logits(hidden[rows, columns]), batch.clean[rows, columns + 1], reduction="sum"
        ) / max(1, len(rows))  # a batch may hold nothing that the model says
    total, pointed = denoise + causal, torch.zeros(())
    if pointing:
        pointed = pointing_loss(attended, batch.pointing)
        total = total + pointing * pointed
    return Losses(total, denoise.item(), causal.item(), pointed.item())


@torch.no_grad()
def soft_guess(fused: FusedPass, seen: Seen) -> Tensor:
    """[R, L, D]: what self-conditioning feeds back, the mean embedding of a first guess."""
    hidden = fused(seen)
    embeddings = fused.model.lm_head.weight
    found = torch.zeros_like(hidden)
    guess = fused.logits(hidden[seen.canvas]).softmax(-1)
    mean = (guess.to(embeddings.dtype) @ embeddings) * fused.text.hidden_size**0.5
    found[seen.canvas] = mean.to(found.dtype)
    return found
