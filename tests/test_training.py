"""A training run: it can be interrupted, taken up where it was, exported, and set up by recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conversing import small_tokenizer
from safetensors import safe_open
from torch import Tensor
from transformers import DiffusionGemmaForBlockDiffusion

from agentkit_engine import CheckpointError, Engine
from agentkit_engine.errors import EngineError
from agentkit_engine.training import feed as feeding
from agentkit_engine.training import train as training
from agentkit_engine.training.__main__ import main
from agentkit_engine.training.export import export
from agentkit_engine.training.feed import Feed
from agentkit_engine.training.objective import Batch
from agentkit_engine.training.recipe import Recipe, load_recipe
from agentkit_engine.training.tokenizer import DIALECT
from agentkit_engine.training.train import Trainer

RECIPE = Recipe(
    minutes=3 / 60, tokens=1500, passes=2, branches=3, vocabulary=640, hidden=32, layers=2, heads=2,
    key_value_heads=1, head_dim=16, feed_forward=48, condition_share=1.0, workers=0,
)  # fmt: skip


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every step takes a second; a tokenizer that learns from a few texts."""
    ticks = count()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(training, "_TEXTS", 40)
    monkeypatch.setattr(training, "_REPORT_EVERY", 2)
    monkeypatch.setattr(training, "_CURRICULUM", ((0.0, 2), (0.5, 3)))
    monkeypatch.setattr(feeding, "_POOL", 2)


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, tensors inside included."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple):
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


def assert_same_run(one: Trainer, other: Trainer) -> None:
    """Everything that the next step depends on is the same."""
    assert asdict(one.progress) == asdict(other.progress)
    assert_same(one.model.state_dict(), other.model.state_dict())
    assert_same(one.average.state_dict(), other.average.state_dict())
    for mine, theirs in zip(one.optimizers, other.optimizers, strict=True):
        assert_same(mine.state_dict(), theirs.state_dict())
    trained = [[p.requires_grad for p in each.model.parameters()] for each in (one, other)]
    assert trained[0] == trained[1]


# a run


@pytest.mark.usefixtures("ticking")
def test_a_run_trains_and_a_second_one_takes_it_up(tmp_path: Path) -> None:
    first = Trainer(tmp_path, RECIPE)
    before = {name: weight.clone() for name, weight in first.model.named_parameters()}
    first.run()
    assert first.progress.step == 3
    assert first.share == 1.0
    for name, weight in first.model.named_parameters():
        assert weight.isfinite().all()
        assert torch.equal(weight, before[name]) is not weight.requires_grad, name

    second = Trainer(tmp_path, replace(RECIPE, minutes=5 / 60))
    assert_same_run(first, second)
    second.run()
    assert second.progress.step == 5
    assert second.progress.tokens > first.progress.tokens
    assert second.progress.pool > first.progress.pool
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert set(log[0]) == {
        "step",
        "minutes",
        "denoise",
        "causal",
        "pointing",
        "tokens",
        "learning_rate",
    }


@pytest.mark.usefixtures("ticking")
def test_a_run_taken_up_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    Trainer(tmp_path, RECIPE).run()
    one, other = (Trainer(tmp_path, replace(RECIPE, minutes=1.0)) for _ in range(2))
    feed = Feed(one.tokenizer, RECIPE, first=one.progress.pool + 1, most_tools=2)
    for _, batch in islice(feed, 2):
        for each in (one, other):
            each._step([batch], condition=True)
    assert_same_run(one, other)


@pytest.mark.usefixtures("ticking")
def test_the_exported_model_is_the_average(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, replace(RECIPE, average=0.5, minutes=1.0))
    feed = Feed(trainer.tokenizer, trainer.recipe, first=0, most_tools=2)
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    mean: dict[str, Tensor] = {}
    for before, (_, batch) in enumerate(islice(feed, 3)):
        trainer._step([batch], condition=False)
        past = min(0.5, (1 + before) / (10 + before))  # where it began counts little
        for name, weight in trained.items():
            known = mean.get(name, weight.detach())
            mean[name] = past * known + (1 - past) * weight.detach()
    trainer.save()
    stored: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(tmp_path, dtype=torch.float32)
    averaged = dict(trainer.average.module.named_parameters())
    for name, weight in stored.named_parameters():
        assert torch.equal(weight, averaged[name]), name
        if name in mean:
            torch.testing.assert_close(weight.data, mean[name])


