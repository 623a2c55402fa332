"""Agents measured on cases: the runs, the figures and `agentkit eval`.

The files of cases and the judging are specified in test_agent_eval_cases.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from restaurant import agent_of, case, written

from agentkit import Agent, AnswerMessage, History, RunContext, UserMessage, tool
from agentkit.evaluation import Case, ExpectedCall, Judgement, Report, evaluate
from agentkit.evaluation.report import share_of
from agentkit.terminal.cli import main
from agentkit.testing import ScriptedAnswer, ScriptedBackend, ScriptItem, answer, call

# --- running


def echo(messages: History) -> ScriptedAnswer:
    """Answers a question with itself."""
    last = messages[-1]
    assert isinstance(last, UserMessage)
    return answer(last.text)


def cases(number: int, **told: Any) -> list[Case]:
    return [Case(id=f"{n}", question=f"question {n}", answer=f"question {n}", **told)
            for n in range(number)]  # fmt: skip


async def test_judgements_stand_in_the_order_of_the_cases() -> None:
    heard: list[str] = []
    report = await evaluate(
        agent_of(*[echo] * 10),
        cases(5),
        repeat=2,
        concurrency=3,
        on_judged=lambda one: heard.append(one.case.id),
    )
    assert [(one.case.id, one.repetition) for one in report.judgements] == [
        (f"{n}", times) for n in range(5) for times in (1, 2)
    ]
    assert report.right == 1
    assert (len(heard), report.planned) == (10, 10)


async def test_so_many_runs_are_made_at_once_and_no_more() -> None:
    waiting, most = 0, 0

    async def wait(messages: History) -> ScriptedAnswer:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await anyio.sleep(0.01)
        waiting -= 1
        return answer("done")

    await evaluate(agent_of(*[wait] * 7), cases(7), concurrency=3)
    assert most == 3


async def test_a_run_goes_on_from_what_was_said() -> None:
    backend = ScriptedBackend([answer("Hi.")])
    said = (UserMessage("Hi"), AnswerMessage("Hello!"))
    await evaluate(Agent(backend=backend), [case(history=said, contains=("Hi",))])
    assert backend.conversations[0].messages == (*said, UserMessage("A table in Rome for two?"))


async def test_each_run_has_dependencies_of_its_own() -> None:
    made: list[list[str]] = []

    def fresh() -> list[str]:
        made.append([])
        return made[-1]

    @tool
    def note(ctx: RunContext[list[str]], text: str) -> str:
        """Note something."""
        ctx.deps.append(text)
        return "noted"

    script: list[ScriptItem] = [call("note", text="a"), answer("Done.")] * 2
    agent = Agent(tools=[note], backend=ScriptedBackend(script), deps_type=list[str])
    await evaluate(agent, cases(2), deps=fresh, concurrency=1)
    assert made == [["a"], ["a"]]


async def test_a_dry_run_calls_nothing_and_judges_the_first_calls() -> None:
    called: list[str] = []

    def book(city: str) -> str:
        """Book a table."""
        called.append(city)
        return "booked"

    backend = ScriptedBackend(
        [[call("book", city="Rome"), call("book", city="Oslo")], answer("Hi")]
    )
    agent = Agent(tools=[book], backend=backend)
    asked = [
        case(calls=(ExpectedCall(name="book", arguments={"city": "Rome"}),), contains=("Rome",)),
        Case(id="two", question="Hello", calls=()),
        Case(id="three", question="Hello", contains=("Hi",)),
    ]
    report = await evaluate(agent, asked, dry=True, concurrency=1)
    assert called == []
    assert [(one.case.id, one.calls, one.answer) for one in report.judgements] == [
        ("one", False, None),
        ("two", True, None),
    ]
    assert report.judgements[0].faults == ('calls: came book(city="Oslo")',)


# --- figures


def made(right: bool, *tags: str, turns: Sequence[float] = (), **told: Any) -> Judgement:
    about = Case(id="one", question="?", tags=tags)
    return Judgement(case=about, faults=() if right else ("no",), turns=tuple(turns), **told)


def test_shares_have_intervals() -> None:
    share = share_of(8, 10)  # as in Wilson 1927 and every table since
    assert share.low == pytest.approx(0.490, abs=1e-3)
    assert share.high == pytest.approx(0.943, abs=1e-3)
    assert share_of(0, 5).low == 0
    assert share_of(5, 5).high == 1
    assert (share_of(0, 0).low, share_of(0, 0).high) == (0, 1)


def test_figures_are_of_all_and_of_each_tag() -> None:
    runs = [
        made(True, "a", tools=True, calls=True, turns=[0.001] * 18, forwards=1),
        made(False, "a", "b", tools=True, calls=False, turns=[0.5], forwards=4),
        made(False, answer=False, error="E: no", turns=[0.7], forwards=1),
    ]
    everything, a, b = Report(tuple(runs), 3).figures()
    assert [figure.tag for figure in (everything, a, b)] == ["all", "a", "b"]
    assert (everything.right.right, everything.right.total, everything.errors) == (1, 3, 1)
    assert everything.tools is not None
    assert (everything.tools.right, everything.tools.total) == (2, 2)
    assert everything.answer is not None
    assert a.answer is None
    assert (a.right.share, b.right.share) == (0.5, 0)
    assert (everything.median_ms, everything.p95_ms) == (1, 500)
    assert everything.forwards == 2


def test_a_report_reads_as_a_page() -> None:
    runs = (made(True, "a", turns=[0.0012]), made(False, error="E: broken", repetition=2))
    page = str(Report(runs, 3))
    assert "| all | 50.0% | 9–91 | 2 | – | – | – | 1 | 1.2 | 1.2 | 0.0 |" in page
    assert "Stopped after 2 of 3 runs." in page
    assert "- one (run 2): ?\n  - E: broken\n  - no" in page
    long = made(False, "a|b")
    long = dataclasses.replace(long, case=dataclasses.replace(long.case, question="so\nlong " * 99))
    [told] = [line for line in str(Report((long,), 1)).splitlines() if line.startswith("- one: ")]
    assert told.startswith("- one: so long so long")
    assert len(told) < 220
    assert r"| a\|b |" in str(Report((long,), 1))
    header, rule, *rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in (header, rule, *rows)} == {12}


def test_of_nothing_there_are_no_figures() -> None:
    report = Report((), 3)
    assert (report.figures(), report.right, report.failures) == ([], 0.0, ())
    assert "Stopped after 0 of 3 runs." in str(report)


# --- the command

AGENT = """
import time
from agentkit import Agent
from agentkit.testing import ScriptedBackend, answer, call

