"""Draws docs/calibration.svg: how often values of a confidence are right, on the embedded model.

A reliability curve over the arguments of calls that training never saw, verified and not:
`make docs`, or by itself for more turns, `python docs/calibration.py --turns 300`. The table it
prints ends with the expected calibration error, the mean distance of confidence and truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from plots import Axis, Line, plot
from rich.console import Console
from rich.table import Table

from agentkit_engine import Call, Engine, FillingOptions
from agentkit_engine.template import path_of
from agentkit_engine.training.evaluation.cases import cases
from agentkit_engine.training.evaluation.judging import decide
from agentkit_engine.training.evaluation.matching import same_json

HERE = Path(__file__).parent
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0)
MODES: dict[str, FillingOptions] = {
    "as denoised": {"verify": "off"},
    "verified": {"verify": "exact"},
}
PARTS = ("shipped", "fresh", "calls")  # of the corpus; none of them is trained on
SIZE = 360  # of the plot, in pixels

Pair = tuple[float, bool]


def judged(engine: Engine, options: FillingOptions, turns: int) -> Iterator[Pair]:
    """Confidence and truth of each argument, where the tool is the right one."""
    for name in PARTS:
        calling = (case for case in cases(name) if case.kind == "call")
        for case in islice(calling, turns):
            (expected,) = case.calls
            for call in decide(engine, case, **options).calls:
                if call.name == expected.name:
                    yield from _arguments(call, expected.arguments)


def _arguments(call: Call, expected: Any) -> Iterator[Pair]:
    for pointer, confidence in call.confidence.items():
        yield confidence, same_json(_at(call.arguments, pointer), _at(expected, pointer))


def _at(value: Any, pointer: str) -> Any:
    for part in path_of(pointer):
        try:
            value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, TypeError):
            return "nothing there"
    return value


def bins(pairs: Sequence[Pair]) -> list[tuple[int, float, float]]:
    """Those of like confidence: how many, their mean confidence, and the share that is right."""
    found: list[tuple[int, float, float]] = []
    for low, high in pairwise(EDGES):
        own = [pair for pair in pairs if low <= pair[0] < high or pair[0] == high == 1.0]
        if own:
            mean, right = (sum(column) / len(own) for column in zip(*own, strict=True))
            found.append((len(own), mean, right))
    return found


def drawn(curves: dict[str, list[tuple[int, float, float]]]) -> str:
    """The curves as SVG; a point's area says how many values it stands for."""
    lines = [
        Line(
            name,
            [(mean, right) for _, mean, right in points],
            [2 + 0.4 * count**0.5 for count, _, _ in points],
        )
        for name, points in curves.items()
    ]
    marks = {tenth / 10: str(tenth / 10) for tenth in range(0, 11, 2)}
    x, y = Axis("confidence", 0, 1, marks), Axis("share that is right", 0, 1, marks)
    title = "Confidence and truth of the embedded model's arguments"
    return plot(title, lines, x, y, width=SIZE, height=SIZE, diagonal=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=100, help="calls of each set")
    parser.add_argument("--checkpoint", default="embedded")
    arguments = parser.parse_args()
    engine = Engine.load(arguments.checkpoint)
    table = Table("", "values", "right", "calibration error")
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for name, options in MODES.items():
        pairs = list(judged(engine, options, arguments.turns))
        curves[name] = bins(pairs)
        error = sum(count * abs(mean - right) for count, mean, right in curves[name])
        right = sum(right for _, right in pairs) / len(pairs)
        table.add_row(name, str(len(pairs)), f"{right:.1%}", f"{error / len(pairs):.3f}")
    (HERE / "calibration.svg").write_text(drawn(curves), "utf-8")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
