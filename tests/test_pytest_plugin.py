"""The pytest plugin, in sessions of its own: its fixtures, its option, and what it costs others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import agentkit.backends
from agentkit import Call, CallMessage
from agentkit.evaluation.cases import Row
from agentkit.terminal.cli import main
from agentkit.testing import ScriptedBackend, answer, assert_called, call

pytest_plugins = ["pytester"]

# By name: whatever else is installed here would take its time in each session.
PLUGIN = ("-p", "agentkit_pytest", "-p", "no:cacheprovider")

ASK = """
import anyio
from agentkit import UserMessage
from agentkit.testing import ScriptedBackend, answer, call

async def _ask(backend, text):
    conversation = await backend.open(instructions="", tools=[])
    await conversation.extend([UserMessage(text)])
    decision = await conversation.decide()
    await conversation.aclose()
    return decision.answer

def ask(backend, text="hi"):
    return anyio.run(_ask, backend, text)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def session(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(asking=ASK)
    pytester.syspathinsert()
    return pytester


def ran(session: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    session.makepyfile(test_it=f"from asking import *\n{test}")
    return session.runpytest_inprocess(*PLUGIN, *options)


# --- scripted


def test_a_script_that_is_used_up(session: pytest.Pytester) -> None:
    done = ran(
        session,
        """
def test_asking(scripted):
    backend = scripted([answer("hello")], delay=0.0)
    assert ask(backend) == "hello"
""",
    )
    done.assert_outcomes(passed=1)


def test_a_script_that_is_not_used_up_fails_the_test(session: pytest.Pytester) -> None:
    done = ran(
        session,
        """
def test_asking(scripted):
    scripted([])
    backend = scripted([answer("hello"), call("book", city="Rome")])
    ask(backend)
""",
    )
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*1 of 2 items of the script were not used*tool='book'*"])


def test_a_test_that_failed_is_told_once(session: pytest.Pytester) -> None:
    done = ran(
        session,
        """
def test_asking(scripted):
    scripted([answer("hello")])
    assert False
""",
    )
    done.assert_outcomes(failed=1)


# --- replay

RECORDED = """
def model():
    return ScriptedBackend([answer("hello"), answer("again")])

def test_asking(replay):
    assert ask(replay(model)) == "hello"
"""


def files(session: pytest.Pytester) -> list[str]:
    folder = session.path / "recordings"
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.jsonl"))


def test_what_is_recorded_is_played_back(session: pytest.Pytester) -> None:
    ran(session, RECORDED, "--agentkit-record").assert_outcomes(passed=1)
    assert files(session) == ["test_it/test_asking.jsonl"]
    offline = RECORDED.replace("return ScriptedBackend", "raise RuntimeError")
    ran(session, offline).assert_outcomes(passed=1)


def test_without_a_recording_it_says_how_to_make_one(session: pytest.Pytester) -> None:
    done = ran(session, RECORDED)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*the recording *test_asking.jsonl' can't be read*"])
    done.stdout.fnmatch_lines(["*run pytest with --agentkit-record*"])


def test_a_difference_says_how_to_record_anew(session: pytest.Pytester) -> None:
    ran(session, RECORDED, "--agentkit-record").assert_outcomes(passed=1)
    done = ran(session, RECORDED.replace("replay(model)", "replay(model), 'hello?'"))
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*-*hi*", "*+*hello?*", "*run pytest with --agentkit-record*"])


def test_each_test_and_each_backend_has_a_file_of_its_own(session: pytest.Pytester) -> None:
    test = """
import pytest

def model():
    return ScriptedBackend([answer("hello")])

class TestClass:
    @pytest.mark.parametrize("text", ["a", "b/c", "b c"])
    def test_asking(self, replay, text):
        assert [ask(replay(model), text) for _ in range(2)] == ["hello", "hello"]
"""
    ran(session, test, "--agentkit-record").assert_outcomes(passed=3)
    found = files(session)
    assert found[:2] == [f"test_it/TestClass.test_asking[a]{more}.jsonl" for more in (".2", "")]
    assert len(found) == 6
    ran(session, test).assert_outcomes(passed=3)


def test_a_backend_that_was_made_to_record_is_closed(session: pytest.Pytester) -> None:
    test = """
made = []

def model():
    made.append(ScriptedBackend([answer("hello")]))
    return made[-1]

def test_asking(replay):
    ask(replay(model))
    assert not made[0].closed

def test_afterwards():
    assert made[0].closed
"""
    ran(session, test, "--agentkit-record").assert_outcomes(passed=2)


def test_backends_go_by_name_too(session: pytest.Pytester) -> None:
    test = """
import agentkit.backends

def test_asking(replay, monkeypatch):
    monkeypatch.setitem(agentkit.backends._made, "embedded", ScriptedBackend([answer("hello")]))
    assert ask(replay()) == "hello"
    assert not agentkit.backends._made["embedded"].closed
"""
    ran(session, test, "--agentkit-record").assert_outcomes(passed=1)
    ran(session, test).assert_outcomes(passed=1)


# --- what it costs others


def test_the_option_and_the_fixtures_are_told(session: pytest.Pytester) -> None:
    session.makepyfile("def test_nothing(): pass")
    told = session.runpytest_inprocess(*PLUGIN, "--help").stdout.str()
    assert "--agentkit-record" in told
    told = session.runpytest_inprocess(*PLUGIN, "--fixtures").stdout.str()
    assert "Makes backends that follow scripts" in told
    assert "Plays back what models decided" in told


def test_who_does_not_use_it_does_not_import_it(tmp_path: Path) -> None:
    file = tmp_path / "test_other.py"
    file.write_text("import sys\n\ndef test_it():\n    assert 'agentkit' not in sys.modules\n")
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


# --- the page that tells of it

PAGE = (Path(__file__).parents[1] / "docs" / "testing.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TESTS = [snippet for snippet in SNIPPETS if snippet.startswith("# needs booking.py\n")]


@pytest.fixture
def booking(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The page's agent, where a double stands for the embedded model."""
    session.makepyfile(booking=SNIPPETS[0])
    booked = call("book_table", city="Lisbon", people=4)
    model = ScriptedBackend([booked, answer("A table for 4 in Lisbon."), answer("Good evening!")])
    monkeypatch.setitem(agentkit.backends._made, "embedded", model)
    return session


@pytest.mark.parametrize("test", TESTS)
def test_the_tests_on_the_page_pass(test: str, booking: pytest.Pytester) -> None:
    for options in (["--agentkit-record"], []):
        ran(booking, test, *options).assert_outcomes(passed=test.count("def test_"))


def test_the_failure_on_the_page_is_told_so() -> None:
    [told] = re.findall(r"```\nAssertionError: (.*?)\n```", PAGE, re.DOTALL)
    find = Call("call_1", "find", {"city": "Rome"})
    book = Call("call_2", "book", {"city": "Rome", "place": "Da Enzo"})
    with pytest.raises(AssertionError) as caught:
        assert_called([CallMessage((find, book))], "book", city="Oslo")
    assert str(caught.value) == told


def test_the_cases_on_the_page_are_cases(
    booking: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command stands there as it is run here, but for the double."""
    [lines] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    [command] = re.findall(r"^agentkit (eval .*)$", PAGE, re.MULTILINE)
    Path("cases.jsonl").write_text(lines, "utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "booking", raising=False)
    options = command.replace("--repeat 3", "--concurrency 1").split()
    assert main(options) == 0, capsys.readouterr()
    assert "| booking | 100.0% |" in Path("report.md").read_text("utf-8")


def test_the_fields_on_the_page_are_those_of_a_row() -> None:
    table = PAGE.partition("| field | |\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[1:]]
    assert {*re.findall(r"`(\w+)`", "".join(cells))} == {*Row.model_fields} - {"category"}
