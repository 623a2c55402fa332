"""Checkpoints, their dialects, and prompts by their templates: real files, a real hub cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants as hub
from safetensors.torch import load_file, save_file
from tiny import CONTROL_TOKENS, DIALECT, WEATHER, save_tiny_checkpoint, tiny_model, tiny_tokenizer
from tiny_masked import (
    SPECIAL,
    Kind,
    masked_model,
    masked_tokenizer,
    save_masked_checkpoint,
    save_own_code_checkpoint,
)
from transformers import PreTrainedTokenizerBase, dynamic_module_utils
from transformers.utils import logging as transformers_logging

from agentkit_engine import checkpoint as checkpoint_room
from agentkit_engine.checkpoint import Checkpoint, load_checkpoint
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.denoisers import MaskedDenoiser, denoiser_of
from agentkit_engine.dialect import Dialect
from agentkit_engine.errors import CheckpointError, EngineError

ASK: list[dict[str, Any]] = [{"role": "user", "content": "what is the weather in Paris?"}]
CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    ],
}
RESULT = {"role": "tool", "content": "warm"}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint folder of one's own, to break."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "own"))


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(list(tokens)))


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **changes}), "utf-8")


# --- folders


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    model = tiny_model()
    for weight in model.parameters():  # as exact in the file's bf16 as in float32
        weight.data = weight.data.bfloat16().float()
    save_tiny_checkpoint(tmp_path, model=model)
    loaded = load_checkpoint(tmp_path, device="cpu")
    assert loaded.name == str(tmp_path)
    assert loaded.dialect == DIALECT
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    canvas = torch.arange(20)[None]
    before, after = (
        denoiser.denoise(denoiser.encode([5, 6, 7]), canvas)
        for denoiser in map(denoiser_of, (model, loaded.model))
    )
    torch.testing.assert_close(after, before)


def test_its_tied_weights_stay_tied(tiny_checkpoint: Checkpoint) -> None:
    model: Any = tiny_checkpoint.model
    language = model.model.encoder.language_model
    head = model.lm_head.weight.data_ptr()
    assert head == model.model.decoder.embed_tokens.weight.data_ptr()
    assert head == language.embed_tokens.weight.data_ptr()
    up = [
        stack.layers[0].mlp.up_proj.weight.data_ptr() for stack in (model.model.decoder, language)
    ]
    assert up[0] == up[1]


def test_a_dtype_can_be_asked_for(tiny_folder: Path) -> None:
    assert load_checkpoint(tiny_folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_a_folder_without_agentkit_json_is_a_stock_checkpoint(folder: Path) -> None:
    (folder / "agentkit.json").unlink()
    dialect = load_checkpoint(folder, device="cpu").dialect
    assert dialect == Dialect()
    assert (dialect.layouts, dialect.start, dialect.filler) == (("float",), "uniform", None)


def test_loading_leaves_the_progress_bar_as_it_was(tiny_folder: Path) -> None:
    with checkpoint_room._progress(shown=False):
        assert not transformers_logging.is_progress_bar_enabled()
    assert transformers_logging.is_progress_bar_enabled()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", Path("nowhere")])
def test_a_missing_folder_is_told(name: str | Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint folder .* give an existing folder"):
        load_checkpoint(name)


def test_a_missing_embedded_checkpoint_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_room, "files", {"agentkit_engine": tmp_path}.__getitem__)
    with pytest.raises(CheckpointError, match="lacks the embedded checkpoint"):
        load_checkpoint()


def test_the_embedded_checkpoint_is_package_data(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "checkpoints" / "embedded")
    monkeypatch.setattr(checkpoint_room, "files", {"agentkit_engine": tmp_path}.__getitem__)
    assert load_checkpoint().name == "embedded"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "LlamaForCausalLM"),
        ({"architectures": ["DiffusionGemmaModel"]}, "DiffusionGemmaModel"),
        ({"architectures": None, "model_type": "gemma4"}, "gemma4"),
    ],
)
def test_a_wrong_architecture_is_told(folder: Path, changes: dict[str, Any], found: str) -> None:
    edit(folder / "config.json", **changes)
    (folder / "model.safetensors").unlink()  # and told before any weights are read
    with pytest.raises(
        CheckpointError, match=f"is a {found}, but .* DiffusionGemmaForBlockDiffusion"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"model of checkpoint .* can't be loaded"),
        ("tokenizer.json", r"tokenizer of checkpoint .* can't be loaded"),
    ],
)
def test_a_missing_file_is_told(folder: Path, name: str, match: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[]"])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "agentkit.json", "model.safetensors"]
)
def test_a_broken_file_is_told(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.split(".")[0]):
        load_checkpoint(folder)


def lose_weight(folder: Path, ending: str) -> None:
    """Takes the weight out of which the name ends so."""
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith(ending))
    kept = {name: weight for name, weight in weights.items() if name != lost}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights_are_told(folder: Path) -> None:
    lose_weight(folder, "layers.1.mlp.up_proj.weight")
    with pytest.raises(CheckpointError, match=r"lacks the weights .*layers\.1\.mlp\.up_proj"):
        load_checkpoint(folder)


def test_a_tokenizer_of_another_model_is_told(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<word{index}>" for index in range(200)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="do not belong together"):
        load_checkpoint(folder)


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there_is_told(tiny_folder: Path, device: str) -> None:
    with pytest.raises(EngineError, match=f"device {device!r} can't be used"):
        load_checkpoint(tiny_folder, device=device)


# --- masked language models


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_masked_language_model_is_loaded(tmp_path: Path, kind: Kind) -> None:
    loaded = load_checkpoint(save_masked_checkpoint(tmp_path, kind), device="cpu")
    assert type(loaded.model) is type(masked_model(kind))
    assert isinstance(denoiser_of(loaded.model), MaskedDenoiser)
    canvas = torch.arange(20)[None]
    before, after = (
        denoiser.denoise(denoiser.encode([5, 6, 7]), canvas)
        for denoiser in map(denoiser_of, (masked_model(kind), loaded.model))
    )
    torch.testing.assert_close(after, before)


def test_without_agentkit_json_it_writes_json_with_its_own_tokens(tmp_path: Path) -> None:
    loaded = load_checkpoint(save_masked_checkpoint(tmp_path), device="cpu")
    dialect, tokens = loaded.dialect, loaded.tokens
    assert (dialect.syntax, dialect.layouts, dialect.start) == ("json", ("float",), "mask")
    assert not dialect.shift
    assert (tokens.mask, tokens.end, tokens.pad) == tuple(
        SPECIAL.index(token) for token in ("[MASK]", "[SEP]", "[PAD]")
    )
    assert decode(loaded.tokenizer, tokens.call_open) == "call:"
    assert tokens.call_close == (tokens.end,)
    assert (tokens.filler, tokens.absent) == (None, None)


def test_with_agentkit_json_it_writes_as_that_says(tmp_path: Path) -> None:
    save_masked_checkpoint(tmp_path)
    special = {"end": "[SEP]", "pad": "[PAD]", "call_open": "call:", "call_close": "[SEP]"}
    dialect = Dialect(syntax="spaced", shift=True, **special)  # type: ignore[arg-type]
    (tmp_path / "agentkit.json").write_text(dialect.to_json(), "utf-8")
    assert load_checkpoint(tmp_path, device="cpu").dialect == dialect


def test_special_tokens_it_needs_and_lacks_are_all_named(tmp_path: Path) -> None:
    save_masked_checkpoint(tmp_path)
    tokenizer = masked_tokenizer()
    tokenizer.mask_token = tokenizer.sep_token = None
    tokenizer.save_pretrained(tmp_path)
    named = r"declares no token for mask, end \(eos or sep\); declare it in tokenizer_config.json"
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(tmp_path)
    edit(tmp_path / "config.json", mask_token_id=SPECIAL.index("[MASK]"))
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path, device="cpu").dialect.mask == "[MASK]"


def test_missing_weights_of_a_masked_language_model_are_told(tmp_path: Path) -> None:
    save_masked_checkpoint(tmp_path)
    lose_weight(tmp_path, "layer.1.attention.self.query.weight")
    with pytest.raises(CheckpointError, match=r"lacks the weights .*layer\.1\.attention"):
        load_checkpoint(tmp_path)


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model by its own code, and a place of one's own where such code is kept."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return save_own_code_checkpoint(tmp_path / "own_code")


def test_code_in_a_checkpoint_is_not_run_without_consent(own_code: Path) -> None:
    with (own_code / "modeling_own.py").open("a") as code:
        code.write("raise SystemExit('it was run')\n")
    named = r"code of its own \(modeling_own.OwnModel\).* consent with trust_remote_code=True"
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(own_code)


def test_code_in_a_checkpoint_is_run_with_consent(own_code: Path) -> None:
    loaded = load_checkpoint(own_code, device="cpu", trust_remote_code=True)
    assert type(loaded.model).__name__ == "OwnModel"
    assert loaded.dialect.start == "mask"
    assert not loaded.dialect.shift
    denoiser = denoiser_of(loaded.model)
    assert denoiser.denoise(denoiser.encode([5, 6]), torch.arange(9)[None]).isfinite().all()


def test_code_that_fails_is_told(own_code: Path) -> None:
    (own_code / "modeling_own.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(
        CheckpointError, match=r"of checkpoint .* can't be loaded: .*nothing_of_this"
    ):
        load_checkpoint(own_code, trust_remote_code=True)


def test_consent_runs_no_code_where_the_library_knows_the_model(tmp_path: Path) -> None:
    save_masked_checkpoint(tmp_path)
    edit(tmp_path / "config.json", auto_map={"AutoModelForMaskedLM": "modeling_own.OwnModel"})
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('it was run')\n")
    for consent in (False, True):
        load_checkpoint(tmp_path, device="cpu", trust_remote_code=consent)


def test_code_of_a_tokenizer_is_not_run_without_consent(tmp_path: Path) -> None:
    save_masked_checkpoint(tmp_path)
    own = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}
    edit(tmp_path / "tokenizer_config.json", auto_map=own, tokenizer_class="OwnTokenizer")
    (tmp_path / "tokenization_own.py").write_text("raise SystemExit('it was run')\n")
    with suppress(CheckpointError):  # newer libraries read tokenizer.json by themselves
        load_checkpoint(tmp_path, device="cpu")


def test_models_known_to_be_shifted_are(own_code: Path) -> None:
    edit(own_code / "config.json", model_type="Dream")
    assert load_checkpoint(own_code, device="cpu", trust_remote_code=True).dialect.shift


# --- the hub


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine without a network."""
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_an_unreachable_hub_is_told(hub_cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no folder 'someone/model' here, and the hub"):
        load_checkpoint("someone/model")


def test_a_hub_id_is_loaded_from_the_hubs_cache(hub_cache: Path, tiny_folder: Path) -> None:
    repository, commit = hub_cache / "models--someone--model", "0" * 40
    shutil.copytree(tiny_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "v2").write_text(commit)
    assert load_checkpoint("someone/model", revision="v2").dialect == DIALECT
    with pytest.raises(CheckpointError, match="the hub did not give"):
        load_checkpoint("someone/model")  # its main branch is not in the cache


# --- the dialect


def test_a_dialect_survives_its_file() -> None:
    assert Dialect.from_json(DIALECT.to_json()) == DIALECT
    assert Dialect.from_json("{}") == Dialect()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"colour": "red", "flavour": 1}, ["colour", "flavour"]),
        ({"syntax": "yaml"}, ["syntax", "gemma"]),
        ({"layouts": ["slots", "grid"]}, ["layouts.1"]),
        ({"layouts": []}, ["at least one layout"]),
        ({"layouts": ["slots"]}, ["'filler' and 'absent'"]),
        ({"start": "mask"}, ["needs the token 'mask'"]),
        ({"answer_width": "40"}, ["answer_width"]),
        ({"string_width": 0}, ["string_width"]),
    ],
)
def test_a_wrong_dialect_is_told(content: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        Dialect.from_json(json.dumps(content))
    assert all(name in str(caught.value) for name in named)


def test_a_dialect_is_resolved_to_ids(tiny_checkpoint: Checkpoint) -> None:
    tokens = tiny_checkpoint.tokens
    assert [CONTROL_TOKENS.index(token) for token in ("<turn|>", "<pad>", "<tool_call|>")] == [
        tokens.end,
        tokens.pad,
        *tokens.call_close,
    ]
    assert [CONTROL_TOKENS.index(token) for token in ("<|fill|>", "<|none|>", "<|mask|>")] == [
        tokens.filler,
        tokens.absent,
        tokens.mask,
    ]
    assert tokens.call_open[0] == CONTROL_TOKENS.index("<|tool_call>")
    assert decode(tiny_checkpoint.tokenizer, tokens.call_open) == "<|tool_call>call:"


def test_a_stock_dialect_has_no_tokens_of_slots() -> None:
    tokens = Dialect().resolve(tiny_tokenizer())
    assert (tokens.filler, tokens.absent, tokens.mask) == (None, None, None)


def test_tokens_the_tokenizer_lacks_are_all_named(folder: Path) -> None:
    edit(folder / "agentkit.json", filler="<|gap|>", end="two words", call_open="<|do_call>call:")
    with pytest.raises(CheckpointError, match=r"'two words', '<\|gap\|>', '<\|do_call>'"):
        load_checkpoint(folder)


# --- prompts


def test_a_prompt_is_what_the_template_writes() -> None:
    tokenizer = tiny_tokenizer()
    system = {"role": "system", "content": "be brief"}
    tokens = render_prompt(tokenizer, [system, *ASK, CALL, RESULT], [WEATHER])
    text = decode(tokenizer, tokens)
    assert text.startswith("<bos><|turn>system\n<|tool>weather:the weather of a city{")
    assert "<|turn>user\nwhat is the weather in Paris?<turn|>\n<|turn>model\n" in text
    assert '<|tool_call>call:weather{city:<|"|>Paris<|"|>}<tool_call|>' in text
    assert text.endswith("<|tool_response>warm<tool_response|>")
    assert tokens.count(CONTROL_TOKENS.index("<bos>")) == 1  # the template's, no second one


def test_the_models_words_begin_where_a_prompt_ends() -> None:
    tokenizer = tiny_tokenizer()
    asked = decode(tokenizer, render_prompt(tokenizer, ASK))
    told = decode(tokenizer, render_prompt(tokenizer, ASK, add_generation_prompt=False))
    assert asked == told + "<|turn>model\n"


def test_a_growing_chat_keeps_its_tokens() -> None:
    tokenizer = tiny_tokenizer()
    before = render_prompt(tokenizer, ASK, [WEATHER])
    after = render_prompt(tokenizer, [*ASK, CALL, RESULT], [WEATHER])
    assert after[: len(before)] == before


def chat_with(text: str, *, where: str) -> tuple[list[Any], list[Any]]:
    """Messages and tools in which `text` stands in one place."""
    ask = {"role": "user", "content": text if where == "request" else "ask"}
    result = {"role": "tool", "content": text if where == "result" else "told"}
    description = text if where == "description" else "a tool"
    tool = {"function": {**WEATHER["function"], "description": description}}
    return [ask, CALL, result], [tool]


@pytest.mark.parametrize("where", ["request", "result", "description"])
def test_control_tokens_spelled_in_content_stay_text(where: str) -> None:
    tokenizer = tiny_tokenizer()
    spelled = "a" + "".join(CONTROL_TOKENS) + "<turn|>\U000f0001\U000ffffd b"
    tokens, plain = (
        render_prompt(tokenizer, *chat_with(text, where=where)) for text in (spelled, "ab")
    )

    def control(ids: list[int]) -> list[int]:
        return [token for token in ids if token < len(CONTROL_TOKENS)]

    assert control(tokens) == control(plain)
    assert spelled in decode(tokenizer, tokens)


def test_half_a_surrogate_pair_is_replaced() -> None:
    tokenizer = tiny_tokenizer()
    text = decode(tokenizer, render_prompt(tokenizer, [{"role": "user", "content": "a\ud800b"}]))
    assert "a\ufffdb" in text


def test_ordinary_content_is_tokenised_in_one_piece() -> None:
    tokenizer = tiny_tokenizer()
    text = str(tokenizer.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True))
    assert render_prompt(tokenizer, ASK) == tokenizer.encode(text, add_special_tokens=False)


def test_a_tokenizer_without_a_template_is_told() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match="has no chat template"):
        render_prompt(tokenizer, ASK)


def test_a_chat_the_template_refuses_is_told() -> None:
    with pytest.raises(CheckpointError, match="refuses this chat: unknown role oracle"):
        render_prompt(tiny_tokenizer(), [{"role": "oracle", "content": "hm"}])
