"""Agents measured on files of cases: the files, the judging, the figures and `agentkit eval`."""

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
from pydantic import BaseModel

from agentkit import Agent, AnswerMessage, History, RunContext, UserMessage, tool
from agentkit.evaluation import (
    Case,
    CaseFileError,
    ExpectedCall,
    Judgement,
    Report,
    evaluate,
    read_cases,
)
from agentkit.evaluation.judging import holds, same_json
from agentkit.evaluation.report import share_of
from agentkit.policies.condition import named
from agentkit.policies.doubt import approve_when
from agentkit.terminal.cli import main
from agentkit.testing import ScriptedAnswer, ScriptedBackend, ScriptItem, answer, call
from agentkit_engine.training.evaluation import casefile


def book(**arguments: Any) -> ExpectedCall:
    return ExpectedCall(name="book", arguments=arguments)


BOOK = call("book", city="Rome", people=2)
BOOKED = book(city="Rome", people=2)


def agent_of(*script: ScriptItem, **options: Any) -> Agent[Any, Any]:
    agent = Agent(backend=ScriptedBackend(script), **options)

    @agent.tool
    def book(city: str, people: int) -> str:
        """Book a table."""
        if people > 8:
            raise ValueError("too many")
        return f"booked in {city}"

    @agent.tool
    def find(city: str) -> str:
        """Find a place."""
        return city

    return agent


async def judgement(case: Case, *script: ScriptItem, **options: Any) -> Judgement:
    report = await evaluate(agent_of(*script, **options), [case])
    return report.judgements[0]


def case(**told: Any) -> Case:
    return Case(id=told.pop("id", "one"), question="A table in Rome for two?", **told)


# --- case files


def written(folder: Path, *rows: object) -> Path:
    path = folder / "cases.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_row_says_what_is_asked_and_what_should_come_of_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "id": 7,
            "question": "A table in Rome for two?",
            "calls": [{"name": "book", "arguments": {"city": "Rome", "people": 2}}],
            "answer": "Done.",
            "contains": ["Rome"],
            "output": {"city": "Rome"},
            "status": "answered",
            "tags": ["food", "rome"],
        },
        "",
        {"question": "Hi", "calls": [], "category": "small talk", "note": "not read"},
    )
    first, second = read_cases(path)
    assert first == case(
        id="7",
        calls=(BOOKED,),
        answer="Done.",
        contains=("Rome",),
        output={"city": "Rome"},
        status="answered",
        tags=("food", "rome"),
    )
    assert second == Case(id="cases.jsonl:3", question="Hi", calls=(), tags=("small talk",))


def test_a_file_for_the_evaluation_of_models_serves_too(tmp_path: Path) -> None:
    """Its tools aside: an agent has its own."""
    tools = [{"type": "function", "function": {"name": "book", "parameters": {"type": "object"}}}]
    asked = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "later"}]]
    row = {"id": "m_1", "question": asked, "tools": tools, "calls": [], "category": "simple"}
    path = written(tmp_path, row)
    [found] = read_cases(path)
    assert found == Case(id="m_1", question="Hi", calls=(), tags=("simple",))
    [of_a_model] = casefile.read_cases(path)
    assert (of_a_model.id, of_a_model.category) == ("m_1", "simple")


def test_a_question_may_be_the_end_of_a_conversation(tmp_path: Path) -> None:
    asked = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "A table?"},
    ]
    [found] = read_cases(written(tmp_path, {"question": asked, "calls": []}))
    assert found.question == "A table?"
    assert found.history == (UserMessage("Hi"), AnswerMessage("Hello!"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "this is no JSON"),
        ("[]", "valid dictionary"),
        ({"calls": []}, "question: Field required"),
        ({"question": " ", "calls": []}, "question: .* is no message"),
        ({"question": [], "calls": []}, "question: should be a text, or a list of messages"),
        (
            {"question": [{"role": "tool", "content": ""}], "calls": []},
            "question: .* is no message",
        ),
        ({"question": [{"role": "system", "content": ""}], "calls": []}, "question: the system's"),
        ({"question": [{"role": "assistant", "content": ""}], "calls": []}, "ends with the user's"),
        ({"question": "Hi", "calls": [{"arguments": {}}]}, r"calls\.0\.name: Field required"),
        ({"question": "Hi", "calls": [{"name": "a", "arguments": 1}]}, r"calls\.0\.arguments: "),
        ({"question": "Hi", "contains": [""]}, r"contains\.0: "),
        ({"question": "Hi", "status": "done"}, "status: Input should be 'answered'"),
        ({"question": "Hi"}, "nothing is expected; say one of calls, answer"),
        ({"question": "Hi", "calls": [], "contain": ["a"]}, "no field 'contain'; 'contains' is"),
    ],
)
def test_a_bad_row_names_line_and_field(row: object, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"question": "Hi", "calls": []}, row)
    with pytest.raises(CaseFileError, match=rf"cases\.jsonl, line 2: .*{why}"):
        read_cases(path)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CaseFileError) as caught:
        read_cases(written(tmp_path, "{", {"question": "Hi"}))
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_no_case_files(tmp_path: Path) -> None:
    with pytest.raises(CaseFileError, match="can't be read"):
        read_cases(tmp_path / "none.jsonl")
    with pytest.raises(CaseFileError, match="has no cases"):
        read_cases(written(tmp_path))
    row = {"id": "a", "question": "Hi", "calls": []}
    with pytest.raises(CaseFileError, match="two cases are called 'a'"):
        read_cases(written(tmp_path, row, row, row))


