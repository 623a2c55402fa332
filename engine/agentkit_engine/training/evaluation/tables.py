"""Figures of an evaluation: as tables on a terminal, as JSON for other programs, and the progress
until there are any.

Knows tallies. Must not know engines, nor where cases come from.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentkit_engine.training.evaluation.judging import Count, Tally

T = TypeVar("T")

_Z = 1.959964  # of the normal distribution, for 95 %
_TOLD_TROUBLES = 12  # of each set; JSON has all
_EVERY = {True: 0.2, False: 15.0}  # seconds between reports, on a terminal or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a table.

    Attributes:
        name: of the set, or of the case file and its category.
        mode: the layout and how it was verified.
        low, high: the 95 % interval of the share, after Wilson.
        forwards, passes, elapsed_ms: means over the cases that ran; None where none did.
    """

    name: str
    what: str
    mode: str
    right: int
    total: int
    low: float
    high: float
    forwards: float | None
    passes: float | None
    elapsed_ms: float | None


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, also where it is near 0 or 1; of nothing it is everything."""
    if not total:
        return 0.0, 1.0
    share, square = right / total, _Z * _Z
    middle = share + square / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    whole = 1 + square / total
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def figures(name: str, tallies: Mapping[str, Tally]) -> list[Figure]:
    """All that the modes came to, by what was asked."""
    asked = dict.fromkeys(what for tally in tallies.values() for what in tally.counts)
    first = {what.partition(", of ")[0]: place for place, what in reversed([*enumerate(asked)])}
    asked = dict.fromkeys(sorted(asked, key=lambda what: (first[what.partition(", of ")[0]], what)))
    return [
        _figure(name, what, mode, tally.counts[what])
        for what in asked
        for mode, tally in tallies.items()
        if what in tally.counts
    ]


def _figure(name: str, what: str, mode: str, count: Count) -> Figure:
    low, high = wilson(count.right, count.total)
    forwards, passes, seconds = (
        spent / count.ran if count.ran else None
        for spent in (count.forwards, count.passes, count.seconds)
    )
    return Figure(
        name=name, what=what, mode=mode, right=count.right, total=count.total, low=low, high=high,
        forwards=forwards, passes=passes, elapsed_ms=None if seconds is None else seconds * 1000,
    )  # fmt: skip


def show(title: str, tallies: Mapping[str, Tally], found: Sequence[Figure]) -> None:
    """Prints a table, and why some cases could not be run."""
    table = Table(
        "what",
        "decided by",
        "right",
        "95 %",
        "cases",
        "forwards",
        "passes",
        "ms",
        title=escape(title),
    )
    previous = ""
    for one in found:
        share = f"{one.right / one.total:.1%}"
        means = (one.forwards, one.passes, one.elapsed_ms)
        spent = (("–" if mean is None else f"{mean:.{digits}f}")
                 for mean, digits in zip(means, (2, 2, 1), strict=True))  # fmt: skip
        what = "" if one.what == previous else one.what
        previous = one.what
        interval = f"{100 * one.low:.1f} to {100 * one.high:.1f}"
        table.add_row(what, one.mode, share, interval, str(one.total), *spent)
    console = Console(width=110, highlight=False)
    console.print(table)
    for mode, tally in tallies.items():
        if not tally.troubles:
            continue
        console.print(f"{mode}: {len(tally.troubles)} could not be run and count as wrong")
        for case, why in tally.troubles[:_TOLD_TROUBLES]:
            console.print(f"  {case}: {why}" if case else f"  {why}", markup=False)
        if len(tally.troubles) > _TOLD_TROUBLES:
            console.print(f"  … and {len(tally.troubles) - _TOLD_TROUBLES} more; see --json")


def write(
    path: Path, found: Sequence[Figure], tallies: Mapping[str, Mapping[str, Tally]], **about: Any
) -> None:
    """Writes all figures as JSON.

    Args:
        tallies: by the name of the set.
        about: what else to say, of the run as a whole.
    """
    troubles = [
        {"name": name, "mode": mode, "id": case, "reason": why}
        for name, modes in tallies.items()
        for mode, tally in modes.items()
        for case, why in tally.troubles
    ]
    told = about | {"figures": [asdict(one) for one in found], "troubles": troubles}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def watched(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """The items, and on stderr how many have gone through, at what rate."""
    terminal = sys.stderr.isatty()
    began = told = time.monotonic()
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - told >= _EVERY[terminal]:
            told = now
            _report(label, number, total, now - began, terminal=terminal)
    _report(label, number, total, time.monotonic() - began, terminal=terminal)
    if terminal:
        print(file=sys.stderr)


def _report(label: str, number: int, total: int, seconds: float, *, terminal: bool) -> None:
    rate = number / seconds if seconds else 0.0
    left = f"{(total - number) / rate:.0f} s left" if rate and number < total else "done"
    text = f"{label}: {number}/{total}, {rate:.1f} cases/s, {left}"
    if terminal:
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
