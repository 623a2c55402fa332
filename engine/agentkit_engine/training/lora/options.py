"""The recipe of a LoRA run, and its command line.

Imports nothing that is slow, so that other commands don't wait for it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

REAL = "google/diffusiongemma-26B-A4B-it"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRecipe:
    """Everything a run depends on; the rates are those of the published recipes for this model.

    Attributes:
        steps: of the optimiser; the learning rate follows them.
        rank, alpha: of the LoRA.
        positions: tokens and canvas positions of a pass, at most.
        accumulate: passes a step.
        condition_share: how many passes are conditioned on a first guess.
    """

    steps: int = 800
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1.5e-4
    positions: int = 2048
    accumulate: int = 8
    condition_share: float = 0.5
    seed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `lora`."""
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/lora"))
    parser.add_argument("--base", default=REAL, help=f"a folder or a hub id (default: {REAL})")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    for field in fields(LoraRecipe):
        name, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        parser.add_argument(name, type=kind, default=field.default)
