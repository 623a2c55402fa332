"""The fused pass is the real class: what it computes, and what it learns from it.

Conversations of several scenes lie in one batch, those of a scene behind one trunk, each with
several canvases; the reference reads every conversation and every canvas by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from tiny import tiny_tokenizer
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine.training import objective
from agentkit_engine.training.canvases import Block, Canvases, Example
from agentkit_engine.training.model import FusedPass, Seen, build_model, small_config
from agentkit_engine.training.objective import Batch, collate, soft_guess
from agentkit_engine.training.tokenizer import DIALECT

VOCABULARY = 100
# by scene the length of its trunk, and by conversation its length and its canvases (place, width)
SCENES = (
    (13, ((24, ((17, 7), (24, 12), (24, 5))), (20, ((15, 6),)), (31, ((20, 9), (31, 4))))),
    (21, ((25, ((25, 8),)), (40, ((28, 3), (28, 10), (40, 11))))),
)


def drawn(random: Random, count: int) -> tuple[int, ...]:
    return tuple(random.randrange(3, VOCABULARY) for _ in range(count))


def examples(random: Random) -> Iterator[Example]:
    for shared, conversations in SCENES:
        trunk = drawn(random, shared)
        for length, canvases in conversations:
            blocks = tuple(
                Block(at, drawn(random, width), (True,) * width) for at, width in canvases
            )
            spoken = ((shared + 1, shared + 3), (length - 1, length))
            tokens = (*trunk, *drawn(random, length - shared))
            yield Example(tokens, blocks, spoken, shared)


@dataclass(frozen=True)
class Fused:
    """A model, its fused pass, and a batch whose canvases are not corrupted."""

    model: Any  # of types that torch does not tell
    fused: FusedPass
    batch: Batch
    examples: Sequence[Example]

    @property
    def seen(self) -> Seen:
        return self.batch.seen

    def columns(self, example: Example) -> tuple[int, int]:
        """Row and first column of an example."""
        said = torch.tensor(example.tokens[example.shared :])
        for row, tokens in enumerate(self.batch.clean):
            for start in range(len(tokens) - len(said) + 1):
                if torch.equal(tokens[start : start + len(said)], said):
                    return row, start
        raise AssertionError("an example is not in the batch")

    def canvases(self) -> Iterator[tuple[Example, Block, int, slice]]:
        """Every canvas, the row that it lies in and its columns there."""
        for example in self.examples:
            row, start = self.columns(example)
            start += len(example.tokens) - example.shared
            for block in example.blocks:
                yield example, block, row, slice(start, start + len(block.tokens))
                start += len(block.tokens)

    def read(self, example: Example) -> Tensor:
        """[T, D]: what the class's encoder makes of a conversation."""
        tokens = torch.tensor([example.tokens])
        hidden: Tensor = self.model.model.encoder(input_ids=tokens).last_hidden_state
        return hidden[0]

    def denoised(self, example: Example, block: Block, previous: Tensor | None = None) -> Tensor:
        """[W, V]: the logits of one canvas by the class's own forward and masks."""
        positions = torch.arange(block.at, block.at + len(block.tokens))[None]
        output = self.model(
            input_ids=torch.tensor([example.tokens[: block.at]]),
            decoder_input_ids=torch.tensor([block.tokens]),
            decoder_position_ids=positions,
            self_conditioning_logits=None if previous is None else previous[None],
        )
        logits: Tensor = output.logits
        return logits[0]

    def mean_embeddings(self, logits: Tensor) -> Tensor:
        """What self-conditioning is fed of some logits, gradients included, as the class has it."""
        weight = self.model.lm_head.weight
        fed: Tensor = logits.softmax(-1) @ weight * self.model.config.text_config.hidden_size**0.5
        return fed


@pytest.fixture(scope="module")
def one() -> Fused:
    config = small_config(
        vocabulary=VOCABULARY, hidden=32, layers=3, heads=4, key_value_heads=2, head_dim=8,
        feed_forward=48,
    )  # fmt: skip
    model: Any = build_model(config, seed=1)
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():  # no two norms alike, so that none is mistaken for another
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and "layernorm_2" not in name:
                weight.mul_(1 + 0.3 * torch.randn(weight.shape, generator=draws))
    random = Random(4)
    made = list(examples(random))
    canvases = Canvases(tiny_tokenizer(), DIALECT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "_LEAST_ROW", 1)  # so that a scene takes several rows
        batch = collate(made, canvases, vocabulary=VOCABULARY, mask_share=0.0, random=random)
    batch = replace(batch, seen=replace(batch.seen, tokens=batch.clean))
    return Fused(model.eval(), FusedPass(model), batch, made)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)


