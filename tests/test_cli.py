"""The command line, with a scripted model behind it: what it prints, and how it fails."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agentkit import (
    AgentKitError,
    BackendError,
    Call,
    CallFilled,
    Cell,
    ContextTooLong,
    Decision,
    Draft,
    DraftCanvas,
    Plugin,
    PluginError,
    ResultMessage,
    Row,
    cli,
)
from agentkit.cli import main
from agentkit.drawing import FILLER, NOISE, Screen, draw_call, draw_draft, draw_result, export_svg
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
    assert backend.conversations[0].steps == [4]


# run --json


def test_json_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    calls = [ADD, call("calculator", expression="6 * 7")]
    script: list[ScriptItem] = [calls, answer("Done; it is 42.")]
    status, told = run_json(capsys, ["run", "Add buy milk, and what is 6 * 7?"], script)
    assert status == 0
    timings = told.pop("timings_ms")
    assert told == {
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


# errors


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["run", " "], "the request is empty"),
        (["run", "Hi", "--tools", "abacus"], "'abacus'"),
        (["run", "Hi", "--backend", "http://localhost:8000/v1"], "'http://localhost:8000/v1'"),
        (["run", "Hi", "--backend", "oracle"], "'oracle'"),
        (["chat", "--backend", "https://example.org"], "'https://example.org'"),
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
        ["tools", "--json"],
    ],
)
def test_wrong_usage_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(argv)
    assert info.value.code == 2
    assert "usage: agentkit" in capsys.readouterr().err


# chat


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | BaseException]]:
    """What the user types, line by line; then the end of the input."""
    lines: list[str | BaseException] = []

    def read(prompt: str = "") -> str:
        line = lines.pop(0) if lines else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)
    yield lines
    assert lines == []


def test_chat_goes_on_with_the_history(typed: list[str | BaseException]) -> None:
    typed += ["Add buy milk", "", "Thanks", "exit"]
    backend = ScriptedBackend([ADD, answer("Added."), answer("You are welcome.")])
    assert main(["chat"], backend=backend) == 0
    roles = [message.role for message in backend.conversations[-1].messages]
    assert roles == ["user", "call", "result", "answer", "user"]


def test_chat_tells_an_error_and_goes_on(
    typed: list[str | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    typed += ["Add buy milk", "And now?"]
    backend = ScriptedBackend([ADD, BackendError("out of memory"), answer("Better.")])
    assert main(["chat"], backend=backend) == 0
    out = capsys.readouterr().out
    assert out.index("Added 1") < out.index("out of memory") < out.index("Better.")
    roles = [message.role for message in backend.conversations[-1].messages]
    assert roles == ["user", "call", "result", "user"]


def test_chat_starts_anew_when_the_conversation_is_too_long(
    typed: list[str | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    typed += ["Hi", "Hello?", "And now?"]
    backend = ScriptedBackend([answer("Hi."), ContextTooLong(900, 512), answer("Better.")])
    assert main(["chat"], backend=backend) == 0
    assert "starts anew" in capsys.readouterr().out
    assert [message.role for message in backend.conversations[-1].messages] == ["user"]


def test_ctrl_c_stops_an_answer_and_not_the_chat(
    typed: list[str | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    typed += ["Add buy milk", "And now?"]
    backend = ScriptedBackend([ADD, KeyboardInterrupt(), answer("Better.")])
    assert main(["chat"], backend=backend) == 0
    out = capsys.readouterr().out
    assert out.index("stopped") < out.index("Better.")
    roles = [message.role for message in backend.conversations[-1].messages]
    assert roles == ["user", "call", "result", "user"]


@pytest.mark.parametrize("last", [EOFError(), KeyboardInterrupt(), "quit"])
def test_chat_is_left(last: str | BaseException, typed: list[str | BaseException]) -> None:
    typed.append(last)
    assert main(["chat"], backend=ScriptedBackend([])) == 0


# tools and version


def test_tools_lists_the_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools"]) == 0
    out = capsys.readouterr().out
    for shown in ("calculator(expression)", "current_time(timezone?)", "todo_list()", "Work out"):
        assert shown in out


def test_tools_reports_a_broken_plugin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Plugin("weather", None, PluginError("weather can't be loaded: no barometer"))
    monkeypatch.setattr(cli, "discover", lambda: [broken])
    assert main(["tools"]) == 1
    out = capsys.readouterr().out
    assert "weather" in out
    assert "no barometer" in out


def test_the_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert re.fullmatch(r"agentkit \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_the_command_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys; from agentkit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'rich', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# drawing


def terminal(width: int = 60) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


DRAFT = Draft(
    1,
    2,
    (
        Row("", (Cell("todo_add", "settled"),)),
        Row("todo_add", (Cell('{"text":"', "pinned"), Cell("bu\ny", "draft"), Cell("", "noise"))),
    ),
)


def test_a_canvas_shows_its_cells_on_one_line_each() -> None:
    console = Console(file=io.StringIO(), width=60, color_system=None)
    console.print(draw_draft(DRAFT))
    lines = [line.rstrip() for line in written(console).splitlines()]
    assert lines == [
        "step 1 of 2",
        "  choice    todo_add",
        f'  todo_add  {{"text":"bu{FILLER}y{NOISE}',
    ]


def test_a_terminal_redraws_in_place_and_keeps_the_last_draft() -> None:
    console = terminal()
    screen = Screen(console)
    with screen.drawing():
        for step in (1, 2):
            screen.show(DraftCanvas(1, Draft(step, 2, DRAFT.rows)))
        one = Call("call_1", "todo_list", {})
        screen.show(CallFilled(1, one, {}, Decision()))
    text = written(console)
    assert "\x1b[1A" in text  # moved up, to draw step 2 over step 1
    assert text.index("step 2 of 2") < text.index("todo_list")


def test_a_terminal_is_left_in_order_when_a_run_fails() -> None:
    console = terminal()

    def fail() -> None:
        screen = Screen(console)
        with screen.drawing():
            screen.show(DraftCanvas(1, DRAFT))
            raise AgentKitError("no")

    with pytest.raises(AgentKitError):
        fail()
    assert written(console).endswith("\x1b[?25h")  # the cursor is back


def test_text_of_a_model_is_never_markup() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(draw_call(Call("call_1", "say", {"text": "[bold]x[/]"}), {"/text": 0.5}))
    console.print(draw_result(ResultMessage("call_1", "say", "[/red] :smile:"), 0.5))
    assert written(console).splitlines() == [
        '→ say(text="[bold]x[/]")  50% sure',
        "← [/red] :smile:  500 ms",
    ]


def test_a_picture_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        export_svg(tmp_path / name, [draw_draft(DRAFT)], title="a canvas")
    picture = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert picture == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "todo_add" in picture
