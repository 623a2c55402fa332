"""Checkpoints: from a name to a model, its tokenizer and its dialect, or to a clear error.

Knows folders, the hub, and what checkpoints of DiffusionGemma and of masked language models consist
of. What is fine-tuned is a checkpoint like others, or an adapter over one. Must not know prompts,
templates or denoising. No code that lies in a checkpoint is run unless the caller consents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub import snapshot_download
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DiffusionGemmaForBlockDiffusion,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging
from transformers.utils.import_utils import is_accelerate_available

from agentkit_engine.adapter import apply_adapter, read_adapter, require_peft
from agentkit_engine.dialect import Dialect, DialectTokens
from agentkit_engine.errors import CheckpointError, EngineError
from agentkit_engine.finetuned import ADAPTER_CONFIG, base_of, is_adapter, restore, unwrapped

EMBEDDED = "embedded"
ARCHITECTURE = "DiffusionGemmaForBlockDiffusion"

_MODEL_TYPE = "diffusion_gemma"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_CONFIG = "config.json"
# What a checkpoint consists of; other formats of the same weights and sub-folders are left alone.
_FILES = ["*.json", "*.jinja", "*.safetensors"]
_CODE = ["*.py"]
# Under which names a config.json offers a masked language model of its own code, the fittest first.
_OWN_MODEL = ("AutoModelForMaskedLM", "AutoModel", "AutoModelForCausalLM")
_SHIFTED = {"Dream"}  # models of own code whose logits predict the next position


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a config.json says of its model: who loads it, and whether by the checkpoint's code."""

    loader: Any
    own_code: bool = False

    @property
    def masked(self) -> bool:
        return self.loader is not DiffusionGemmaForBlockDiffusion


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        name: as it was asked for.
        adapter: the folder of the adapter that is on the model, if there is one.
        model: in evaluation mode, without gradients, on its device.
        tokenizer: a fast one, its chat template included.
        dialect: how the checkpoint writes.
        tokens: the ids of the dialect's tokens.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dialect: Dialect
    tokens: DialectTokens
    adapter: Path | None = None


def load_checkpoint(
    name: str | Path = EMBEDDED,
    *,
    adapter: str | Path | None = None,
    merge_adapter: bool = True,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Loads a checkpoint of DiffusionGemma, or of a masked language model.

    Args:
        name: "embedded" (comes with the package, needs no network), a folder, or a hub id such as
            "google/diffusiongemma-26B-A4B-it". The name of an adapter stands for the model it was
            trained on, and the adapter.
        adapter: a LoRA as peft saves it, of a DiffusionGemma: a folder or a hub id. Its
            agentkit.json and its tokenizer take the place of the checkpoint's.
        merge_adapter: into the weights; otherwise it is computed beside them, and slower.
        device: "auto" takes the first CUDA device if there is one, else the CPU.
        dtype: of the weights; by default float32 on the CPU and bfloat16 elsewhere.
        revision: branch, tag or commit of a hub id.
        trust_remote_code: consents to running the code that lies in the checkpoint, as those of
            LLaDA and Dream have it. Such code can do whatever you can: read it before.

    Raises:
        CheckpointError: there is no such checkpoint, it is of another architecture, it needs your
            consent to its code, or a part of it is missing or broken.
        EngineError: the device does not exist here.
    """
    place = _device(device)
    asked = name
    name, revision, added = _with_adapter(name, revision, adapter)
    folder, kind = _folder(name, revision, consent=trust_remote_code)
    if added is not None and kind.masked:
        raise CheckpointError(f"checkpoint {str(name)!r} is no {ARCHITECTURE}: it takes no adapter")
    tokenizer = _tokenizer(folder, added, name, consent=trust_remote_code)
    dialect = _dialect(folder, added, kind, tokenizer)
    tokens = dialect.resolve(tokenizer)
    learned = None if added is None else read_adapter(added)  # before what is large is read
    with _blaming("model", name), _progress(shown=name != EMBEDDED):
        model, report = _load_model(folder, kind, place, dtype)
    missing = report["missing_keys"] if kind.masked else restore(model, report["missing_keys"])
    _check(asked, missing, tokenizer, model)
    if learned is not None:
        apply_adapter(model, learned, merge=merge_adapter)
    return Checkpoint(str(asked), model, tokenizer, dialect, tokens, added)


def _check(
    name: str | Path, missing: Collection[str], tokenizer: PreTrainedTokenizerBase, model: Any
) -> None:
    """Raises CheckpointError where weights are missing, or the tokenizer is of another model."""
    if missing:
        raise CheckpointError(
            f"checkpoint {str(name)!r} lacks the weights {sorted(missing)}; "
            "save it anew from a whole model"
        )
    vocabulary = int(getattr(model.config, "text_config", model.config).vocab_size)
    if len(tokenizer) > vocabulary:
        raise CheckpointError(
            f"checkpoint {str(name)!r} has a tokenizer of {len(tokenizer)} tokens, but a model "
            f"of only {vocabulary}; they do not belong together"
        )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise EngineError(f"device {str(device)!r} can't be used; take 'auto' or 'cpu'") from error
    return place


def _load_model(
    folder: Path, kind: _Kind, device: torch.device, dtype: torch.dtype | None
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model and the library's report of missing weights."""
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    # with accelerate, large weights go straight to the device and not through main memory
    straight = device.type != "cpu" and is_accelerate_available()
    # code from elsewhere may know one attention only
    attention = {} if kind.masked else {"attn_implementation": "sdpa"}
    loaded: Any = kind.loader.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": device} if straight else None,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        trust_remote_code=kind.own_code,
        **attention,
    )
    model, report = loaded
    if not straight:
        model = model.to(device)
    return model.eval().requires_grad_(False), report