def decide(messages):
    last = messages[-1]
    if last.role == "result":
        return answer(last.content)
    return call("book", city=last.text.split()[-1])

agent = Agent(backend=ScriptedBackend([decide] * 100))

def basket():
    return []

@agent.tool
def book(city: str) -> str:
    "Book a table."
    if city == "Never":
        time.sleep(60)
    return f"booked in {city}"
"""
ROWS = [
    {"id": "rome", "question": "A table in Rome", "contains": ["booked"], "tags": ["south"],
     "calls": [{"name": "book", "arguments": {"city": "Rome"}}]},
    {"id": "oslo", "question": "A table in Oslo", "tags": ["north"],
     "calls": [{"name": "book", "arguments": {"city": "Bergen"}}]},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "booking.py").write_text(AGENT, "utf-8")
    written(tmp_path, *ROWS)
    yield tmp_path
    sys.modules.pop("booking", None)


def evaluated(*options: str) -> int:
    sys.modules.pop("booking", None)
    return main(["eval", "booking.py:agent", "cases.jsonl", *options])


def test_the_report_is_shown_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated("--json", "out.json", "--md", "out.md", "--deps", "basket") == 0
    shown = capsys.readouterr()
    assert "50.0%" in shown.out
    assert "south" in shown.out
    assert 'missing book(city="Bergen"); came book(city="Oslo")' in " ".join(shown.out.split())
    assert shown.err == ""
    told = json.loads((folder / "out.json").read_text("utf-8"))
    assert (told["planned"], told["ran"]) == (2, 2)
    assert [one["id"] for one in told["cases"] if one["right"]] == ["rome"]
    assert told["figures"][0]["right"]["right"] == 1
    assert "| north | 0.0% |" in (folder / "out.md").read_text("utf-8")


@pytest.mark.parametrize(("share", "status"), [("50", 0), ("50.1%", 1)])
def test_too_few_right_runs_fail_the_command(share: str, status: int, folder: Path) -> None:
    assert evaluated("--at-least", share, "--repeat", "3", "--concurrency", "2") == status


def test_a_dry_run_says_what_it_leaves_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(folder, *ROWS, {"question": "Hi", "contains": ["Hi"]})
    assert evaluated("--dry", "--repeat", "2") == 0
    assert capsys.readouterr().err == "1 cases say nothing of calls and are left out\n"
    written(folder, {"question": "Hi", "contains": ["Hi"]})
    assert evaluated("--dry") == 1
    assert "judges nothing else; leave --dry out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "rows", "why"),
    [
        ((), ['{"question": 1}'], "cases.jsonl, line 1: question: "),
        (("--json", "none/out.json"), ROWS, "there is no folder 'none' to write 'out.json' to"),
        (("--md", "."), ROWS, "'.' can't be written"),
    ],
)
def test_what_is_wrong_is_told(
    options: tuple[str, ...],
    rows: list[object],
    why: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written(folder, *rows)
    assert evaluated(*options) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--at-least", "101"), ("--repeat", "0"), ("--at-least", "x")])
def test_wrong_usage(options: tuple[str, ...], folder: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluated(*options)
    assert caught.value.code == 2


@pytest.mark.skipif(os.name == "nt", reason="a process there has no SIGINT of its own")
def test_ctrl_c_keeps_what_was_done(folder: Path) -> None:
    never = {"id": "never", "question": "A table in Never", "calls": []}
    written(folder, *ROWS, never)
    program = (
        "import sys; from agentkit.evaluation import measuring; from agentkit.terminal import cli\n"
        "judged = measuring.judged\n"
        "def told(*args, **kwargs):\n"
        "    print('judged', flush=True)\n"
        "    return judged(*args, **kwargs)\n"
        "measuring.judged = told\n"
        "options = ['--concurrency', '1', '--json', 'o']\n"
        "sys.exit(cli.main(['eval', 'booking.py', 'cases.jsonl', *options]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "judged\n"
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[0]
    assert process.returncode == 130
    assert "stopped after 2 of 3 runs" in rest
    assert json.loads((folder / "o").read_text("utf-8"))["ran"] == 2


def test_progress_is_told_on_long_runs(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.terminal.evaluate._EVERY", {True: 0.0, False: 0.0})
    evaluated("--concurrency", "1")
    assert capsys.readouterr().err.splitlines()[0] == "1/2 runs, 1 right, 0 s left"
