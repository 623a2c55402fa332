"""The engine's public face: load a checkpoint, open sessions over it.

Must not know agents or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentkit_engine.checkpoint import EMBEDDED, Checkpoint, load_checkpoint
from agentkit_engine.contexts.document import Document
from agentkit_engine.contexts.prefixes import StoreStatistics
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.runtime import Runtime
from agentkit_engine.scheduling.scheduler import Statistics
from agentkit_engine.session import Session
from agentkit_engine.syntax import Syntax
from agentkit_engine.template import Schema


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What an engine has done so far and what it holds now."""

    works: Statistics
    prefixes: StoreStatistics


class Engine:
    """Fills templates with one checkpoint. Thread-safe; requests share the model's forwards.

    Make it with `Engine.load`.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, memory: int | None = None, queue: int = 256
    ) -> None:
        """
        Args:
            memory: bytes that the encoded contexts of all sessions may hold; those least recently
                used are let go, and encoded anew when they are needed. By default 1 GiB, on a GPU
                half of what is free.
            queue: requests waiting and under way; one more raises `EngineBusy`.
        """
        self.runtime = Runtime(checkpoint, memory=memory, queue=queue)

    @classmethod
    def load(
        cls,
        name: str | Path = EMBEDDED,
        *,
        adapter: str | Path | None = None,
        merge_adapter: bool = True,
        device: str = "auto",
        memory: int | None = None,
        queue: int = 256,
        trust_remote_code: bool = False,
    ) -> Engine:
        """Loads a checkpoint: "embedded", a folder, or a hub id.

        Args:
            name: the model, or an adapter alone, which says itself what model it is for.
            adapter: a LoRA to put onto the model: a folder as peft saves it, or a hub id. Its
                agentkit.json and its tokenizer take the place of the checkpoint's.
            merge_adapter: into the weights; otherwise it is computed beside them, and slower.
            device: "auto" takes the first CUDA device if there is one, else the CPU.
            memory, queue: see `Engine`.
            trust_remote_code: your consent to run code that comes with the checkpoint.

        Raises:
            CheckpointError: there is no such checkpoint, or it is of another architecture, or it
                needs code of its own and your consent, or an adapter does not fit it.
        """
        checkpoint = load_checkpoint(
            name,
            adapter=adapter,
            merge_adapter=merge_adapter,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        return cls(checkpoint, memory=memory, queue=queue)

    @property
    def name(self) -> str:
        """The checkpoint's name; of a folder the last part, as its path is this machine's alone."""
        told = self.runtime.checkpoint.name
        folder = Path(told).expanduser()
        return folder.resolve().name if told != EMBEDDED and folder.is_dir() else told

    @property
    def vocabulary(self) -> Vocabulary:
        """What the checkpoint's tokens write, to compile automata over."""
        return self.runtime.vocabulary

    @property
    def syntax(self) -> Syntax:
        """How the checkpoint writes values."""
        return self.runtime.syntax

    @property
    def statistics(self) -> EngineStatistics:
        """A snapshot of what was done until now and what is held."""
        runtime = self.runtime
        return EngineStatistics(
            works=runtime.scheduler.statistics, prefixes=runtime.prefixes.statistics
        )

    def close(self) -> None:
        """Ends what is under way and frees the model's thread. May be called again."""
        self.runtime.scheduler.close()

    def session(
        self, *, instructions: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Session:
        """A new context.

        Args:
            instructions: the system message.
            tools: declarations as chat templates take them,
                `{"type": "function", "function": {"name", "description", "parameters"}}`.

        Raises:
            EngineError: a tool is no declaration.
            UnsupportedSchema: a reference in its parameters leads nowhere.
        """
        return Session(self.runtime, instructions=instructions, tools=tools)

    def document(self, *pieces: str) -> Session:
        """A new context that is a text and no chat, such as what stands before a hole in a file.

        Each piece is tokenised by itself. A text that is sent again and again as it grows, cut into
        the same pieces, is found encoded as far as it is the same; nothing of it is encoded before
        the first filling, or `Session.extend`.
        """
        runtime = self.runtime
        context = Document(runtime.checkpoint.tokenizer, runtime.prefixes, pieces)
        return Session(runtime, context=context)

    def prepare(
        self,
        calls: Mapping[str, Schema],
        *,
        answer: Schema | None = None,
        layout: Layout | None = None,
    ) -> None:
        """Compiles what `Session.decide` needs for `calls` and `answer`; no turn waits for it then.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: a schema can't be guaranteed.
            CanvasTooShort: the shortest form of a call or an answer is longer than eight of the
                model's canvases.
        """
        self.runtime.turn_forms(calls, answer=answer, layout=layout)
