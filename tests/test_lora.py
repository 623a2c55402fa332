"""LoRA: training computes what the engine does, learns in the adapter alone, can be taken up.

Everything runs at tiny size through the real transformers class: experts that route, layers that
slide.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import save_tiny_checkpoint, tiny_model, tiny_tokenizer
from torch import Tensor
from torch.nn import functional as F

from agentkit_engine import CheckpointError, Engine, EngineError, Template
from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.denoisers import denoiser_of
from agentkit_engine.dialect import Dialect
from agentkit_engine.training.canvases import Block, Canvases, Example
from agentkit_engine.training.corruption import corrupted
from agentkit_engine.training.lora import options
from agentkit_engine.training.lora import run as lora
from agentkit_engine.training.lora.adapting import Adapted
from agentkit_engine.training.lora.options import LoraRecipe
from agentkit_engine.training.lora.passes import Taught, loss_of, pack, size_of
from agentkit_engine.training.lora.reserved import slot_dialect
from agentkit_engine.training.lora.run import LoraTrainer, Source, run_lora
from agentkit_engine.training.model import FusedPass, build_model, small_config
from agentkit_engine.training.objective import collate, losses
from agentkit_engine.training.tokenizer import DIALECT

WINDOW = 9
FILLER = 4
RECIPE = LoraRecipe(
    steps=4, rank=4, alpha=8, learning_rate=2e-2, positions=130, accumulate=2, seed=1
)


def example(seed: int, *, shared: int = 0, vocabulary: int = 400) -> Example:
    """Two canvases, the first in the middle of the conversation; a slot has filler in it."""
    random = Random(seed)
    trunk = [Random(-1).randrange(20, vocabulary) for _ in range(shared)]
    tokens = trunk + [random.randrange(20, vocabulary) for _ in range(40 - shared)]
    blocks = [
        Block(
            at,
            (*(random.randrange(20, vocabulary) for _ in range(5)), FILLER, FILLER, FILLER, 7),
            (False, *(True,) * 7, False),
        )
        for at in (26, 38)
    ]
    return Example(tuple(tokens), tuple(blocks), ((26, 30), (38, 40)), shared)


def noisy(examples: Sequence[Taught], *, vocabulary: int = 400) -> list[list[list[int]]]:
    random = Random(5)
    return [[hidden(block, random, vocabulary) for block in e.blocks] for e in examples]


def hidden(block: Any, random: Random, vocabulary: int = 400, mask: int | None = None) -> list[int]:
    return corrupted(block, filler=FILLER, vocabulary=vocabulary, mask=mask, random=random)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the real one is: no dialect of its own, and reserved tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<unused{number}>" for number in (10, 9, 2)])
    model = tiny_model(window=WINDOW, experts=4)
    folder = tmp_path_factory.mktemp("stock") / "stock"
    return save_tiny_checkpoint(folder, model=model, tokenizer=tokenizer, dialect=None)


def examples_source(tokenizer: Any, dialect: Dialect) -> Source:
    """The same few examples at every step, with the dialect's own filler."""
    filler = int(tokenizer.convert_tokens_to_ids(dialect.filler))

    def own(block: Block) -> Block:
        return replace(block, tokens=tuple(filler if t == FILLER else t for t in block.tokens))

    found = [example(seed, shared=12) for seed in range(3)]
    found = [replace(one, blocks=tuple(map(own, one.blocks))) for one in found]
    return lambda _: iter(found)


def trainer(folder: Path, base: Path, recipe: LoraRecipe = RECIPE) -> LoraTrainer:
    return LoraTrainer(folder, str(base), recipe, device="cpu", source=examples_source)


# the loss


