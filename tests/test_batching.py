"""Batches of denoise requests: who is compatible, and that each gets what it would get alone."""

from __future__ import annotations

from typing import Any

import torch
from fake_denoiser import VOCABULARY, FakeDenoiser
from torch import Tensor

from agentkit_engine.denoisers.base import Prefix
from agentkit_engine.scheduling.batching import Bounds, choose_batch, denoise_together
from agentkit_engine.scheduling.work import Denoise, answer


def request(
    width: int, *, rows: int = 1, guess: bool = False, prefix: Prefix | None = None
) -> Denoise:
    canvas = torch.randint(9, (rows, width))
    previous = torch.randn(rows, width, VOCABULARY) if guess else None
    attend = torch.rand(rows, width) < 0.8 if rows > 1 else None
    return Denoise(prefix or Prefix((width, rows), None), canvas, attend, previous)


def chosen(
    *requests: Denoise, rows: int = 99, positions: int = 9999, context: int = 9999
) -> list[int]:
    return choose_batch(requests, Bounds(rows=rows, positions=positions, context=context))


def test_widths_with_the_same_power_of_two_above_are_compatible() -> None:
    widths = [1, 16, 17, 8, 32, 33, 15]
    assert chosen(*map(request, widths)) == [0, 1, 3, 6]
    assert chosen(*map(request, widths[2:])) == [0, 2]
    assert chosen(*map(request, [33, 64, 65])) == [0, 1]


def test_the_first_step_goes_apart_from_later_ones() -> None:
    first, later = request(8), request(8, guess=True)
    assert chosen(first, later, first) == [0, 2]
    assert chosen(later, first, later) == [0, 2]


def test_a_forward_has_bounds_and_the_oldest_goes_in_any_case() -> None:
    assert chosen(*[request(8, rows=3)] * 4, rows=9) == [0, 1, 2]
    assert chosen(*[request(8, rows=3)] * 4, rows=2) == [0]
    assert chosen(*[request(8, rows=3)] * 4, positions=50) == [0, 1]
    assert chosen(request(8, rows=2), request(16, rows=2), request(8), positions=50) == [0, 2]


def test_prefixes_are_counted_as_long_as_the_longest_and_shared_ones_once() -> None:
    short, long = Prefix((1,) * 10, None), Prefix((1,) * 100, None)
    ours = [request(8, prefix=prefix) for prefix in (short, long, short, Prefix((2,), None), long)]
    assert chosen(*ours, context=200) == [0, 1, 2, 4]
    assert chosen(*ours, context=199) == [0, 2, 3]
    assert chosen(*ours, context=1) == [0, 2]


def check(requests: list[Denoise]) -> None:
    denoiser = FakeDenoiser()
    together = denoise_together(requests, denoiser)
    assert len(denoiser.forwards) == 1
    for found, one in zip(together, requests, strict=True):
        alone: Tensor = answer(one, denoiser)
        torch.testing.assert_close(found, alone)


def test_each_request_gets_what_it_would_get_alone() -> None:
    torch.manual_seed(0)
    for guess in (False, True):
        check([request(width, rows=rows, guess=guess) for width, rows in [(5, 2), (9, 1), (7, 4)]])
        check([request(9, guess=guess) for _ in range(3)])


def test_a_prefix_that_all_share_is_given_once() -> None:
    class Shared(FakeDenoiser):
        def denoise(self, prefix: Any, canvas: Tensor, **options: Any) -> Tensor:
            seen.append(prefix)
            return super().denoise(prefix, canvas, **options)

    seen: list[object] = []
    prefix, other = Prefix((1,), None), Prefix((1,), None)
    denoise_together([request(4, prefix=prefix, rows=2), request(4, prefix=prefix)], Shared())
    denoise_together([request(4, prefix=prefix, rows=2), request(4, prefix=other)], Shared())
    assert seen == [prefix, [prefix, prefix, other]]
