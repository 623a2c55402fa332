"""Engines for replicas in other processes, which leave a byte in a file for each forward."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from agentkit_engine import Engine
from agentkit_engine.server.listening import bound_socket

_SLOW = "slow"  # a file; while it is there, forwards take a while


def counted_engine(checkpoint: str, folder: str, seconds: float) -> Engine:
    """An engine whose forwards are counted in `folder`, and may be made to take `seconds`."""
    engine = Engine.load(checkpoint, device="cpu")
    denoiser, counted = engine.runtime.denoiser, Path(folder) / str(os.getpid())
    counted.touch()
    original = denoiser.denoise

    def denoise(*arguments: Any, **options: Any) -> Any:
        with counted.open("ab") as file:
            file.write(b".")
        if (Path(folder) / _SLOW).exists():
            time.sleep(seconds)
        return original(*arguments, **options)

    denoiser.denoise = denoise  # type: ignore[method-assign]
    return engine


def choose_ports(patch: pytest.MonkeyPatch) -> None:
    """Gives Ray's agents their ports; else it ends where one has not told its own in 15 seconds,
    which is too soon for a busy machine."""
    from ray._private.parameter import RayParams

    original: Any = RayParams.__init__
    agents = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")

    def chosen(self: RayParams, *arguments: Any, **options: Any) -> None:
        for name in agents:
            with bound_socket("127.0.0.1", 0) as bound:
                options[name] = bound.getsockname()[1]
        original(self, *arguments, **options)

    patch.setattr(RayParams, "__init__", chosen)


class Forwards:
    """What the replicas have done, as their files tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def slow(self, slow: bool) -> None:
        """Makes forwards slow, or quick again."""
        if slow:
            (self.folder / _SLOW).touch()
        else:
            (self.folder / _SLOW).unlink(missing_ok=True)

    def by_process(self) -> dict[int, int]:
        """Forwards of each process, those that have ended included."""
        found = [file for file in self.folder.iterdir() if file.name != _SLOW]
        return {int(file.name): file.stat().st_size for file in found}

    def count(self) -> int:
        """Forwards of all."""
        return sum(self.by_process().values())

    def living(self) -> list[int]:
        """The processes that run."""
        return [process for process in self.by_process() if Path(f"/proc/{process}").exists()]

    def since(self, before: dict[int, int]) -> set[int]:
        """The processes that have run forwards since."""
        return {one for one, count in self.by_process().items() if count > before.get(one, 0)}