@pytest.mark.parametrize("condition", [False, True])
@torch.no_grad()
def test_the_loss_is_of_what_the_engine_computes(condition: bool) -> None:
    model: Any = tiny_model(window=WINDOW, experts=4)
    denoiser, one = denoiser_of(model), example(1)
    (seen,) = noisy([one])
    total = weights = 0.0
    for block, canvas in zip(one.blocks, seen, strict=True):
        prefix, row = denoiser.encode(one.tokens[: block.at]), torch.tensor([canvas])
        previous = denoiser.denoise(prefix, row) if condition else None
        logits = denoiser.denoise(prefix, row, previous=previous)[0].clone()
        found = F.cross_entropy(logits, torch.tensor(block.tokens), reduction="none")
        for place, free in enumerate(block.free):
            weight = 0.25 if canvas[place] == block.tokens[place] else 1.0
            weight *= 0.1 if block.tokens[place - 1 : place + 1] == (FILLER, FILLER) else 1.0
            total += weight * free * found[place].item()
            weights += weight * free
    mine = loss_of(model, pack([one], [seen], FILLER), condition=condition)
    assert mine.denoise == pytest.approx(total / weights, abs=1e-4)
    tokens, encoder = torch.tensor(one.tokens), model.model.encoder  # with masks of its own
    states = encoder(input_ids=tokens[None]).last_hidden_state[0]
    said = torch.tensor([place for span in one.spoken for place in range(*span)])
    cap = model.final_logit_softcapping
    logits = torch.tanh(model.lm_head(states[said - 1]) / cap) * cap
    assert mine.causal == pytest.approx(F.cross_entropy(logits, tokens[said]).item(), abs=1e-4)
    assert mine.total.item() == pytest.approx(mine.denoise + mine.causal, abs=1e-4)


def test_the_loss_is_the_objectives_where_the_model_is_dense() -> None:
    config = small_config(
        vocabulary=100, hidden=32, layers=3, heads=4, key_value_heads=2, head_dim=8, feed_forward=48
    )
    model: Any = build_model(config, seed=1)
    tokenizer = tiny_tokenizer()
    filler = tokenizer.encode(DIALECT.filler or "")[0]
    one, canvases = example(2, shared=8, vocabulary=90), Canvases(tokenizer, DIALECT)
    assert filler == FILLER
    batch = collate([one], canvases, vocabulary=100, mask_share=0.0, random=Random(3))
    row = batch.seen.tokens[0].tolist()[len(one.tokens) - one.shared :]
    seen = [row[:9], row[9:18]]
    for condition in (False, True):
        fused = losses(FusedPass(model), batch, condition=condition, autocast=nullcontext)
        mine = loss_of(model, pack([one], [seen], filler), condition=condition)
        assert mine.denoise == pytest.approx(fused.denoise, abs=1e-4)
        assert mine.causal == pytest.approx(fused.causal, abs=1e-4)
        part: Any = model.model.decoder.layers[0].mlp.up_proj.weight
        ours, theirs = (torch.autograd.grad(found.total, part)[0] for found in (mine, fused))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shared", [0, 12])
@torch.no_grad()
def test_packed_examples_do_not_see_each_other(shared: int) -> None:
    model = tiny_model(window=WINDOW, experts=4)
    examples = [example(seed, shared=shared) for seed in range(3)]
    seen = noisy(examples)
    packs = [pack([e], [s], FILLER) for e, s in zip(examples, seen, strict=True)]
    whole = pack(examples, seen, FILLER)
    assert whole.size == sum(map(size_of, examples)) - 2 * shared
    assert size_of(examples[1], behind=examples[0]) == size_of(examples[1]) - shared
    weights = [one.weight.sum().item() for one in packs]
    found = [loss_of(model, one, condition=True) for one in packs]
    mean = sum(one.denoise * w for one, w in zip(found, weights, strict=True)) / sum(weights)
    together = loss_of(model, whole, condition=True)
    assert together.denoise == pytest.approx(mean, abs=1e-4)
    assert together.causal == pytest.approx(sum(one.causal for one in found) / 3, abs=1e-4)


# the adapter


@pytest.fixture
def adapted(stock: Path) -> Adapted:
    model = load_checkpoint(stock, device="cpu").model
    made = Adapted(model, base=str(stock), rank=4, alpha=8, tokens=[5, 6])
    for name, weight in model.named_parameters():  # as if it had learned something
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) / 8
    return made


