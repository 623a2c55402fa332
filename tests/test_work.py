"""Works: generators that ask for forwards, driven alone."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch
from fake_denoiser import POISON, FakeDenoiser, Poisoned, behind, steps

from agentkit_engine.denoisers.base import Prefix, Reading
from agentkit_engine.scheduling.work import (
    Denoise,
    Emit,
    Encode,
    Read,
    Request,
    Work,
    denoise,
    emit,
    encode,
    read,
    run_alone,
)


def test_a_work_asks_and_is_answered() -> None:
    denoiser = FakeDenoiser()

    def work() -> Work[tuple[int, ...]]:
        prefix = yield from encode([1, 2])
        longer = yield from encode((3,), prefix)
        logits = yield from denoise(longer, torch.zeros(2, 4, dtype=torch.long))
        assert logits.shape == (2, 4, denoiser.vocab_size)
        reading: Reading = yield from read(longer, [[4, 5], [6]])
        kept = reading.prefix(0)
        assert kept is not None
        return kept.tokens

    assert run_alone(work(), denoiser) == (1, 2, 3, 4, 5)
    assert [forward.kind for forward in denoiser.forwards] == [
        "encode", "encode", "denoise", "read",
    ]  # fmt: skip


def test_requests_carry_what_was_asked_for() -> None:
    prefix, canvas = Prefix((1,), None), torch.zeros(1, 2, dtype=torch.long)
    attend, previous = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, 3)

    def request(work: Generator[Request, Any, Any]) -> Any:
        return next(work)

    asked = request(encode([1, 2], prefix))
    assert isinstance(asked, Encode)
    assert (asked.tokens, asked.prefix) == ((1, 2), prefix)
    asked = request(read(prefix, [[1], []]))
    assert isinstance(asked, Read)
    assert (asked.prefix, asked.rows) == (prefix, ((1,), ()))
    asked = request(denoise(prefix, canvas, attend=attend, previous=previous))
    assert isinstance(asked, Denoise)
    assert asked.canvas is canvas
    assert asked.attend is attend
    assert asked.previous is previous
    asked = request(emit("seen"))
    assert isinstance(asked, Emit)
    assert asked.event == "seen"


def test_what_the_model_raises_is_raised_at_the_request() -> None:
    def mended() -> Work[str]:
        try:
            yield from behind(1, 1, first=POISON)
        except Poisoned:
            yield from behind(1, 1)
            return "mended"
        return "not poisoned"

    assert run_alone(mended(), FakeDenoiser()) == "mended"
    with pytest.raises(Poisoned):
        run_alone(behind(1, 1, first=POISON), FakeDenoiser())


def test_events_come_in_order_and_may_be_ignored() -> None:
    seen: list[Any] = []
    value = run_alone(steps(7, 3), FakeDenoiser(), on_event=seen.append)
    assert seen == [(7, 0), (7, 1), (7, 2)]
    assert run_alone(steps(7, 3), FakeDenoiser()) == value


def test_a_work_is_closed_when_its_caller_fails() -> None:
    alive: set[int] = set()

    def refuse(event: Any) -> None:
        assert alive == {7}
        raise ValueError(event)

    with pytest.raises(ValueError, match="7, 0"):
        run_alone(steps(7, 3, alive=alive), FakeDenoiser(), on_event=refuse)
    assert not alive