def _with_adapter(
    name: str | Path, revision: str | None, adapter: str | Path | None
) -> tuple[str | Path, str | None, Path | None]:
    """The model's name and revision, and the folder of the adapter asked for with either name."""
    lone = _adapter_folder(name, revision) if name != EMBEDDED else None
    if adapter is None and lone is None:
        return name, revision, None
    require_peft()  # before anything large is fetched
    if adapter is None and lone is not None:
        return base_of(lone), None, lone
    if lone is not None:
        raise CheckpointError(
            f"{str(name)!r} is an adapter itself, and takes no other; name the model: "
            f"Engine.load({base_of(lone)!r}, adapter={str(adapter)!r})"
        )
    found = _adapter_folder(str(adapter), None)
    if found is None:
        raise CheckpointError(
            f"{str(adapter)!r} is no adapter: it has no {ADAPTER_CONFIG}; if it is a folder of a "
            "whole model, load it by itself"
        )
    return name, revision, found


def _adapter_folder(name: str | Path, revision: str | None) -> Path | None:
    """The folder of an adapter of this name; None where the name is that of something else."""
    if Path(name).expanduser().is_dir():
        folder = unwrapped(Path(name).expanduser())
    elif isinstance(name, str) and _HUB_ID.fullmatch(name):
        folder = _fetch(name, revision, [_CONFIG, ADAPTER_CONFIG])
        if (folder / ADAPTER_CONFIG).is_file():
            folder = _fetch(name, revision, _FILES)
    else:
        return None
    return folder if is_adapter(folder) else None


def _folder(name: str | Path, revision: str | None, *, consent: bool) -> tuple[Path, _Kind]:
    """The folder with the whole checkpoint, and of what kind it is."""
    if name == EMBEDDED:
        folder = Path(str(files("agentkit_engine").joinpath("checkpoints", EMBEDDED)))
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(
                f"this installation lacks the embedded checkpoint ({folder}); install the package "
                "anew, or name another checkpoint"
            )
    elif Path(name).expanduser().is_dir():
        folder = unwrapped(Path(name).expanduser())
    elif isinstance(name, str) and _HUB_ID.fullmatch(name):
        # the small file first: a wrong architecture is told before its weights are fetched
        kind = _kind(_fetch(name, revision, [_CONFIG]), name, consent=consent)
        folder = _fetch(name, revision, _FILES + _CODE if kind.own_code else _FILES)
    else:
        raise CheckpointError(
            f"there is no checkpoint folder {str(name)!r}; give an existing folder, a hub id such "
            f"as 'google/diffusiongemma-26B-A4B-it', or {EMBEDDED!r}"
        )
    return folder, _kind(folder, name, consent=consent)


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        path = snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    except Exception as error:  # the hub's client has no one root for what can go wrong
        raise CheckpointError(
            f"there is no folder {name!r} here, and the hub did not give a checkpoint of that "
            f"name: {error}"
        ) from error
    return Path(path)


