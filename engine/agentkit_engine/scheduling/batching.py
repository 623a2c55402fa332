"""Batching: denoise requests of several works as the rows of one forward.

Knows requests and tensors. Must not know works, threads or who waits for what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentkit_engine.denoisers.base import Denoiser
from agentkit_engine.scheduling.work import Denoise

_NARROWEST = 16  # canvases up to this wide are not told apart


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much goes into one forward. A request that is beyond them has a forward of its own.

    Attributes:
        rows: canvases.
        positions: canvases times the width of the widest.
        context: different prefixes times the length of the longest, as a model may pad them.
    """

    rows: int
    positions: int
    context: int


def choose_batch(requests: Sequence[Denoise], bounds: Bounds) -> list[int]:
    """Which of `requests`, oldest first, go into the next forward.

    The oldest does in any case, and after it each that is compatible and still fits: one whose
    width has the same power of two above it, and that has logits of a step before or has none, as
    the oldest.

    Returns:
        Indices into `requests`, ascending.
    """
    first = requests[0]
    chosen = [0]
    rows, width = first.canvas.shape
    prefixes = {id(first.prefix): first.prefix.length}
    for index, request in enumerate(requests[1:], start=1):
        if rows >= bounds.rows:
            break
        if _kind(request) != _kind(first):
            continue
        with_it = rows + len(request.canvas)
        widest = max(width, request.canvas.shape[1])
        others = prefixes | {id(request.prefix): request.prefix.length}
        padded = len(others) * max(others.values())
        if (
            with_it <= bounds.rows
            and with_it * widest <= bounds.positions
            and (len(others) == 1 or padded <= bounds.context)
        ):
            chosen.append(index)
            rows, width, prefixes = with_it, widest, others
    return chosen


def denoise_together(requests: Sequence[Denoise], denoiser: Denoiser) -> list[Tensor]:
    """The logits [B, W, V] of each request, by one forward over the rows of all.

    They are views of one tensor.

    Args:
        requests: compatible ones, as `choose_batch` chooses them.
    """
    width = max(request.canvas.shape[1] for request in requests)
    sizes = [len(request.canvas) for request in requests]
    prefixes = [
        request.prefix for request, rows in zip(requests, sizes, strict=True) for _ in range(rows)
    ]
    shared = all(prefix is prefixes[0] for prefix in prefixes)
    logits = denoiser.denoise(
        prefixes[0] if shared else prefixes,
        _rows([request.canvas for request in requests], width, denoiser.device),
        attend=_attend(requests, width, denoiser.device),
        previous=_previous(requests, width, denoiser.device),
    )
    return [
        part[:, : request.canvas.shape[1]]
        for part, request in zip(logits.split(sizes), requests, strict=True)
    ]


def positions(request: Denoise) -> int:
    """How many positions of a request are no padding."""
    return request.canvas.numel() if request.attend is None else int(request.attend.sum())


def _kind(request: Denoise) -> tuple[int, bool]:
    width = max(request.canvas.shape[1], _NARROWEST)
    return (width - 1).bit_length(), request.previous is None


def _attend(requests: Sequence[Denoise], width: int, device: torch.device) -> Tensor | None:
    if all(request.attend is None and request.canvas.shape[1] == width for request in requests):
        return None
    parts = [
        torch.ones_like(request.canvas, dtype=torch.bool)
        if request.attend is None
        else request.attend
        for request in requests
    ]
    return _rows(parts, width, device)


def _previous(requests: Sequence[Denoise], width: int, device: torch.device) -> Tensor | None:
    parts = [request.previous for request in requests if request.previous is not None]
    return _rows(parts, width, device) if parts else None


def _rows(parts: Sequence[Tensor], width: int, device: torch.device) -> Tensor:
    """The rows of all parts, [B, width, ...]: copied once, zeros (False) behind narrower ones."""
    first, rows = parts[0], sum(map(len, parts))
    joined = torch.zeros((rows, width, *first.shape[2:]), dtype=first.dtype, device=device)
    for place, part in zip(joined.split([len(part) for part in parts]), parts, strict=True):
        place[:, : part.shape[1]] = part
    return joined
