"""Fillings from random logits: whatever comes out is the work of pins, automata and lattice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from agentkit_engine import Engine
from agentkit_engine.denoise import Clock, Denoising, run_steps
from agentkit_engine.denoisers import Prefix
from agentkit_engine.forms import Form


class RandomDenoiser:
    """A denoiser that knows nothing: logits of any spread, the same for the same seed."""

    canvas_length, context_length, device = 48, 512, torch.device("cpu")

    def __init__(self, vocab_size: int, *, spread: float, seed: int) -> None:
        self.vocab_size, self._spread = vocab_size, spread
        self._random = torch.Generator().manual_seed(seed)
        self.seen: list[torch.Tensor] = []

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        return Prefix(tuple(tokens), None)

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        return None

    def denoise(
        self,
        prefix: Prefix,
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.seen.append(canvas.clone())
        shape = (*canvas.shape, self.vocab_size)
        return self._spread * torch.randn(shape, generator=self._random)


def fill(
    engine: Engine, form: Form, *, seed: int, steps: int = 1
) -> tuple[Any, Denoising, RandomDenoiser]:
    """The value of a form filled from random logits."""
    noise = RandomDenoiser(
        engine.runtime.denoiser.vocab_size, spread=(0.5, 3.0, 12.0)[seed % 3], seed=seed
    )
    denoising = Denoising(
        noise, Prefix((1,), None), [form], start=None, pad=0, seed=seed, clock=Clock()
    )
    run_steps(denoising, steps, wanted=lambda: (0,), on_step=lambda _: None, stop=lambda: None)
    return form.read(denoising.filled(0).tokens), denoising, noise
