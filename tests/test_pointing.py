"""Pointing: it says where tools are told of, and costs those that look elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from conversing import small_tokenizer, some
from torch import Tensor

from agentkit_engine.training.canvases import Canvases, Example
from agentkit_engine.training.corpus.conversations import Conversation
from agentkit_engine.training.model import Attended, FusedPass, build_model, small_config
from agentkit_engine.training.objective import Batch, collate
from agentkit_engine.training.pointing import Pointing, pointing_loss
from agentkit_engine.training.tokenizer import DIALECT

SHARES = {"single": 0.5, "twice": 0.2, "refusal": 0.1, "missing": 0.2}


@pytest.fixture(scope="module")
def canvases() -> Canvases:
    return Canvases(small_tokenizer(), DIALECT)


@pytest.fixture(scope="module")
def scenes() -> list[list[Conversation]]:
    """Four scenes of two to six tools, the last of one."""
    counts = [(2, 3), (4, 4), (6, 6), (1, 1)]
    return [
        some(f"scene {least}", 1, least_tools=least, most_tools=most, shares=SHARES)
        for least, most in counts
    ]


@pytest.fixture(scope="module")
def batch(canvases: Canvases, scenes: list[list[Conversation]]) -> Batch:
    return batched([one for scene in scenes for one in canvases.scene(scene, Random(1))], canvases)


def batched(examples: list[Example], canvases: Canvases) -> Batch:
    return collate(examples, canvases, vocabulary=640, mask_share=1.0, random=Random(2))


def read(tokens: Tensor) -> str:
    tokenizer: Any = small_tokenizer()
    return str(tokenizer.decode(tokens))


def test_it_says_where_each_tool_is_named_and_described(
    batch: Batch, scenes: list[list[Conversation]]
) -> None:
    for trunk, named, declared, scene in zip(
        batch.seen.trunk, batch.pointing.named, batch.pointing.declared, scenes, strict=True
    ):
        tools = [tool["function"] for tool in scene[0].tools]
        assert int(named.max()) == int(declared.max()) == len(tools) - 1
        for number, tool in enumerate(tools):
            assert read(trunk[named == number]) == tool["name"]
            said = read(trunk[declared == number])
            assert tool["description"] in said
            assert all(key in said for key in tool["parameters"]["properties"])


def test_it_says_which_tool_each_first_request_means(
    batch: Batch, scenes: list[list[Conversation]]
) -> None:
    wanted: list[tuple[int, str, int]] = []
    named: list[list[str]] = []
    for trunk, scene in enumerate(scenes):
        names = [tool["function"]["name"] for tool in scene[0].tools]
        named.append(names)
        for conversation in scene:
            said = [m for m in conversation.messages if m["role"] != "system"]
            request, answer = said[:2]
            if answer.get("tool_calls"):
                name = answer["tool_calls"][0]["function"]["name"]
                wanted.append((trunk, request["content"], names.index(name)))
    found: list[tuple[int, str, int]] = []
    for row, tool, start, stop, choice, behind in batch.pointing.meant.tolist():
        text = read(batch.clean[row, start:stop])
        assert batch.seen.canvas[row, choice:behind].all()
        opening = DIALECT.call_open
        assert read(batch.clean[row, choice:behind]).startswith(
            opening + named[int(batch.seen.group[row])][tool]
        )
        request = text.removeprefix("<|turn>user\n").removesuffix("<turn|><|turn>model\n")
        found.append((int(batch.seen.group[row]), request, tool))
    assert sorted(found) == sorted(wanted)
    assert len({trunk for trunk, _, _ in found}) > 2


def looking(
    batch: Batch, *, named: int = 0, meant: int = 0, chosen: int = 0
) -> tuple[Attended, ...]:
    """Queries and keys that find the right tool, or the one so many places on."""
    pointing, tools = batch.pointing, 8
    about = torch.maximum(pointing.named, pointing.declared)
    keys = 30 * _one_hot(about, tools)
    own = _one_hot(torch.where(about >= 0, (about + named) % tools, about), tools)
    rows = torch.zeros(len(batch.clean), batch.clean.shape[1], tools)
    for row, tool, start, stop, choice, behind in pointing.meant.tolist():
        count = int(pointing.named[batch.seen.group[row]].max()) + 1
        rows[row, start:stop, (tool + meant) % count] = 1
        rows[row, choice:behind, (tool + chosen) % count] = 1
    trunk, asked = own[:, None].expand(-1, 2, -1, -1), rows[:, None].expand(-1, 2, -1, -1)
    return (Attended(trunk, asked, keys),) * 3


def _one_hot(numbers: Tensor, size: int) -> Tensor:
    return torch.where(numbers[..., None] == torch.arange(size), 1.0, 0.0)


def loss(batch: Batch, looks: Sequence[Attended]) -> float:
    return float(pointing_loss(looks, batch.seen.group, batch.pointing))


def test_who_looks_there_loses_nothing(batch: Batch) -> None:
    assert loss(batch, looking(batch)) < 1e-6


def test_who_looks_elsewhere_does(batch: Batch) -> None:
    assert loss(batch, looking(batch, meant=1)) > 1
    assert loss(batch, looking(batch, chosen=1)) > 1
    assert loss(batch, looking(batch, named=-1)) > 1


def test_who_looks_nowhere_loses_what_chance_loses(batch: Batch) -> None:
    blind = [Attended(look.trunk * 0, look.rows * 0, look.keys) for look in looking(batch)]
    about = torch.maximum(batch.pointing.named, batch.pointing.declared)[batch.seen.group]
    wanted: list[float] = []
    for row, tool, *_ in batch.pointing.meant.tolist():
        sizes = torch.bincount(about[row][about[row] >= 0])
        wanted.append(math.log(len(sizes)) - math.log(sizes[tool] / sizes.sum()))
    found = loss(batch, (looking(batch)[0], blind[1], looking(batch)[2]))
    assert found == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)


def test_with_one_tool_there_is_nothing_to_point_at(canvases: Canvases) -> None:
    alone = some("alone", 1, least_tools=1, most_tools=1, shares=SHARES)
    batch = batched(canvases.scene(alone, Random(1)), canvases)
    assert loss(batch, looking(batch, meant=1, named=1)) == 0


def test_a_model_learns_to_point(canvases: Canvases, scenes: list[list[Conversation]]) -> None:
    batch = batched(canvases.choosing(scenes[1], Random(1)), canvases)
    config = small_config(
        vocabulary=len(small_tokenizer()), hidden=32, layers=3, heads=2, key_value_heads=1,
        head_dim=16, feed_forward=48,
    )  # fmt: skip
    fused = FusedPass(build_model(config))
    optimizer = torch.optim.AdamW(fused.parameters(), lr=5e-3)
    losses: list[float] = []
    for _ in range(40):
        _, attended = fused.attended(batch.seen)
        found = pointing_loss(attended, batch.seen.group, batch.pointing)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert losses[-1] < 0.3 * losses[0]


def test_it_goes_along_to_another_device(batch: Batch) -> None:
    moved = batch.pointing.to("meta")
    assert isinstance(moved, Pointing)
    assert {moved.named.device.type, moved.declared.device.type, moved.meant.device.type} == {
        "meta"
    }
