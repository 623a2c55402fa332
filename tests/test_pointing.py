"""Pointing: it says where tools are told of, and costs those that look elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest
import torch
from conversing import small_tokenizer, some
from torch import Tensor

from agentkit_engine.errors import EngineError
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
    for trunk, places, scene in zip(
        batch.seen.trunk, batch.pointing.tools.tolist(), scenes, strict=True
    ):
        declared = [tool["function"] for tool in scene[0].tools]
        assert [place[0] >= 0 for place in places] == [k < len(declared) for k in range(6)]
        for (start, behind, stop), tool in zip(places, declared, strict=False):
            assert read(trunk[start:behind]) == tool["name"]
            said = read(trunk[behind:stop])
            assert said.endswith(tool["description"])
            assert all(key in said for key in tool["parameters"]["properties"])


def test_it_says_which_tool_each_first_request_means(
    batch: Batch, scenes: list[list[Conversation]]
) -> None:
    wanted: list[tuple[int, str, str]] = []
    for trunk, scene in enumerate(scenes):
        for conversation in scene:
            request, answer = [m for m in conversation.messages if m["role"] != "system"][:2]
            if answer.get("tool_calls"):
                name = answer["tool_calls"][0]["function"]["name"]
                wanted.append((trunk, request["content"], name))
    found: list[tuple[int, str, str]] = []
    pointing = batch.pointing
    for number, (trunk, tool) in enumerate(pointing.meant.tolist()):
        said, choice = (
            read(batch.clean[places[places[:, 2] == number][:, :2].unbind(1)])
            for places in (pointing.requests, pointing.choices)
        )
        name = scenes[trunk][0].tools[tool]["function"]["name"]
        assert choice.startswith(DIALECT.call_open + name)
        text = said.removeprefix("<|turn>user\n").removesuffix("<turn|><|turn>model\n")
        found.append((trunk, text, name))
    assert sorted(found) == sorted(wanted)
    assert len({trunk for trunk, _, _ in found}) > 2


def looking(
    batch: Batch, *, named: int = 0, meant: int = 0, chosen: int = 0
) -> tuple[Attended, ...]:
    """Queries and keys that find the right tool, or the one so many places on."""
    pointing, most = batch.pointing, batch.pointing.tools.shape[1]
    names = torch.zeros(*batch.seen.trunk.shape, most)
    whole, own = torch.zeros_like(names), torch.zeros_like(names)
    counts = (pointing.tools[..., 0] >= 0).sum(1).tolist()
    for trunk, (count, tools) in enumerate(zip(counts, pointing.tools.tolist(), strict=True)):
        for number, (start, behind, stop) in enumerate(tools[:count]):
            names[trunk, start:behind, number] = whole[trunk, start:stop, number] = 30
            own[trunk, start:stop, (number + named) % count] = 1
    rows = torch.zeros(*batch.clean.shape, most)
    for places, off in ((pointing.requests, meant), (pointing.choices, chosen)):
        for row, column, number in places.tolist():
            trunk, tool = pointing.meant[number].tolist()
            rows[row, column, (tool + off) % counts[trunk]] = 1
    own, rows = (each[:, None].expand(-1, 2, -1, -1) for each in (own, rows))
    return tuple(Attended(own, rows, keys) for keys in (names, whole, names, names))


def loss(batch: Batch, looks: Sequence[Attended]) -> float:
    return float(pointing_loss(looks, batch.pointing))


def test_who_looks_there_loses_nothing(batch: Batch) -> None:
    assert loss(batch, looking(batch)) < 1e-6


def test_who_looks_elsewhere_does(batch: Batch) -> None:
    assert loss(batch, looking(batch, meant=1)) > 1
    assert loss(batch, looking(batch, chosen=1)) > 1
    assert loss(batch, looking(batch, named=-1)) > 1


def test_who_looks_nowhere_loses_what_chance_loses(batch: Batch) -> None:
    blind = [Attended(look.trunk * 0, look.rows * 0, look.keys) for look in looking(batch)]
    wanted: list[float] = []
    for trunk, tool in batch.pointing.meant.tolist():
        tools = [place for place in batch.pointing.tools[trunk].tolist() if place[0] >= 0]
        sizes = [stop - start for start, _, stop in tools]
        if len(tools) > 1:
            wanted.append(math.log(len(sizes)) - math.log(sizes[tool] / tools[-1][2]))
    found = loss(batch, (looking(batch)[0], blind[1], *looking(batch)[2:]))
    assert found == pytest.approx(sum(wanted) / len(batch.pointing.meant), rel=1e-5)


def test_with_one_tool_there_is_nothing_to_point_at(canvases: Canvases) -> None:
    alone = some("alone", 1, least_tools=1, most_tools=1, shares=SHARES)
    batch = batched(canvases.scene(alone, Random(1)), canvases)
    assert loss(batch, looking(batch, meant=1, named=1)) == 0


def test_where_nothing_is_chosen_names_are_pointed_at(
    canvases: Canvases, scenes: list[list[Conversation]]
) -> None:
    made = [replace(one, blocks=()) for one in canvases.scene(scenes[1], Random(1))]
    batch = batched(made, canvases)
    assert len(batch.pointing.meant) == 0
    assert loss(batch, looking(batch)) < 1e-6
    assert loss(batch, looking(batch, named=1)) > 1


def test_a_model_learns_to_point(canvases: Canvases, scenes: list[list[Conversation]]) -> None:
    batch = batched(canvases.choosing(scenes[1], Random(1)), canvases)
    config = small_config(
        vocabulary=len(small_tokenizer()), hidden=32, layers=5, heads=2, key_value_heads=1,
        head_dim=16, feed_forward=48,
    )  # fmt: skip
    fused = FusedPass(build_model(config))
    optimizer = torch.optim.AdamW(fused.parameters(), lr=5e-3)
    losses: list[float] = []
    for _ in range(40):
        _, attended = fused.attended(batch.seen)
        found = pointing_loss(attended, batch.pointing)
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(found.item())
    assert losses[-1] < 0.3 * losses[0]


def test_it_goes_along_to_another_device(batch: Batch) -> None:
    moved = batch.pointing.to("meta")
    assert isinstance(moved, Pointing)
    assert {getattr(moved, field.name).device.type for field in fields(moved)} == {"meta"}


def test_a_model_of_few_layers_can_t(batch: Batch) -> None:
    with pytest.raises(EngineError, match="five layers"):
        pointing_loss(looking(batch)[:3], batch.pointing)
