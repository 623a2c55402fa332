"""Accuracy and forwards a call: one denoise and its verification, beside decoding left to right.

On held-out tools and values, 1 to 8 tools in the prompt, everybody under the same constraint. The
peers decode greedily, token by token (`left_to_right.py`): with the same weights run causally, and,
with `--causal FOLDER`, with a model of the same size, data and training time that learned nothing
else (a recipe with `causal_only`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from itertools import islice

import torch
from left_to_right import left_to_right
from rich.console import Console
from rich.table import Table

from agentkit_engine import DecidingOptions, Engine
from agentkit_engine.training.evaluation.cases import Case, cases
from agentkit_engine.training.evaluation.judging import outcomes
from agentkit_engine.training.evaluation.matching import Called, same_calls
from agentkit_engine.training.evaluation.tables import watched, wilson

MODES: dict[str, DecidingOptions] = {
    mode: {"verify": mode, "batch": "whole"} for mode in ("off", "rerank", "exact")
}


class Way:
    """One way of deciding: how many it got right, and what it took."""

    def __init__(self) -> None:
        self.right = self.total = 0
        self.forwards: list[int] = []

    def add(self, made: Sequence[Called], case: Case, forwards: int) -> None:
        """Counts one case."""
        self.total += 1
        self.right += same_calls(made, case.calls)
        self.forwards.append(forwards)


def peer(engine: Engine, case: Case, way: Way) -> None:
    """Decodes a case left to right."""
    spoken = left_to_right(engine, case.messages, case.tools)
    made = [] if spoken.name is None else [Called(spoken.name, spoken.arguments)]
    way.add(made, case, spoken.forwards)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--causal", metavar="FOLDER", help="a purely causal peer")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine = Engine.load(arguments.checkpoint)
    causal = Engine.load(arguments.causal) if arguments.causal else None
    ways = {f"denoised, verify={mode}": Way() for mode in MODES}
    same, other = Way(), Way()
    asked = islice(cases("calls"), arguments.count)
    for case in watched(asked, "cases", arguments.count):
        for mode, found in outcomes(engine, case, MODES):
            calls = getattr(found, "calls", ())
            made = [Called(call.name, call.arguments) for call in calls]
            took = getattr(found, "forwards", 0) + getattr(found, "passes", 0)
            ways[f"denoised, verify={mode}"].add(made, case, took)
        peer(engine, case, same)
        if causal is not None:
            peer(causal, case, other)
    ways["left to right, same weights"] = same
    if causal is not None:
        ways["left to right, purely causal model"] = other
    table = Table("", "whole call exact", "95 %", "forwards and passes a call", "median")
    for name, way in ways.items():
        low, high = wilson(way.right, way.total)
        mean, median = statistics.mean(way.forwards), statistics.median(way.forwards)
        share = f"{way.right / way.total:.1%}"
        table.add_row(name, share, f"{low:.1%} to {high:.1%}", f"{mean:.2f}", f"{median:.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
