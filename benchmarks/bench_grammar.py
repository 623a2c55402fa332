"""Schemas compiled and values judged, beside llguidance and xgrammar, on public sets.

    python benchmarks/bench_grammar.py --data FOLDER --tokenizer tokenizer.json --out FOLDER

FOLDER holds the sets as grammar_cases.py says; without it only an own schema of 15 fields is
measured. Languages are judged over single bytes, which is quick, so that no engine loses a schema
for want of time, and over tokens, where times mean something: most with a large vocabulary. The
tokenizer is the embedded checkpoint's unless one is given. The rivals: pip install llguidance; pip
install --no-deps xgrammar apache-tvm-ffi (it wants torch too). With --out a run that was cut off
goes on where it stood; results of an engine whose version or source changed are not used again.

Of JSONSchemaBench, shares are means over a split's schemas, weighted by the sizes of all splits.
*right*: every instance of a schema judged as it should; *over*: a valid instance refused; *under*:
an invalid one accepted; all three among the schemas that have instances, and a schema that was
refused is none of the three. Of the Test-Suite, refused groups count as neither accepted nor
rejected. Compile times are of schemas that compiled or ran into the limit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grammar_cases import SETS, SPLIT_SIZES, Case, Order, read
from grammar_engines import ENGINES, Level, Setting, Unavailable, fingerprint
from grammar_runs import Costs, Limits, Record, costs, run
from rich import box
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

Records = Sequence[Record]
Known = Mapping[str, Case]
Lines = dict[str, Callable[[Records], str]]
Cells = dict[str, str]  # engine -> what a line of the table says of it

NONE = "–"
_SHORT = {"jsonschemabench": "JSONSchemaBench", "suite": "Test-Suite"}


def measures(name: str, cases: Known, level: Level, *, limit: float) -> Lines:
    """The lines of the table about one set; `limit`: seconds that a compile may take.

    What a compile costs is of tokens only: nobody compiles for a vocabulary of bytes.
    """
    lines = _LANGUAGE[name](cases) | {"out of time or memory": _lost}
    if level == "tokens":
        lines["compile ms p50 / p95"] = partial(_milliseconds, limit=limit)
        lines["MB of one schema, p50"] = _median_size
    return lines


def _of_bench(cases: Known) -> Lines:
    tested = {one.id: one for one in cases.values() if one.trials}
    return {
        f"{len(cases)} schemas compiled %": partial(_weighted, cases=cases, holds=_compiled),
        f"right %, of {len(tested)} tested": partial(_weighted, cases=tested, holds=_right),
        "over-constrained %": partial(_weighted, cases=tested, holds=_over),
        "under-constrained %": partial(_weighted, cases=tested, holds=_under),
    }


def _of_suite(cases: Known) -> Lines:
    return _of_tools(cases) | {
        "valid accepted %": partial(_judged, cases=cases, valid=True, accepted=True),
        "invalid rejected %": partial(_judged, cases=cases, valid=False, accepted=False),
        "invalid accepted %": partial(_judged, cases=cases, valid=False, accepted=True),
    }


def _of_calls(cases: Known) -> Lines:
    return _of_tools(cases) | {
        "calls accepted %": partial(_calls, cases=cases, order="given"),
        "calls with keys as declared %": partial(_calls, cases=cases, order="declared"),
    }


def _of_tools(cases: Known) -> Lines:
    return {f"{len(cases)} schemas compiled": _count_compiled}


_LANGUAGE: Mapping[str, Callable[[Known], Lines]] = {
    "jsonschemabench": _of_bench,
    "suite": _of_suite,
    "bfcl": _of_calls,
    "tau": _of_tools,
    "mcp": _of_tools,
}


def cost_lines(cold: Costs, warm: Costs) -> dict[str, str]:
    """What an engine takes for itself, with its caches on disk empty (cold) and filled (warm)."""
    return {
        "engine from a parsed tokenizer s": f"{cold['ready']:.2f} / {warm['ready']:.2f}",
        "its first, trivial schema ms": f"{_ms(cold['trivial'])} / {_ms(warm['trivial'])}",
        "booking15, first time ms": f"{_ms(cold['booking'])} / {_ms(warm['booking'])}",
        "booking15, text changed ms": f"{_ms(cold['again'])} / {_ms(warm['again'])}",
        "booking15 MB": _megabytes(cold["size"]),
        "booking15 judged right": "yes" if cold["right"] and warm["right"] else "no",
    }


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else NONE


def _weighted(records: Records, *, cases: Known, holds: Callable[[Record], bool]) -> str:
    """Per cent of the schemas, each split counting by its true size."""
    splits: defaultdict[str, list[bool]] = defaultdict(list)
    for record in records:
        if record["id"] in cases and record["split"] in SPLIT_SIZES:
            splits[record["split"]].append(holds(record))
    part = sum(SPLIT_SIZES[name] * statistics.mean(found) for name, found in splits.items())
    return _percent(part, sum(SPLIT_SIZES[name] for name in splits))


def _compiled(record: Record) -> bool:
    return "seconds" in record


def _right(record: Record) -> bool:
    verdicts = record.get("verdicts")
    return verdicts is not None and all(valid == found for _, valid, found in verdicts)


def _over(record: Record) -> bool:
    return any(valid and found is False for _, valid, found in record.get("verdicts", []))


def _under(record: Record) -> bool:
    return any(found and not valid for _, valid, found in record.get("verdicts", []))


def _count_compiled(records: Records) -> str:
    return str(sum(map(_compiled, records)))


def _lost(records: Records) -> str:
    return str(sum("died" in record for record in records))


def _milliseconds(records: Records, *, limit: float) -> str:
    """Median and 95th percentile; a compile that was stopped took the limit at least."""
    seconds = [record["seconds"] for record in records if "seconds" in record]
    seconds += [limit for record in records if "died" in record and "seconds" not in record]
    if not seconds:
        return NONE
    seconds.sort()
    high = seconds[int(0.95 * (len(seconds) - 1))]
    return f"{_ms(statistics.median(seconds))} / {_ms(high)}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"


def _judged(records: Records, *, cases: Known, valid: bool, accepted: bool) -> str:
    """Per cent of the valid, or invalid, values of all groups that were judged so; the count."""
    verdicts = [one for record in records for one in record.get("verdicts", [])]
    hits = sum(found is accepted and was is valid for _, was, found in verdicts)
    whole = sum(trial.valid is valid for case in cases.values() for trial in case.trials)
    return f"{_percent(hits, whole)} ({hits})"


def _calls(records: Records, *, cases: Known, order: Order) -> str:
    """Per cent of the ground-truth calls that were accepted."""
    verdicts = [one for record in records for one in record.get("verdicts", [])]
    hits = sum(written == order and found is True for written, _, found in verdicts)
    whole = sum(trial.order == order for case in cases.values() for trial in case.trials)
    return _percent(hits, whole)


def _megabytes(size: float | None) -> str:
    return NONE if size is None else f"{size / 1e6:.3g}"


def _median_size(records: Records) -> str:
    sizes = [size for record in records if (size := record.get("size")) is not None]
    return _megabytes(statistics.median(sizes) if sizes else None)


class Bench:
    """One invocation: the engines and cases asked for, and the folder that results live in."""

    def __init__(self, arguments: argparse.Namespace, out: Path, progress: Progress) -> None:
        self.tokenizer: Path = arguments.tokenizer
        self.limits = Limits(compile=arguments.seconds)
        self.engines: list[str] = arguments.engines
        self.out = out
        self.progress = progress
        self.missing: dict[str, str] = {}
        self.vocabulary = hashlib.sha256(self.tokenizer.read_bytes()).hexdigest()[:8]

    def records(self, name: str, cases: Sequence[Case], level: Level) -> dict[str, list[Record]]:
        """Every engine's records of one set."""
        return {
            engine: found
            for engine in self.engines
            if (found := self._of_engine(engine, name, cases, level)) is not None
        }

    def _of_engine(
        self, engine: str, name: str, cases: Sequence[Case], level: Level
    ) -> list[Record] | None:
        label = "".join(letter for letter in engine if letter.isalpha())
        vocabulary = self.vocabulary if level == "tokens" else level
        path = self.out / f"{name}.{label}.{fingerprint(engine)}.{vocabulary}.jsonl"
        setting = Setting(self.tokenizer, level)
        task = self.progress.add_task(f"{name}, {level}: {engine}", total=len(cases))
        found: list[Record] = []
        self.forget()
        try:
            for record in run(ENGINES[engine], setting, cases, self.limits, path):
                found.append(record)
                self.progress.update(task, advance=1, refresh=True)
        except Unavailable as error:
            self.missing[engine] = str(error)
            return None
        return found

    def costs(self) -> dict[str, tuple[Costs, Costs]]:
        """Every engine's costs with empty and with filled caches on disk."""
        found: dict[str, tuple[Costs, Costs]] = {}
        for engine in self.engines:
            task = self.progress.add_task(f"costs: {engine}", total=2)
            self.forget()
            pair: list[Costs] = []
            try:
                for _ in range(2):
                    pair.append(costs(ENGINES[engine], Setting(self.tokenizer, "tokens")))
                    self.progress.update(task, advance=1, refresh=True)
            except Unavailable as error:
                self.missing[engine] = str(error)
                continue
            found[engine] = (pair[0], pair[1])
        return found

    @staticmethod
    def forget() -> None:
        """Empties the caches on disk, so that a compile is a compile."""
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def lines_of_set(
    bench: Bench, name: str, cases: Sequence[Case], level: Level
) -> list[tuple[str, Cells]]:
    found = bench.records(name, cases, level)
    known = {case.id: case for case in cases}
    words = measures(name, known, level, limit=bench.limits.compile)
    return [
        (
            f"{_SHORT.get(name, name.upper())}, {level}: {line}",
            {engine: word(records) for engine, records in found.items()},
        )
        for line, word in words.items()
    ]