def _kind(folder: Path, name: str | Path, *, consent: bool) -> _Kind:
    """What a checkpoint is by its config.json, or an error that says why it can't be run."""
    path = folder / _CONFIG
    if not path.is_file():
        raise CheckpointError(f"checkpoint {str(name)!r} has no config.json in {str(folder)!r}")
    with _blaming("config.json", name):
        config = json.loads(path.read_text("utf-8"))
    if not isinstance(config, dict):
        raise CheckpointError(f"config.json of checkpoint {str(name)!r} is no JSON object")
    architectures = config.get("architectures") or []
    kind = config.get("model_type")
    if kind == _MODEL_TYPE and ARCHITECTURE in (architectures or [ARCHITECTURE]):
        return _Kind(DiffusionGemmaForBlockDiffusion)
    known: Any = MODEL_FOR_MASKED_LM_MAPPING_NAMES  # annotated by each of its keys
    masked: str = known.get(kind, "")
    if masked.endswith("ForMaskedLM") and masked in architectures:
        return _Kind(AutoModelForMaskedLM)
    own: Any = config.get("auto_map")
    offered = [key for key in _OWN_MODEL if isinstance(own, dict) and key in own]
    if offered:
        if not consent:
            raise CheckpointError(
                f"checkpoint {str(name)!r} runs by code of its own ({own[offered[0]]}), which can "
                "do whatever you can; read it, and consent with trust_remote_code=True"
            )
        return _Kind(getattr(transformers, offered[0]), own_code=True)
    found = ", ".join(map(str, architectures)) or kind
    raise CheckpointError(
        f"checkpoint {str(name)!r} is a {found}, but this engine runs {ARCHITECTURE} and masked "
        f"language models (BertForMaskedLM and its like); name one of those, or {EMBEDDED!r}"
    )


def _tokenizer(
    folder: Path, adapter: Path | None, name: str | Path, *, consent: bool
) -> PreTrainedTokenizerBase:
    """The adapter's tokenizer if it has one, else the checkpoint's."""

    def load(place: Path) -> Any:
        with _blaming("tokenizer", name):
            found: Any = AutoTokenizer  # not annotated
            return found.from_pretrained(place, local_files_only=True, trust_remote_code=consent)

    if adapter is not None and (adapter / "tokenizer.json").is_file():
        tokenizer = load(adapter)
        if not tokenizer.chat_template:
            tokenizer.chat_template = load(folder).chat_template
    else:
        tokenizer = load(folder)
    if not tokenizer.is_fast:
        raise CheckpointError(f"checkpoint {str(name)!r} has no fast tokenizer (tokenizer.json)")
    return cast(PreTrainedTokenizerBase, tokenizer)


def _dialect(
    folder: Path, adapter: Path | None, kind: _Kind, tokenizer: PreTrainedTokenizerBase
) -> Dialect:
    for place in filter(None, (adapter, folder)):
        path = place / "agentkit.json"
        if path.is_file():
            return Dialect.from_json(path.read_bytes())
    if not kind.masked:
        return Dialect()
    config = json.loads((folder / _CONFIG).read_text("utf-8"))
    return Dialect.of_masked(
        tokenizer, mask=config.get("mask_token_id"), shift=config.get("model_type") in _SHIFTED
    )


@contextmanager
def _blaming(part: str, name: str | Path) -> Generator[None]:
    """Whatever a library raises over a broken file becomes a `CheckpointError` that names it."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"the {part} of checkpoint {str(name)!r} can't be loaded: {error}"
        ) from error


@contextmanager
def _progress(*, shown: bool) -> Generator[None]:
    """Hides the library's progress bar where loading is over before one can read it."""
    hide = not shown and transformers_logging.is_progress_bar_enabled()
    if hide:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            transformers_logging.enable_progress_bar()
