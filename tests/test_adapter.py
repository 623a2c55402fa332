"""Adapters and fine-tuned checkpoints, on files of the form that peft, Unsloth, TRL and NeMo write.

A LoRA that is merged must compute what it computed beside the weights, though peft alone would
merge both sides of DiffusionGemma's tied stack into one weight.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from huggingface_hub import constants as hub
from safetensors.torch import load_file, save_file
from tiny import DIALECT, save_tiny_checkpoint, tiny_model, tiny_tokenizer
from tiny_masked import save_masked_checkpoint
from torch import Tensor

from agentkit.backends.embedded import EmbeddedBackend
from agentkit_engine import CheckpointError, Engine, Template
from agentkit_engine.adapter import both_sides
from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.denoisers import denoiser_of
from agentkit_engine.dialect import Dialect

PROMPT, CANVAS = list(range(20, 44)), torch.arange(30, 60)[None]
# what Unsloth targets; the names of its own regular expression, and the vision tower excluded
UNSLOTH = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TRL = (
    r"model\.(encoder\.language_model|decoder)\.layers\.\d+"
    r"\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
)
ADAPTER, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def logits(model: Any) -> Tensor:
    """[2, L, V]: of a first step and of one that is conditioned on it, as the engine takes them."""
    denoiser = denoiser_of(model.eval())
    prefix = denoiser.encode(PROMPT)
    first = denoiser.denoise(prefix, CANVAS)
    return torch.cat((first, denoiser.denoise(prefix, CANVAS, previous=first)))


def loaded(name: str | Path, **options: Any) -> Any:
    return load_checkpoint(name, device="cpu", **options).model


def assert_same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0.0, atol=2e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny mixture of experts with windows, its layers' scalars not all one."""
    model: Any = tiny_model(window=9, experts=4)
    for stack in (model.model.encoder.language_model, model.model.decoder):
        for index, layer in enumerate(stack.layers):
            layer.layer_scalar.fill_(0.75 + index / 8)
    return save_tiny_checkpoint(tmp_path_factory.mktemp("base") / "whole", model=model)


@pytest.fixture(scope="module")
def plain(base: Path) -> Tensor:
    return logits(loaded(base))


def save_adapter(base: Path, folder: Path, targets: Any, **options: Any) -> Tensor:
    """An adapter as peft itself saves it, each module's its own; the logits it gave unmerged."""
    model = loaded(base)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, **options)
    wrapped: Any = peft.get_peft_model(model, config)
    draws = torch.Generator().manual_seed(3)
    for name, weight in wrapped.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=draws) / 4
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(str(folder))
    return logits(model)


def save_nemo_adapter(base: Path, folder: Path) -> Tensor:
    """An adapter as NeMo AutoModel saves it: of its one stack, by the decoder's names."""
    folder.mkdir(parents=True)
    model, draws = loaded(base), torch.Generator().manual_seed(4)
    weights: dict[str, Tensor] = {}
    natives: list[str] = []
    for name, module in list(model.model.decoder.named_modules()):
        if not name.startswith("layers.") or not name.endswith(("q_proj", "o_proj", "up_proj")):
            continue
        natives.append(f"model.{name}")
        down = torch.randn(4, module.in_features, generator=draws) / 4
        up = torch.randn(module.out_features, 4, generator=draws) / 4
        saved = f"base_model.model.model.decoder.{name}"
        weights |= {f"{saved}.lora_A.weight": down, f"{saved}.lora_B.weight": up}
        module.weight.data += 2 * up @ down  # tied: the encoder's as well
    save_file(weights, folder / WEIGHTS)
    told = {
        "task_type": "CAUSAL_LM", "peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": False,
        "target_modules": natives, "bias": "none", "base_model_name_or_path": str(base),
    }  # fmt: skip
    (folder / ADAPTER).write_text(json.dumps(told))
    (folder / "automodel_peft_config.json").write_text(json.dumps({"dropout": 0.0}))
    tiny_tokenizer().save_pretrained(folder)
    return logits(model)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


