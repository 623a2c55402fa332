"""What a denoiser is given: that it fits, and how the rows of one prefix lie in one sequence.

Knows prefixes, widths and cells. Must not know models.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from agentkit_engine.denoisers.base import Denoiser, Prefix
from agentkit_engine.errors import ContextTooLong, EngineError


def whole_context(
    denoiser: Denoiser, tokens: Sequence[int], prefix: Prefix | None
) -> tuple[int, ...]:
    """All tokens of a context that is to be encoded, as `Denoiser.encode` is given them.

    Raises:
        ContextTooLong, EngineError: as `Denoiser.encode` does.
    """
    if prefix is None and not tokens:
        raise EngineError("an empty context cannot be encoded; give at least one token")
    whole = (() if prefix is None else prefix.tokens) + tuple(tokens)
    require_room(denoiser, len(whole))
    return whole


def prefix_and_width(
    denoiser: Denoiser,
    prefix: Prefix | Sequence[Prefix],
    canvas: torch.Tensor,
    attend: torch.Tensor | None,
) -> tuple[list[Prefix], list[int]]:
    """The prefix and the width of each row, as `Denoiser.denoise` is given them.

    Raises:
        ContextTooLong, EngineError: as `Denoiser.denoise` does.
    """
    rows, width = canvas.shape
    if width > denoiser.canvas_length:
        raise EngineError(
            f"a canvas of {width} tokens is wider than the model's {denoiser.canvas_length}; "
            "fill fewer or narrower slots at a time"
        )
    prefixes = [prefix] * rows if isinstance(prefix, Prefix) else list(prefix)
    if len(prefixes) != rows:
        raise EngineError(
            f"{rows} rows came with {len(prefixes)} prefixes; give one for all or one for each"
        )
    widths: list[int] = [width] * rows if attend is None else attend.sum(-1).tolist()
    for row, used in zip(prefixes, widths, strict=True):
        require_room(denoiser, row.length + used)
    return prefixes, widths


def require_room(denoiser: Denoiser, needed: int) -> None:
    """Raises ContextTooLong where the model has fewer than `needed` positions."""
    if needed > denoiser.context_length:
        raise ContextTooLong(needed=needed, available=denoiser.context_length)


def pack(
    prefixes: Sequence[Prefix], attend: torch.Tensor | None, canvas: torch.Tensor
) -> tuple[list[Prefix], torch.Tensor]:
    """The distinct prefixes, and for each the cells of its rows: [prefixes, T], -1 behind them.

    A cell is counted through the canvas [B, W], row by row; on the CPU.
    """
    rows, width = canvas.shape
    members: dict[int, list[int]] = {}
    for row, prefix in enumerate(prefixes):
        members.setdefault(id(prefix), []).append(row)
    cells = torch.arange(rows * width).view(rows, width)
    seen = torch.ones_like(cells, dtype=torch.bool) if attend is None else attend.cpu()
    groups = [prefixes[found[0]] for found in members.values()]
    packed = [cells[found][seen[found]] for found in members.values()]
    return groups, pad_sequence(packed, batch_first=True, padding_value=-1)


def unpack(cells: torch.Tensor, count: int) -> torch.Tensor | None:
    """Where each of `count` cells went: [count], 0 for those that went nowhere.

    None where cell i went to place i, so that nothing needs to be moved.
    """
    flat = cells.flatten()
    if flat.numel() == count and bool((flat == torch.arange(count)).all()):
        return None
    back = torch.zeros(count, dtype=torch.long)
    used = flat >= 0
    back[flat[used]] = used.nonzero()[:, 0]
    return back