def test_conversations_share_trunks_and_rows(one: Fused) -> None:
    assert one.seen.trunk.shape[0] == len(SCENES)
    assert len(SCENES) < len(one.batch.clean) < len(one.examples)


@torch.no_grad()
def test_what_the_encoder_reads_is_the_class(one: Fused) -> None:
    hidden = one.fused(one.seen)
    for example in one.examples:
        row, start = one.columns(example)
        own = len(example.tokens) - example.shared
        assert_close(hidden[row, start : start + own], one.read(example)[example.shared :])


@torch.no_grad()
def test_every_canvas_is_the_class(one: Fused) -> None:
    logits = one.fused.logits(one.fused(one.seen))
    for example, block, row, columns in one.canvases():
        assert_close(logits[row, columns], one.denoised(example, block))


@torch.no_grad()
def test_self_conditioning_is_the_class(one: Fused) -> None:
    first = one.fused.logits(one.fused(one.seen))
    second = one.fused.logits(one.fused(one.seen, soft_guess(one.fused, one.seen)))
    assert (second - first)[one.seen.canvas].abs().max() > 1e-2
    for example, block, row, columns in one.canvases():
        expected = one.denoised(example, block, previous=first[row, columns])
        assert_close(second[row, columns], expected)


def gradients(one: Fused, loss: Tensor) -> dict[str, Tensor | None]:
    """By parameter that is trained."""
    trained = {n: p for n, p in one.model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return dict(zip(trained, found, strict=True))


def fused_loss(one: Fused, guess: Tensor | None) -> Tensor:
    """The sum over all canvases and all that the model says, in one pass."""
    soft = None
    if guess is not None:
        soft = one.mean_embeddings(guess) * one.seen.canvas[..., None]
    logits = one.fused.logits(one.fused(one.seen, soft))
    rows, columns = one.batch.spoken.unbind(1)
    said = F.cross_entropy(
        logits[rows, columns], one.batch.clean[rows, columns + 1], reduction="sum"
    )
    canvas = one.seen.canvas
    return said + F.cross_entropy(logits[canvas], one.batch.clean[canvas], reduction="sum")


def class_loss(one: Fused, guess: Tensor | None) -> Tensor:
    """The same, summed over the class's own forwards."""
    loss = torch.zeros(())
    for example in one.examples:
        logits, tokens = one.fused.logits(one.read(example)), torch.tensor(example.tokens)
        for start, stop in example.spoken:
            said = logits[start - 1 : stop - 1]
            loss = loss + F.cross_entropy(said, tokens[start:stop], reduction="sum")
    for example, block, row, columns in one.canvases():
        previous = None if guess is None else guess[row, columns]
        logits = one.denoised(example, block, previous=previous)
        loss = loss + F.cross_entropy(logits, torch.tensor(block.tokens), reduction="sum")
    return loss


@pytest.mark.parametrize("conditioned", [False, True])
def test_gradients_are_those_of_the_class(one: Fused, conditioned: bool) -> None:
    with torch.no_grad():
        guess = one.fused.logits(one.fused(one.seen)) if conditioned else None
    mine, theirs = fused_loss(one, guess), class_loss(one, guess)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0.0)
    expected = gradients(one, theirs)
    seen = 0
    for name, found in gradients(one, mine).items():
        wanted = expected[name]
        if "self_conditioning" in name and not conditioned:  # nothing to condition on: no part
            assert found is None or not found.any()
            continue
        assert found is not None, name
        assert wanted is not None, name
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * scale, msg=name)
        seen += scale > 0
    assert seen > (25 if conditioned else 20)


def test_all_that_text_goes_through_is_trained(one: Fused) -> None:
    frozen = {n for n, p in one.model.named_parameters() if not p.requires_grad}
    assert frozen
    for name in frozen:
        assert any(part in name for part in ("vision", "expert", "router", "layernorm_2")), name


@torch.no_grad()
def test_what_stands_in_padding_changes_nothing(one: Fused) -> None:
    shared = torch.tensor([trunk for trunk, _ in SCENES])
    padded = torch.arange(one.seen.trunk.shape[1]) >= shared[:, None]
    assert padded.any()
    other = replace(one.seen, trunk=one.seen.trunk.masked_fill(padded, 7))
    assert_close(one.fused(other), one.fused(one.seen))