def test_gradients_reach_the_adapter_and_its_tokens_alone(adapted: Adapted) -> None:
    model = adapted.model
    total: Any = loss_of(model, pack([example(1)], noisy([example(1)]), 5), condition=True).total
    total.backward()
    for name, weight in model.named_parameters():
        learns = "lora_" in name or "trainable_tokens_delta" in name
        assert weight.requires_grad is learns, name
        assert (weight.grad is not None and bool(weight.grad.any())) is learns, name
    names = {
        name.split("layers.0.")[-1] for name, _ in model.named_parameters() if "lora_A" in name
    }
    assert {"self_attn.q_proj.lora_A.default.weight", "mlp.down_proj.lora_A.default.weight"} < names
    assert all(weight.dtype == torch.float32 for weight in adapted.trained)
    assert sum("trainable" in name for name, _ in model.named_parameters()) == 1


def test_both_stacks_have_the_same_adapter(adapted: Adapted) -> None:
    encoder, decoder = adapted.model.model.encoder.language_model, adapted.model.model.decoder
    assert encoder.embed_tokens is decoder.embed_tokens
    for ours, theirs in zip(encoder.layers, decoder.layers, strict=True):
        assert ours.self_attn.q_proj is theirs.self_attn.q_proj
        assert ours.mlp.down_proj is theirs.mlp.down_proj
    assert len({id(weight) for weight in adapted.trained}) == len(adapted.trained)


def test_forgotten_activations_are_computed_again(adapted: Adapted) -> None:
    one = pack([example(1)], noisy([example(1)]), 5)
    kept: list[int] = []

    def gradients() -> list[Tensor]:
        sizes = dict[int, int]()
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.setdefault(t.untyped_storage().data_ptr(), t.numel()), t)[1],
            lambda t: t,
        )
        with hooks:
            total = loss_of(adapted.model, one, condition=True).total
        kept.append(sum(sizes.values()))
        return list(torch.autograd.grad(total, adapted.trained))

    again = gradients()
    language, decoder = adapted.model.model.encoder.language_model, adapted.model.model.decoder
    for layer in (*language.layers, *decoder.layers):
        del layer.forward  # the class's own is left
    for one_, other in zip(again, gradients(), strict=True):
        torch.testing.assert_close(one_, other)
    assert kept[0] < kept[1] / 2


def test_peft_alone_loads_what_is_saved(stock: Path, adapted: Adapted, tmp_path: Path) -> None:
    adapted.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(stock)
    model: Any = load_checkpoint(stock, device="cpu").model
    peft.PeftModel.from_pretrained(model, str(tmp_path))
    canvas = torch.arange(30, 60)[None]
    ours, theirs = (
        denoiser.denoise(denoiser.encode(range(5, 40)), canvas)
        for denoiser in map(denoiser_of, (adapted.model, model))
    )
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-4)


def test_a_model_in_bfloat16_is_adapted_in_float32(stock: Path) -> None:
    model: Any = load_checkpoint(stock, device="cpu", dtype=torch.bfloat16).model
    made = Adapted(model, base="it", rank=4, alpha=8, tokens=[5])
    one = pack([example(1)], noisy([example(1)]), 5)
    total: Any = loss_of(model, one, condition=True).total
    assert total.dtype == torch.float32
    total.backward()
    assert all(w.grad is not None and w.dtype == torch.float32 for w in made.trained)
    assert model.lm_head.original_module.weight.dtype == torch.bfloat16


# the tokens of slots


def test_the_first_reserved_tokens_become_those_of_slots() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<unused12>", "<unused3>", "<unused7>", "<unusedx>"])
    before = dict(tokenizer.get_vocab())
    dialect, ids = slot_dialect(tokenizer, Dialect())
    assert (dialect.filler, dialect.absent) == ("<unused3>", "<unused7>")
    assert ids == [before["<unused3>"], before["<unused7>"]]
    assert (dialect.layouts, dialect.start, dialect.mask) == (("slots", "float"), "uniform", None)
    assert tokenizer.get_vocab() == before
    assert Dialect.from_json(dialect.to_json()) == dialect


def test_a_checkpoint_that_knows_slots_keeps_its_tokens() -> None:
    assert slot_dialect(tiny_tokenizer(), DIALECT) == (DIALECT, [])


