"""The scheduler with the real DiffusionGemma class: each work gets what it would get alone."""

from __future__ import annotations

import threading

import anyio
import pytest
import torch
from tiny import VOCABULARY, tiny_model
from torch import Tensor

from agentkit_engine.denoisers import DiffusionGemmaDenoiser
from agentkit_engine.errors import ContextTooLong
from agentkit_engine.scheduling.scheduler import Scheduler
from agentkit_engine.scheduling.work import Work, denoise, encode, read, run_alone


def turn(seed: int, *, context: int, rows: int, width: int) -> Work[list[Tensor]]:
    """Three steps with self-conditioning, a pass over a row, a step behind what it read."""
    chance = torch.Generator().manual_seed(seed)

    def tokens(*shape: int) -> Tensor:
        return torch.randint(VOCABULARY, shape, generator=chance)

    prefix = yield from encode(tokens(context).tolist())
    widths = torch.randint(1, width + 1, (rows,), generator=chance)
    attend = torch.arange(width) < widths[:, None]
    attend[0] = True
    found: list[Tensor] = []
    for step in range(3):
        logits = yield from denoise(
            prefix, tokens(rows, width), attend=attend, previous=found[-1] if step else None
        )
        found.append(logits)
    reading = yield from read(prefix, tokens(2, 5).tolist())
    longer = reading.prefix(1)
    assert longer is not None
    last = yield from denoise(longer, tokens(1, width))
    return [*(logits[attend] for logits in found), reading.logits(0), last]


TURNS = [(20, 1, 24), (90, 2, 20), (3, 3, 30), (41, 1, 12), (60, 2, 48), (7, 1, 32)]


def works() -> list[Work[list[Tensor]]]:
    return [
        turn(seed, context=context, rows=rows, width=width)
        for seed, (context, rows, width) in enumerate(TURNS)
    ]


@pytest.mark.parametrize("window", [32, 512])
async def test_together_is_as_alone(window: int) -> None:
    denoiser = DiffusionGemmaDenoiser(tiny_model(window=window))
    scheduler = Scheduler(denoiser)
    found: dict[int, list[Tensor]] = {}
    all_here = threading.Event()

    def beginning_together(work: Work[list[Tensor]]) -> Work[list[Tensor]]:
        assert all_here.wait(60)
        return (yield from work)

    async def caller(number: int, work: Work[list[Tensor]]) -> None:
        found[number] = await scheduler.run(beginning_together(work))

    async with anyio.create_task_group() as group:
        for number, work in enumerate(works()):
            group.start_soon(caller, number, work)
        while scheduler.statistics.queue < len(TURNS):  # noqa: ASYNC110
            await anyio.sleep(0.001)
        all_here.set()
    for number, work in enumerate(works()):
        for together, alone in zip(found[number], run_alone(work, denoiser), strict=True):
            torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert scheduler.statistics.rows_per_denoise > 2
    assert scheduler.statistics.rows == sum(3 * rows + 1 for _, rows, _ in TURNS)
    scheduler.close()


async def test_a_context_too_long_is_one_callers_own_fault() -> None:
    denoiser = DiffusionGemmaDenoiser(tiny_model())
    scheduler = Scheduler(denoiser)
    found: list[object] = []

    def long() -> Work[Tensor]:
        prefix = yield from encode([5] * 500)
        return (yield from denoise(prefix, torch.zeros(1, 16, dtype=torch.long)))

    async def fails() -> None:
        with pytest.raises(ContextTooLong):
            await scheduler.run(long())

    async def succeeds() -> None:
        found.append(await scheduler.run(turn(1, context=4, rows=1, width=16)))

    async with anyio.create_task_group() as group:
        for caller in (fails, succeeds, fails, succeeds):
            group.start_soon(caller)
    assert len(found) == 2
    assert (scheduler.statistics.done, scheduler.statistics.failed) == (2, 2)
    scheduler.close()
