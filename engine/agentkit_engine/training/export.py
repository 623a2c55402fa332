"""Turns a training folder into a checkpoint that ships: weights, tokenizer, dialect, provenance.

Knows the files of both. Must not know how the weights came about.
"""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import DiffusionGemmaForBlockDiffusion

from agentkit_engine.errors import CheckpointError

_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "agentkit.json")


def embedded_folder() -> Path:
    """Where the package keeps its own checkpoint."""
    return Path(str(files("agentkit_engine").joinpath("checkpoints", "embedded")))


def export(run: Path, target: Path) -> None:
    """Writes the checkpoint of a training folder to `target`, its weights in bfloat16.

    Raises:
        CheckpointError: the folder holds no trained model.
    """
    state = run / "state.pt"
    if not state.exists():
        raise CheckpointError(
            f"{str(run)!r} is no training folder: it has no state.pt; train first"
        )
    target.mkdir(parents=True, exist_ok=True)
    model: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(run, dtype=torch.float32)
    model.to(torch.bfloat16).save_pretrained(target)
    for name in _COPIED:
        shutil.copy2(run / name, target / name)
    saved = torch.load(state, weights_only=True, map_location="cpu")
    # the first runs did not write their recipe down
    provenance = {"recipe": saved.get("recipe"), "progress": saved["progress"]}
    (target / "training.json").write_text(json.dumps(provenance, indent=2) + "\n")
