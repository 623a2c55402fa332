"""Where the time of a run went: its spans as a table, as plain data, and as a picture.

Knows results. Must not know how a run is driven, nor how the picture is drawn: that is
`agentkit.observing.waterfall`. Imports rich only where rich prints it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.result import RunResult, Span

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

_LONGEST = 40  # characters of a name in a table
_COLUMNS = (
    "turn",
    "what",
    "started ms",
    "took ms",
    "forwards",
    "passes",
    "tokens",
    "confidence",
    "",
)
_LEFT = ("what", "")  # columns of words; the others are of figures


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One span of a run; None where there is no such figure.

    started_ms: since the run began. confidence: of the least certain value.
    """

    turn: int
    kind: str
    name: str
    started_ms: float
    took_ms: float
    forwards: int | None = None
    passes: int | None = None
    tokens: int | None = None
    confidence: float | None = None
    failed: bool = False

    @property
    def what(self) -> str:
        """Kind and name, indented below the turn."""
        if self.kind == "turn":
            return "turn"
        return f"  {self.kind}" if self.kind == "encode" else f"  {self.kind} {cut(self.name)}"


class Trace:
    """The spans of a run, in order of beginning: `print(result.trace())`."""

    def __init__(self, result: RunResult[Any]) -> None:
        self._result = result
        self.rows: tuple[TraceRow, ...] = tuple(
            _row(span, result.confidence) for span in in_order(result.spans)
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as JSON values."""
        return [asdict(row) for row in self.rows]

    def save(self, path: str | PathLike[str]) -> None:
        """Draw the run as a waterfall: an SVG file, which browsers and READMEs show.

        Raises:
            ValueError: the file's name does not end in .svg.
        """
        from agentkit.observing.waterfall import draw_waterfall

        if Path(path).suffix.lower() != ".svg":
            raise ValueError(f"a trace is saved as SVG, not as {fspath(path)!r}; name it *.svg")
        Path(path).write_text(draw_waterfall(self._result), encoding="utf-8")

    def __str__(self) -> str:
        cells = [_COLUMNS, *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if name in _LEFT else cell.rjust(width)
                for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([*lines, summary(self._result)])

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, caption=Text(summary(self._result)), caption_justify="left")
        for name in _COLUMNS:
            justify: JustifyMethod = "left" if name in _LEFT else "right"
            table.add_column(name, justify=justify, no_wrap=True)
        for row in self.rows:
            style = "red" if row.failed else "bold" if row.kind == "turn" else ""
            table.add_row(*map(Text, _cells(row)), style=style)
        return table


def in_order(spans: Sequence[Span]) -> list[Span]:
    """Spans in order of beginning; a turn before what it is made of."""
    return sorted(spans, key=lambda span: (span.turn, span.kind != "turn", span.started))


def summary(result: RunResult[Any]) -> str:
    """A run in one line."""
    counts = {
        "turn": result.turns,
        "call": len(result.calls),
        "forward": result.forwards,
        "pass": result.passes,
        "token": result.tokens,
    }
    figures = ", ".join(counted(count, noun) for noun, count in counts.items())
    return f"{result.agent}: {result.status} after {ms(seconds(result.spans))} ms; {figures}"


def counted(count: int, noun: str) -> str:
    """ "1 call", "2 calls", "0 passes"."""
    if count != 1:
        noun = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun}"


def seconds(spans: Sequence[Span]) -> float:
    """Until the last of them ended."""
    return max((span.started + span.seconds for span in spans), default=0.0)


def ms(value: float) -> str:
    """Seconds as milliseconds, to a tenth."""
    return f"{value * 1000:,.1f}"


def cut(name: str, longest: int = _LONGEST) -> str:
    """A name on one line, its end left out where it is too long."""
    name = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def lowest(span: Span, confidence: Mapping[str, Mapping[str, float]]) -> float | None:
    """The confidence of the least certain value of a span's calls."""
    shares: list[float] = []
    if span.decision is not None:
        shares = [share for call in span.decision.calls for share in call.confidence.values()]
    elif span.call is not None:
        shares = list(confidence.get(span.call.id, {}).values())
    return min(shares, default=None)


def _row(span: Span, confidence: Mapping[str, Mapping[str, float]]) -> TraceRow:
    decision = span.decision
    return TraceRow(
        turn=span.turn,
        kind=span.kind,
        name=span.name,
        started_ms=span.started * 1000,
        took_ms=span.seconds * 1000,
        forwards=None if decision is None else decision.forwards,
        passes=None if decision is None else decision.passes,
        tokens=None if decision is None else decision.tokens,
        confidence=lowest(span, confidence),
        failed=span.failed,
    )


def _cells(row: TraceRow) -> tuple[str, ...]:
    counts = (row.forwards, row.passes, row.tokens)
    return (
        str(row.turn),
        row.what,
        f"{row.started_ms:,.1f}",
        f"{row.took_ms:,.1f}",
        *("" if count is None else str(count) for count in counts),
        "" if row.confidence is None else f"{row.confidence:.2f}",
        "failed" if row.failed else "ok" if row.kind == "call" else "",
    )
