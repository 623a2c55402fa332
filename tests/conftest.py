"""Fixtures for several rooms. What needs torch is imported where it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Models of this size gain nothing from threads, which wait for each other where others are at work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from agentkit_engine import Engine
    from agentkit_engine.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint folder that knows slots and float; not to be written to."""
    from tiny import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    """The tiny checkpoint, loaded on the CPU in float32."""
    from agentkit_engine.checkpoint import load_checkpoint

    return load_checkpoint(tiny_folder, device="cpu")


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Checkpoint) -> Iterator[Engine]:
    """An engine over the tiny checkpoint."""
    from agentkit_engine import Engine

    engine = Engine(tiny_checkpoint)
    yield engine
    engine.close()
