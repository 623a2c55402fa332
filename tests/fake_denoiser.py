"""A denoiser of arithmetic, for what is about forwards and not about a model.

Its logits are a function of each row alone: of the prefix's tokens, of what the row sees of itself
and of its previous logits. It notes every forward, and a test may look into one under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentkit_engine.denoisers.base import Prefix, Reading
from agentkit_engine.scheduling.work import Work, denoise, emit, encode

VOCABULARY = 13
POISON = 999  # a canvas that holds it fails


class Poisoned(Exception):
    """What a forward with `POISON` in it raises."""


@dataclass(frozen=True)
class FakeReading:
    """The sums of the rows read."""

    before: Prefix
    rows: tuple[tuple[int, ...], ...]

    def logits(self, row: int) -> Tensor:
        return torch.full((len(self.rows[row]) + 1, VOCABULARY), float(sum(self.rows[row])))

    def prefix(self, row: int, length: int | None = None) -> Prefix:
        return Prefix(self.before.tokens + self.rows[row][:length], None)


@dataclass(frozen=True)
class Forward:
    """One call: what it was, and the last token of each row's prefix (encode: the new tokens')."""

    kind: str
    marks: tuple[int, ...]


class FakeDenoiser:
    """A `Denoiser`; `on_forward` is called within each forward, which it may hold or fail."""

    vocab_size = VOCABULARY
    canvas_length = 256
    context_length = 1024
    causal = True
    device = torch.device("cpu")

    def __init__(self, on_forward: Callable[[Forward], None] | None = None) -> None:
        self.forwards: list[Forward] = []
        self.on_forward = on_forward

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        self._note("encode", tokens[-1:])
        return Prefix((() if prefix is None else prefix.tokens) + tuple(tokens), None)

    def rewind(self, prefix: Prefix, length: int) -> Prefix | None:
        return Prefix(prefix.tokens[:length], None) if length else None

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> Reading:
        self._note("read", prefix.tokens[-1:])
        return FakeReading(prefix, tuple(tuple(row) for row in rows))

    def nbytes(self, prefix: Prefix) -> int:
        return 8 * prefix.length

    def denoise(
        self,
        prefix: Prefix | Sequence[Prefix],
        canvas: Tensor,
        *,
        attend: Tensor | None = None,
        previous: Tensor | None = None,
    ) -> Tensor:
        prefixes = [prefix] * len(canvas) if isinstance(prefix, Prefix) else list(prefix)
        assert len(prefixes) == len(canvas)
        self._note("denoise", [one.tokens[-1] for one in prefixes])
        if bool((canvas == POISON).any()):
            raise Poisoned
        seen = canvas if attend is None else canvas * attend
        place = torch.arange(canvas.shape[1])
        sums = (seen * (place + 1)).sum(1) + torch.tensor([sum(one.tokens) for one in prefixes])
        phase = sums[:, None, None] + 3 * place[:, None] + torch.arange(VOCABULARY)
        logits = torch.sin(phase.float())
        return logits if previous is None else logits + previous / 2

    def _note(self, kind: str, marks: Sequence[int]) -> None:
        forward = Forward(kind, tuple(marks))
        self.forwards.append(forward)
        if self.on_forward is not None:
            self.on_forward(forward)


class Gate:
    """Holds a denoiser's first forward until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, _: Forward) -> None:
        self.reached.set()
        assert self.opened.wait(60)


def steps(
    mark: int, count: int, *, width: int = 8, rows: int = 1, alive: set[int] | None = None
) -> Work[list[int]]:
    """Encodes `mark`, denoises `count` times, emits each step; ends with what came of it all.

    Args:
        alive: holds `mark` as long as the work is under way.
    """
    if alive is not None:
        alive.add(mark)
    try:
        prefix = yield from encode([mark])
        canvas = torch.arange(width).repeat(rows, 1)
        attend = torch.arange(width).repeat(rows, 1) < width - 1
        logits: Tensor | None = None
        for step in range(count):
            logits = yield from denoise(prefix, canvas, attend=attend, previous=logits)
            canvas = logits.argmax(-1)
            yield from emit((mark, step))
        return canvas.flatten().tolist()
    finally:
        if alive is not None:
            alive.discard(mark)


def behind(
    mark: int, count: int, *, first: int = 0, width: int = 8, guess: bool = False
) -> Work[list[int]]:
    """Denoises `count` times behind a prefix that is there, by default without previous logits."""
    canvas = torch.full((1, width), first)
    logits: Tensor | None = None
    for _ in range(count):
        previous = logits if guess else None
        logits = yield from denoise(Prefix((mark,), None), canvas, previous=previous)
        canvas = logits.argmax(-1)
    return canvas.flatten().tolist()
