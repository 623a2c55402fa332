"""The engine: a loaded checkpoint and everything that is shared by its sessions.

Knows how checkpoint, vocabulary, forms and denoiser fit together. Must not know agents or servers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentkit_engine.checkpoint import EMBEDDED, Checkpoint, load_checkpoint
from agentkit_engine.denoisers import DiffusionGemmaDenoiser
from agentkit_engine.forms import Form, Writing
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.layouts import FormMaker, Layout
from agentkit_engine.prompt import encode_content
from agentkit_engine.session import Session
from agentkit_engine.syntax import GEMMA, JSON, Syntax
from agentkit_engine.template import Schema


class Engine:
    """Fills templates with one checkpoint. Thread-safe; one forward runs at a time.

    Make it with `Engine.load`.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.denoiser = DiffusionGemmaDenoiser(checkpoint.model)
        self.lock = threading.RLock()
        self._syntax = {"gemma": GEMMA, "json": JSON}[checkpoint.dialect.syntax]
        self._symbols = {
            byte: int(checkpoint.tokenizer.convert_tokens_to_ids(token))  # type: ignore[arg-type]
            for byte, token in self._syntax.symbols.items()
        }
        writing = Writing(
            vocabulary=Vocabulary.from_tokenizer(
                checkpoint.tokenizer, symbols=self._syntax.symbols
            ),
            syntax=self._syntax,
            dialect=checkpoint.dialect,
            tokens=checkpoint.tokens,
            encode=self._encode,
            canvas_length=self.denoiser.canvas_length,
        )
        self.forms = FormMaker(writing)

    @classmethod
    def load(cls, name: str | Path = EMBEDDED, *, device: str = "auto") -> Engine:
        """Loads a checkpoint: "embedded", a folder, or a hub id.

        Args:
            device: "auto" takes the first CUDA device if there is one, else the CPU.

        Raises:
            CheckpointError: there is no such checkpoint, or it is of another architecture.
        """
        return cls(load_checkpoint(name, device=device))

    @property
    def syntax(self) -> Syntax:
        """How this checkpoint writes values."""
        return self._syntax

    def session(
        self, *, instructions: str = "", tools: Sequence[Mapping[str, Any]] = ()
    ) -> Session:
        """A new context.

        Args:
            instructions: the system message.
            tools: declarations as chat templates take them,
                `{"type": "function", "function": {"name", "description", "parameters"}}`.
        """
        return Session(self, instructions=instructions, tools=tools)

    def turn(self, calls: Mapping[str, Schema], *, layout: Layout | None = None) -> list[Form]:
        """The rows of one turn: the choice, one a call, the answer. Compiled once.

        Raises:
            UnsupportedSchema: a call's schema can't be guaranteed.
        """
        rows = [self.forms.call(name, schema, layout=layout) for name, schema in calls.items()]
        choice = self.forms.choice(tuple(calls), layout=layout)
        return [choice, *rows, self.forms.answer(layout=layout)]

    def token_text(self, token: int) -> str:
        """A token as a person reads it; nothing for filler, mask and the marker of absence."""
        known = self.checkpoint.tokens
        if token in (known.filler, known.mask, known.absent, known.pad):
            return ""
        return str(self.checkpoint.tokenizer.decode([token]))

    def _encode(self, surface: bytes) -> list[int]:
        """Surface bytes to token ids: a symbol is its special token, all else is content."""
        tokens: list[int] = []
        start = 0
        for place, byte in enumerate(surface):
            if byte in self._symbols:
                tokens += self._content(surface[start:place])
                tokens.append(self._symbols[byte])
                start = place + 1
        return tokens + self._content(surface[start:])

    def _content(self, surface: bytes) -> list[int]:
        return encode_content(self.checkpoint.tokenizer, surface.decode())
