"""The command line, with a scripted model behind it: what it prints, and how it fails."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentkit import BackendError, InstalledPlugin
from agentkit.terminal import commands, failures, tools
from agentkit.terminal.cli import COMMANDS, main
from agentkit.terminal.drawing import NOISE
from agentkit.testing import ScriptedBackend, ScriptItem, answer, call

ADD = call("todo_add", text="buy milk")


@pytest.fixture(autouse=True)
def todo_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "todo.sqlite3"
    monkeypatch.setenv("AGENTKIT_TODO_PATH", str(path))
    monkeypatch.setenv("COLUMNS", "120")
    return path


def run_json(
    capsys: pytest.CaptureFixture[str], argv: Sequence[str], script: Sequence[ScriptItem]
) -> tuple[int, dict[str, Any]]:
    status = main([*argv, "--json"], backend=ScriptedBackend(script))
    out, err = capsys.readouterr()
    assert err == ""
    return status, json.loads(out)  # exactly one object: json.loads refuses anything after it


# run


def test_run_draws_the_canvas_the_call_the_result_the_answer_and_the_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = ScriptedBackend([ADD, answer("It is on your list.")])
    assert main(["run", "Add buy milk to my list", "--steps", "2"], backend=backend) == 0
    out = capsys.readouterr().out
    parts = [
        "step 1 of 2",
        f'todo_add  {{"text":{NOISE}}}',
        "step 2 of 2",
        'todo_add  {"text":"buy\N{BRAILLE PATTERN BLANK}milk"}',
        '→ todo_add(text="buy milk")  100% sure',
        "← Added 1: buy milk",
        "It is on your list.",
        "4 forwards · ms: encode",
    ]
    assert [part for part in parts if part not in out] == []
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    figures = out.strip().splitlines()[-1]
    number = r"\d+(\.\d)?"
    names = ("encode", "denoise", "verify", "lattice", "tool")
    phases = "ms: " + ", ".join(f"{name} {number}" for name in names)
    assert re.fullmatch(rf"4 forwards · {phases} · \d+ tokens filled", figures)
    assert "\x1b" not in out  # plain where there is no terminal


def test_run_offers_the_tools_that_were_named() -> None:
    backend = ScriptedBackend([answer("Hello.")])
    assert main(["run", "Hi", "--tools", "clock, calculator"], backend=backend) == 0
    offered = [tool.name for tool in backend.conversations[0].tools]
    assert offered == ["current_time", "days_between", "calculator"]


def test_run_offers_every_plugin_by_default_and_none_for_an_empty_list() -> None:
    backend = ScriptedBackend([answer("Hello."), answer("Hello.")])
    main(["run", "Hi"], backend=backend)
    main(["run", "Hi", "--tools", ""], backend=backend)
    everything, nothing = ([tool.name for tool in each.tools] for each in backend.conversations)
    assert {"calculator", "current_time", "todo_add"} <= set(everything)
    assert nothing == []


def test_steps_reach_the_backend() -> None:
    backend = ScriptedBackend([answer("Hello.")])
    main(["run", "Hi", "--steps", "4"], backend=backend)
    assert backend.conversations[0].settings[0].steps == 4
    backend = ScriptedBackend([answer("Hello.")])
    main(["run", "Hi", "--steps", "auto"], backend=backend)
    assert backend.conversations[0].settings[0].steps == "auto"


# run --json


def test_json_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    calls = [ADD, call("calculator", expression="6 * 7")]
    script: list[ScriptItem] = [calls, answer("Done; it is 42.")]
    status, told = run_json(capsys, ["run", "Add buy milk, and what is 6 * 7?"], script)
    assert status == 0
    timings = told.pop("timings_ms")
    assert told == {
        "status": "answered",
        "reason": "",
        "answer": "Done; it is 42.",
        "calls": [
            {
                "tool": "todo_add",
                "arguments": {"text": "buy milk"},
                "confidence": {"/text": 1.0},
                "result": "Added 1: buy milk",
                "is_error": False,
            },
            {
                "tool": "calculator",
                "arguments": {"expression": "6 * 7"},
                "confidence": {"/expression": 1.0},
                "result": "42",
                "is_error": False,
            },
        ],
        "turns": 2,
        "forwards": 2,
        "passes": 0,
        "tokens": told["tokens"],
    }
    assert set(timings) == {"encode", "denoise", "verify", "lattice", "tool"}


def test_json_tells_a_failing_call(capsys: pytest.CaptureFixture[str]) -> None:
    failing = call("calculator", expression="1 / 0")
    script: list[ScriptItem] = [failing, answer("That has no answer.")]
    status, told = run_json(capsys, ["run", "What is 1 / 0?"], script)
    assert status == 0
    assert told["calls"][0]["is_error"] is True
    assert "divide by zero" in told["calls"][0]["result"]


def test_json_tells_an_error_and_loses_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    status, told = run_json(capsys, ["run", "Add buy milk"], [ADD, BackendError("out of memory")])
    assert status == 1
    assert set(told) == {"error"}
    assert told["error"]["type"] == "BackendError"
    assert told["error"]["message"] == "out of memory"
    assert [message["role"] for message in told["error"]["messages"]] == ["user", "call", "result"]


def test_json_tells_an_error_before_the_first_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, told = run_json(capsys, ["run", "  "], [])
    assert status == 1
    assert told["error"]["type"] == "EmptyRequest"
    assert "messages" not in told["error"]


# an agent of one's own

FILE = """
from dataclasses import dataclass

from agentkit import Agent, RunContext, approve_when, ask_when, confidence, named

@dataclass
class Customer:
    name: str

