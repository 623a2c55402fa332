"""Decisions whose choices are told, all else being what the real model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from agentkit_engine import Engine
from agentkit_engine.contexts.context import Context
from agentkit_engine.denoisers import Denoiser
from agentkit_engine.filling.deciding import decide
from agentkit_engine.filling.outcome import Decision, OnDraft
from agentkit_engine.filling.settings import Batch, Settings
from agentkit_engine.filling.turn import Turn
from agentkit_engine.layouts.forms import Choice, Form
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.scheduling.work import run_alone
from agentkit_engine.template import Schema


class Choosing:
    """The real denoiser, but for what its choices fall on: option by option, choice by choice.

    A choice is known by how its row looks before the first step.
    """

    def __init__(self, engine: Engine, *choices: tuple[Form, Sequence[int]]) -> None:
        self._real: Denoiser = engine.runtime.denoiser
        self._mask = engine.runtime.checkpoint.tokens.mask
        self._choices = list(choices)

    def denoise(self, prefix: Any, canvas: torch.Tensor, **more: Any) -> torch.Tensor:
        logits = self._real.denoise(prefix, canvas, **more)
        if not self._choices or not self._begins(self._choices[0][0], canvas, more["attend"]):
            return logits
        form, numbers = self._choices.pop(0)
        logits = logits.clone()
        for region, number in zip(form.regions, numbers, strict=False):
            assert isinstance(region, Choice)
            option = region.sequences[number]
            for place, token in enumerate(option or (3,), region.start):  # 3 begins no option
                logits[0, place, token] = 60.0
        return logits

    def _begins(self, form: Form, canvas: torch.Tensor, attend: torch.Tensor) -> bool:
        blank = [self._mask if token is None else token for token in form.tokens]
        return int(attend[0].sum()) == form.width and canvas[0, : form.width].tolist() == blank

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def decided(
    engine: Engine,
    calls: dict[str, Schema],
    chosen: Sequence[Sequence[int]] = (),
    *,
    most: int = 1,
    left: Sequence[int] = (),
    answer: Schema | None = None,
    on_draft: OnDraft | None = None,
    batch: Batch | None = None,
    must_call: bool = False,
    layout: Layout = "slots",
    prompt: str = "hello",
    **options: Any,
) -> Decision:
    """A decision whose choices fall on `chosen`, numbers of calls; their number is an answer.

    left: how many calls each choice may name; by default one less each time.
    """
    runtime = engine.runtime
    context = Context(runtime.checkpoint.tokenizer, runtime.prefixes)
    run_alone(context.extend(prompt), runtime.denoiser)
    settings = Settings(layout=layout, **options)
    turn = Turn(runtime, context, settings, drafts=on_draft is not None)
    left = left or range(most, 0, -1)
    choices = [
        (runtime.turn_forms(calls, layout=layout, at_once=count)[0], numbers)
        for numbers, count in zip(chosen, left, strict=False)
    ]
    choosing: Any = Choosing(engine, *choices)
    work = decide(turn, calls, answer=answer, most=most, must_call=must_call, batch=batch)
    return run_alone(work, choosing, on_event=on_draft)
