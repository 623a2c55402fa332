"""Denoising: rows of noise become valid fillings, one decoder forward a step.

Knows forms, log-probabilities and the lattice. Must not know templates, prompts or which model it
is. Pins hold at the input of every step and in what comes out: only free positions are written, and
every draft is a valid filling by itself.

The rule of acceptance is the entropy-bound sampler of DiffusionGemma's published `generate`, with
the entropies of the *constrained* posterior in place of the raw ones: a position whose token the
grammar decides is sure, however little the model knows of it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentkit_engine.denoisers import Prefix
from agentkit_engine.dialect import Noise
from agentkit_engine.filling.course import Held
from agentkit_engine.filling.outcome import CellState
from agentkit_engine.filling.settings import Settings
from agentkit_engine.filling.solution import Filled, solve
from agentkit_engine.layouts.forms import Form
from agentkit_engine.scheduling.work import Work, denoise

_ENTROPY_BOUND = 0.1  # nats a row and step, as the model's published sampler has it
_STABLE_ENTROPY = 0.005  # mean nats below which an unchanged draft is final, from there as well
_PRIME = 1_000_003
_SEEDS = 2**63  # as many as torch takes


@dataclass(slots=True)
class Clock:
    """Seconds spent, by phase, and the model's forwards."""

    encode: float = 0.0
    denoise: float = 0.0
    verify: float = 0.0
    lattice: float = 0.0
    forwards: int = 0
    passes: int = 0


class _Row:
    """One row on its way.

    Attributes:
        canvas: what the next step sees of it.
        pins: free positions that are fixed by now.
        open: positions of regions that are still to be decided.
        accepted: those of them whose token the last step was sure of.
    """

    def __init__(self, form: Form, noise: Noise, seed: int) -> None:
        self.form, self._noise = form, noise
        # a row's own randomness: it does not depend on the rows beside it
        mixed = (seed * _PRIME + zlib.crc32(form.name.encode())) % _SEEDS
        self.random = torch.Generator().manual_seed(mixed)
        self.hold((Held(),))

    def hold(self, held: tuple[Held, ...]) -> None:
        """Fixes what all of several cases have in common; the rest is noise."""
        first, *others = held
        self.held = held
        self.pins = {
            place: token
            for place, token in first.pins.items()
            if all(other.pins.get(place) == token for other in others)
        }
        within = (range(region.start, region.stop) for region in self.form.regions)
        self.open = [place for places in within for place in places if place not in self.pins]
        self.filled: Filled | None = None
        self.before: tuple[int, ...] = ()
        self.accept({}, shown=self.form.first)

    def accept(self, sure: Mapping[int, int], *, shown: Mapping[int, int]) -> None:
        """Keeps tokens by position, renoises the other open positions.

        Args:
            sure: what the last step was sure of.
            shown: what stands in the others in place of noise.
        """
        self.accepted = frozenset(sure)
        known = {**shown, **self.pins, **sure}
        noise = iter(self._drawn())
        self.canvas = [
            token if token is not None else known.get(place, drawn)
            for (place, token), drawn in zip(enumerate(self.form.tokens), noise, strict=False)
        ]

    def _drawn(self) -> list[int]:
        width = self.form.width
        if self._noise.mask is not None:
            return [self._noise.mask] * width
        return torch.randint(self._noise.vocab_size, (width,), generator=self.random).tolist()


