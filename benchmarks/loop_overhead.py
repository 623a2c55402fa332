"""What the agent loop costs, beside other frameworks: CPU time a turn, imports, what is installed.

    python benchmarks/loop_overhead.py                    # ours, and the floor under it
    python benchmarks/loop_overhead.py --rivals all --install

Every framework has the same agent: one typed tool, and a model that answers at once
(loop_frameworks.py). Rivals live in environments of their own, which the first `--rivals` makes
under `--envs`, a download of some 500 MB in all; nothing is fetched without being asked for.
`--install` builds the wheel and installs it into an empty environment, to weigh it.

Frameworks are measured in turns of rounds, so that whatever else the machine does hits all alike.
A figure is the median of the rounds' medians, the least round in brackets; "× ours" is the median
of the rounds' ratios, which carries over to other machines as milliseconds do not. *a turn*: from
the model's answer, a call, to the next question to it. *a run*: of one call and the answer, whole.
*floor*: the least that could be called a loop, on anyio and pydantic.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from loop_processes import (
    IMPORTS,
    PINS,
    Import,
    Unavailable,
    Weight,
    Worker,
    base_install,
    environment,
    import_cost,
    imported,
    weighed,
    working,
)
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import track
from rich.table import Table

OURS, FLOOR = "agentkit", "floor"
EDGE = 20  # turns at either end of a long run
WORST = 5


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: rounds, runs of a round, turns of the long run, imports."""

    rounds: int
    runs: int
    turns: int
    imports: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found, in CPU milliseconds: medians."""

    turn: float
    four: float
    run: float
    first: float
    last: float


@dataclass(slots=True)
class Found:
    """All that was found of one framework; `problem` says why there is no more."""

    version: str = ""
    rounds: list[Round] = field(default_factory=list[Round])
    imports: list[Import] = field(default_factory=list[Import])
    weights: dict[str, Weight] = field(default_factory=dict[str, Weight])
    problem: str = ""

    def median(self, figure: Callable[[Round], float]) -> float:
        """The median of the rounds."""
        return statistics.median(map(figure, self.rounds))

    @property
    def importing(self) -> float:
        """CPU milliseconds of an import."""
        return statistics.median(one.milliseconds for one in self.imports)


def _growth(one: Round) -> float:
    return one.last / one.first


FIGURES: Mapping[str, Callable[[Round], float]] = {
    "a turn": lambda one: one.turn,
    "of 4 calls": lambda one: one.four,
    "a run": lambda one: one.run,
}
Findings = dict[str, Found]
Homes = Mapping[str, Path]  # the Python that runs a framework


@contextmanager
def noted(found: Found) -> Generator[None]:
    """Ends what is done with a framework where it fails, and notes why."""
    try:
        yield
    except Unavailable as error:
        found.problem = str(error)


def measured(worker: Worker, effort: Effort) -> Round:
    """One round of one framework."""
    worker.ask({"turns": 3, "calls": 1})  # wakes the caches up
    singles = [worker.ask({"turns": 5, "calls": 1}) for _ in range(effort.runs)]
    fours = [worker.ask({"turns": 5, "calls": 4}) for _ in range(effort.runs)]
    wholes = [worker.ask({"turns": 1, "calls": 1}) for _ in range(effort.runs)]
    long = worker.ask({"turns": effort.turns, "calls": 1})["turns"]
    return Round(
        turn=statistics.median(turn for told in singles for turn in told["turns"]),
        four=statistics.median(turn for told in fours for turn in told["turns"]),
        run=statistics.median(told["run"] for told in wholes),
        first=statistics.median(long[:EDGE]),
        last=statistics.median(long[-EDGE:]),
    )


def measure_loops(findings: Findings, homes: Homes, effort: Effort) -> None:
    """Rounds of all that have a home."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, python in homes.items():
            with noted(findings[name]):
                workers[name] = stack.enter_context(working(name, python))
                findings[name].version = workers[name].version
        for _ in track(range(effort.rounds), "rounds", console=Console(stderr=True)):
            for name, worker in workers.items():
                if not findings[name].problem:
                    with noted(findings[name]):
                        findings[name].rounds.append(measured(worker, effort))


