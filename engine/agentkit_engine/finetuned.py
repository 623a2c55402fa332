"""What trainers leave behind: where in their folders a checkpoint or an adapter lies, what lacks.

Knows the folders of NeMo AutoModel and of peft (Unsloth and TRL write the same), and which weights
of a DiffusionGemma a text-only trainer leaves out. Must not know hubs, tokenizers or dialects.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from agentkit_engine.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"

_CONFIG = "config.json"
# Where in a run of NeMo AutoModel, or in one of its steps, the newest whole checkpoint or adapter
# lies: a consolidated copy of the weights, or, of LoRA, `model` itself.
_WITHIN = (
    "consolidated",
    "model/consolidated",
    "model",
    "LATEST/model/consolidated",
    "LATEST/model",
)
_IMAGES = ("model.encoder.vision_tower.", "model.encoder.embed_vision.")
_SCALAR = ".layer_scalar"
_ENCODER, _DECODER = "model.encoder.language_model.", "model.decoder."


def unwrapped(folder: Path) -> Path:
    """The folder itself or, of a trainer's run, the checkpoint or adapter in it.

    Raises:
        CheckpointError: there are only the shards of a distributed run in it.
    """
    for place in (folder, *(folder / inner for inner in _WITHIN)):
        if (place / _CONFIG).is_file() or (place / ADAPTER_CONFIG).is_file():
            return place
    for place in (folder, folder / "model", folder / "LATEST" / "model"):
        if any(place.glob("shard-*.safetensors")):
            raise CheckpointError(
                f"{str(folder)!r} holds the shards of a distributed NeMo AutoModel run; gather "
                f"them with `bash {place / 'consolidate.sh'}`, in NeMo AutoModel's repository, "
                "and load the folder again"
            )
        if any(place.glob("*.distcp")):
            raise CheckpointError(
                f"{str(folder)!r} holds a checkpoint in torch's distributed format; train with "
                "`checkpoint.model_save_format: safetensors`"
            )
    return folder


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and no model of its own."""
    return (folder / ADAPTER_CONFIG).is_file() and not any(folder.glob("model*.safetensors"))


def base_of(folder: Path) -> str:
    """The name of the model that an adapter was trained on.

    Raises:
        CheckpointError: its configuration is broken, or says nothing of a model.
    """
    config = read_config(folder)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"the adapter {str(folder)!r} does not say which model it is for; name the model, too: "
            f"Engine.load(MODEL, adapter={str(folder)!r})"
        )
    return base


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's own configuration; raises CheckpointError if it is broken."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the {ADAPTER_CONFIG} of {str(folder)!r} can't be read: {error}"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(f"the {ADAPTER_CONFIG} of {str(folder)!r} is no JSON object")
    return config


@torch.no_grad()
def restore(model: Any, missing: Collection[str]) -> set[str]:
    """Mends what a text-only trainer leaves out of a DiffusionGemma; what of `missing` remains.

    NeMo AutoModel has one stack where transformers has two tied ones. It saves that stack as the
    decoder, and so neither the encoder's copies of the layers' scalars, which are buffers and not
    tied, nor the parts that see images, which nothing here ever shows any.
    """
    remaining = {name for name in missing if not name.startswith(_IMAGES)}
    buffers = dict(model.named_buffers())
    for name in sorted(remaining):
        twin = name.replace(_ENCODER, _DECODER, 1)
        if name.endswith(_SCALAR) and twin in buffers and twin not in missing:
            buffers[name].copy_(buffers[twin])
            remaining.discard(name)
    return remaining