def customer():
    return Customer("Grace")

agent = Agent(policies=[approve_when(named("send"), "it is paid for"), ask_when(confidence < 0.5)])

@agent.tool
def send(context: RunContext[Customer], to: str) -> str:
    '''Send a parcel.'''
    return f"sent to {to} from {context.deps.name}"

@agent.tool
def track(context: RunContext[Customer], number: int) -> str:
    '''Track a parcel.'''
    return f"{context.deps.name}'s is here"
"""


@pytest.fixture
def desk(tmp_path: Path) -> str:
    """A file with an agent in it, as the command line names it."""
    (tmp_path / "desk.py").write_text(FILE, "utf-8")
    return f"{tmp_path / 'desk.py'}:agent"


def test_run_asks_the_agent_named_and_gives_it_what_was_named(
    desk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script: list[ScriptItem] = [call("track", number=7), answer("It is here.")]
    status, told = run_json(capsys, ["run", desk, "Where is it?", "--deps", "customer"], script)
    assert status == 0
    assert told["calls"][0]["result"] == "Grace's is here"


def test_options_may_stand_anywhere(desk: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (
        ["run", desk, "--deps", "customer", "Hi"],
        ["run", "--deps", "customer", desk, "Hi"],
        ["run", desk, "Hi", "--deps", "customer"],
        ["run", "--steps", "2", "Hi"],
    ):
        status, told = run_json(capsys, argv, [answer("Hello.")])
        assert (status, told["answer"]) == (0, "Hello.")


def test_a_call_that_waits_is_told_and_is_no_success(
    desk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = run_json(capsys, ["run", desk, "Send it"], [call("send", to="Ada")])
    assert (status, told["status"], told["answer"]) == (1, "paused", "")
    assert told["calls"][0] == {
        "tool": "send",
        "arguments": {"to": "Ada"},
        "confidence": {"/to": 1.0},
        "result": None,
        "is_error": False,
    }
    assert main(["run", desk, "Send it"], backend=ScriptedBackend([call("send", to="Ada")])) == 1
    out, err = capsys.readouterr()
    assert "send waits for approval: it is paid for" in out
    assert err == "agentkit: calls wait, so there is no answer: call_1 send: approval\n"


def test_a_question_asked_back_is_an_answer_to_whom_asked(
    desk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = call("track", number=7).sure(number=0.3)
    status, told = run_json(capsys, ["run", desk, "Where is it?"], [doubtful])
    assert (status, told["status"], told["calls"]) == (0, "asked", [])
    assert told["answer"] == "Which number do you mean? I read 7, but am only 30% sure."


def test_an_error_of_the_agent_s_own_code_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lost.py").write_text(
        "from agentkit import Agent\n"
        "agent = Agent(instructions=lambda context: context.deps.name)\n"
    )
    assert main(["run", f"{tmp_path / 'lost.py'}:agent", "Hi"], backend=ScriptedBackend([])) == 1
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "agentkit: AttributeError: 'NoneType' object has no attribute 'name'"
    assert [line for line in lines if "File" in line] == [
        f'  File "{tmp_path / "lost.py"}", line 2, in <lambda>'
    ]


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[InstalledPlugin]:
        raise ZeroDivisionError

    monkeypatch.setattr(tools, "discover", fail)
    monkeypatch.setattr(failures, "_OTHERS", (*failures._OTHERS, str(Path(__file__).parent)))
    with pytest.raises(ZeroDivisionError):
        main(["tools"])


# errors


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["run", " "], "the request is empty"),
        (["run", "Hi", "--tools", "abacus"], "'abacus'"),
        (["run", "Hi", "--backend", "http://127.0.0.1:9"], "http://127.0.0.1:9"),
        (["run", "Hi", "--backend", "oracle"], "'oracle'"),
        (["run", "nowhere.py:agent", "Hi"], "there is no file 'nowhere.py'"),
        (["run", "Hi", "--deps", "customer"], "--deps 'customer' belongs to an agent"),
        (["run", "nowhere.py:agent", "Hi", "--tools", "clock"], "leave --tools out"),
        (["chat", "nowhere:agent"], "there is no module 'nowhere'"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("agentkit: ")
    assert complaint in err
    assert err.count("\n") == 1


def test_an_error_in_the_middle_of_a_run_comes_after_what_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = ScriptedBackend([ADD, BackendError("out of memory")])
    assert main(["run", "Add buy milk"], backend=backend) == 1
    out, err = capsys.readouterr()
    assert "← Added 1: buy milk" in out
    assert err == "agentkit: out of memory\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "Hi", "--steps", "0"],
        ["run", "Hi", "--steps", "many"],
        ["tools", "fly"],
        ["tools", "show"],
        ["new"],
        ["chat", "one:agent", "two:agent"],
    ],
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(argv)
    assert info.value.code == 2
    assert "usage: agentkit" in capsys.readouterr().err


# version


def test_the_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert re.fullmatch(r"agentkit \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_the_command_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys; from agentkit.terminal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'rich', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# the page about it


PAGE = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_names_each_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"| `agentkit {name}" in PAGE
    with pytest.raises(SystemExit) as info:
        main([name, "--help"])
    assert info.value.code == 0
    assert f"usage: agentkit {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_page_names_each_command_of_the_chat(name: str) -> None:
    assert re.search(rf"^\| .*`{name}\b.*\| ", PAGE, re.MULTILINE)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z]+)", PAGE))))
def test_the_options_that_the_page_names_exist(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "chat"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
    assert f"{option} " in f"{capsys.readouterr().out} "


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m agentkit tools list --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")
