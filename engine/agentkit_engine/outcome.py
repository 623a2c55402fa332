"""What a session gives back: fillings, decisions, and the drafts on the way to them.

Knows nothing but their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

CellState: TypeAlias = Literal["pinned", "noise", "draft", "settled"]


@dataclass(frozen=True, slots=True)
class DraftRow:
    """One row of a draft: the text and state of each position."""

    name: str
    texts: tuple[str, ...]
    states: tuple[CellState, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """The rows after `step` of `steps` decoder forwards; step 0 is the noise they start from."""

    step: int
    steps: int
    rows: tuple[DraftRow, ...]


OnDraft: TypeAlias = Callable[[Draft], None]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by phase; `encode` is that of the context since the last filling."""

    encode: float = 0.0
    denoise: float = 0.0
    lattice: float = 0.0


@dataclass(frozen=True, slots=True)
class Filling:
    """A filled template.

    Attributes:
        value: the Python value (of a choice, pattern or text: the string).
        text: the value as text; JSON for a schema.
        forwards: decoder forwards run.
        confidence: JSON pointer of each value -> its posterior probability under the constraint.
        elapsed: seconds, the encoding of the context not included.
        tokens: positions that were filled.
        timings: seconds by phase.
    """

    value: Any
    text: str
    forwards: int
    confidence: Mapping[str, float]
    elapsed: float
    tokens: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class Decision:
    """Which call is made and with what, or the answer; from one batch of rows.

    Attributes:
        name: the chosen call; None for an answer.
        value: its arguments, or the answer's text.
        choice: name -> probability; answering stands under "".
        confidence: JSON pointer of each argument -> its posterior probability.
        forwards: decoder forwards run.
        tokens: positions filled in the choice and in the chosen row.
    """

    name: str | None
    value: Any
    choice: Mapping[str, float]
    confidence: Mapping[str, float]
    forwards: int
    elapsed: float
    tokens: int
    timings: Timings