class Denoising:
    """Rows over one shared prefix, from noise to filled, step by step.

    `filled` solves a row's lattice when it is asked for, so rows that turn out not to matter cost
    nothing.
    """

    def __init__(
        self,
        prefix: Prefix,
        forms: Sequence[Form],
        *,
        noise: Noise,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._prefix, self._noise, self._settings = prefix, noise, settings
        self._clock = clock
        self._rows = [_Row(form, noise, settings.seed) for form in forms]
        self._logits: Tensor | None = None
        self._again = True  # from noise, with nothing to go by
        self.steps = 0
        self._width = max(form.width for form in forms)
        self._attend = torch.tensor(
            [[place < form.width for place in range(self._width)] for form in forms]
        )

    def step(self) -> Work[None]:
        """One decoder forward over all rows."""
        began = time.perf_counter()
        canvas = torch.tensor(
            [
                [*row.canvas, *[self._noise.pad] * (self._width - len(row.canvas))]
                for row in self._rows
            ]
        )
        self._logits = yield from denoise(
            self._prefix,
            canvas,
            attend=self._attend,
            previous=None if self._again else self._logits,
        )
        self._again = False
        for row in self._rows:
            row.filled = None
        self.steps += 1
        self._clock.forwards += 1
        self._clock.denoise += time.perf_counter() - began

    def run(
        self, wanted: Callable[[], Sequence[int]], *, on_step: Callable[[int], Work[None]]
    ) -> Work[None]:
        """As many steps as it was set up for; fewer where all that is wanted is sure sooner.

        Args:
            wanted: which rows are to be filled after a step.
            on_step: a work that is done with the steps run so far, none before the first.
        """
        self.steps = 0
        yield from on_step(0)
        for done in range(1, self._settings.most_steps + 1):
            yield from self.step()
            rows = wanted()
            for row in rows:
                self.filled(row)
            unsure = done < self._settings.most_steps and self.renoise(rows)
            yield from on_step(done)
            if not unsure:
                return

    def filled(self, row: int) -> Filled:
        """The valid filling of a row by the last step's logits: the best, or a sample."""
        one = self._rows[row]
        if one.filled is None:
            if self._logits is None:
                raise RuntimeError("no step has been run yet")
            began = time.perf_counter()
            temperature = self._settings.temperature_at(self.steps)
            logits = self._logits[row, : one.form.width]
            one.filled = solve(
                logits,
                one.form,
                one.held,
                temperature=temperature,
                random=one.random,
                bias=self._settings.bias,
                entropies=self.steps < self._settings.most_steps,
            )
            self._clock.lattice += time.perf_counter() - began
        return one.filled

    def renoise(self, rows: Sequence[int]) -> bool:
        """Accepts what the model is sure of in `rows`, renoises their other open positions.

        By rising entropy, as long as the sum of those before stays within the bound; so at least
        one. Pins neither count nor change.

        Returns:
            Whether anything is left to be denoised: a position was not accepted, and the draft is
            not both stable and nearly certain.
        """
        began = time.perf_counter()
        unsure = [self._renoise(row) for row in rows]
        self._clock.lattice += time.perf_counter() - began
        return any(unsure)

    def hold(self, row: int, held: tuple[Held, ...]) -> bool:
        """Fixes a part of a row, all else of it is noise again; whether there is anything else.

        Until the next step `filled` goes by the logits there are.
        """
        self._rows[row].hold(held)
        self._again = True
        return bool(self._rows[row].open)

    def alone(self, row: int) -> Denoising:
        """One of the rows by itself; until its next step it goes by the logits there are."""
        other = Denoising(
            self._prefix,
            [self._rows[row].form],
            noise=self._noise,
            settings=self._settings,
            clock=self._clock,
        )
        if self._logits is not None:
            other._logits = self._logits[row : row + 1, : other._width]
        other.steps = self.steps
        return other

    @property
    def rows(self) -> int:
        return len(self._rows)

    def form(self, row: int) -> Form:
        return self._rows[row].form

    def canvas(self, row: int) -> list[int]:
        """What the next step sees of a row."""
        return self._rows[row].canvas

    def states(self, row: int, *, last: bool) -> list[CellState]:
        """What each position of a row is, for drawing."""
        one = self._rows[row]
        undecided: CellState = "settled" if last else "draft"

        def state(place: int, token: int | None) -> CellState:
            if token is not None or place in one.pins:
                return "pinned"
            if not self.steps or place not in one.open:
                return "noise"
            return "settled" if place in one.accepted else undecided

        return [state(place, token) for place, token in enumerate(one.form.tokens)]

    def _renoise(self, row: int) -> bool:
        one, filled = self._rows[row], self.filled(row)
        spent = 0.0
        sure: dict[int, int] = {}
        for place in sorted(one.open, key=filled.entropies.__getitem__):
            if spent > _ENTROPY_BOUND:
                break
            spent += filled.entropies[place]
            sure[place] = filled.tokens[place]
        mean = sum(filled.entropies[place] for place in one.open) / max(1, len(one.open))
        stable = one.before == filled.tokens and mean < _STABLE_ENTROPY
        one.accept(sure, shown=one.form.placed(filled.tokens))
        one.before = filled.tokens
        return len(sure) < len(one.open) and not stable
