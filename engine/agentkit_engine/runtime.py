"""The runtime: what all sessions of one loaded checkpoint share.

Knows how checkpoint, vocabulary, forms, denoiser, scheduler and the store of prefixes fit together.
Must not know sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.contexts.prefixes import PrefixStore
from agentkit_engine.contexts.prompt import encode_content
from agentkit_engine.denoisers import denoiser_of
from agentkit_engine.dialect import Noise
from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.layouts.forms import Form, Writing
from agentkit_engine.layouts.maker import FormMaker, Layout
from agentkit_engine.notes import ANSWER_NOTE, arguments_note
from agentkit_engine.scheduling.costs import Costs
from agentkit_engine.scheduling.scheduler import Scheduler
from agentkit_engine.syntax import syntax_of
from agentkit_engine.template import Schema

_HOST_MEMORY = 1 << 30


class Runtime:
    """One checkpoint, ready to run. Thread-safe: only the scheduler's thread runs the model.

    Attributes:
        prefixes: every encoded context, in one budget.
        costs: what forwards take here, as measured so far.
        forms: templates and calls, compiled once.
        noise: what canvases begin as.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, memory: int | None = None, queue: int = 256
    ) -> None:
        """
        Args:
            memory: bytes for encoded contexts; by default a share of what the device has.
            queue: works waiting and under way; one more is refused.
        """
        self.checkpoint = checkpoint
        self.denoiser = denoiser_of(checkpoint.model, shift=checkpoint.dialect.shift)
        budget = _memory(self.denoiser.device) if memory is None else memory
        self.prefixes = PrefixStore(self.denoiser, budget=budget)
        self.costs = Costs()
        self.scheduler = Scheduler(
            self.denoiser, queue=queue, encode=self.prefixes.encode, observe=self.costs.observe
        )
        self.syntax = syntax_of(checkpoint.dialect.syntax)
        self._symbols = {
            byte: int(checkpoint.tokenizer.convert_tokens_to_ids(token))  # type: ignore[arg-type]
            for byte, token in self.syntax.symbols.items()
        }
        self.vocabulary = Vocabulary.from_tokenizer(
            checkpoint.tokenizer, symbols=self.syntax.symbols
        )
        writing = Writing(
            vocabulary=self.vocabulary,
            syntax=self.syntax,
            dialect=checkpoint.dialect,
            tokens=checkpoint.tokens,
            encode=self._encode,
            canvas_length=self.denoiser.canvas_length,
        )
        self._control = set(self._symbols.values())
        self.forms = FormMaker(writing)
        masked = checkpoint.dialect.start == "mask"
        self.noise = Noise(
            vocab_size=self.denoiser.vocab_size,
            mask=checkpoint.tokens.mask if masked else None,
            pad=checkpoint.tokens.pad,
        )

    def turn_forms(
        self,
        calls: Mapping[str, Schema],
        *,
        answer: Schema | None = None,
        answer_tokens: int | None = None,
        layout: Layout | None = None,
        at_once: int = 1,
        must_call: bool = False,
    ) -> list[Form]:
        """The forms of one turn's rows: the choice, one a call, the answer. Compiled once.

        Args:
            answer: the schema of answers; None for words.
            answer_tokens: of words, at most.
            at_once: calls that the choice may name, where the layout can say several.
            must_call: the choice names one at least.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: what a schema says can't be guaranteed.
            CanvasTooShort: the shortest form of a call or an answer is longer than eight of the
                model's canvases.
            LayoutError: the checkpoint does not know the layout.
            TemplateError: a call has no name, there is none that must be made, or `answer_tokens`
                is below 1.
        """
        if "" in calls:
            raise TemplateError("a call has no name; give it one, as '' stands for the answer")
        if must_call and not calls:
            raise TemplateError("something must be called and no call is on offer; offer one")
        rows = [self._call(name, schema, layout) for name, schema in calls.items()]
        choice = self.forms.choice(
            tuple(calls), layout=layout, at_once=at_once, must_call=must_call
        )
        return [choice, *rows, self._answer(answer, answer_tokens, layout)]

    def said_text(self, tokens: Sequence[int]) -> str:
        """What a row says as the chat template writes it, control tokens spelled out."""
        tokenizer: Any = self.checkpoint.tokenizer  # its decoding is annotated for batches, too
        known, said = self.vocabulary.token_bytes, b""
        for token in tokens:
            written = None if token in self._control else known[token]
            said += str(tokenizer.decode([token])).encode() if written is None else written
        return said.decode(errors="replace")

    def token_text(self, token: int) -> str:
        """A token as a person reads it; nothing for filler, mask and the marker of absence."""
        known = self.checkpoint.tokens
        if token in (known.filler, known.mask, known.absent, known.pad):
            return ""
        return str(self.checkpoint.tokenizer.decode([token]))

    def _call(self, name: str, schema: Schema, layout: Layout | None) -> Form:
        try:
            return self.forms.call(name, schema, layout=layout)
        except (TemplateError, RecursionError) as error:
            error.add_note(arguments_note(name))
            raise

    def _answer(self, schema: Schema | None, tokens: int | None, layout: Layout | None) -> Form:
        try:
            return self.forms.answer(schema=schema, most_tokens=tokens, layout=layout)
        except (TemplateError, RecursionError) as error:
            error.add_note(ANSWER_NOTE)
            raise

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


def _memory(device: torch.device) -> int:
    """Bytes for encoded contexts: half of what a GPU has left beside the weights, else 1 GiB."""
    if device.type != "cuda":
        return _HOST_MEMORY
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2
