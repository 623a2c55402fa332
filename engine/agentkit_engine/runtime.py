"""The runtime: what all sessions of one loaded checkpoint share.

Knows how checkpoint, vocabulary, forms and denoiser fit together. Must not know sessions.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.denoisers import DiffusionGemmaDenoiser
from agentkit_engine.errors import TemplateError
from agentkit_engine.forms import Form, Writing
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.layouts import FormMaker, Layout
from agentkit_engine.prompt import encode_content
from agentkit_engine.syntax import syntax_of
from agentkit_engine.template import Schema


class Runtime:
    """One checkpoint, ready to run. Thread-safe; who holds `lock` has the model to himself."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.denoiser = DiffusionGemmaDenoiser(checkpoint.model)
        self.lock = threading.RLock()
        self.syntax = syntax_of(checkpoint.dialect.syntax)
        self._symbols = {
            byte: int(checkpoint.tokenizer.convert_tokens_to_ids(token))  # type: ignore[arg-type]
            for byte, token in self.syntax.symbols.items()
        }
        writing = Writing(
            vocabulary=Vocabulary.from_tokenizer(checkpoint.tokenizer, symbols=self.syntax.symbols),
            syntax=self.syntax,
            dialect=checkpoint.dialect,
            tokens=checkpoint.tokens,
            encode=self._encode,
            canvas_length=self.denoiser.canvas_length,
        )
        self.forms = FormMaker(writing)

    def turn(self, calls: Mapping[str, Schema], *, layout: Layout | None = None) -> list[Form]:
        """The rows of one turn: the choice, one a call, the answer. Compiled once.

        Raises:
            UnsupportedSchema: a call's schema can't be guaranteed.
        """
        rows = [self._call(name, schema, layout) for name, schema in calls.items()]
        choice = self.forms.choice(tuple(calls), layout=layout)
        return [choice, *rows, self.forms.answer(layout=layout)]

    def _call(self, name: str, schema: Schema, layout: Layout | None) -> Form:
        try:
            return self.forms.call(name, schema, layout=layout)
        except TemplateError as error:
            error.add_note(f"This is about the arguments of {name!r}.")
            raise

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