# --- judging


@pytest.mark.parametrize(
    ("one", "other", "same", "inside"),
    [
        (1, 1.0, True, True),
        (1, True, False, False),
        ({"a": 1}, {"a": 1, "b": 2}, False, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False, True),
        ([{"a": 1}], [{"a": 1, "b": 2}], False, True),
        ([1], [1, 2], False, False),
        ({"a": 1}, [1], False, False),
        ({"a": None}, {}, False, False),
        (["a"], ["a"], True, True),
    ],
)
def test_json_values_are_compared(one: Any, other: Any, same: bool, inside: bool) -> None:
    assert same_json(one, other) is same
    assert holds(one, other) is inside


async def test_a_run_that_is_right() -> None:
    told = await judgement(case(calls=(BOOKED,), contains=("ROME",)), BOOK, answer("In Rome."))
    assert (told.tools, told.calls, told.answer, told.error) == (True, True, True, "")
    assert told.right
    assert told.forwards == 2
    assert len(told.turns) == 2


async def test_what_was_not_expected_is_not_judged() -> None:
    told = await judgement(case(status="answered"), BOOK, answer("Done."))
    assert (told.tools, told.calls, told.answer, told.right) == (None, None, None, True)


@pytest.mark.parametrize(
    ("script", "tools", "why"),
    [
        ([], False, 'missing book(city="Rome", people=2)'),
        ([call("find", city="Rome"), BOOK], False, 'came find(city="Rome")'),
        (
            [call("book", city="Oslo", people=2)],
            True,
            'missing book(city="Rome", people=2); came book(city="Oslo", people=2)',
        ),
        ([BOOK, BOOK], False, 'came book(city="Rome", people=2)'),
    ],
)
async def test_other_calls_are_told(script: list[ScriptItem], tools: bool, why: str) -> None:
    told = await judgement(case(calls=(BOOKED,)), *script, answer("Done."))
    assert (told.tools, told.calls, told.right) == (tools, False, False)
    assert told.faults == (f"calls: {why}",)


async def test_calls_are_right_in_any_order_over_all_turns() -> None:
    calls = (
        BOOKED,
        book(city="Oslo", people=1),
        ExpectedCall(name="find", arguments={"city": "A"}),
    )
    script: list[ScriptItem] = [
        call("find", city="A"),
        [call("book", city="Oslo", people=1), BOOK],
        answer("Done."),
    ]
    assert (await judgement(case(calls=calls), *script)).right


async def test_what_failed_and_was_mended_does_not_count() -> None:
    many = call("book", city="Rome", people=9)
    told = await judgement(case(calls=(BOOKED,)), many, BOOK, answer("Done."))
    assert (told.tools, told.calls) == (True, True)
    expected = (book(city="Rome", people=9),)
    assert (await judgement(case(calls=expected), many, answer("Too many."))).right


async def test_where_no_call_is_expected_none_is_made() -> None:
    assert (await judgement(case(calls=()), answer("Hello."))).right
    assert not (await judgement(case(calls=()), BOOK, answer("Hello."))).right


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({"answer": " Hi. "}, ""),
        ({"answer": "Hi"}, "answer: expected 'Hi', came 'Hi.'"),
        ({"answer": [None]}, "answer: expected [null], came 'Hi.'"),
        ({"contains": ("h", ".")}, ""),
        ({"contains": ("h", "ho", "hu")}, "answer: 'ho', 'hu' is not in it, came 'Hi.'"),
        ({"output": {"a": 1}}, "output: expected {\"a\": 1}, came 'Hi.'"),
    ],
)
async def test_answers_in_words(expected: dict[str, Any], why: str) -> None:
    told = await judgement(case(**expected), answer("Hi."))
    assert told.answer is (not why)
    assert told.faults == ((why,) if why else ())


class Table(BaseModel):
    city: str
    people: int = 2


@pytest.mark.parametrize(
    ("expected", "right"),
    [
        ({"answer": {"people": 2, "city": "Rome"}}, True),
        ({"answer": {"city": "Rome"}}, False),
        ({"output": {"city": "Rome"}}, True),
        ({"output": {"city": "Oslo"}}, False),
    ],
)
async def test_answers_with_a_type(expected: dict[str, Any], right: bool) -> None:
    told = await judgement(case(**expected), answer(Table(city="Rome")), output=Table)
    assert told.answer is right


async def test_a_long_answer_is_cut() -> None:
    told = await judgement(case(answer="short"), answer("long " * 1000))
    assert len(told.faults[0]) < 400


async def test_how_a_run_ends_is_judged_where_it_is_said() -> None:
    asking = {"policies": [approve_when(named("book"), "it costs")]}
    assert (await judgement(case(status="paused", calls=(BOOKED,)), BOOK, **asking)).right
    told = await judgement(case(status="answered", contains=("Rome",)), BOOK, **asking)
    assert told.faults[0] == "answer: 'Rome' is not in it, there was none: the run is paused"
    assert told.faults[1].startswith("status: expected 'answered', came 'paused'")


async def test_an_error_is_told_and_all_that_was_expected_is_wrong() -> None:
    told = await judgement(case(calls=(), contains=("Rome",)), OSError("unplugged"))
    assert (told.tools, told.calls, told.answer, told.right) == (False, False, False, False)
    assert told.error == "BackendError: the backend failed: OSError: unplugged"
    other = await judgement(case(status="answered"), OSError("unplugged"))
    assert (other.tools, other.calls, other.answer, other.right) == (None, None, None, False)


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
