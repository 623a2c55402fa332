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


class Reading(Protocol):
    """What one causal pass over some rows behind a prefix found out, see `Denoiser.read`.

    It holds the pass's states and, of keys and values, only what the rows added; logits are made
    when they are asked for, so that those of many rows never stand in memory at once.
    """

    def logits(self, row: int) -> torch.Tensor:
        """Next-token logits of one row of n tokens: [n + 1, V] float32, an inference tensor.

        Entry k predicts token k of the row: entry 0 is what follows the prefix, entry n what
        follows the row. Every call computes them anew.
        """
        ...

    def prefix(self, row: int, length: int | None = None) -> Prefix | None:
        """The prefix behind the first `length` tokens of a row (all of them without `length`).

        Its keys and values are those of the pass: nothing is computed again, and nothing of other
        rows or of padding is in it. None where the family does not hold them any more.

        Raises:
            EngineError: the row is shorter than `length`.
        """
        ...


class Denoiser(Protocol):
    """A diffusion model that denoises canvases behind a context."""

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

    @property
    def causal(self) -> bool:
        """Whether the context is encoded causally, so that `read` can score what was written."""
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
        prefix: Prefix | Sequence[Prefix],
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One denoise step: one forward over all rows, each of them alone with its prefix.

        Args:
            prefix: the context that all rows share, or one for each row. Rows that share a context
                should bring the same object: it is then looked at once for all of them.
            canvas: [B, W] int64, one noisy canvas a row; W may be less than `canvas_length`.
            attend: [B, W] bool; False marks padding behind a narrower row, which no position of
                that row sees. The logits at padding mean nothing.
            previous: [B, W, V] float32, the logits of the previous step (self-conditioning).

        Returns:
            [B, W, V] float32 raw logits, an inference tensor: compute from it, don't write into it.

        Raises:
            ContextTooLong: a row and its prefix together are longer than `context_length`.
            EngineError: W is more than `canvas_length`, or there is not one prefix a row.
        """
        ...

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> Reading:
        """Reads `rows` causally, each of them behind `prefix` and none seeing another: one pass.

        `prefix` is not read again, so the pass costs the rows' own tokens, and those that rows
        begin with in common may count once. A row may be empty, and rows may be equal or of
        different lengths.

        Raises:
            ContextTooLong: a row and the prefix together are longer than `context_length`.
            EngineError: the family has no causal encoder (`causal` is False).
        """
        ...

    def nbytes(self, prefix: Prefix) -> int:
        """Bytes of device memory that `prefix` keeps alive; some may be shared with others."""
        ...
