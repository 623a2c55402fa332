"""Denoising: rows of noise become the best valid fillings, one decoder forward a step.

Knows forms, log-probabilities and the lattice. Must not know templates, prompts or which model it
is. Pins hold at the input of every step and in what comes out: only free positions are written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agentkit_engine.denoisers import Denoiser, Prefix
from agentkit_engine.forms import Form, Options, Region
from agentkit_engine.lattice import best
from agentkit_engine.outcome import CellState

_ENTROPY_BOUND = 0.1  # nats a row and step, as the model's published sampler has it


@dataclass(frozen=True, slots=True)
class Filled:
    """A row whose regions hold their best valid filling.

    Attributes:
        tokens: the whole row, pins included.
        posteriors: JSON pointer of a value -> its exact posterior probability under the constraint.
        options: the distribution over the options of a choice, none for other rows.
    """

    tokens: tuple[int, ...]
    posteriors: Mapping[str, float] = field(default_factory=dict[str, float])
    options: tuple[float, ...] = ()


@dataclass(slots=True)
class Clock:
    """Seconds spent, by phase."""

    encode: float = 0.0
    denoise: float = 0.0
    lattice: float = 0.0


class Denoising:
    """Rows over one shared prefix, from noise to filled, step by step.

    Call `step` once for each decoder forward; `filled` solves a row's lattice when it is asked for,
    so rows that turn out not to matter cost nothing.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        prefix: Prefix,
        forms: Sequence[Form],
        *,
        start: int | None,
        pad: int,
        seed: int,
        clock: Clock,
    ) -> None:
        """
        Args:
            start: the token that free positions begin as; None for random ones.
            pad: stands behind a narrower row, where nothing sees it.
            seed: of the random tokens.
        """
        self._denoiser, self._prefix, self._forms = denoiser, prefix, forms
        self._start, self._clock = start, clock
        self._random = torch.Generator().manual_seed(seed)
        self._previous: Tensor | None = None
        self._filled: dict[int, Filled] = {}
        self.forwards = 0
        width = max(form.width for form in forms)
        padded = [[*form.tokens, *[pad] * (width - form.width)] for form in forms]
        self._free = torch.tensor([[token is None for token in row] for row in padded])
        self._pins = torch.tensor([[token or 0 for token in row] for row in padded])
        self._attend = torch.tensor(
            [[place < form.width for place in range(width)] for form in forms]
        )
        self._accepted = torch.zeros_like(self._free)
        self.canvas = torch.where(self._free, self._noise(), self._pins)

    def step(self) -> None:
        """One decoder forward over all rows."""
        began = time.perf_counter()
        self._previous = self._denoiser.denoise(
            self._prefix, self.canvas, attend=self._attend, previous=self._previous
        )
        self._filled = {}
        self.forwards += 1
        self._clock.denoise += time.perf_counter() - began

    def filled(self, row: int) -> Filled:
        """The best valid filling of a row, by the last step's logits."""
        if row not in self._filled:
            began = time.perf_counter()
            self._filled[row] = self._solve(row)
            self._clock.lattice += time.perf_counter() - began
        return self._filled[row]

    def renoise(self, rows: Sequence[int]) -> bool:
        """Accepts what the model is sure of in `rows`, renoises their other free positions.

        The entropy-bound rule of DiffusionGemma's own sampler: by rising entropy, as long as the
        sum of those before stays within the bound; so at least one. Pins neither count nor change.

        Returns:
            Whether anything is left to be denoised.
        """
        logits = self._require_logits()
        noise = self._noise()
        for row in rows:
            draft = torch.tensor(self.filled(row).tokens)
            places = self._free[row].nonzero()[:, 0]
            log_probs = logits[row, places].log_softmax(-1).cpu()
            entropy, order = (-(log_probs.exp() * log_probs).sum(-1)).sort()
            sure = places[order[entropy.cumsum(0) - entropy <= _ENTROPY_BOUND]]
            self._accepted[row] = False
            self._accepted[row, sure] = True
            self.canvas[row, places] = noise[row, places]
            self.canvas[row, sure] = draft[sure]
        return any(bool((self._free[row] & ~self._accepted[row]).any()) for row in rows)

    def states(self, row: int, *, last: bool) -> list[CellState]:
        """What each position of a row is, for drawing."""
        free, accepted = self._free[row].tolist(), self._accepted[row].tolist()
        settled: CellState = "settled" if last else "draft"
        return [
            "pinned" if not f else "noise" if not self.forwards else "settled" if a else settled
            for f, a in zip(free[: self._forms[row].width], accepted, strict=False)
        ]

    def _noise(self) -> Tensor:
        shape = self._free.shape
        if self._start is not None:
            return torch.full(shape, self._start)
        return torch.randint(self._denoiser.vocab_size, shape, generator=self._random)

    def _require_logits(self) -> Tensor:
        if self._previous is None:
            raise RuntimeError("no step has been run yet")
        return self._previous

    def _solve(self, row: int) -> Filled:
        form, logits = self._forms[row], self._require_logits()[row]
        tokens = self._pins[row, : form.width].tolist()
        posteriors: dict[str, float] = {}
        options: tuple[float, ...] = ()
        for region in form.regions:
            log_probs = logits[region.start : region.stop].log_softmax(-1).cpu()  # [L, V] nats
            if isinstance(region, Options):
                chosen, options = _choose(log_probs, region)
            else:
                chosen, posteriors[region.pointer] = _fill(log_probs, region)
            tokens[region.start : region.start + len(chosen)] = chosen
        return Filled(tuple(tokens), posteriors, options)


def _fill(log_probs: Tensor, region: Region) -> tuple[list[int], float]:
    """The exact best filling of a region and its posterior probability."""
    found = best(log_probs, region.automaton)
    return found.tokens.tolist(), min(1.0, math.exp(found.score - found.log_partition))


def _choose(log_probs: Tensor, region: Options) -> tuple[list[int], tuple[float, ...]]:
    """The likeliest option's tokens and the distribution over all, positions being independent."""
    places = torch.arange(len(log_probs))
    scores = [
        log_probs[places[: len(option)], torch.tensor(option)].sum()
        if option is not None
        else _anything_else(log_probs, region)
        for option in region.sequences
    ]
    probabilities = torch.stack(scores).double().softmax(0)
    chosen = region.sequences[int(probabilities.argmax())]
    return list(chosen or ()), tuple(probabilities.tolist())


def _anything_else(log_probs: Tensor, region: Options) -> Tensor:
    """The probability that the row begins with the first token of none of the options."""
    first = sorted({option[0] for option in region.sequences if option})
    taken = log_probs[0, torch.tensor(first, dtype=torch.long)].exp().sum()
    return torch.log1p(-taken.clamp(max=1 - 1e-9))


def run_steps(
    denoising: Denoising,
    steps: int,
    *,
    wanted: Callable[[], Sequence[int]],
    on_step: Callable[[int], None],
    stop: Callable[[], None],
) -> None:
    """At most `steps` decoder forwards; fewer where all that is wanted is sure sooner.

    Args:
        wanted: which rows are to be filled after a step.
        on_step: called with the steps done, 0 before the first.
        stop: raises if the caller has gone; asked before every forward.
    """
    on_step(0)
    for done in range(1, steps + 1):
        stop()
        denoising.step()
        rows = wanted()
        for row in rows:
            denoising.filled(row)
        unsure = done < steps and denoising.renoise(rows)
        on_step(done)
        if not unsure:
            return
