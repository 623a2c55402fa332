"""One turn of the embedded model, beside token-by-token decoding with the same weights.

The peer reads the same prompt with the same model run causally and decodes the same call under the
same constraint (`left_to_right.py`). Times are medians over requests on this machine, behind the
encoded prompt; the ratios are what carries over to others: the lattice's time to the model's, and a
turn's to that of the peer. Beside them: how long a new process takes to load the engine, and what
memory it then holds.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import torch
from left_to_right import left_to_right
from rich.console import Console
from rich.table import Table

from agentkit_engine import Decision, Engine, FillingOptions
from agentkit_engine.training.evaluation.cases import Case, cases
from agentkit_engine.training.evaluation.judging import decide
from agentkit_engine.training.evaluation.matching import Called, same_calls

MODES: dict[str, FillingOptions] = {
    "off": {"verify": "off"},
    "rerank": {"verify": "rerank"},
    "exact": {"verify": "exact"},
}


@dataclass(slots=True)
class Measured:
    """What one way of deciding took, turn by turn."""

    decisions: list[Decision] = field(default_factory=list[Decision])
    ratios: list[float] = field(default_factory=list[float])
    right: int = 0

    def line(self, name: str, mode: str) -> list[str]:
        """One line of the table: medians over the turns; what is none of the phases is other."""
        spent = [decision.timings for decision in self.decisions]
        elapsed = [decision.elapsed for decision in self.decisions]
        other = [
            whole - one.denoise - one.verify - one.lattice
            for whole, one in zip(elapsed, spent, strict=True)
        ]
        share = [one.lattice / (one.denoise + one.verify) for one in spent]
        counts = [(decision.forwards, decision.passes) for decision in self.decisions]
        return [
            name,
            mode,
            _median([one.encode for one in spent]),
            _median([one.denoise for one in spent]),
            _median([one.verify for one in spent]),
            _median([one.lattice for one in spent]),
            _median(other),
            f"{statistics.median(share):.0%}",
            " + ".join(f"{statistics.mean(each):.1f}" for each in zip(*counts, strict=True)),
            f"{statistics.median(self.ratios):.2f}",
            f"{self.right / len(self.decisions):.0%}",
        ]


def _median(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


def measure(engine: Engine, name: str, asked: Iterable[Case], count: int) -> list[list[str]]:
    """Lines of the table, over `count` turns that call for a tool."""
    ours = {mode: Measured() for mode in MODES}
    theirs: list[float] = []
    steps: list[int] = []
    right = 0
    for case in islice(asked, count):
        spoken = left_to_right(engine, case.messages, case.tools)
        theirs.append(spoken.seconds)
        steps.append(spoken.forwards)
        said = [] if spoken.name is None else [Called(spoken.name, spoken.arguments)]
        right += same_calls(said, case.calls)
        for mode, found in ours.items():
            decision = decide(engine, case, **MODES[mode])
            found.decisions.append(decision)
            found.ratios.append(decision.elapsed / spoken.seconds)
            made = [Called(one.name, one.arguments) for one in decision.calls]
            found.right += same_calls(made, case.calls)
    peer = [name, "left to right", "", "", "", "", _median(theirs), ""]
    peer += [f"{statistics.mean(steps):.1f}", "1", f"{right / count:.0%}"]
    return [*(found.line(name, mode) for mode, found in ours.items()), peer]


def sets() -> dict[str, Iterable[Case]]:
    """Turns that call for a tool: of shipped ones, and of held-out ones with 8 in the prompt."""
    return {
        "shipped tools": (case for case in cases("shipped") if case.kind == "call"),
        "held-out tools, of 8": (case for case in cases("calls") if len(case.tools) == 8),
    }


_START = """
import re, sys, time
import torch
torch.set_num_threads(int(sys.argv[2]))
from agentkit_engine import Engine
began = time.perf_counter()
engine = Engine.load(sys.argv[1])
session = engine.session()
session.extend_sync("hello")
loaded = time.perf_counter() - began
peak = int(re.search("VmHWM:[^0-9]+([0-9]+) kB", open("/proc/self/status").read())[1]) / 1024
print(f"loaded in {loaded:.2f} s (imports left out), {peak:.0f} MB at most")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engine = Engine.load(arguments.checkpoint)
    table = Table(
        "set",
        "verify",
        "encode",
        "forward",
        "passes",
        "lattice",
        "other",
        "lattice / model",
        "forwards + passes",
        "time ratio",
        "exact call",
        title=f"{platform.processor() or platform.machine()}, {arguments.threads} threads, "
        f"{engine.runtime.denoiser.device}; ms, medians of {arguments.count} turns",
    )
    for name, asked in sets().items():
        for line in measure(engine, name, asked, arguments.count):
            table.add_row(*line)
    Console(width=140).print(table)
    start = [sys.executable, "-c", _START, arguments.checkpoint, str(arguments.threads)]
    print(subprocess.run(start, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
