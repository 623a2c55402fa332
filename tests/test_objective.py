"""The objective: batches lose nothing and hide only what is free; the loss counts as it says."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from conversing import small_tokenizer, some
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine.training.canvases import Block, Canvases, Example
from agentkit_engine.training.corruption import corrupted
from agentkit_engine.training.model import FusedPass, build_model, small_config
from agentkit_engine.training.objective import Batch, collate, losses, soft_guess
from agentkit_engine.training.tokenizer import DIALECT

VOCABULARY = 640


@pytest.fixture(scope="module")
def canvases() -> Canvases:
    return Canvases(small_tokenizer(), DIALECT)


@pytest.fixture(scope="module")
def scenes(canvases: Canvases) -> list[list[Example]]:
    """Three scenes, of which the last shares its tools with nobody."""
    made = [canvases.scene(some(seed, 1, most_tools=2), Random(seed)) for seed in (21, 22, 23)]
    found = [[example for example in scene if example.blocks] for scene in made]
    return [found[0], found[1], found[2][:1]]


@pytest.fixture(scope="module")
def examples(scenes: list[list[Example]]) -> list[Example]:
    return [example for scene in scenes for example in scene]


def batch_of(examples: Sequence[Example], canvases: Canvases, *, mask_share: float) -> Batch:
    return collate(
        examples, canvases, vocabulary=VOCABULARY, mask_share=mask_share, random=Random(3)
    )


@pytest.fixture(scope="module")
def batch(examples: list[Example], canvases: Canvases) -> Batch:
    return batch_of(examples, canvases, mask_share=0.5)


@dataclass(frozen=True)
class Placed:
    """Where an example lies in a batch."""

    example: Example
    row: int
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.example.own

    def pieces(self) -> Iterator[tuple[Block | None, range]]:
        """What the encoder reads, then each canvas, with its columns."""
        at = self.start + len(self.example.tokens) - self.example.shared
        yield None, range(self.start, at)
        for block in self.example.blocks:
            yield block, range(at, at + len(block.tokens))
            at += len(block.tokens)


def own(example: Example) -> list[int]:
    said = list(example.tokens[example.shared :])
    return said + [token for block in example.blocks for token in block.tokens]


def placed(batch: Batch, examples: Sequence[Example]) -> list[Placed]:
    """Each example where its own tokens stand, behind a trunk that is its own."""
    found: list[Placed] = []
    for example in examples:
        shared = list(example.tokens[: example.shared])
        places = (
            Placed(example, row, start)
            for row in range(len(batch.clean))
            for start in range(batch.clean.shape[1] - example.own + 1)
            if batch.clean[row, start : start + example.own].tolist() == own(example)
            and batch.seen.trunk[batch.seen.group[row], : len(shared)].tolist() == shared
            and not any(p.row == row and p.start == start for p in found)
        )
        found.append(next(places))
    return found


# what is in a batch


def test_packing_loses_nothing_and_adds_nothing(batch: Batch, examples: list[Example]) -> None:
    where = placed(batch, examples)
    used = torch.zeros_like(batch.clean)
    for one in where:
        used[one.row, one.start : one.stop] += 1
        assert one.stop <= batch.clean.shape[1]
    assert used.max() == 1  # no two lie on each other
    assert int(used.sum()) == sum(example.own for example in examples)
    assert not batch.weight[used == 0].any()
    assert not batch.seen.canvas[used == 0].any()
    assert len(batch.clean) < len(examples)  # some share a row
    assert batch.tokens == batch.clean.numel() + batch.seen.trunk.numel()


def test_every_position_is_where_it_is_in_its_conversation(
    batch: Batch, examples: list[Example]
) -> None:
    for one in placed(batch, examples):
        for block, columns in one.pieces():
            first = one.example.shared if block is None else block.at
            places = batch.seen.positions[one.row, columns.start : columns.stop].tolist()
            assert places == list(range(first, first + len(columns)))
            canvas = batch.seen.canvas[one.row, columns.start : columns.stop]
            assert bool(canvas.all()) is bool(canvas.any()) is (block is not None)


def test_who_sees_whom(batch: Batch, examples: list[Example]) -> None:
    trunk, width = batch.seen.trunk.shape[1], batch.clean.shape[1]
    expected = torch.zeros(len(batch.clean), width, trunk + width, dtype=torch.bool)
    where = placed(batch, examples)
    for one in where:
        expected[one.row, :, : one.example.shared] = True
        (_, read), *canvases = one.pieces()
        for reader in read:
            for other in read:
                expected[one.row, reader, trunk + other] = other <= reader
        for block, columns in canvases:
            assert block is not None
            for reader in columns:
                for other in read:
                    before = other - read.start + one.example.shared < block.at
                    expected[one.row, reader, trunk + other] = before
                for other in columns:
                    expected[one.row, reader, trunk + other] = True
    assert torch.equal(batch.seen.mask[:, 0], expected)


def test_the_encoder_foretells_what_the_model_says(batch: Batch, examples: list[Example]) -> None:
    foretold = {(row, column) for row, column in batch.spoken.tolist()}
    assert len(foretold) == len(batch.spoken)
    said = 0
    for one in placed(batch, examples):
        for start, stop in one.example.spoken:
            for place in range(start, stop):
                column = one.start + place - one.example.shared
                assert (one.row, column - 1) in foretold
                assert batch.clean[one.row, column] == one.example.tokens[place]
                assert not batch.seen.canvas[one.row, column - 1]
                said += 1
    assert said == len(foretold)
    assert said > 100


def test_a_batch_may_hold_nothing_that_the_model_says(
    canvases: Canvases, scenes: list[list[Example]]
) -> None:
    batch = batch_of([replace(scenes[0][0], spoken=())], canvases, mask_share=1.0)
    assert batch.spoken.shape == (0, 2)


# what is hidden, and what it counts


@pytest.mark.parametrize("mask_share", [0.0, 1.0])
def test_only_free_positions_are_corrupted(
    examples: list[Example], canvases: Canvases, mask_share: float
) -> None:
    batch = batch_of(examples, canvases, mask_share=mask_share)
    changed = batch.seen.tokens != batch.clean
    free = torch.zeros_like(changed)
    for one in placed(batch, examples):
        for block, columns in one.pieces():
            if block is not None:
                free[one.row, columns.start : columns.stop] = torch.tensor(block.free)
    assert changed.any()
    assert not (changed & ~free).any()
    noise = set(batch.seen.tokens[changed].tolist())
    assert noise == {canvases.mask} if mask_share else len(noise) > 100


def test_positions_count_as_they_are_hard(
    batch: Batch, examples: list[Example], canvases: Canvases
) -> None:
    """Pins nothing, what was kept a quarter, filler behind filler a tenth of that."""
    seen: set[float] = set()
    for one in placed(batch, examples):
        for block, columns in one.pieces():
            weight = batch.weight[one.row, columns.start : columns.stop].tolist()
            if block is None:
                assert not any(weight)
                continue
            for place, column in enumerate(columns):
                token = block.tokens[place]
                kept = batch.seen.tokens[one.row, column] == token
                later = place > 0 and token == block.tokens[place - 1] == canvases.filler
                wanted = (0.25 if kept else 1.0) * (0.1 if later else 1.0) * block.free[place]
                wanted *= block.worth
                assert weight[place] == pytest.approx(wanted)
                seen.add(round(wanted, 3))
    assert {0.0, 0.025, 0.1, 0.25, 1.0} < seen
    assert max(seen) == 2.5  # of choices


def test_a_canvas_may_be_nothing_but_noise_more_often(canvases: Canvases) -> None:
    block = Block(0, (100, 101, 102), (True,) * 3, blank=1.0)
    random = Random(5)
    for _ in range(50):
        seen = corrupted(
            block, filler=canvases.filler, vocabulary=VOCABULARY, mask=canvases.mask, random=random
        )
        assert seen == [canvases.mask] * 3


def test_half_of_the_canvases_are_nothing_but_noise(canvases: Canvases) -> None:
    said, filler = tuple(range(100, 106)), canvases.filler
    block = Block(0, (50, *said, *[filler] * 6, 51), (False, *[True] * 12, False))
    random = Random(5)
    drawn = [
        corrupted(block, filler=filler, vocabulary=VOCABULARY, mask=canvases.mask, random=random)
        for _ in range(2000)
    ]
    hidden = [tuple(k for k, t in enumerate(row) if t == canvases.mask) for row in drawn]
    whole = sum(places == tuple(range(1, 13)) for places in hidden) / len(hidden)
    assert 0.5 < whole < 0.65
    # as later steps see it: what was filled first is kept, and often what is behind as well
    stretches = [p for p in hidden if 0 < len(p) < 12 and p == tuple(range(p[0], p[-1] + 1))]
    assert len(stretches) > 300
    assert any(p[-1] < 12 for p in stretches)
    assert any(p[0] > 1 and p[-1] == 12 for p in stretches)
    scattered = [p for p in hidden if p and p != tuple(range(p[0], p[-1] + 1))]
    assert len(scattered) > 200


# the loss


@pytest.fixture(scope="module")
def fused() -> FusedPass:
    config = small_config(
        vocabulary=len(small_tokenizer()), hidden=32, layers=2, heads=2, key_value_heads=1,
        feed_forward=48,
    )  # fmt: skip
    return FusedPass(build_model(config))


@pytest.mark.parametrize("condition", [False, True])
@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_what_counts(
    fused: FusedPass, batch: Batch, condition: bool
) -> None:
    found = losses(fused, batch, condition=condition, autocast=nullcontext)
    soft = soft_guess(fused, batch.seen) if condition else None
    logits = fused.logits(fused(batch.seen, soft))
    each = F.cross_entropy(logits.flatten(0, 1), batch.clean.flatten(), reduction="none")
    weight = batch.weight.flatten()
    assert found.denoise == pytest.approx(float((each * weight).sum() / weight.sum()), rel=1e-4)
    said = [
        F.cross_entropy(logits[row, column], batch.clean[row, column + 1]).item()
        for row, column in batch.spoken.tolist()
    ]
    assert found.causal == pytest.approx(sum(said) / len(said), rel=1e-4)
    assert found.total.item() == pytest.approx(found.denoise + found.causal)


def test_nothing_said_costs_nothing(
    fused: FusedPass, canvases: Canvases, examples: list[Example]
) -> None:
    silent = batch_of([replace(examples[0], spoken=())], canvases, mask_share=1.0)
    found = losses(fused, silent, condition=False, autocast=nullcontext)
    assert found.causal == 0
    assert math.isfinite(found.denoise)


@torch.no_grad()
def test_a_first_guess_is_fed_back_on_canvases_only(fused: FusedPass, batch: Batch) -> None:
    soft = soft_guess(fused, batch.seen)
    assert not soft[~batch.seen.canvas].any()
    weight: Tensor = fused.model.lm_head.weight
    logits = fused.logits(fused(batch.seen))[batch.seen.canvas]
    expected = logits.softmax(-1) @ weight * 32**0.5
    torch.testing.assert_close(soft[batch.seen.canvas], expected)


def test_the_objective_falls_on_a_batch_seen_again(
    fused: FusedPass, examples: list[Example], canvases: Canvases
) -> None:
    batch = batch_of(examples, canvases, mask_share=1.0)
    fused = copy.deepcopy(fused)
    model = fused.model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    seen: list[tuple[float, float]] = []
    for step in range(8):
        found = losses(fused, batch, condition=step % 2 == 0, autocast=nullcontext)
        optimizer.zero_grad()
        total: Any = found.total  # backward() is not annotated
        total.backward()
        optimizer.step()
        seen.append((found.denoise, found.causal))
    assert seen[-1][0] < 0.8 * seen[0][0]
    assert seen[-1][1] < 0.8 * seen[0][1]