def measure_imports(findings: Findings, homes: Homes, effort: Effort) -> None:
    """Imports in new processes, turn and turn about."""
    for number in track(range(effort.imports + 1), "imports", console=Console(stderr=True)):
        for name, python in homes.items():
            if not findings[name].problem:
                with noted(findings[name]):
                    cost = import_cost(name, python)
                    if number > 0:  # the first one reads the disk
                        findings[name].imports.append(cost)


def weigh(findings: Findings, homes: Homes) -> None:
    """Our base install, made anew, and the environments of the rivals."""
    with noted(findings[OURS]), base_install() as python:
        findings[OURS].weights = weighed(python)
    for name in homes:
        if name in PINS:
            with noted(findings[name]):
                findings[name].weights = weighed(homes[name])


def loops_table(findings: Findings, turns: int) -> Table:
    """CPU milliseconds of turns and runs."""
    ours = findings[OURS].rounds
    late = f"turns 1-{EDGE} → {turns - EDGE + 1}-{turns}"
    beside = (cell for name in FIGURES for cell in (name, "× ours"))
    heads = ("", "version", *beside, late, "grows")
    table = Table(*heads, title="CPU milliseconds")
    for name, found in findings.items():
        if found.rounds:
            cells = [name, found.version]
            for figure in FIGURES.values():
                cells += [_with_least(found, figure), _ratio(found.rounds, ours, figure)]
            edges = (found.median(lambda one: one.first), found.median(lambda one: one.last))
            cells += [" → ".join(map(_figure, edges)), f"{found.median(_growth):.2f}"]
            table.add_row(*cells)
    return table


def imports_table(findings: Findings) -> Table:
    """CPU milliseconds of imports."""
    ours = findings[OURS]
    table = Table("", "import", "CPU ms", "least", "× ours", "loads", title="Imports")
    for name, found in findings.items():
        if found.imports:
            least = min(one.milliseconds for one in found.imports)
            ratio = found.importing / ours.importing if ours.imports else None
            loads = ", ".join(found.imports[-1].heavy)
            cells = [name, IMPORTS[name], f"{found.importing:.0f}", f"{least:.0f}"]
            table.add_row(*cells, _times(ratio), loads or "nothing heavy")
    return table


def weights_table(findings: Findings) -> Table:
    """What base installs bring."""
    heads = ("", "packages", "MB", "bytecode of it", "checkpoint of it", "most of it")
    table = Table(*heads, title="Base install, itself included, pip left out")
    for name, found in findings.items():
        if weights := found.weights:
            parts = ("total", "bytecode", "checkpoint")
            sums = [sum(getattr(one, part) for one in weights.values()) for part in parts]
            heaviest = sorted(weights, key=lambda one: -weights[one].total)[:3]
            most = ", ".join(f"{one} {_megabytes(weights[one].total)}" for one in heaviest)
            table.add_row(name, str(len(weights)), *map(_megabytes, sums), most)
    return table


def goals(found: Found) -> list[tuple[str, float, float]]:
    """What of ours has a limit: its name, how much it is, and the limit."""
    reached: list[tuple[str, float, float]] = []
    if found.rounds:
        reached += [
            ("a turn, CPU ms", found.median(FIGURES["a turn"]), 0.10),
            ("a turn of 4 calls, CPU ms", found.median(FIGURES["of 4 calls"]), 0.30),
            (f"last {EDGE} turns of a long run to the first", found.median(_growth), 1.1),
        ]
    if found.imports:
        reached.append(("import, CPU ms", found.importing, 100))
        if find_spec("torch") is not None:  # or it could not be loaded anyway
            times = sum("torch" in one.heavy for one in found.imports)
            reached.append(("imports that loaded torch", times, 0))
    if found.weights:
        total = sum(one.total for one in found.weights.values())
        reached.append(("base install, MB", total / 1e6, 30))
        reached.append(("base install, packages", len(found.weights), 18))
    return reached


