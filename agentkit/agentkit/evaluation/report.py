"""What an evaluation came to: figures with intervals, as a table in Markdown and as JSON.

Knows judgements. Must not know agents, nor terminals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from textwrap import shorten
from typing import Any

from agentkit.evaluation.judging import Judgement

_Z = 1.959964  # of the normal distribution, for 95 %
_ASKED = 200  # characters of a question
ALL = "all"
HEADINGS = (
    "right", "95 %", "runs", "tools", "calls", "answer", "errors", "turn ms", "p95", "forwards"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many, with the 95 % interval of the share, after Wilson."""

    right: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.right / self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The runs of one tag. tools, calls, answer: None where no case expected any.

    errors: runs that an error ended. median_ms, p95_ms: of a turn, with the tools it called;
    None where there was no turn. forwards: of a run, on average.
    """

    tag: str
    right: Share
    tools: Share | None
    calls: Share | None
    answer: Share | None
    errors: int
    median_ms: float | None
    p95_ms: float | None
    forwards: float


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the cases that were run; `planned` is how many were to be, repetitions too."""

    judgements: tuple[Judgement, ...]
    planned: int

    @property
    def right(self) -> float:
        """The share of runs that were right in all that was expected; 0 of none."""
        return fmean(one.right for one in self.judgements) if self.judgements else 0.0

    @property
    def failures(self) -> tuple[Judgement, ...]:
        """The runs that were not right."""
        return tuple(one for one in self.judgements if not one.right)

    def figures(self) -> list[Figure]:
        """Of all runs, and then of each tag, in the order of the cases; none where nothing ran."""
        tags = dict.fromkeys(tag for one in self.judgements for tag in one.case.tags)
        by_tag = {tag: [one for one in self.judgements if tag in one.case.tags] for tag in tags}
        return [
            _figure(tag, some) for tag, some in ({ALL: self.judgements} | by_tag).items() if some
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it, for other programs."""
        return {
            "planned": self.planned,
            "ran": len(self.judgements),
            "figures": list(map(asdict, self.figures())),
            "cases": [_told(one) for one in self.judgements],
        }

    def as_markdown(self) -> str:
        """A table of the figures, and below it what failed and how."""
        lines = [f"| | {' | '.join(HEADINGS)} |", f"|---|{'---:|' * len(HEADINGS)}"]
        for figure in self.figures():
            tag = figure.tag.replace("|", r"\|")
            lines.append(f"| {' | '.join([tag, *cells(figure)])} |")
        if len(self.judgements) < self.planned:
            lines += ["", f"Stopped after {len(self.judgements)} of {self.planned} runs."]
        if self.failures:
            lines += ["", "What failed:", ""]
        for one in self.failures:
            lines.append(f"- {title(one)}")
            lines += [f"  - {' '.join(why.split())}" for why in why_not(one)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.as_markdown()


def cells(figure: Figure) -> list[str]:
    """A figure as the table's cells, under `HEADINGS`, behind its tag."""
    shares = [figure.tools, figure.calls, figure.answer]
    times = [figure.median_ms, figure.p95_ms]
    return [
        f"{figure.right.share:.1%}",
        f"{100 * figure.right.low:.0f}–{100 * figure.right.high:.0f}",
        str(figure.right.total),
        *("–" if one is None else f"{one.share:.1%}" for one in shares),
        str(figure.errors),
        *("–" if one is None else f"{one:.{0 if one >= 100 else 1}f}" for one in times),
        f"{figure.forwards:.1f}",
    ]


def title(judgement: Judgement) -> str:
    """What a run is called, and what was asked, in a line."""
    again = f" (run {judgement.repetition})" if judgement.repetition > 1 else ""
    asked = shorten(judgement.case.question, _ASKED, placeholder="…")
    return f"{judgement.case.id}{again}: {asked}"


def why_not(judgement: Judgement) -> Sequence[str]:
    """What is wrong with a run, in words."""
    return [*([judgement.error] if judgement.error else []), *judgement.faults]


def share_of(right: int, total: int) -> Share:
    """A share with its interval, which also holds near 0 and 1; of nothing it is everything."""
    if not total:
        return Share(right=0, total=0, low=0.0, high=1.0)
    share, square = right / total, _Z * _Z
    middle = share + square / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    whole = 1 + square / total
    low, high = max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)
    return Share(right=right, total=total, low=low, high=high)


def _figure(tag: str, some: Sequence[Judgement]) -> Figure:
    turns = sorted(1000 * seconds for one in some for seconds in one.turns)
    return Figure(
        tag=tag,
        right=share_of(sum(one.right for one in some), len(some)),
        tools=_share([one.tools for one in some]),
        calls=_share([one.calls for one in some]),
        answer=_share([one.answer for one in some]),
        errors=sum(bool(one.error) for one in some),
        median_ms=median(turns) if turns else None,
        p95_ms=turns[math.ceil(0.95 * len(turns)) - 1] if turns else None,
        forwards=fmean(one.forwards for one in some),
    )


def _share(told: Sequence[bool | None]) -> Share | None:
    judged = [one for one in told if one is not None]
    return share_of(sum(judged), len(judged)) if judged else None


def _told(one: Judgement) -> dict[str, Any]:
    return {
        "id": one.case.id,
        "repetition": one.repetition,
        "tags": one.case.tags,
        "right": one.right,
        "tools": one.tools,
        "calls": one.calls,
        "answer": one.answer,
        "wrong": why_not(one),
        "turns_ms": [round(1000 * seconds, 3) for seconds in one.turns],
        "forwards": one.forwards,
    }
