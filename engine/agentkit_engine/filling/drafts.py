"""Drafts: what is told of rows on their way, where somebody listens.

Knows rows under way and how they look. Must not know turns, models, or who listens. What nobody
hears of is not worked out: all of this is asked for only when a draft is emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from agentkit_engine.filling.beliefs import Solved
from agentkit_engine.filling.denoise import Denoising
from agentkit_engine.filling.outcome import Call, Draft, DraftCall, DraftRow

__all__ = ["Reader", "Reads", "RowsReader", "drawn", "steady", "unread"]


@dataclass(frozen=True, slots=True)
class Reads:
    """What rows read as, as a `Draft` has it."""

    calls: tuple[Call | DraftCall, ...] = ()
    settled: int = 0
    answer: str | None = None
    said: str = ""

    @property
    def certain(self) -> Reads:
        """Only what stays as it is."""
        return Reads(self.calls[: self.settled], self.settled, said=self.said)


Reader: TypeAlias = Callable[[Solved | None], Reads]
"""Reads a row, of which that is certain that `verified.said` begins with; None is mere noise."""
RowsReader: TypeAlias = Callable[[Denoising | None], Reads]
"""Reads all rows of a denoising, likewise."""


def unread(_: object) -> Reads:
    """Tells nothing."""
    return Reads()


def steady(reads: Reads) -> RowsReader:
    """Reads the same in every row."""
    return lambda _: reads


def drawn(
    denoising: Denoising,
    rows: Sequence[int],
    *,
    text: Callable[[int], str],
    steps: tuple[int, int, int],
    reads: Reads,
) -> Draft:
    """A draft of some rows.

    Args:
        text: of a token, as a person reads it.
        steps: forwards before this denoising, its steps so far, and how many they may become.
    """
    first, done, most = steps
    found: list[DraftRow] = []
    for row in rows:
        tokens = denoising.filled(row).tokens if done else denoising.canvas(row)
        states = denoising.states(row, last=done == most)
        found.append(DraftRow(denoising.form(row).name, tuple(map(text, tokens)), tuple(states)))
    return Draft(
        step=first + done,
        steps=first + most,
        rows=tuple(found),
        calls=reads.calls,
        settled=reads.settled,
        answer=reads.answer,
        said=reads.said,
    )