def test_a_tokenizer_without_reserved_tokens_is_told() -> None:
    with pytest.raises(CheckpointError, match="no two reserved tokens <unusedN>"):
        slot_dialect(tiny_tokenizer(), Dialect())


# a run


def test_a_run_learns_and_the_engine_fills_in_by_it(stock: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=30)
    made = trainer(tmp_path / "run", stock, recipe)
    made.save()
    (tmp_path / "run").rename(tmp_path / "new")
    (tmp_path / "run").mkdir()
    frozen = {n: w.clone() for n, w in made.adapted.model.named_parameters() if not w.requires_grad}
    made.run()
    for name, weight in made.adapted.model.named_parameters():
        assert name not in frozen or torch.equal(weight, frozen[name]), name
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 31))
    assert log[-1]["causal"] < 0.7 * log[0]["causal"]
    assert sum(x["denoise"] for x in log[-8:]) < 0.9 * sum(x["denoise"] for x in log[:8])

    template = Template.json_schema({"type": "integer", "minimum": 0, "maximum": 9999})
    found: list[dict[str, float]] = []
    for name in ("new", "run"):
        for file in ("agentkit.json", "tokenizer.json", "tokenizer_config.json"):
            source = tmp_path / ("run" if (tmp_path / "run" / file).exists() else "new") / file
            (tmp_path / name / file).write_bytes(source.read_bytes())
        engine = Engine.load(stock, adapter=tmp_path / name, device="cpu")
        assert engine.runtime.checkpoint.dialect == made.dialect
        session = engine.session()
        session.extend_sync("how many?")
        filling = session.infill_sync(template, steps=1, verify="off", seed=1)
        found.append(dict(filling.confidence))
        engine.close()
    assert found[0] != found[1]


def test_a_run_is_taken_up_where_it_was(stock: Path, tmp_path: Path) -> None:
    whole, first = (trainer(tmp_path / name, stock) for name in ("whole", "parts"))
    whole.run()
    for _ in range(2):
        first._step()
    first.save()
    second = trainer(tmp_path / "parts", stock)
    assert second.progress.step == 2
    second.run()
    one, other = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("whole", "parts"))
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
    assert not (tmp_path / "parts" / "partial").exists()
    with pytest.raises(CheckpointError, match="go on with those, or take another folder"):
        trainer(tmp_path / "parts", stock, replace(RECIPE, rank=8))
    with pytest.raises(CheckpointError, match="train over the model"):
        trainer(tmp_path / "new", tmp_path / "parts")


def test_examples_that_do_not_fit_are_left_out(stock: Path, tmp_path: Path) -> None:
    made = trainer(tmp_path, stock, replace(RECIPE, positions=50))

    def endless(_: int) -> Iterator[Taught]:
        return (example(seed) for seed in count())

    made._source = endless
    with pytest.raises(EngineError, match="raise --positions"):
        made.run()


def test_too_large_a_pass_is_told(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, stock)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lora, "loss_of", full)
    with pytest.raises(EngineError, match="lower --positions"):
        made.run()


def test_the_command_trains(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def source(_: int) -> Callable[[Any, Dialect], Source]:
        return examples_source

    ticks = count()
    monkeypatch.setattr(lora, "corpus_source", source)
    monkeypatch.setattr(lora, "time", SimpleNamespace(monotonic=lambda: 100.0 * next(ticks)))
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    given = [str(tmp_path), "--base", str(stock), "--steps", "3", "--positions", "130"]
    run_lora(parser.parse_args([*given, "--device", "cpu", "--threads", "1"]))
    told = capsys.readouterr()
    assert "100.0%  step 3  denoise" in told.err
    assert "adapter=" in told.out
    assert Engine.load(tmp_path, device="cpu").runtime.checkpoint.dialect.layouts[0] == "slots"
    assert parser.parse_args([]).base == options.REAL


def test_the_corpus_is_taught() -> None:
    tokenizer = tiny_tokenizer()
    dialect = replace(DIALECT, mask=None, start="uniform")
    found: Iterator[Taught] = lora.corpus_source(1)(tokenizer, dialect)(0)
    one = next(found)
    assert one.blocks
    assert max(one.tokens) < len(tokenizer)