@pytest.mark.usefixtures("ticking")
def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    Trainer(tmp_path, RECIPE).save()
    told = r"another recipe \(hidden: 32 then, 48 now, seed: 0 then, 7 now\); take another folder"
    with pytest.raises(CheckpointError, match=told):
        Trainer(tmp_path, replace(RECIPE, hidden=48, seed=7))
    # how long it trains, where and how fast is another matter
    Trainer(tmp_path, replace(RECIPE, minutes=9.0, threads=1, learning_rate=1e-4, decay_from=0.9))


@pytest.mark.usefixtures("ticking")
def test_a_run_that_never_wrote_its_recipe_is_not_taken_up(tmp_path: Path) -> None:
    Trainer(tmp_path, RECIPE).save()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["recipe"]
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="vocabulary: None then, 640 now"):
        Trainer(tmp_path, RECIPE)


class Interrupted(Exception):
    """Stands for the end of the process."""


@pytest.mark.usefixtures("ticking")
def test_an_interrupted_save_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Trainer(tmp_path, RECIPE)
    first.run()
    later = Trainer(tmp_path, replace(RECIPE, minutes=1.0))
    (_, batch), *_ = islice(Feed(later.tokenizer, RECIPE, first=9, most_tools=2), 1)
    later._step([batch], condition=False)

    def interrupted(*_: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", interrupted)
        with pytest.raises(Interrupted):
            later.save()
    assert_same_run(first, Trainer(tmp_path, RECIPE))  # what is written aside is not looked at

    replaced = Path.replace
    for stop in range(len(list((tmp_path / "partial").iterdir())) + 1):
        moved = count()

        def moving(path: Path, target: Path, moved: Iterator[int] = moved, stop: int = stop) -> Any:
            if next(moved) == stop:
                raise Interrupted
            return replaced(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", moving)
            with pytest.raises(Interrupted):
                later.save()
        found = Trainer(tmp_path, RECIPE)
        assert found.progress.step in (first.progress.step, later.progress.step)
    later.save()
    assert_same_run(later, Trainer(tmp_path, RECIPE))
    assert not (tmp_path / "partial").exists()


@pytest.mark.usefixtures("ticking")
def test_what_was_learned_when_a_run_is_interrupted_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tmp_path, RECIPE)
    step = trainer._step

    def stopping(parts: list[Batch], *, condition: bool) -> Any:
        if trainer.progress.step == 2:
            raise KeyboardInterrupt
        return step(parts, condition=condition)

    monkeypatch.setattr(trainer, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert_same_run(trainer, Trainer(tmp_path, RECIPE))
    assert Trainer(tmp_path, RECIPE).progress.step == 2


@pytest.mark.usefixtures("ticking")
def test_the_rate_warms_up_and_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_WARM_UP", 4)
    trainer = Trainer(tmp_path, replace(RECIPE, learning_rate=1.0, decay_from=0.5))
    rates: list[float] = []
    for step, share in ((0, 0.0), (1, 0.1), (3, 0.5), (9, 0.75), (9, 1.0)):
        trainer.progress.step = step
        trainer.progress.seconds = share * RECIPE.minutes * 60
        rates.append(trainer._learning_rate())
    assert rates == pytest.approx([0.25, 0.5, 1.0, 0.5, 0.01])


def test_every_weight_has_one_optimiser(tmp_path: Path, ticking: None) -> None:
    trainer = Trainer(tmp_path, RECIPE)
    held = [id(p) for each in trainer.optimizers for g in each.param_groups for p in g["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in trainer.model.parameters() if p.requires_grad}


# what is fed


def fed(recipe: Recipe, *, first: int, size: int, most_tools: int = 2) -> list[tuple[int, Batch]]:
    return list(islice(Feed(small_tokenizer(), recipe, first=first, most_tools=most_tools), size))


def test_the_feed_goes_on_from_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_POOL", 2)
    every = fed(RECIPE, first=0, size=9)
    numbers = [pool for pool, _ in every]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 1
    second = [batch for pool, batch in every if pool == 1]
    for (_, again), batch in zip(fed(RECIPE, first=1, size=len(second)), second, strict=True):
        assert torch.equal(again.clean, batch.clean)
        assert torch.equal(again.seen.tokens, batch.seen.tokens)
    (_, other), *_ = fed(replace(RECIPE, seed=1), first=1, size=1)
    assert not torch.equal(other.clean, second[0].clean)


def test_a_batch_is_as_large_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_POOL", 3)
    recipe = replace(RECIPE, tokens=3000, longest_row=200, longest_trunk=300)
    for _, batch in fed(recipe, first=0, size=6):
        assert batch.seen.trunk.shape[1] <= 304
        assert batch.clean.shape[1] <= 208
        assert batch.seen.canvas.any()
        assert batch.tokens < 2 * recipe.tokens


def test_a_run_may_learn_nothing_but_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_POOL", 1)
    opening = small_tokenizer().convert_tokens_to_ids(DIALECT.call_open.removesuffix("call:"))
    for _, batch in fed(replace(RECIPE, choosing_share=1.0), first=0, size=3):
        tokens, canvas = batch.clean, batch.seen.canvas
        begun = (tokens == opening) & canvas
        assert begun.sum() > 20  # choices, of many requests
        assert canvas.sum() < 0.4 * tokens.numel()


def test_a_run_may_learn_from_left_to_right_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_POOL", 1)
    for _, batch in fed(replace(RECIPE, causal_only=True), first=0, size=3):
        assert not batch.seen.canvas.any()
        assert not batch.weight.any()
        assert len(batch.spoken) > 0


# a checkpoint of it


@pytest.mark.usefixtures("ticking")
def test_an_exported_run_is_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, target = tmp_path / "run", tmp_path / "deep" / "target"
    trainer = Trainer(run, RECIPE)
    trainer.run()
    main(["export", str(run), "--to", str(target)])
    assert str(target) in capsys.readouterr().out
    with safe_open(target / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        assert {weights.get_slice(name).get_dtype() for name in names} == {"BF16"}
    provenance = json.loads((target / "training.json").read_text())
    assert provenance == {"recipe": asdict(RECIPE), "progress": asdict(trainer.progress)}

    engine = Engine.load(target, device="cpu")
    assert engine.runtime.checkpoint.dialect == DIALECT
    stored = dict(trainer.average.module.named_parameters())
    for name, weight in engine.runtime.checkpoint.model.named_parameters():
        assert torch.equal(weight, stored[name].bfloat16().float()), name
    session = engine.session()
    session.extend_sync({"role": "user", "content": "what time is it"})
    decision = session.decide_sync({"clock": {"type": "object", "properties": {}}})
    assert sum(decision.choice.values()) == pytest.approx(1)


def test_a_folder_without_a_run_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        export(tmp_path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


# recipes


def test_the_recipes_of_the_package_are_read() -> None:
    assert load_recipe("cpu").device == "cpu"
    assert load_recipe("gpu").device == "cuda"
    assert load_recipe("cpu", minutes=1).minutes == 1


def test_a_recipe_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("minutes = 2\ncompile = true\n")
    assert load_recipe(str(path), hidden=64) == Recipe(minutes=2, compile=True, hidden=64)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hiddn = 3", r"mine.toml sets hiddn, which no recipe has"),
        ('hidden = "wide"', r"mine.toml: hidden: Input should be a valid integer"),
    ],
)
def test_a_faulty_recipe_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(EngineError, match=told):
        load_recipe(str(path))
    with pytest.raises(EngineError, match=r"no recipe 'tpu'; give one of cpu, gpu, or a TOML file"):
        load_recipe("tpu")


@pytest.mark.usefixtures("ticking")
def test_the_command_line_changes_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Recipe] = []

    class Recording:
        def __init__(self, folder: Path, recipe: Recipe) -> None:
            seen.append(recipe)

        def run(self) -> None: ...

    monkeypatch.setattr(training, "Trainer", Recording)
    main(["train", "cpu", str(tmp_path), "--minutes", "7", "--no-compile", "--hidden", "64"])
    assert seen == [replace(load_recipe("cpu"), minutes=7, compile=False, hidden=64)]
