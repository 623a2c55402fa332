"""Draws docs/accuracy.svg and docs/training.svg of the embedded checkpoint.

The first: how many calls of held-out tools are exactly right after 1, 2, 4 and 8 denoise steps, in
slots, as constrained running text (float), and free-form, with nothing to hold the model. The
second: the loss as it fell in training. `make docs`, or by itself, and sooner than in half an hour
with fewer calls: `python docs/accuracy.py --count 100`.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import Any

from free_form import free_form
from plots import Axis, Line, plot
from rich.console import Console
from rich.table import Table

from agentkit_engine import DecidingOptions, Engine
from agentkit_engine.training.evaluation.cases import cases
from agentkit_engine.training.evaluation.judging import outcomes
from agentkit_engine.training.evaluation.matching import Called, same_calls
from agentkit_engine.training.evaluation.tables import watched
from agentkit_engine.training.export import embedded_folder

HERE = Path(__file__).parent

STEPS = (1, 2, 4, 8)
SMOOTHED = 20  # lines of the log that a point of the curve is the mean of


def modes() -> dict[str, DecidingOptions]:
    """The ways that are compared, but for the free one."""
    found: dict[str, DecidingOptions] = {}
    for steps in STEPS:
        for name, layout in (("slots", "slots"), ("float, constrained", "float")):
            options: Any = {"verify": "off", "layout": layout, "steps": steps}
            found[f"{name}/{steps}"] = options
    return found


def shares(engine: Engine, count: int) -> dict[str, list[tuple[float, float]]]:
    """Way -> points of steps and the share of calls that are exactly right."""
    right: dict[str, int] = {}
    for case in watched(islice(cases("calls"), count), "accuracy", count):
        for mode, found in outcomes(engine, case, modes()):
            made = [Called(call.name, call.arguments) for call in getattr(found, "calls", ())]
            right[mode] = right.get(mode, 0) + same_calls(made, case.calls)
        for steps in STEPS:
            said = free_form(engine, case.messages, case.tools, steps=steps)
            mode = f"free-form/{steps}"
            made = [] if said is None else [Called(*said)]
            right[mode] = right.get(mode, 0) + same_calls(made, case.calls)
    points: dict[str, list[tuple[float, float]]] = {}
    for mode, good in right.items():
        name, _, number = mode.partition("/")
        points.setdefault(name, []).append((float(number), good / count))
    return {name: sorted(found) for name, found in points.items()}


def curves(log: Path) -> list[Line]:
    """The losses over the positions seen, smoothed."""
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    lines: list[Line] = []
    for name, told in (("denoise", "denoiser"), ("causal", "causal encoder")):
        points: list[tuple[float, float]] = []
        for start in range(0, len(rows) - SMOOTHED + 1, SMOOTHED):
            some = rows[start : start + SMOOTHED]
            mean = sum(row[name] for row in some) / len(some)
            points.append((some[-1]["tokens"] / 1e6, mean))
        lines.append(Line(told, points))
    return lines


def draw_accuracy(engine: Engine, count: int) -> None:
    """The table, and docs/accuracy.svg."""
    found = shares(engine, count)
    lines = [Line(name, points, [4.0] * len(points)) for name, points in found.items()]
    x = Axis("denoise steps", 0.5, 8.5, {float(steps): str(steps) for steps in STEPS})
    y = Axis("calls exactly right", 0, 1, {k / 5: f"{k * 20} %" for k in range(6)})
    (HERE / "accuracy.svg").write_text(plot("Accuracy against steps", lines, x, y), "utf-8")
    table = Table("", *(f"{steps} steps" for steps in STEPS), title=f"{count} calls")
    for name, points in found.items():
        table.add_row(name, *(f"{share:.1%}" for _, share in points))
    Console(width=80).print(table)


def draw_training(log: Path) -> None:
    """docs/training.svg; nothing where a checkpoint brought no log."""
    lines = curves(log)
    last = max(point[0] for line in lines for point in line.points)
    high = max(point[1] for line in lines for point in line.points)
    x = Axis("million positions", 0, last, {k * last / 5: f"{k * last / 5:.0f}" for k in range(6)})
    y = Axis("nats a token", 0, high, {k * high / 5: f"{k * high / 5:.1f}" for k in range(6)})
    (HERE / "training.svg").write_text(plot("Losses in training", lines, x, y), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--checkpoint", default="embedded")
    arguments = parser.parse_args()
    folder = embedded_folder() if arguments.checkpoint == "embedded" else Path(arguments.checkpoint)
    log = next((p for p in (folder / "training.jsonl", folder / "log.jsonl") if p.exists()), None)
    if log:
        draw_training(log)
    draw_accuracy(Engine.load(arguments.checkpoint), arguments.count)


if __name__ == "__main__":
    main()
