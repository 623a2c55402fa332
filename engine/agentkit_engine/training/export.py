"""Turns a training folder into a checkpoint that ships: bf16 weights, tokenizer, dialect, provenance."""

from __future__ import annotations

import copy
import json
import shutil
from importlib.resources import files
from pathlib import Path

import torch
from transformers import DiffusionGemmaForBlockDiffusion

from agentkit_engine.errors import CheckpointError

_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "agentkit.json")


def embedded_folder() -> Path:
    """Where the package keeps its own checkpoint."""
    return Path(str(files("agentkit_engine").joinpath("checkpoints", "embedded")))


def export(run: Path, target: Path) -> None:
    """Writes the checkpoint of a training folder to `target`.

    Raises:
        CheckpointError: the folder holds no trained model.
    """
    state = run / "state.pt"
    if not state.exists():
        raise CheckpointError(
            f"{str(run)!r} is no training folder: it has no state.pt; train first"
        )
    target.mkdir(parents=True, exist_ok=True)
    model = DiffusionGemmaForBlockDiffusion.from_pretrained(run, dtype=torch.float32)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(target)
    for name in _COPIED:
        shutil.copy2(run / name, target / name)
    saved = torch.load(state, weights_only=True)
    provenance = {"recipe": saved["recipe"], "progress": saved["progress"]}
    (target / "training.json").write_text(json.dumps(provenance, indent=2) + "\n")
