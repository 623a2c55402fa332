"""Plots as SVG: lines and points between two axes, as the documents show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

EDGE = 66  # pixels around the plot
COLOURS = ("#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#64748b")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        points: x and y, in the units of the axes.
        sizes: radius of each point in pixels; none for a bare line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    sizes: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """Where an axis begins and ends, and what is written along it.

    Attributes:
        marks: value -> its label.
    """

    title: str
    low: float
    high: float
    marks: dict[float, str] = field(default_factory=dict[float, str])

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def plot(
    title: str, lines: Sequence[Line], x: Axis, y: Axis, *,
    width: int = 460, height: int = 320, diagonal: bool = False,
) -> str:  # fmt: skip
    """The SVG of some lines, with a legend.

    Args:
        width, height: of what lies between the axes, in pixels.
        diagonal: whether x = y is drawn, for comparison.
    """

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return EDGE + x.share(point[0]) * width, EDGE + (1 - y.share(point[1])) * height

    whole, high = width + 2 * EDGE, height + 2 * EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {high}" '
        f'width="{whole}" height="{high}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{whole}" height="{high}" fill="white"/>',
        *_grid(x, y, width, height),
    ]
    if diagonal:
        parts.append(
            f'<path d="M{EDGE} {EDGE + height}L{EDGE + width} {EDGE}" stroke="#9ca3af" '
            'stroke-dasharray="4 4"/>'
        )
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(point) for point in line.points]
        path = "L".join(f"{left:.1f} {top:.1f}" for left, top in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{size:.1f}" fill="{colour}" '
            'fill-opacity="0.6"/>'
            for (left, top), size in zip(places, line.sizes, strict=False)
        ]
    return "\n".join([*parts, *_legend(lines, width, height), "</svg>"]) + "\n"


def _grid(x: Axis, y: Axis, width: int, height: int) -> list[str]:
    right, bottom = EDGE + width, EDGE + height
    parts: list[str] = []
    for value, label in x.marks.items():
        left = EDGE + x.share(value) * width
        parts += [
            f'<path d="M{left:.1f} {EDGE}V{bottom}" stroke="#e5e7eb"/>',
            f'<text x="{left:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#374151">'
            f"{label}</text>",
        ]
    for value, label in y.marks.items():
        top = EDGE + (1 - y.share(value)) * height
        parts += [
            f'<path d="M{EDGE} {top:.1f}H{right}" stroke="#e5e7eb"/>',
            f'<text x="{EDGE - 8}" y="{top + 4:.1f}" text-anchor="end" fill="#374151">'
            f"{label}</text>",
        ]
    middle = EDGE + height / 2
    parts += [
        f'<text x="{EDGE + width / 2}" y="{bottom + 40}" text-anchor="middle">'
        f"{escape(x.title)}</text>",
        f'<text x="14" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle})">{escape(y.title)}</text>',
    ]
    return parts


def _legend(lines: Sequence[Line], width: int, height: int) -> list[str]:
    """Names and colours above the plot, side by side."""
    parts: list[str] = []
    left = EDGE
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<circle cx="{left + 5}" cy="{EDGE - 22}" r="5" fill="{colour}"/>')
        parts.append(
            f'<text x="{left + 16}" y="{EDGE - 18}" fill="#111827">{escape(line.name)}</text>'
        )
        left += 34 + 7 * len(line.name)
    return parts
