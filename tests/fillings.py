"""Fillings from random logits: whatever comes out is the work of pins, automata and lattice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

import torch

from agentkit_engine import Engine, FillingOptions, Template
from agentkit_engine.denoisers import Denoiser, Prefix, Reading
from agentkit_engine.filling.denoise import Clock, Denoising
from agentkit_engine.filling.settings import Settings
from agentkit_engine.layouts.forms import Form
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.scheduling.work import Work, run_alone

PREFIX = Prefix((1,), None)


class RandomDenoiser:
    """A denoiser that knows nothing: logits of any spread, the same for the same seed."""

    canvas_length, context_length, device = 48, 512, torch.device("cpu")
    causal = False

    def __init__(self, vocab_size: int, *, spread: float, seed: int) -> None:
        self.vocab_size, self._spread = vocab_size, spread
        self._random = torch.Generator().manual_seed(seed)
        self.seen: list[torch.Tensor] = []

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        return Prefix(tuple(tokens), None)

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        return None

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> Reading:
        raise AssertionError("nothing is verified here")

    def nbytes(self, prefix: Prefix) -> int:
        return 0

    def denoise(
        self,
        prefix: Prefix | Sequence[Prefix],
        canvas: torch.Tensor,
        *,
        attend: torch.Tensor | None = None,
        previous: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.seen.append(canvas.clone())
        shape = (*canvas.shape, self.vocab_size)
        return self._spread * torch.randn(shape, generator=self._random)


def random_denoiser(engine: Engine, seed: int) -> RandomDenoiser:
    """Logits that say nothing, little or much, by the seed."""
    size = engine.runtime.denoiser.vocab_size
    return RandomDenoiser(size, spread=(0.5, 3.0, 12.0)[seed % 3], seed=seed)


def form_of(engine: Engine, template: Template, layout: Layout) -> Form:
    """A template by itself, as wide as it likes to be."""
    return engine.runtime.forms.template(template, layout=layout, width=None)


def denoising_of(
    engine: Engine, forms: Sequence[Form], **options: Unpack[FillingOptions]
) -> Denoising:
    """Rows of an engine, from its noise."""
    settings = Settings(**options)
    return Denoising(PREFIX, forms, noise=engine.runtime.noise, settings=settings, clock=Clock())


def run(
    denoising: Denoising, denoiser: Denoiser, *, on_step: Callable[[int], None] = lambda _: None
) -> None:
    """All steps of a denoising of which the first row is wanted."""

    def told(done: int) -> Work[None]:
        on_step(done)
        yield from ()

    run_alone(denoising.run(lambda: (0,), on_step=told), denoiser)


def fill(
    engine: Engine, form: Form, *, seed: int, steps: int = 1
) -> tuple[Any, Denoising, RandomDenoiser]:
    """The value of a form filled from random logits."""
    noise = random_denoiser(engine, seed)
    denoising = denoising_of(engine, [form], seed=seed, steps=steps)
    run(denoising, noise)
    return form.read(denoising.filled(0).tokens), denoising, noise


@contextmanager
def counted(engine: Engine) -> Generator[list[int]]:
    """The number of positions of every decoder forward of the real model meanwhile."""
    rows: list[int] = []

    def count(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        rows.append(kwargs["decoder_input_ids"].numel())

    hook = engine.runtime.checkpoint.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()
