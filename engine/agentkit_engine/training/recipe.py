"""Recipes: everything a training run depends on, and the files that hold them.

Must not know models.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentkit_engine.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A training run; the files `configs/*.toml` hold some.

    Attributes:
        minutes: how long to train; learning rate and curriculum follow this clock.
        tokens: positions a pass, padding included.
        passes: passes a step.
        branches: conversations that share a trunk.
        longest_trunk, longest_row: tokens of tools and instructions, and of what a conversation
            adds with its canvases; longer ones are left out.
        choosing_share: how many scenes teach nothing but the choice of a tool, by many short
            requests over the same tools.
        pointing: weight of the loss that teaches where to look for the tool that is meant.
        condition_share: how many steps run a self-conditioning pass first.
        mask_share: how many canvases are corrupted with the mask token.
        causal_only: whether only the encoder learns, left to right: the peer to compare with.
        average: weight of the past in the moving average of the weights, which is what is exported.
        decay_from: share of the time after which the learning rate falls to nothing.
        device: "cpu" or "cuda".
        compile: whether the pass is compiled: on a GPU all of it, on a CPU its norms.
        threads: of the CPU; 0 for torch's own choice.
        workers: processes that make data.
    """

    minutes: float = 300.0
    tokens: int = 6144
    passes: int = 1
    branches: int = 8
    longest_trunk: int = 576
    longest_row: int = 384
    learning_rate: float = 2.5e-3
    vocabulary: int = 4096
    hidden: int = 224
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 2
    head_dim: int = 48
    feed_forward: int = 576
    choosing_share: float = 0.0
    pointing: float = 0.0
    condition_share: float = 0.15
    mask_share: float = 0.75
    causal_only: bool = False
    average: float = 0.999
    decay_from: float = 0.5
    seed: int = 0
    device: str = "cpu"
    compile: bool = False
    threads: int = 0
    workers: int = 1


def load_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of the package ("cpu", "gpu") or of a TOML file, with some values changed.

    Raises:
        EngineError: there is no such recipe, or a value in it is unknown or of a wrong type.
    """
    folder = Path(str(files("agentkit_engine.training").joinpath("configs")))
    path = folder / f"{name}.toml"
    if not path.exists():
        path = Path(name)
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
        raise EngineError(f"there is no recipe {name!r}; give one of {known}, or a TOML file")
    values = tomllib.loads(path.read_text("utf-8")) | changes
    unknown = set(values) - {field.name for field in fields(Recipe)}
    if unknown:
        raise EngineError(f"{path} sets {', '.join(sorted(unknown))}, which no recipe has")
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise EngineError(f"{path}: {faults}") from error
