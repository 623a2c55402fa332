"""The command `agentkit eval`: an agent measured on a file of cases.

Knows case files and reports; how runs are judged is `agentkit.evaluation`'s. What was done until
Ctrl-C is told all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agentkit.errors import AgentKitError
from agentkit.evaluation.cases import Case, read_cases
from agentkit.evaluation.judging import Judgement
from agentkit.evaluation.measuring import evaluate, planned
from agentkit.evaluation.report import HEADINGS, Report, cells, title, why_not
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.options import (
    add_agent_options,
    agent_of,
    deps_of,
    positive,
    settings_of,
)

INTERRUPTED = 130  # as a shell reports it
_SHOWN = 20  # failures on a terminal; the files have all
_EVERY = {True: 0.2, False: 15.0}  # seconds between reports of progress, on a terminal or not


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit eval` takes."""
    add_agent_options(parser)
    parser.add_argument("cases", metavar="CASES.jsonl", type=Path, help="one JSON object a line")
    # `arguments.json` asks for errors as JSON
    parser.add_argument(
        "--json", metavar="OUT", dest="json_file", type=Path, help="write all of it as JSON"
    )
    parser.add_argument(
        "--md", metavar="OUT", dest="markdown_file", type=Path, help="write a report in Markdown"
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=positive, default=4, help="runs at once (default: 4)"
    )
    parser.add_argument(
        "--repeat", metavar="N", type=positive, default=1, help="run each case so often"
    )
    parser.add_argument(
        "--dry",
        action="store_true",
        help="call no tools, and judge the first calls that each run would make alone",
    )
    parser.add_argument(
        "--at-least",
        metavar="PERCENT",
        type=_percent,
        default=0.0,
        help="exit with 1 where fewer runs are right",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure; 1 where too few runs are right, 130 where Ctrl-C ended it."""
    cases = read_cases(arguments.cases)  # what is wrong here is told before a model is loaded
    _check_folders(arguments)
    with EventLoop() as loop:
        return _measure(arguments, cases, loop)


def _measure(arguments: argparse.Namespace, cases: list[Case], loop: EventLoop) -> int:
    agent = agent_of(arguments, loop)
    total = planned(cases, repeat=arguments.repeat, dry=arguments.dry)
    _check_total(arguments, cases, total)
    progress = _Progress(total)
    measure = partial(
        evaluate,
        agent,
        cases,
        deps=None if arguments.deps is None else partial(deps_of, arguments),
        settings=settings_of(arguments),
        concurrency=arguments.concurrency,
        repeat=arguments.repeat,
        dry=arguments.dry,
        on_judged=progress.judged,
    )
    try:
        report = loop.run(measure)
    except KeyboardInterrupt:
        report = Report(tuple(progress.done), total)
    progress.end()
    _show(report)
    _write(arguments, report)
    if len(report.judgements) < total:
        return INTERRUPTED
    return 0 if 100 * report.right >= arguments.at_least else 1


def _percent(text: str) -> float:
    share = float(text.removesuffix("%"))
    if not 0 <= share <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return share


def _check_folders(arguments: argparse.Namespace) -> None:
    for path in (arguments.json_file, arguments.markdown_file):
        if path is not None and not path.parent.is_dir():
            raise AgentKitError(
                f"there is no folder {str(path.parent)!r} to write {path.name!r} to"
            )


def _check_total(arguments: argparse.Namespace, cases: list[Case], total: int) -> None:
    if not total:
        raise AgentKitError(
            f"no case of {str(arguments.cases)!r} says which calls are expected, and a dry run "
            "judges nothing else; leave --dry out"
        )
    left_out = len(cases) - total // arguments.repeat
    if left_out:
        print(f"{left_out} cases say nothing of calls and are left out", file=sys.stderr)


class _Progress:
    """How many runs have ended, on the terminal now and then; and all of them, for Ctrl-C."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.done: list[Judgement] = []
        self._total = total
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._began = self._told = clock()

    def judged(self, judgement: Judgement) -> None:
        """One more has ended."""
        self.done.append(judgement)
        if self._clock() - self._told >= _EVERY[self._terminal]:
            self._tell()

    def end(self) -> None:
        """The last has ended; said only where something was said before."""
        if self._told != self._began:
            self._tell()
            if self._terminal:
                print(file=sys.stderr)

    def _tell(self) -> None:
        self._told = self._clock()
        right = sum(one.right for one in self.done)
        seconds = self._told - self._began
        left = seconds / len(self.done) * (self._total - len(self.done)) if self.done else 0.0
        text = f"{len(self.done)}/{self._total} runs, {right} right, {left:.0f} s left"
        if self._terminal:
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _write(arguments: argparse.Namespace, report: Report) -> None:
    told = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    for path, text in ((arguments.json_file, told), (arguments.markdown_file, str(report))):
        try:
            if path is not None:
                path.write_text(f"{text}\n", "utf-8")
        except OSError as error:
            raise AgentKitError(f"{str(path)!r} can't be written: {error}") from error


def _show(report: Report) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("", *HEADINGS, box=SIMPLE_HEAD, padding=0)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in report.figures():
        table.add_row(Text(figure.tag), *cells(figure))
    if report.judgements:
        console.print(table)
    if len(report.judgements) < report.planned:
        stopped = f"stopped after {len(report.judgements)} of {report.planned} runs"
        console.print(Text(stopped, style="yellow"))
    for one in report.failures[:_SHOWN]:
        console.print(Text(title(one), style="red"))
        for why in why_not(one):
            console.print(Text(f"  {why}", style="dim"))
    if len(report.failures) > _SHOWN:
        rest = len(report.failures) - _SHOWN
        console.print(Text(f"… and {rest} more failed; --json and --md have them all", style="dim"))