# --- an adapter of peft


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (UNSLOTH, {"exclude_modules": r".*(vision_tower|embed_vision).*"}),
        (TRL, {"use_rslora": True}),
        (TRL, {"use_dora": True}),
        (r"model\.decoder\.layers\.\d+\.self_attn\.q_proj", {}),
        (["self_conditioning.up_proj"], {}),
    ],
    ids=["unsloth", "trl", "dora", "decoder only", "self-conditioning"],
)
def test_a_merged_adapter_computes_what_it_did_unmerged(
    base: Path, plain: Tensor, tmp_path: Path, targets: Any, options: dict[str, Any]
) -> None:
    expected = save_adapter(base, tmp_path, targets, **options)
    assert (expected - plain).abs().max() > 0.1
    assert_same(logits(loaded(base, adapter=tmp_path)), expected)
    assert_same(logits(loaded(base, adapter=tmp_path, merge_adapter=False)), expected)


def test_a_folder_that_is_an_adapter_brings_its_model(base: Path, tmp_path: Path) -> None:
    expected = save_adapter(base, tmp_path, TRL)
    checkpoint = load_checkpoint(tmp_path, device="cpu")
    assert (checkpoint.name, checkpoint.adapter) == (str(tmp_path), tmp_path)
    assert checkpoint.dialect == DIALECT
    assert_same(logits(checkpoint.model), expected)


def test_weights_stay_tied_where_both_sides_learned_the_same(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path, r"model\.decoder\.layers\.\d+\.self_attn\.[qo]_proj")
    save_file(both_sides(load_file(tmp_path / WEIGHTS)), tmp_path / WEIGHTS)
    edit(tmp_path / ADAPTER, target_modules=TRL)
    beside = logits(loaded(base, adapter=tmp_path, merge_adapter=False))
    model = loaded(base, adapter=tmp_path)
    assert_same(logits(model), beside)
    assert not any(weight.requires_grad for weight in model.parameters())
    stacks = (model.model.encoder.language_model, model.model.decoder)
    for name in ("q_proj", "k_proj", "o_proj"):
        one, other = (getattr(stack.layers[0].self_attn, name).weight for stack in stacks)
        assert one is other


def test_weights_that_learned_differently_are_untied(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path, TRL)
    model = loaded(base, adapter=tmp_path)
    stacks = (model.model.encoder.language_model, model.model.decoder)
    one, other = (stack.layers[0].self_attn.q_proj.weight for stack in stacks)
    assert not torch.equal(one, other)
    one, other = (stack.layers[0].experts.down_proj for stack in stacks)
    assert one is other


def test_token_rows_are_merged_everywhere(base: Path, plain: Tensor, tmp_path: Path) -> None:
    rows = {"trainable_token_indices": {"embed_tokens": [4, 5]}}
    model = loaded(base)
    config = peft.LoraConfig(r=4, target_modules=TRL, **rows)  # type: ignore[arg-type]
    wrapped: Any = peft.get_peft_model(model, config)
    name = "base_model.model.model.decoder.embed_tokens.token_adapter.trainable_tokens_delta"
    with torch.no_grad():
        for parameter, weight in wrapped.named_parameters():
            if "trainable_tokens_delta" in parameter:
                weight += 0.5
    wrapped.save_pretrained(str(tmp_path))
    weights = load_file(tmp_path / WEIGHTS)
    assert name in weights
    merged, beside = (
        loaded(base, adapter=tmp_path, merge_adapter=merge) for merge in (True, False)
    )
    assert torch.equal(merged.lm_head.weight[4:6], weights[name])
    assert merged.lm_head.weight is merged.model.encoder.language_model.embed_tokens.weight
    assert (logits(merged) - plain).abs().max() > 0.1
    assert_same(logits(merged), logits(beside))

    save_file({**weights, name: weights[name] + 1}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"merge_adapter=False"):
        loaded(base, adapter=tmp_path)


def test_the_adapters_dialect_and_tokenizer_win(base: Path, broken: Path) -> None:
    stock = Dialect(string_width=9)
    (broken / "agentkit.json").write_text(stock.to_json())
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<unused0>"])
    tokenizer.chat_template = None
    tokenizer.save_pretrained(broken)
    checkpoint = load_checkpoint(base, adapter=broken, device="cpu")
    assert checkpoint.dialect == stock
    assert "<unused0>" in checkpoint.tokenizer.get_vocab()
    assert checkpoint.tokenizer.chat_template == tiny_tokenizer().chat_template


