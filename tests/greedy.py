"""Constrained greedy decoding, token by token from scratch: what verify="exact" must end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rows import course, row_of

from agentkit_engine import Engine
from agentkit_engine.contexts.context import Context
from agentkit_engine.denoisers import Denoiser, Prefix
from agentkit_engine.filling.beliefs import Solved
from agentkit_engine.filling.course import Course
from agentkit_engine.filling.settings import Settings
from agentkit_engine.filling.turn import Turn
from agentkit_engine.layouts.forms import Form, Region
from agentkit_engine.scheduling.work import Work, run_alone

MANY = 200  # rounds that are always enough: a row has no more tokens


@dataclass
class Done:
    """A row that was filled behind a context, and what it took."""

    prefix: Prefix
    solved: Solved
    turn: Turn

    @property
    def row(self) -> tuple[int, ...]:
        return self.solved.verified.tokens

    @property
    def said(self) -> tuple[int, ...]:
        return self.solved.verified.said


def fill(
    engine: Engine,
    form: Form,
    prompt: str = "hello",
    *,
    denoiser: Denoiser | None = None,
    **options: Any,
) -> Done:
    runtime = engine.runtime
    context = Context(runtime.checkpoint.tokenizer, runtime.prefixes)
    run_alone(context.extend(prompt), runtime.denoiser)
    turn = Turn(runtime, context, Settings(**options))

    def work() -> Work[Done]:
        prefix = yield from turn.prefix()
        denoising = yield from turn.denoised(prefix, [form], lambda _: (0,))
        solved = yield from turn.solved(denoising, 0, prefix)
        return Done(prefix, solved, turn)

    return run_alone(work(), denoiser or runtime.denoiser)


def next_scores(denoiser: Denoiser, tokens: Sequence[int]) -> Any:
    """What the causal encoder expects behind `tokens`, all of them encoded from scratch."""
    return denoiser.read(denoiser.encode(tokens), [()]).logits(0)[0].float().numpy()


def decoded(denoiser: Denoiser, course: Course, before: Sequence[int]) -> tuple[int, ...]:
    """Constrained greedy decoding: the likeliest token that may come next, one after the other."""
    place, said = course.start, list[int]()
    while not course.finished(place):
        allowed = course.following(place)
        if not isinstance(allowed, frozenset):
            allowed = frozenset(np.flatnonzero(allowed).tolist())
        if len(allowed) == 1:
            said += allowed
        else:
            scores = next_scores(denoiser, [*before, *said])
            said.append(max(sorted(allowed), key=lambda token: float(scores[token])))
        after = course.step(place, said[-1])
        assert after is not None
        place = after
    return tuple(said)


def greedy(denoiser: Denoiser, form: Form, before: Sequence[int]) -> tuple[int, ...]:
    """What exact must say; no object of it repeats a key."""
    found = decoded(denoiser, course(form), before)
    if not repeats(form, found):
        return found
    strictly = course(form).strictly
    assert strictly is not None
    return decoded(denoiser, strictly, before)


def repeats(form: Form, said: Sequence[int]) -> bool:
    (held,) = course(form).held(said)
    row = row_of(form, held)
    values = [(r.value, r.said(row)) for r in form.regions if isinstance(r, Region)]
    return any(
        value.repeats is not None and tokens is not None and value.repeats(tokens)
        for value, tokens in values
    )
