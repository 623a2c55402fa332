"""Propose, verify, commit: the causal encoder's word on what was denoised.

Knows rows, courses and the causal encoder's readings. Must not know templates or prompts. A filled
row must pass through the causal encoder anyway, to become context; that pass tells how likely each
of its tokens is behind those before it. In kin with TiDAR and with self-speculative decoding of
diffusion models: what is drafted in parallel is verified in one causal pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

import torch

from agentkit_engine.denoisers import Prefix, Reading
from agentkit_engine.errors import InvalidLogProbs, TemplateError
from agentkit_engine.filling.course import Course, Place, course_of
from agentkit_engine.filling.denoise import Clock, Denoising
from agentkit_engine.filling.settings import Settings, Verify
from agentkit_engine.filling.solution import fillings
from agentkit_engine.scheduling.work import Work, read

__all__ = ["Certain", "Verified", "verified"]

_DENOISER_WEIGHT = 0.3  # of its log-likelihood; anything from 0 to 1.5 does as well, embedded


@dataclass(frozen=True, slots=True)
class Verified:
    """A row as it is emitted.

    Attributes:
        tokens: the filled row.
        said: what enters the context: the row's own tokens, fillers stripped.
        prefix: the context with all that is said; None where no pass has read it.
        agreed: whether the causal encoder agreed with every token; None where it wasn't asked to.
        rounds: denoisings and passes that took.
        nats: the causal log-probability of each token said; none where not all were agreed on.
    """

    tokens: tuple[int, ...]
    said: tuple[int, ...]
    prefix: Prefix | None
    agreed: bool | None
    rounds: int
    nats: tuple[float, ...] = ()


Certain: TypeAlias = Callable[[], Verified]
Again: TypeAlias = Callable[[Denoising, Certain], Work[None]]


def verified(
    mode: Verify,
    denoising: Denoising,
    row: int,
    prefix: Prefix,
    *,
    settings: Settings,
    clock: Clock,
    again: Again,
) -> Work[Verified]:
    """What becomes of a row that was denoised.

    Args:
        mode: "off" takes it as it is. "rerank" lets one pass pick among its best fillings. "exact"
            accepts what constrained greedy decoding by the causal encoder would write as well,
            corrects the first token where that differs, denoises the rest again, and so on; with a
            bias, as greedy decoding under the same bias would.
        prefix: the context behind which the row was denoised.
        settings: rounds of "exact", after which the best filling so far is taken; candidates that
            "rerank" reads.
        again: denoises a row of which a part is held; it may ask what stays as it is, come what
            may, which is a row that begins so, and the beginning of what is said.
    """
    form = denoising.form(row)
    course = course_of(form, settings.bias)
    if course is None:
        return Verified(denoising.filled(row).tokens, (), None, None, 1)
    if mode == "exact":
        return (
            yield from _Exact(course, denoising, row, prefix, clock).run(settings.rounds, again)
        )
    if mode == "rerank":
        return (yield from _reranked(course, denoising, row, prefix, settings.candidates, clock))
    tokens = denoising.filled(row).tokens
    return Verified(tokens, course.said(tokens), None, None, 1)


def _reranked(
    course: Course, denoising: Denoising, row: int, prefix: Prefix, count: int, clock: Clock
) -> Work[Verified]:
    filled = denoising.filled(row)
    began = time.perf_counter()
    found = list(fillings(filled, denoising.form(row), count))
    said = [course.said(tokens) for _, tokens in found]
    clock.lattice += time.perf_counter() - began
    reading = yield from _read(prefix, said, clock)
    began = time.perf_counter()
    scores = [
        _likelihood(reading, k, tokens) + _DENOISER_WEIGHT * score
        for k, (tokens, (score, _)) in enumerate(zip(said, found, strict=True))
    ]
    best = scores.index(max(scores))
    clock.verify += time.perf_counter() - began
    return Verified(found[best][1], said[best], reading.prefix(best), None, 1)


def _likelihood(reading: Reading, row: int, tokens: Sequence[int]) -> float:
    """Causal log-likelihood of all that a row says, in nats."""
    log_probs = reading.logits(row)[: len(tokens)].log_softmax(-1)
    index = torch.tensor(tokens, device=log_probs.device)[:, None]
    return float(log_probs.gather(1, index).sum())


def _read(prefix: Prefix, rows: Sequence[Sequence[int]], clock: Clock) -> Work[Reading]:
    began = time.perf_counter()
    reading = yield from read(prefix, rows)
    clock.passes += 1
    clock.verify += time.perf_counter() - began
    return reading


class _Exact:
    """Ends with what constrained greedy decoding says, in as few rounds as the two agree.

    No mask of next tokens can tell that an object's key is being repeated. Where greedy decoding
    ends with one that is, this ends with what it says where its moves can't repeat any.

    Attributes:
        agreed: what is said for certain, corrections included.
        nats: the causal log-probability of each of these tokens.
        place: where a reader of it stands.
        prefix: the context with the first `behind` of these tokens.
        tokens: the last valid filling.
        draft: what is read next; mostly just that.
    """

    def __init__(
        self, course: Course, denoising: Denoising, row: int, prefix: Prefix, clock: Clock
    ) -> None:
        self._free = (denoising, row, prefix)
        self.clock = clock
        self.tokens = self.draft = denoising.filled(row).tokens
        self._begin(course)

    def _begin(self, course: Course) -> None:
        self.denoising, self.row, self.prefix = self._free
        self.course, self.behind = course, 0
        self.agreed: tuple[int, ...] = ()
        self.nats: tuple[float, ...] = ()
        self.place = course.start

    def run(self, rounds: int, again: Again) -> Work[Verified]:
        number = 0
        while number < rounds:
            number += 1
            said = self.course.said(self.draft)
            reading = yield from _read(self.prefix, [said[self.behind :]], self.clock)
            agrees = self._agrees(said, reading)
            if agrees and self.draft == self.tokens:
                end = reading.prefix(0)
                return Verified(self.tokens, said, end, True, number, self.nats)
            try:
                if agrees:
                    self._strictly()
                else:
                    yield from self._goes_on(again if number < rounds else None)
            except TemplateError:  # there is no more to be tried
                break
        return Verified(self.tokens, self.course.said(self.tokens), None, False, number)

    def _goes_on(self, again: Again | None) -> Work[None]:
        """Fills what is not agreed once more.

        Args:
            again: as of `verified`; None goes by the logits there are.

        Raises:
            TemplateError: they leave nothing.
        """
        try:
            if self._hold() and again is not None:
                yield from again(self.denoising, self._certain)
            self.tokens = self.draft = self.denoising.filled(self.row).tokens
        except TemplateError:  # all that is likely repeats a key; greedy decoding still might not
            self._hold(loose=True)
            self.draft = self.denoising.filled(self.row).tokens

    def _certain(self) -> Verified:
        """What is agreed and the last valid filling says, too: every later one begins with that.

        Nothing is certain as long as all of it may be said anew, strictly.
        """
        said = self.course.said(self.tokens) if self.course.strictly is None else ()
        pairs = zip(said, self.agreed, strict=False)
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return Verified(self.tokens, said[:kept], None, None, 0, self.nats[:kept])

    def _strictly(self) -> None:
        """Begins anew, as greedy decoding repeats a key. Raises TemplateError: it can't but do."""
        strictly = self.course.strictly
        if strictly is None:
            raise TemplateError("nothing can be said that never repeats a key")
        self._begin(strictly)
        self._hold()
        self.tokens = self.draft = self.denoising.filled(self.row).tokens

    def _agrees(self, said: tuple[int, ...], reading: Reading) -> bool:
        """Reads on from what is agreed, up to the first token that greedy decoding would not say.

        Then that token is agreed in its place.
        """
        began = time.perf_counter()
        scores = reading.logits(0)
        if bool(scores.isnan().any()):
            raise InvalidLogProbs("the causal encoder gives NaN; look for an overflow in it")
        tops = scores.argmax(-1).tolist()
        for index in range(len(self.agreed), len(said)):
            at = index - self.behind
            wanted = self._wanted(tops[at], scores[at])
            if wanted != said[index]:
                agreed = (*said[:index], wanted)
                self._note(scores, agreed)
                self.agreed = agreed
                self._keep(reading, at)
                self.place = self._after(wanted)
                self.clock.lattice += time.perf_counter() - began
                return False
            self.place = self._after(wanted)
        self._note(scores, said)
        self.clock.lattice += time.perf_counter() - began
        return True

    def _note(self, scores: torch.Tensor, said: tuple[int, ...]) -> None:
        """Takes down the log-probabilities of what is agreed now and was not before."""
        first = len(self.agreed)
        log_probs = scores[first - self.behind : len(said) - self.behind].log_softmax(-1)
        index = torch.tensor(said[first:], device=scores.device)[:, None]
        self.nats = (*self.nats, *log_probs.gather(1, index)[:, 0].tolist())

    def _wanted(self, top: int, scores: torch.Tensor) -> int:
        """What greedy decoding says here; most often simply the likeliest token of all."""
        forced = self.course.forced(self.place)
        if forced is not None:
            return forced
        if not self.course.leaning and self.course.step(self.place, top) is not None:
            return top
        return self.course.greedy(self.place, scores.float().cpu().numpy())

    def _after(self, token: int) -> Place:
        place = self.course.step(self.place, token)
        assert place is not None
        return place

    def _keep(self, reading: Reading, length: int) -> None:
        """Goes on from the first `length` tokens read, where their keys and values can be had."""
        kept = reading.prefix(0, length) if length else None
        if kept is not None:
            self.prefix, self.behind = kept, self.behind + length

    def _hold(self, *, loose: bool = False) -> bool:
        """Holds what is agreed; whether anything else is left to be denoised."""
        self.denoising = self.denoising.alone(self.row)
        self.row = 0
        return self.denoising.hold(0, self.course.held(self.agreed, loose=loose))
