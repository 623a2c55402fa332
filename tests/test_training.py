"""Training: the fused pass is the real class, a run can be taken up, exported and measured."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny import save_tiny_checkpoint, tiny_tokenizer
from torch import Tensor

from agentkit_engine import Call, CheckpointError, Decision, Engine
from agentkit_engine.training import evaluate as evaluation
from agentkit_engine.training import train as training
from agentkit_engine.training.__main__ import main
from agentkit_engine.training.corpus.conversations import corpus
from agentkit_engine.training.evaluate import SETS, Case, Tally, cases, evaluate
from agentkit_engine.training.export import export
from agentkit_engine.training.model import FusedPass, build_model, small_config
from agentkit_engine.training.objective import (
    Batch,
    Block,
    Canvases,
    Example,
    _soft_guess,
    collate,
)
from agentkit_engine.training.tokenizer import train_tokenizer
from agentkit_engine.training.train import DIALECT, Recipe, Trainer

PROMPT = 24  # tokens the encoder reads where the fused pass is compared
CANVASES = ((9, 7), (17, 12), (24, 5))  # how much of the prompt each sees, and its width
RECIPE = Recipe(
    minutes=3 / 60, batch=2, vocabulary=640, hidden=32, layers=2, heads=2, key_value_heads=1,
    feed_forward=48, condition_share=1.0,
)  # fmt: skip


# the fused pass


@dataclass(frozen=True)
class Fused:
    """Several canvases over one encoder sequence, in one pass and as the class computes them."""

    model: Any  # of types that torch does not tell
    pass_: FusedPass
    batch: Batch

    def hidden(self, soft: Tensor | None = None) -> Tensor:
        """[1, E + N, D]: all in one pass."""
        batch = self.batch
        return self.pass_.forward(batch.encoded, batch.clean, batch.positions, batch.mask, soft)

    def canvas(self, number: int) -> tuple[int, slice]:
        """How much of the prompt a canvas sees, and where it lies among the canvases."""
        start = sum(width for _, width in CANVASES[:number])
        return CANVASES[number][0], slice(start, start + CANVASES[number][1])

    def reference(self, number: int, previous: Tensor | None = None) -> Tensor:
        """[1, W, V]: the logits of one canvas by the class's own forward and masks."""
        at, where = self.canvas(number)
        output = self.model(
            input_ids=self.batch.encoded[:, :at],
            decoder_input_ids=self.batch.clean[:, where],
            decoder_position_ids=torch.arange(at, at + where.stop - where.start)[None],
            self_conditioning_logits=previous,
        )
        logits: Tensor = output.logits
        return logits


@pytest.fixture(scope="module")
def fused() -> Fused:
    config = small_config(
        vocabulary=100, hidden=32, layers=3, heads=4, key_value_heads=2, head_dim=8, feed_forward=48
    )
    model: Any = build_model(config, seed=1)
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():  # no two norms alike, so that none is mistaken for another
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and "layernorm_2" not in name:
                weight.mul_(1 + 0.3 * torch.randn(weight.shape, generator=draws))
    random = Random(4)
    blocks = [
        Block(at, tuple(random.randrange(3, 100) for _ in range(width)), (True,) * width)
        for at, width in CANVASES
    ]
    tokens = tuple(random.randrange(3, 100) for _ in range(PROMPT))
    example = Example(tokens, tuple(blocks), ())
    canvases = Canvases(tiny_tokenizer(), DIALECT)
    batch = collate([example], canvases, vocabulary=100, mask_share=1.0, random=random)
    return Fused(model.eval(), FusedPass(model), batch)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)


@torch.no_grad()
def test_the_fused_encoder_is_the_class(fused: Fused) -> None:
    encoder = fused.model.model.encoder
    expected = encoder(input_ids=fused.batch.encoded[:, :PROMPT]).last_hidden_state
    assert_close(fused.hidden()[:, :PROMPT], expected)


@torch.no_grad()
def test_every_fused_canvas_is_the_class(fused: Fused) -> None:
    logits = fused.pass_.logits(fused.hidden()[:, fused.batch.encoded.shape[1] :])
    for number in range(len(CANVASES)):
        assert_close(logits[:, fused.canvas(number)[1]], fused.reference(number))


@torch.no_grad()
def test_self_conditioning_is_the_class(fused: Fused) -> None:
    batch, width = fused.batch, fused.batch.encoded.shape[1]
    first = fused.pass_.logits(fused.hidden()[:, width:])
    arguments = (batch.encoded, batch.clean, batch.positions, batch.mask)
    soft = _soft_guess(fused.pass_, arguments, width)
    second = fused.pass_.logits(fused.hidden(soft)[:, width:])
    assert (second - first).abs().max() > 1e-2
    for number in range(len(CANVASES)):
        where = fused.canvas(number)[1]
        assert_close(second[:, where], fused.reference(number, first[:, where]))


