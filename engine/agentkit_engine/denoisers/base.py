"""What the engine asks of a model family: encode a context once, denoise canvases over it.

Knows tensors and token ids. Must not know templates, automata, dialects, nor which model it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Encoded context. Immutable: extending makes a new one, so to fork or to rewind is to keep it.

    Attributes:
        tokens: the context so far, one id a position.
        memory: what the denoiser remembers of it (keys and values); no one else's business.
    """

    tokens: tuple[int, ...]
    memory: object = field(repr=False)

    @property
    def length(self) -> int:
        """Tokens encoded; also the position of a canvas's first token."""
        return len(self.tokens)


class Denoiser(Protocol):
    """A block-diffusion model: a causal encoder of the context, a bidirectional canvas decoder."""

    @property
    def vocab_size(self) -> int:
        """V, the width of the logits; a tokenizer may know fewer tokens."""
        ...

    @property
    def canvas_length(self) -> int:
        """The widest canvas, in tokens."""
        ...

    @property
    def context_length(self) -> int:
        """Positions there are for prefix and canvas together, in tokens."""
        ...

    @property
    def device(self) -> torch.device:
        """Where canvases are expected and logits come."""
        ...

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        """Encodes `tokens` behind `prefix` (at the start without one), and only those.

        The given prefix stays valid and unchanged. No tokens give the prefix back.

        Raises:
            ContextTooLong: the whole is longer than `context_length`.
            EngineError: neither tokens nor a prefix.
        """
        ...

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        """The first `length` tokens of `prefix`, nothing encoded again.

        None where that can't be had: no tokens, or some that a sliding window has let go of.
        """
        ...

    def denoise(
        self,
        prefix: Prefix,
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One denoise step: one decoder forward over all rows, each of them alone with the prefix.

        Args:
            prefix: the context that all rows share.
            canvas: [B, W] int64, one noisy canvas a row; W may be less than `canvas_length`.
            attend: [B, W] bool; False marks padding behind a narrower row, which no position of
                that row sees. The logits at padding mean nothing.
            previous: [B, W, V] float32, the logits of the previous step (self-conditioning).

        Returns:
            [B, W, V] float32 raw logits, an inference tensor: compute from it, don't write into it.

        Raises:
            ContextTooLong: prefix and canvas together are longer than `context_length`.
            EngineError: W is more than `canvas_length`.
        """
        ...