def test_an_adapter_changes_what_the_engine_fills_in(base: Path, tmp_path: Path) -> None:
    save_adapter(base, tmp_path, TRL)
    template = Template.json_schema({"type": "integer", "minimum": 0, "maximum": 9999})
    found: list[dict[str, float]] = []
    for adapter in (None, tmp_path):
        engine = Engine.load(base, adapter=adapter, device="cpu")
        session = engine.session()
        session.extend_sync("how many?")
        found.append(dict(session.infill_sync(template, steps=1, verify="off").confidence))
        engine.close()
    assert found[0].keys() == found[1].keys()
    assert found[0] != found[1]


def test_the_backend_takes_an_adapter(base: Path, sound: Path) -> None:
    backend = EmbeddedBackend(base, adapter=sound, device="cpu")
    assert backend.engine.runtime.checkpoint.adapter == sound
    backend.engine.close()


def test_an_adapter_comes_from_the_hub(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "models--someone--slots", "0" * 40
    expected = save_adapter(base, repository / "snapshots" / commit, TRL)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert_same(logits(loaded(base, adapter="someone/slots")), expected)
    assert_same(logits(loaded("someone/slots")), expected)


# --- what NeMo AutoModel leaves behind


def save_nemo_run(base: Path, run: Path) -> Path:
    """A run whose last step is consolidated: one stack's weights, none of the vision tower."""
    step = run / "epoch_0_step_20"
    folder = step / "model" / "consolidated"
    folder.mkdir(parents=True)
    model = loaded(base)
    kept = {
        name: weight.clone()
        for name, weight in model.state_dict().items()
        if name.startswith("model.decoder.")
    }
    shards: tuple[dict[str, Tensor], ...] = ({}, {})
    for place, name in enumerate(sorted(kept)):
        if name.endswith("experts.down_proj"):  # the router's scale goes into the experts
            scale = kept[name.replace("experts.down_proj", "router.per_expert_scale")]
            kept[name] *= scale[:, None, None]
        shards[place % 2][name] = kept[name]
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        for name in shard:
            if name.endswith("per_expert_scale"):
                shard[name] = torch.ones_like(shard[name])
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    told = {"metadata": {"total_size": 0}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    (folder / "config.json").write_text(model.config.to_json_string(use_diff=False))
    tiny_tokenizer().save_pretrained(folder)
    (step / "model" / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"")
    (step / "model" / "consolidate.sh").write_text("")
    (run / "LATEST").symlink_to(step.name)
    return folder


@pytest.fixture(scope="module")
def nemo(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("nemo") / "run"
    save_nemo_run(base, run)
    return run


@pytest.mark.parametrize(
    "place", [".", "LATEST", "epoch_0_step_20/model", "epoch_0_step_20/model/consolidated"]
)
def test_a_consolidated_checkpoint_of_nemo_is_whole(nemo: Path, plain: Tensor, place: str) -> None:
    checkpoint = load_checkpoint(nemo / place, device="cpu")
    assert checkpoint.dialect == Dialect()  # nobody told it of slots
    assert_same(logits(checkpoint.model), plain)


def test_a_scalar_that_the_decoder_lacks_too_is_told(nemo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(nemo / "LATEST" / "model" / "consolidated", tmp_path / "own"))
    for path in folder.glob("*.safetensors"):
        weights = load_file(path)
        weights.pop("model.decoder.layers.1.layer_scalar", None)
        save_file(weights, path, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    del weight_map["model.decoder.layers.1.layer_scalar"]
    edit(index, weight_map=weight_map)
    with pytest.raises(CheckpointError, match=r"lacks the weights .*layers\.1\.layer_scalar"):
        load_checkpoint(folder)


@pytest.mark.parametrize("place", ["", "LATEST/model"])
def test_an_adapter_of_nemo_is_of_both_sides(base: Path, tmp_path: Path, place: str) -> None:
    expected = save_nemo_adapter(base, tmp_path / "epoch_0_step_20" / "model")
    (tmp_path / "LATEST").symlink_to("epoch_0_step_20")
    assert_same(logits(loaded(tmp_path / place)), expected)
    assert_same(logits(loaded(base, adapter=tmp_path / place)), expected)
    assert_same(logits(loaded(base, adapter=tmp_path / place, merge_adapter=False)), expected)


@pytest.mark.parametrize(
    ("file", "mend"),
    [
        ("shard-00001-model-00001-of-00001.safetensors", r"bash .*model.consolidate\.sh"),
        ("__0_0.distcp", "model_save_format: safetensors"),
    ],
)
@pytest.mark.parametrize("place", ["", "epoch_0_step_20", "epoch_0_step_20/model"])
def test_what_is_not_gathered_is_told(tmp_path: Path, file: str, mend: str, place: str) -> None:
    model = tmp_path / "epoch_0_step_20" / "model"
    model.mkdir(parents=True)
    (model / file).write_bytes(b"")
    (tmp_path / "LATEST").symlink_to("epoch_0_step_20")
    with pytest.raises(CheckpointError, match=mend):
        load_checkpoint(tmp_path / place)


# --- what Unsloth merged


def test_a_merged_checkpoint_in_shards_is_loaded(base: Path, plain: Tensor, tmp_path: Path) -> None:
    model: Any = copy.deepcopy(loaded(base)).to(torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(logits(loaded(tmp_path)), plain)


# --- what can't be loaded


@pytest.fixture(scope="module")
def sound(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that can be loaded."""
    folder = tmp_path_factory.mktemp("sound")
    save_adapter(base, folder, ["decoder.layers.0.mlp.up_proj"])
    return folder


@pytest.fixture
def broken(sound: Path, tmp_path: Path) -> Path:
    """An adapter of one's own, to break."""
    return Path(shutil.copytree(sound, tmp_path / "own"))


def shrunk(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: weight[:, :3].clone() for name, weight in weights.items()}, folder / WEIGHTS)


def renamed(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({n.replace("layers.0", "layers.9"): w for n, w in weights.items()}, folder / WEIGHTS)


def halved(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({n: w for n, w in weights.items() if "lora_A" in n}, folder / WEIGHTS)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "other shapes": (shrunk, "over the model that it was trained on"),
    "other names": (renamed, "over the model that it was trained on"),
    "half of it": (halved, r"do not fit at .*lora_B.*over the model"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no adapter_model.safetensors; save it"),
    "no tensors": (lambda f: (f / WEIGHTS).write_bytes(b"{"), r"safetensors' can't be read"),
    "whole tensors": (
        lambda f: save_file({"lm_head.weight": torch.ones(2)}, f / WEIGHTS),
        "not what peft saves of a LoRA",
    ),
    "another kind": (lambda f: edit(f / ADAPTER, peft_type="IA3"), "'IA3', but only 'LORA'"),
    "no LoRA's keys": (lambda f: edit(f / ADAPTER, r="many"), "can't be put|can't be read"),
    "experts": (
        lambda f: edit(f / ADAPTER, target_parameters=["experts.down_proj"]),
        r"has target_parameters .* merge it with the tool",
    ),
    "whole modules": (
        lambda f: edit(f / ADAPTER, modules_to_save=["lm_head"]),
        r"has modules_to_save .* merge it with the tool",
    ),
    "no JSON": (lambda f: (f / ADAPTER).write_text("{"), "adapter_config.json of .* can't be read"),
    "no object": (lambda f: (f / ADAPTER).write_text("[]"), "is no JSON object"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_adapter_is_told(base: Path, broken: Path, name: str) -> None:
    spoil, told = BREAKS[name]
    spoil(broken)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(base, adapter=broken, device="cpu")


def test_an_adapter_that_names_no_model_is_told(broken: Path) -> None:
    edit(broken / ADAPTER, base_model_name_or_path=None)
    with pytest.raises(CheckpointError, match=r"Engine\.load\(MODEL, adapter="):
        load_checkpoint(broken)


def test_a_model_in_an_adapters_place_is_told(base: Path, broken: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no adapter: .* load it by itself"):
        load_checkpoint(base, adapter=base)
    with pytest.raises(CheckpointError, match="is no adapter"):
        load_checkpoint(base, adapter="./nowhere")
    with pytest.raises(CheckpointError, match=r"an adapter itself, .* Engine\.load\(.*whole"):
        load_checkpoint(broken, adapter=broken)
    masked = save_masked_checkpoint(tmp_path / "masked")
    with pytest.raises(CheckpointError, match="it takes no adapter"):
        load_checkpoint(masked, adapter=broken)


def test_without_peft_its_lack_is_told(
    base: Path, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError, match=r"pip install 'agentkit-diffusion\[adapters\]'"):
        load_checkpoint(base, adapter=broken)
    load_checkpoint(base, device="cpu")  # and what has none does without
