"""Free-form denoising: the whole call on an open canvas, without template or constraint.

What a diffusion model does when nothing holds it: each position becomes its likeliest token, those
first that are surest. Whether a call comes out, and of a declared tool, is up to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agentkit_engine import Engine
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.errors import TemplateError

WIDTH = 64
SURE = 0.1  # nats: positions are accepted while their entropies add up to no more


@torch.inference_mode()
def free_form(
    engine: Engine,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    *,
    steps: int,
) -> tuple[str, Any] | None:
    """The call that comes out of at most `steps` forwards; None where none does.

    Args:
        messages, tools: as chat templates take them.
    """
    runtime = engine.runtime
    dialect, tokens = runtime.checkpoint.dialect, runtime.checkpoint.tokens
    prefix = runtime.denoiser.encode(render_prompt(runtime.checkpoint.tokenizer, messages, tools))
    device = runtime.denoiser.device
    start = tokens.mask
    assert start is not None  # of the checkpoints that are compared here
    canvas = torch.full((1, WIDTH), start, device=device)
    previous: torch.Tensor | None = None
    for step in range(steps):
        previous = runtime.denoiser.denoise(prefix, canvas, previous=previous)
        logs = previous[0].log_softmax(-1)
        entropies, order = (-(logs.exp() * logs).sum(-1)).sort()
        accepted = int(((entropies.cumsum(0) - entropies) <= SURE).sum())
        least = -(-WIDTH * (step + 1) // steps)
        kept = order[: max(accepted, least)]
        canvas = torch.full((1, WIDTH), start, device=device)
        canvas[0, kept] = logs.argmax(-1)[kept]
    tokenizer: Any = runtime.checkpoint.tokenizer
    text = str(tokenizer.decode(canvas[0]))
    return _parsed(text, engine, dialect.call_open, dialect.call_close)


def _parsed(text: str, engine: Engine, opening: str, closing: str) -> tuple[str, Any] | None:
    syntax = engine.runtime.syntax
    if not text.startswith(opening) or closing not in text:
        return None
    name, brace, rest = text[len(opening) : text.index(closing)].partition("{")
    written = (brace + rest).encode()
    for byte, token in syntax.symbols.items():
        written = written.replace(token.encode(), bytes([byte]))
    try:
        return name, syntax.loads(written)
    except TemplateError:  # it is not Gemma's notation
        return None