def goals_table(found: Found) -> Table:
    """Ours beside what it is held to."""
    table = Table("goal", "ours", "at most", "", title="Goals")
    for name, value, limit in goals(found):
        table.add_row(name, _figure(value), f"{limit:g}", "met" if value <= limit else "missed")
    return table


def _figure(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _with_least(found: Found, figure: Callable[[Round], float]) -> str:
    return f"{_figure(found.median(figure))} ({_figure(min(map(figure, found.rounds)))})"


def _ratio(theirs: list[Round], ours: list[Round], figure: Callable[[Round], float]) -> str:
    # a framework that failed on the way has fewer rounds; its first ones stand beside ours
    pairs = zip(theirs, ours, strict=False)
    ratios = [figure(their) / figure(our) for their, our in pairs]
    return _times(statistics.median(ratios) if ratios else None)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def chosen(rivals: str) -> list[str]:
    """The rivals named: all, none, or some between commas."""
    if rivals in ("all", "none"):
        return list(PINS) if rivals == "all" else []
    names = rivals.split(",")
    if unknown := sorted(set(names) - set(PINS)):
        raise SystemExit(f"no rivals: {', '.join(unknown)}; known are {', '.join(PINS)}")
    return names


def housed(findings: Findings, envs: Path) -> Homes:
    """The Python that runs each framework, of those that have one."""
    homes = {OURS: Path(sys.executable), FLOOR: Path(sys.executable)}
    for name in findings:
        if name in PINS:
            print(f"{name}: {PINS[name]} in {envs}", file=sys.stderr)
            with noted(findings[name]):
                homes[name] = environment(name, envs)
    return homes


def machine() -> str:
    """What the figures were taken on."""
    processor = platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    return (
        f"{processor}, {os.cpu_count()} cores, load {load:.1f}, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", default="none", help=f"none, all, or of {', '.join(PINS)}")
    parser.add_argument("--envs", type=Path, help="the rivals' environments; else the user's cache")
    parser.add_argument("--install", action="store_true", help="weigh base installs too")
    parser.add_argument("--quick", action="store_true", help="a look: figures that still wobble")
    parser.add_argument("--turns", type=int, default=200, help="of the long run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the findings go as well")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    turns = max(asked.turns, 2 * EDGE)
    effort = Effort(2, 4, turns, 3) if asked.quick else Effort(7, 10, turns, 15)
    findings: Findings = {name: Found() for name in (OURS, FLOOR, *chosen(asked.rivals))}
    homes = housed(findings, asked.envs or user_cache_path("agentkit") / "rivals")
    where = machine()
    measure_loops(findings, homes, effort)
    measure_imports(findings, homes, effort)
    if asked.install:
        weigh(findings, homes)
    report(findings, where, effort)
    if asked.json is not None:
        told = {name: asdict(found) for name, found in findings.items()}
        asked.json.write_text(json.dumps({"machine": where, "found": told}, indent=1))
    raise SystemExit(1 if findings[OURS].problem else 0)


def report(findings: Findings, where: str, effort: Effort) -> None:
    """Print all tables that have something to say, and who could not be measured."""
    console = Console(width=140)
    console.print(f"{where}; {effort.rounds} rounds, {effort.imports} imports")
    tables = [loops_table(findings, effort.turns), imports_table(findings), weights_table(findings)]
    for table in (*tables, goals_table(findings[OURS])):
        if table.rows:
            console.print(table)
    if findings[OURS].imports:
        shares = imported(OURS, Path(sys.executable))[:WORST]
        told = ", ".join(f"{package} {share:.0%}" for package, share in shares)
        console.print(f"of the import's time, modules' own: {told}")
    for name, found in findings.items():
        if found.problem:
            console.print(f"{name}: {found.problem}", style="red", markup=False)


if __name__ == "__main__":
    main()
