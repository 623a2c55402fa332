"""Draws a run as a waterfall: turns as bands, decisions by phase, calls below each other.

The picture is an SVG text that needs nothing: no script, no font, no other file. It reads on light
and on dark ground, and its size is bounded however long the run was. Knows results and spans; must
not know how a run is driven, nor what is left out of a long one: `agentkit.observing.lanes` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

from agentkit.observing.lanes import (
    LANE,
    PAD,
    Lane,
    Piece,
    TurnShown,
    TurnsLeftOut,
    bands_of,
    turns_of,
)
from agentkit.observing.trace import counted, cut, ms, summary
from agentkit.result import RunResult

_WIDTH, _LEFT, _RIGHT = 960, 270, 846  # the picture, and where the bars begin and end
_BAR, _GAP = 11, 16  # how high a bar is, and how wide a break in time
_TOP = 84  # where the first band begins
_LEGEND = (
    ("encode", "encode"),
    ("denoise", "denoise"),
    ("verify", "verify"),
    ("lattice", "lattice"),
    ("other", "rest of a decision"),
    ("call", "call"),
    ("failed", "call that failed"),
)
_STYLE = """
text{font:11px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2937}
.head{font-size:14px;font-weight:600}.turn{font-weight:600}.end{text-anchor:end}
.mid{text-anchor:middle}.soft{fill:#6b7280}.bad{fill:#b91c1c}
.ground{fill:#ffffff}.band{fill:#f3f4f6}.line{stroke:#d1d5db}
.gap{stroke:#9ca3af;stroke-dasharray:2 3}
.encode{fill:#64748b}.denoise{fill:#2563eb}.verify{fill:#9333ea}.lattice{fill:#d97706}
.other{fill:#cbd5e1}.call{fill:#059669}.failed{fill:url(#trace-hatch)}
.red{fill:#dc2626}.pale{stroke:#fecaca}
@media (prefers-color-scheme:dark){
text{fill:#e5e7eb}.soft{fill:#9ca3af}.bad{fill:#fca5a5}
.ground{fill:#0d1117}.band{fill:#161b22}.line{stroke:#30363d}.gap{stroke:#6b7280}
.encode{fill:#94a3b8}.denoise{fill:#60a5fa}.verify{fill:#c084fc}.lattice{fill:#fbbf24}
.other{fill:#475569}.call{fill:#34d399}.red{fill:#f87171}.pale{stroke:#7f1d1d}
}
"""
_HATCH = (
    '<pattern id="trace-hatch" width="5" height="5" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><rect class="red" width="5" height="5"/>'
    '<path class="pale" d="M0 0V5" stroke-width="3"/></pattern>'
)


def draw_waterfall(result: RunResult[Any]) -> str:
    """The picture of a run, as the text of an SVG file."""
    turns = turns_of(result)
    bands = bands_of(turns)
    shown = [band for band in bands if isinstance(band, TurnShown)]
    scale = _Scale.of(shown)
    tops = [_TOP]
    for band in bands:
        tops.append(tops[-1] + band.height)
    bottom = tops.pop()
    placed = [*zip(bands, tops, strict=True)]
    size = f'viewBox="0 0 {_WIDTH} {bottom + 12}" width="{_WIDTH}" height="{bottom + 12}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"'
            ' aria-labelledby="trace-title trace-description">',
            f'<title id="trace-title">{_text(f"Trace of a run of {result.agent}")}</title>',
            f'<desc id="trace-description">{_text(_described(result, turns))}</desc>',
            f"<style>{_STYLE}</style><defs>{_HATCH}</defs>",
            '<rect class="ground" width="100%" height="100%"/>',
            *_header(result, len(turns) - len(shown)),
            *(_ground(band, top) for band, top in placed),
            *_axis(scale, bottom),
            *(line for band, top in placed for line in _band(band, top, scale)),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Seconds -> x. Where turns are left out, their time is a gap of fixed width.

    stretches: the time that is shown, from and to, and the x it begins at.
    """

    stretches: tuple[tuple[float, float, float], ...]
    pixels: float

    @classmethod
    def of(cls, turns: Sequence[TurnShown]) -> _Scale:
        spans: list[tuple[float, float]] = []
        previous = None
        for turn in turns:
            if previous is not None and turn.number == previous + 1:
                spans[-1] = (spans[-1][0], max(turn.ended, spans[-1][1]))
            else:
                spans.append((turn.started, turn.ended))
            previous = turn.number
        shown = sum(to - since for since, to in spans)
        if spans and spans[0][0] <= shown / 4:  # unless a model was loaded first, say
            shown += spans[0][0]
            spans[0] = (0.0, spans[0][1])
        room = _RIGHT - _LEFT - _GAP * max(len(spans) - 1, 0)
        pixels = room / shown if shown else 0.0
        stretches: list[tuple[float, float, float]] = []
        x = float(_LEFT)
        for since, to in spans:
            stretches.append((since, to, x))
            x += (to - since) * pixels + _GAP
        return cls(tuple(stretches), pixels)

    def x(self, at: float) -> float:
        since, to, x = next(
            (some for some in reversed(self.stretches) if some[0] <= at), self.stretches[0]
        )
        return x + (min(max(at, since), to) - since) * self.pixels

    @property
    def breaks(self) -> list[float]:
        """The middle of each gap."""
        return [x - _GAP / 2 for _, _, x in self.stretches[1:]]

    def ticks(self) -> list[float]:
        """Round times, at the least 80 pixels from each other where time is not broken."""
        if not self.pixels:
            return [0.0] if self.stretches else []
        least = 80 / self.pixels
        power = 10.0 ** floor(log10(least))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
        ticks: list[float] = []
        for since, to, _ in self.stretches:
            number = -floor(-since / step)
            while number * step <= to:
                if not ticks or self.x(number * step) - self.x(ticks[-1]) >= 56:
                    ticks.append(number * step)
                number += 1
        return ticks


def _header(result: RunResult[Any], left_out: int) -> Iterable[str]:
    yield f'<text class="head" x="14" y="24">{_text(cut(summary(result), 112))}</text>'
    x = 14.0
    for style, name in _LEGEND:
        yield f'<rect class="{style}" x="{x:.1f}" y="37" width="11" height="11" rx="2"/>'
        yield f'<text x="{x + 16:.1f}" y="47">{name}</text>'
        x += 36 + 5.7 * len(name)
    if left_out:
        said = f"{left_out} of {counted(result.turns, 'turn')} left out"
        yield f'<text class="soft end" x="{_WIDTH - 14}" y="47">{said}</text>'


def _axis(scale: _Scale, bottom: int) -> Iterable[str]:
    ticks = scale.ticks()
    apart = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = max(0, min(3, -floor(log10(apart * 1000))))
    for tick in ticks:
        x = scale.x(tick)
        yield f'<path class="line" d="M{x:.1f} {_TOP - 8}V{bottom}"/>'
        yield f'<text class="soft mid" x="{x:.1f}" y="{_TOP - 13}">{tick * 1000:,.{digits}f}</text>'
    yield f'<text class="soft end" x="{_WIDTH - 14}" y="{_TOP - 13}">ms</text>'
    for x in scale.breaks:
        yield f'<path class="gap" d="M{x:.1f} {_TOP - 8}V{bottom}"/>'


def _ground(band: TurnShown | TurnsLeftOut, top: int) -> str:
    style = "band" if isinstance(band, TurnShown) else "ground"
    size = f'width="{_WIDTH - 12}" height="{band.height - 2}"'
    return f'<rect class="{style}" x="6" y="{top + 1}" {size} rx="4"/>'


def _band(band: TurnShown | TurnsLeftOut, top: int, scale: _Scale) -> Iterable[str]:
    if isinstance(band, TurnsLeftOut):
        yield f'<text class="soft" x="14" y="{top + 13}">{_text(_said(band))}</text>'
        return
    yield f'<text class="turn" x="14" y="{top + PAD + 13}">turn {band.number}</text>'
    for number, lane in enumerate(band.lanes):
        yield from _lane(lane, top + PAD + number * LANE, scale)
    if band.more:
        y = top + PAD + len(band.lanes) * LANE + 13
        yield f'<text class="soft" x="82" y="{y}">{_text(band.more)}</text>'


def _lane(lane: Lane, top: int, scale: _Scale) -> Iterable[str]:
    bad = " bad" if lane.failed else ""
    yield f"<g><title>{_text(lane.tip)}</title>"
    yield f'<text class="name{bad}" x="82" y="{top + 13}">{_text(cut(lane.label, 28))}</text>'
    for x, width, style in _bars(lane.pieces, scale):
        place = f'x="{x:.1f}" y="{top + 4}" width="{width:.1f}" height="{_BAR}"'
        yield f'<rect class="{style}" {place}/>'
    took = f"failed {ms(lane.seconds)}" if lane.failed else ms(lane.seconds)
    yield f'<text class="end{bad}" x="{_WIDTH - 14}" y="{top + 13}">{took}</text></g>'


def _bars(pieces: Sequence[Piece], scale: _Scale) -> list[tuple[float, float, str]]:
    """Where the pieces of a lane begin, and how wide they are."""
    placed = [
        (scale.x(piece.started), scale.x(piece.started + piece.seconds), piece.style)
        for piece in pieces
    ]
    bars = [(x, to - x, style) for x, to, style in placed if to - x >= 0.5]
    if placed and sum(width for _, width, _ in bars) < 2:  # too short to be seen as it is
        x, _, style = max(placed, key=lambda piece: piece[1] - piece[0])
        bars = [(min(x, _RIGHT - 2.0), 2.0, style)]
    return bars


def _said(band: TurnsLeftOut) -> str:
    first, last = band.turns[0], band.turns[-1]
    names = f"turn {first.number}" if first is last else f"turns {first.number} to {last.number}"
    failed = sum(turn.failed for turn in band.turns)
    said = f", {failed} with failures" if failed else ""
    return f"{names} left out ({ms(last.ended - first.started)} ms{said})"


def _described(result: RunResult[Any], turns: Sequence[TurnShown]) -> str:
    """The picture in words."""
    lines = [f"{summary(result)}."]
    slowest = max(turns, key=lambda turn: turn.ended - turn.started, default=None)
    if slowest is None:
        return f"{lines[0]} Nothing of it was timed."
    lines.append(f"The slowest is turn {slowest.number}.")
    failed = [str(turn.number) for turn in turns if turn.failed]
    if failed:
        lines.append(f"Calls failed in {counted(len(failed), 'turn')}: {', '.join(failed[:20])}.")
    return " ".join(lines)


def _text(text: str) -> str:
    """Text as XML can have it."""
    return escape(cut(text, len(text)))
