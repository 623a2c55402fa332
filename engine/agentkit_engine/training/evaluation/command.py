"""The `evaluate` command: sets and case files are run in the ways asked for, and shown.

Must not know how a case is judged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from agentkit_engine.engine import Engine
from agentkit_engine.filling.settings import Batch, Steps, Verify
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.training.evaluation.casefile import CaseFileError, read_cases
from agentkit_engine.training.evaluation.judging import (
    SETS,
    Case,
    Modes,
    Tally,
    cases,
    compare,
    ways,
)
from agentkit_engine.training.evaluation.judging import most_calls as calls_of
from agentkit_engine.training.evaluation.tables import Figure, figures, show, watched, write

_CASE_MODES: tuple[Verify, ...] = ("off", "rerank", "exact")


@dataclass(slots=True)
class Measured:
    """What has been measured with one engine, set by set.

    Attributes:
        told: where all figures are written after each set, so that a run that is cut off leaves
            those that it has.
        about: what is written beside them, of the run as a whole.
    """

    engine: Engine
    told: Path | None
    about: Mapping[str, Any]
    figures: list[Figure] = field(default_factory=list[Figure])
    tallies: dict[str, Mapping[str, Tally]] = field(default_factory=dict[str, Mapping[str, Tally]])

    @classmethod
    def begin(cls, arguments: argparse.Namespace) -> Measured:
        """Loads the checkpoint that the command line names."""
        torch.set_num_threads(arguments.threads)
        engine = Engine.load(arguments.checkpoint, device=arguments.device)
        about = {"checkpoint": str(arguments.checkpoint), "steps": arguments.steps}
        return cls(engine, arguments.json, about)

    def add(self, name: str, title: str, asked: Iterable[Case], total: int, modes: Modes) -> None:
        """Runs some cases in each mode and prints their table."""
        tallies = compare(self.engine, watched(asked, name, total), modes)
        found = figures(name, tallies)
        show(title, tallies, found)
        self.figures += found
        self.tallies[name] = tallies
        if self.told:
            write(self.told, self.figures, self.tallies, **self.about)

    def add_rows(
        self,
        name: str,
        rows: Sequence[Case],
        *,
        verify: Sequence[Verify],
        layouts: Sequence[Layout],
        steps: Steps = 1,
        batch: Batch | None = None,
        most_calls: int | None = None,
    ) -> None:
        """Runs the rows of a case file, category by category.

        Args:
            most_calls: of one turn; by default as many as 8 in a category of which some row expects
                several, else 1.
        """
        categories = {row.category: None for row in rows}
        for category in categories:
            own = [row for row in rows if row.category == category]
            most = most_calls or calls_of(own)
            modes = ways(self.engine, verify=verify, layouts=layouts, steps=steps, max_calls=most)
            whole = f"{name}: {category}" if category else name
            title = f"{whole} (at most {most} calls a turn)" if most > 1 else whole
            self.add(whole, title, own, len(own), modes)


def run(arguments: argparse.Namespace) -> None:
    """Prints the tables that were asked for."""
    try:
        files = {str(path): read_cases(path) for path in arguments.cases}
    except CaseFileError as error:
        raise SystemExit(f"error: {error}") from error
    measured = Measured.begin(arguments)
    began = time.monotonic()
    for name in arguments.sets:
        asked = SETS[name]
        modes = ways(
            measured.engine,
            verify=arguments.verify or asked.verify,
            layouts=arguments.layout or asked.layouts,
            steps=arguments.steps,
            max_calls=asked.max_calls,
            batch=arguments.batch,
        )
        drawn = islice(cases(name), arguments.count)
        measured.add(name, f"{name}: {asked.title}", drawn, arguments.count, modes)
    for name, rows in files.items():
        measured.add_rows(name, rows, most_calls=arguments.max_calls, **told_ways(arguments))
    print(f"{time.monotonic() - began:.0f} s")
    measured.engine.close()


def told_ways(arguments: argparse.Namespace) -> dict[str, Any]:
    """How rows are decided, by the command line."""
    return {
        "verify": arguments.verify or _CASE_MODES,
        "layouts": arguments.layout or ("slots",),
        "steps": arguments.steps,
        "batch": arguments.batch,
    }
