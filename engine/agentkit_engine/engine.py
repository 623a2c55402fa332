"""The engine's public face: load a checkpoint, open sessions over it.

Must not know agents or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentkit_engine.checkpoint import EMBEDDED, Checkpoint, load_checkpoint
from agentkit_engine.layouts import Layout
from agentkit_engine.runtime import Runtime
from agentkit_engine.session import Session
from agentkit_engine.template import Schema


class Engine:
    """Fills templates with one checkpoint. Thread-safe; one forward runs at a time.

    Make it with `Engine.load`.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.runtime = Runtime(checkpoint)

    @classmethod
    def load(cls, name: str | Path = EMBEDDED, *, device: str = "auto") -> Engine:
        """Loads a checkpoint: "embedded", a folder, or a hub id.

        Args:
            device: "auto" takes the first CUDA device if there is one, else the CPU.

        Raises:
            CheckpointError: there is no such checkpoint, or it is of another architecture.
        """
        return cls(load_checkpoint(name, device=device))

    def session(
        self, *, instructions: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Session:
        """A new context.

        Args:
            instructions: the system message.
            tools: declarations as chat templates take them,
                `{"type": "function", "function": {"name", "description", "parameters"}}`.
        """
        return Session(self.runtime, instructions=instructions, tools=tools)

    def prepare(self, calls: Mapping[str, Schema], *, layout: Layout | None = None) -> None:
        """Compiles what `Session.decide` needs for `calls`, so that no turn waits for it.

        Raises:
            UnsupportedSchema: a call's schema can't be guaranteed.
            CanvasTooShort: a call's shortest form is longer than the checkpoint's canvas.
        """
        self.runtime.turn(calls, layout=layout)