def test_gradients_are_those_of_the_class(fused: Fused) -> None:
    _, where = fused.canvas(1)
    width, targets = fused.batch.encoded.shape[1], fused.batch.clean[0, where]
    trained = {n: p for n, p in fused.model.named_parameters() if p.requires_grad}
    mine = fused.pass_.logits(fused.hidden()[0, width:][where])
    gradients = [
        torch.autograd.grad(
            torch.nn.functional.cross_entropy(logits, targets), list(trained.values()),
            allow_unused=True,
        )
        for logits in (mine, fused.reference(1)[0])
    ]  # fmt: skip
    seen = 0
    for name, one, other in zip(trained, *gradients, strict=True):
        if "self_conditioning" in name:  # without a guess to condition on it has no part
            assert one is None or not one.any()
            continue
        assert one is not None, name
        assert other is not None, name
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
        seen += bool(one.any())
    assert seen > 20


# a run


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every step takes a second, and a tokenizer that learns from a few texts."""
    ticks = count()
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(training, "_TEXTS", 200)
    monkeypatch.setattr(training, "_REPORT_EVERY", 2)


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
    assert asdict(second.progress) == asdict(first.progress)
    assert_same(second.model.state_dict(), first.model.state_dict())
    for one, other in zip(second.optimizers, first.optimizers, strict=True):
        assert_same(one.state_dict(), other.state_dict())
    trained = [[p.requires_grad for p in each.model.parameters()] for each in (first, second)]
    assert trained[0] == trained[1]
    second.run()
    assert second.progress.step == 5
    assert second.progress.tokens > first.progress.tokens
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert set(log[0]) == {"step", "minutes", "denoise", "causal", "tokens", "learning_rate"}


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
    stored = dict(trainer.model.named_parameters())
    for name, weight in engine.runtime.checkpoint.model.named_parameters():
        assert torch.equal(weight, stored[name].bfloat16().float()), name
    case = next(cases("shipped tools"))
    decision = evaluation.decide(engine, case)
    assert sum(decision.choice.values()) == pytest.approx(1)


@pytest.mark.usefixtures("ticking")
def test_a_run_that_never_wrote_its_recipe_is_exported(tmp_path: Path) -> None:
    Trainer(tmp_path / "run", RECIPE).save()
    path = tmp_path / "run" / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["recipe"]
    torch.save(state, path)
    export(tmp_path / "run", tmp_path / "target")
    assert json.loads((tmp_path / "target" / "training.json").read_text())["recipe"] is None


def test_a_folder_without_a_run_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        export(tmp_path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


# measuring


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine over an untrained checkpoint with a tokenizer as training makes it."""
    folder = tmp_path_factory.mktemp("untrained")
    texts = (json.dumps([one.tools, one.messages]) for one in islice(corpus(10), 300))
    tokenizer = train_tokenizer(texts, vocabulary=640)
    config = small_config(
        vocabulary=len(tokenizer), hidden=32, layers=2, heads=2, key_value_heads=1, feed_forward=48
    )
    model = build_model(config)
    save_tiny_checkpoint(folder, model=model, tokenizer=tokenizer, dialect=DIALECT)
    return Engine.load(folder, device="cpu")


@pytest.mark.parametrize("name", SETS)
def test_evaluating_gives_shares(engine: Engine, name: str) -> None:
    tally = evaluate(engine, name, count=4)
    assert 4 <= sum(tally.total.values()) <= 12
    assert all(0 <= tally.share(what) <= 1 for what in tally.total)
    assert math.isnan(tally.share("never asked"))


def decided(name: str | None, value: Any) -> Decision:
    """A decision for a call of `name`, or for an answer."""
    about: Any = {"beliefs": None, "origin": None}
    calls = () if name is None else (Call(name=name, arguments=value, **about),)
    answer = value if name is None else None
    return Decision(calls=calls, answer=answer, choice={}, batch="whole")


def test_a_model_that_is_always_right_is_always_right(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def oracle(_: Engine, case: Case, **options: Any) -> Decision:
        if not case.expected.get("tool_calls"):
            return decided(None, case.expected["content"])
        call = case.expected["tool_calls"][0]["function"]
        return decided(call["name"], call["arguments"])

    monkeypatch.setattr(evaluation, "decide", oracle)
    tally = evaluate(engine, "shipped tools", count=200)
    assert set(tally.total) >= {"tool chosen", "whole call exact", "no tool: recognised"}
    assert {tally.share(what) for what in tally.total} == {1.0}


def test_a_wrong_call_counts_as_such(engine: Engine) -> None:
    case = next(case for case in cases("shipped tools") if case.expected.get("tool_calls"))
    call = case.expected["tool_calls"][0]["function"]
    tally = Tally()
    for chosen, value in (
        (call["name"], {"wrong": 1}),
        (None, "no"),
        ("another", call["arguments"]),
    ):
        evaluation.judge(case, decided(chosen, value), tally)
    assert tally.total["tool chosen"] == 3
    assert tally.right["tool chosen"] == 1
    assert tally.share("whole call exact") == tally.share("arguments exact, tool right") == 0


def test_samples_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["samples", "-n", "60", "--held"])
    shown = capsys.readouterr().out
    assert shown.count("\n\n") == 60
    assert all(word in shown for word in ("tool ", "user ", "assistant ", "fill "))
