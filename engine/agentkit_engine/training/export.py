"""Turns a training folder into a checkpoint that ships: weights, tokenizer, dialect, model card.

Knows the files of both. Must not know how the weights came about.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import DiffusionGemmaForBlockDiffusion

from agentkit_engine.errors import CheckpointError

_COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "agentkit.json")
_LOG = "log.jsonl"
_CARD = """\
# The embedded checkpoint of agentkit

A DiffusionGemma of {millions:.1f} million parameters ({layers} layers of {hidden}, vocabulary
{vocabulary:,}), trained from nothing to call tools by their JSON Schemas, in one denoise. It is
there to try agentkit with, and to test it; it knows no more of the world than what a request says.

## Data
Made by `agentkit_engine.training.corpus`, seed {seed}: conversations about {tools:,} tools of
{domains} domains, about tools invented on the spot, and about those that come with agentkit. No
text of anybody else, nothing of any benchmark. See docs/corpus.md.

## Objective
Uniform-state block diffusion with self-conditioning over the canvases that the engine builds
(choices, slots, answers, running text), {masked:.0%} of them hidden by a mask token and the others
by random tokens, plus the next-token loss of the causal encoder on what the model says, plus (the
recipe's `pointing`) a loss that shows layers where to look for the tool that is meant. Positions
computed: {tokens:,} in {steps:,} steps and {hours:.1f} hours on {device}.

## Figures
{figures}

## Limits
- English only; contexts above some {longest} tokens are longer than any it was trained on.
- Strings of more than {string_width} tokens (about half as many words) do not fit its slots.
- It copies what it is told. It does no arithmetic, resolves no "tomorrow", and knows no facts.
- Tools whose purpose is told in words far from the request's are often missed; so are values that
  have to be inferred.
"""


def embedded_folder() -> Path:
    """Where the package keeps its own checkpoint."""
    return Path(str(files("agentkit_engine").joinpath("checkpoints", "embedded")))


def export(run: Path, target: Path, *, figures: Path | None = None) -> None:
    """Writes the checkpoint of a training folder to `target`, its weights in bfloat16.

    Args:
        figures: what `evaluate --json` wrote of it, for the model card.

    Raises:
        CheckpointError: the folder holds no trained model, or the figures can't be read.
    """
    state = run / "state.pt"
    if not state.exists():
        raise CheckpointError(
            f"{str(run)!r} is no training folder: it has no state.pt; train first"
        )
    measured = _figures(figures) if figures else "Not measured."
    target.mkdir(parents=True, exist_ok=True)
    model: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(run, dtype=torch.float32)
    model.to(torch.bfloat16).save_pretrained(target)
    for name in _COPIED:
        shutil.copy2(run / name, target / name)
    if (run / _LOG).exists():
        shutil.copy2(run / _LOG, target / "training.jsonl")
    saved = torch.load(state, weights_only=True, map_location="cpu")
    provenance = {"recipe": saved["recipe"], "progress": saved["progress"]}
    (target / "training.json").write_text(json.dumps(provenance, indent=2) + "\n")
    (target / "README.md").write_text(_card(model, provenance, measured), encoding="utf-8")


def _card(model: Any, provenance: Mapping[str, Any], figures: str) -> str:
    from agentkit_engine.training.corpus.domains import tools
    from agentkit_engine.training.tokenizer import DIALECT

    recipe, progress = provenance["recipe"], provenance["progress"]
    known = tools()
    return _CARD.format(
        millions=sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6,
        layers=recipe["layers"],
        hidden=recipe["hidden"],
        vocabulary=recipe["vocabulary"],
        seed=recipe["seed"],
        tools=len(known),
        domains=len({tool.domain for tool in known}),
        masked=recipe["mask_share"],
        tokens=progress["tokens"],
        steps=progress["step"],
        hours=progress["seconds"] / 3600,
        device="one GPU" if recipe["device"] == "cuda" else "2 CPU cores",
        figures=figures,
        longest=recipe["longest_trunk"] + recipe["longest_row"] // 2,
        string_width=DIALECT.string_width,
    )


def _figures(path: Path) -> str:
    """A table of what was measured."""
    try:
        rows: Sequence[Mapping[str, Any]] = json.loads(path.read_text("utf-8"))["figures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{str(path)!r} holds no figures ({error}); write them with `evaluate --json FILE`"
        ) from error
    lines = ["| set | what | how | share | cases |", "|---|---|---|---|---|"]
    for row in rows:
        share = row["right"] / row["total"] if row["total"] else float("nan")
        lines.append(
            f"| {row['name']} | {row['what']} | {row['mode']} | {share:.1%} | {row['total']} |"
        )
    return "\n".join(lines)