def lines_of_costs(bench: Bench) -> list[tuple[str, Cells]]:
    cells = {engine: cost_lines(*pair) for engine, pair in bench.costs().items()}
    names = [name for said in list(cells.values())[:1] for name in said]
    return [(name, {engine: said[name] for engine, said in cells.items()}) for name in names]


def drawn(bench: Bench, lines: Sequence[tuple[str, Cells]]) -> Table:
    """A line for every measure and a column for every engine, as Markdown."""
    table = Table("", box=box.MARKDOWN)
    for engine in bench.engines:
        table.add_column(engine, justify="right")
    for name, cells in lines:
        table.add_row(name, *(cells.get(engine, NONE) for engine in bench.engines))
    return table


def machine() -> str:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        rows = described.read_text(encoding="utf-8").splitlines()
        models = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
        model = models[0] if models else model
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}"


def versions() -> str:
    """The versions of all that takes part and is installed."""
    found: list[str] = []
    for name in ("numpy", "tokenizers", "llguidance", "xgrammar"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder with the public sets")
    add("--tokenizer", type=Path, help="a tokenizer.json; default: the embedded checkpoint's")
    add("--out", type=Path, help="folder to keep results in and to go on from")
    add("--limit", type=int, help="cases of each set, evenly spread; default: all")
    add("--only", nargs="+", choices=[*SETS, "costs"], help="parts to run; default: all")
    add("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    add("--levels", nargs="+", choices=["bytes", "tokens"], default=["bytes", "tokens"])
    add("--seconds", type=float, default=10.0, help="CPU seconds that one compile may take")
    arguments = parser.parse_args()
    if arguments.tokenizer is None:
        import agentkit_engine

        package = Path(agentkit_engine.__file__).parent
        arguments.tokenizer = package / "checkpoints" / "embedded" / "tokenizer.json"
    return arguments


def main() -> None:
    arguments = parsed()
    # numeric libraries on one thread: the times are CPU seconds of one compile
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    console = Console(width=140)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    # drawn from this thread only: the processes forked below must find no lock taken
    progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
    with tempfile.TemporaryDirectory() as scratch, progress:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        bench = Bench(arguments, out, progress)
        lines: list[tuple[str, Cells]] = []
        for name in arguments.only or [*(SETS if arguments.data else ()), "costs"]:
            if name == "costs":
                lines += lines_of_costs(bench)
            elif arguments.data is None:
                raise SystemExit(f"the set {name!r} needs --data FOLDER")
            else:
                cases = read(name, arguments.data, limit=arguments.limit)
                for level in arguments.levels:
                    lines += lines_of_set(bench, name, cases, level)
    console.print(drawn(bench, lines))
    console.print(f"{machine()}; {versions()}; tokenizer {arguments.tokenizer.name}, CPU times")
    for engine, why in bench.missing.items():
        console.print(f"{engine}: {why}")


if __name__ == "__main__":
    main()
