"""`agentkit tools`: what it lists, shows, checks and calls, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, Field, SecretStr

from agentkit import Deferred, Plugin, Retry, RunContext, Toolset, argument, open_tools, tool
from agentkit.defining.plugin import GROUP
from agentkit.terminal import looking
from agentkit.terminal.cli import main
from agentkit.terminal.event_loop import EventLoop
from agentkit.testing import ScriptedBackend, answer, call

LOG: list[str] = []


class Station(BaseModel):
    place: str = Field(description="Where it stands.")
    key: SecretStr | None = Field(default=None, description="What it asks for.")


@asynccontextmanager
async def station(config: Station) -> AsyncGenerator[Toolset]:
    LOG.append(f"open {config.place}")
    ready = anyio.Event()

    async def wind(strength: int = 1) -> str:
        """Measure the wind.

        Args:
            strength: How hard to look.
        """
        await ready.wait()  # of the event loop that it was opened in
        return f"{strength} in {config.place}"

    ready.set()
    yield Toolset("station", [tool(wind, pure=True)])
    LOG.append(f"close {config.place}")


async def check_station(toolset: Toolset) -> None:
    [wind] = toolset
    assert await wind(strength=2) == "2 in Kiel"


STATION = Plugin(
    "station",
    description="Measures the weather.",
    config=Station,
    open=station,
    permissions=("reads the station at `place`",),
    check=check_station,
)


@tool(approval=True)
def launch(name: str) -> str:
    """Launch a balloon."""
    LOG.append(f"launch {name}")
    return f"{name} is up"


@tool(deferred=True)
def ask() -> str:
    """Ask the office."""
    return ""


@tool
def ticket() -> str:
    """Open a ticket."""
    raise Deferred("ticket 7")


@tool(timeout=0.05)
async def hang() -> None:
    """Hang."""
    await anyio.sleep_forever()


@tool
def fail() -> None:
    """Fail."""
    raise Retry("not today")


@tool
async def copy(context: RunContext[None], files: int) -> str:
    """Copy files."""
    for number in range(files):
        await context.report("copying", done=number + 1, total=files)
    return "copied"


@tool
def wind() -> str:
    """Measure the wind, elsewhere."""
    return "none"


async def wrong(toolset: Toolset) -> None:
    assert len(toolset) == 0, "it is not empty"


async def never(toolset: Toolset) -> None:
    await anyio.sleep_forever()


def locked() -> Toolset:
    raise OSError("no barometer")


BALLOON = Plugin("balloon", open=lambda: Toolset("balloon", [launch]), explicit=True)
ODD = Plugin("odd", open=lambda: Toolset("odd", [ask, ticket, hang, fail, copy]), check=wrong)
OTHER = Plugin("other", open=lambda: Toolset("other", [wind]), check=never)
LOCKED = Plugin("locked", open=locked)
CALM = Toolset("calm", [tool(launch.function)]).needing_approval(when=argument("name") > "M")


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed are these, and nothing is configured."""
    LOG.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "120")
    install(monkeypatch, "balloon", "locked", "odd", "other", "station")


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Pretends that these are the plugins installed."""
    entries = [EntryPoint(name, f"{__name__}:{name.upper()}", GROUP) for name in names]

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [entry for entry in entries if entry.group == group]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


@pytest.fixture
def kiel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_STATION_PLACE", "Kiel")
    monkeypatch.setenv("AGENTKIT_STATION_KEY", "hush-hush")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `agentkit tools`: the status, and what was written to the output and the errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["tools", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def told(output: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(output)  # exactly one object
    return value


# list


@pytest.mark.parametrize("action", [(), ("list",)])
def test_list_tells_tools_and_what_is_wrong(run: Run, action: tuple[str, ...]) -> None:
    status, out, _ = run(*action)
    assert status == 1
    for shown in (
        "launch(name)",
        "Launch a balloon.",
        "locked   broken",
        "OSError: no barometer",
        "station  not set up",
        "place is not set; set AGENTKIT_STATION_PLACE",
        "only where --tools names them: balloon",
    ):
        assert shown in " ".join(out.split()) or shown in out


def test_list_as_json(run: Run, kiel: None) -> None:
    status, out, _ = run("list", "--json")
    plugins = {one["name"]: one for one in told(out)["plugins"]}
    assert status == 1
    assert {name: one["state"] for name, one in plugins.items()} == {
        "balloon": "ready",
        "locked": "broken",
        "odd": "ready",
        "other": "ready",
        "station": "ready",
    }
    assert plugins["station"]["tools"] == ["wind"]
    assert plugins["station"]["permissions"] == ["reads the station at `place`"]
    assert run("--json")[1] == out
    assert LOG == ["open Kiel", "close Kiel"] * 2


def test_a_plugin_that_hangs_when_it_is_opened_is_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def hanging() -> AsyncGenerator[Toolset]:
        await anyio.sleep_forever()
        yield Toolset("locked", [])

    monkeypatch.setitem(globals(), "LOCKED", Plugin("locked", open=hanging))
    monkeypatch.setattr(looking, "OPEN_SECONDS", 0.05)
    status, out, _ = run("show", "locked")
    assert status == 1
    assert "tool plugin 'locked' was given up: it took more than 0.05 s" in out


# show


def test_show_tells_all_of_a_plugin(run: Run, kiel: None) -> None:
    status, out, _ = run("show", "station")
    assert status == 0
    for shown in (
        "Measures the weather.",
        "reads the station at `place`",
        '"Kiel"',
        "from AGENTKIT_STATION_PLACE",
        "Where it stands.",
        "wind  Measure the wind.",
        "strength?  integer, default 1  How hard to look.",
        "up to 30 s, pure",
    ):
        assert shown in out
    assert "hush-hush" not in out


def test_show_as_json(run: Run, kiel: None) -> None:
    status, out, _ = run("show", "station", "--json")
    shown = told(out)
    assert status == 0
    assert shown["settings"][0] == {
        "name": "place",
        "type": "str",
        "description": "Where it stands.",
        "value": "Kiel",
        "origin": "AGENTKIT_STATION_PLACE",
        "problem": "",
    }
    assert shown["settings"][1]["value"] == "**********"
    [one] = shown["tools"]
    assert (one["name"], one["pure"], one["approval"]) == ("wind", True, False)
    assert one["parameters"]["properties"]["strength"]["type"] == "integer"


def test_show_tells_what_is_missing(run: Run) -> None:
    status, out, _ = run("show", "station")
    assert status == 0
    assert "not set up: tool plugin 'station': place is not set" in out
    assert "missing" in out


def test_an_unknown_plugin_is_told_with_those_there_are(run: Run) -> None:
    status, _, err = run("show", "stations")
    assert status == 1
    assert "no tool plugin is named 'stations'; did you mean 'station'? installed: 'b" in err


# check


def test_check_runs_self_tests(run: Run, kiel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "OPEN_SECONDS", 0.2)
    monkeypatch.setattr(looking, "CHECK_SECONDS", 0.2)
    status, out, _ = run("check")
    assert status == 1
    first = [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")]
    assert first == [
        ["untested", "balloon"],
        ["failed", "locked"],
        ["failed", "odd"],
        ["failed", "other"],
        ["passed", "station"],
    ]
    lines = " ".join(out.split())
    assert "AssertionError: it is not empty" in lines
    assert "test_tools_cli.py, line" in lines
    assert "'other' was given up: it took more than 0.4 s" in lines


def test_check_of_one_is_its_status(run: Run, kiel: None) -> None:
    assert run("check", "station", "balloon")[0] == 0
    status, out, _ = run("check", "odd", "station", "--json")
    checks = told(out)["checks"]
    assert status == 1
    assert [(one["name"], one["outcome"]) for one in checks] == [
        ("odd", "failed"),
        ("station", "passed"),
    ]


def test_one_that_is_not_set_up_fails_where_it_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("check", "station")[0] == 1
    install(monkeypatch, "balloon", "station")
    status, out, _ = run("check", "--json")
    assert status == 0
    assert [one["outcome"] for one in told(out)["checks"]] == ["untested", "not set up"]


# call


def test_call_prints_the_result(run: Run, kiel: None) -> None:
    assert run("call", "station.wind", '{"strength": 3}') == (0, "3 in Kiel\n", "")
    assert run("call", "other.wind") == (0, "none\n", "")
    assert LOG == ["open Kiel", "close Kiel"]


def test_call_as_json(run: Run, kiel: None) -> None:
    status, out, _ = run("call", "station.wind", '{"strength": 3}', "--json")
    assert (status, told(out)) == (
        0,
        {
            "tool": "wind",
            "arguments": {"strength": 3},
            "result": "3 in Kiel",
            "is_error": False,
        },
    )


def test_a_name_that_several_tools_have_needs_the_plugin_s(run: Run, kiel: None) -> None:
    status, _, err = run("call", "wind")
    assert status == 1
    assert "several tools are named 'wind'; say which: other.wind, station.wind" in err


def test_a_name_that_one_tool_has_will_do(run: Run) -> None:
    assert run("call", "wind") == (0, "none\n", "")  # the other one is not set up


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("lunch",), "no tool is named 'lunch'; did you mean 'launch'?"),
        (("odd.xyzzy",), "no tool is named 'odd.xyzzy'; "),
        (("station.wind",), "place is not set"),
        (("locked.any",), "no barometer"),
        (("nothing.any",), "no tool plugin is named 'nothing'"),
        (("copy", "{"), "the arguments are no JSON: "),
        (("copy", "[1]"), "the arguments are a JSON list; give an object"),
        (("copy", "{}"), "Invalid arguments for copy: /files: is required"),
        (("hang",), "hang did not finish within 0.05 s"),
        (("fail",), "not today"),
        (("ask",), "calls of 'ask' are finished elsewhere"),
        (("ticket",), "'ticket' is finished elsewhere: ticket 7"),
        (("launch", '{"name": "Ada"}'), "calls of 'launch' need approval; give it with --yes"),
    ],
)
def test_a_call_that_can_t_be_made_or_fails_is_told(
    arguments: tuple[str, ...], complaint: str, run: Run
) -> None:
    status, out, err = run("call", *arguments)
    assert (status, out) == (1, "")
    assert complaint in err
    assert LOG == []


def test_a_call_that_needs_approval_is_made_with_yes(run: Run) -> None:
    assert run("call", "launch", '{"name": "Ada"}', "--yes") == (0, "Ada is up\n", "")
    assert LOG == ["launch Ada"]


def test_a_call_that_may_need_approval_is_not_made_without(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "calm")
    arguments = '{"name": "Ada"}'
    assert "approval when argument 'name' > 'M'" in run("show", "calm")[1]
    assert (
        told(run("show", "calm", "--json")[1])["tools"][0]["approval_when"]
        == "argument 'name' > 'M'"
    )
    assert "need approval; give it with --yes" in run("call", "launch", arguments)[2]
    assert LOG == []
    assert run("call", "launch", arguments, "--yes") == (0, "Ada is up\n", "")


def test_plugins_that_did_not_open_are_told_where_no_tool_has_that_name(run: Run) -> None:
    _, _, err = run("call", "xyzzy")
    assert "not open: locked, station (`agentkit tools` tells why)" in err


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is needed")
@pytest.mark.parametrize(("said", "shown"), [("y", "Ada is up"), ("n", "'launch' was not called")])
def test_a_call_that_needs_approval_is_asked_about_at_a_terminal(
    said: str, shown: str, tmp_path: Path
) -> None:
    from terminals import Terminal

    site = tmp_path / "site"
    site.mkdir()
    (site / "balloon.py").write_text(
        "from agentkit import tool\n"
        "@tool(approval=True)\n"
        "def launch(name: str) -> str:\n"
        "    return f'{name} is up'\n"
    )
    info = site / "balloon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: balloon\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[agentkit.tools]\nballoon = balloon:launch\n")
    asked = ["tools", "call", "launch", '{"name": "Ada"}']
    with Terminal(asked, home=tmp_path, variables={"PYTHONPATH": str(site)}) as terminal:
        terminal.until("make this call? y or n: ")
        terminal.say(said)
        terminal.until(shown)


def test_progress_is_told_beside_the_result(run: Run) -> None:
    status, out, err = run("call", "copy", '{"files": 2}')
    assert (status, out) == (0, "copied\n")
    assert err.splitlines() == ["copy: copying 1 of 2", "copy: copying 2 of 2"]


def test_an_error_is_one_json_object_where_json_is_asked_for(run: Run) -> None:
    status, out, err = run("call", "lunch", "--json")
    assert (status, err) == (1, "")
    assert told(out)["error"]["type"] == "AgentKitError"


# run and chat open what they use


def test_run_opens_plugins_for_as_long_as_it_takes(
    capsys: pytest.CaptureFixture[str], kiel: None
) -> None:
    backend = ScriptedBackend([call("wind", strength=4), answer("A breeze.")])
    asked = ["run", "How windy?", "--tools", "station", "--json"]
    assert main(asked, backend=backend) == 0
    assert told(capsys.readouterr().out)["calls"][0]["result"] == "4 in Kiel"
    assert LOG == ["open Kiel", "close Kiel"]


def test_run_closes_them_also_when_it_fails(capsys: pytest.CaptureFixture[str], kiel: None) -> None:
    assert main(["run", " ", "--tools", "station"], backend=ScriptedBackend([])) == 1
    assert "the request is empty" in capsys.readouterr().err
    assert LOG == ["open Kiel", "close Kiel"]


def test_several_answers_use_what_was_opened_once(kiel: None) -> None:
    """A chat answers in one event loop: what belongs to it stays alive in between."""
    with EventLoop() as loop:
        [toolset] = loop.open(open_tools(["station"]))
        [one] = toolset
        assert loop.run(one.function) == "1 in Kiel"
        assert loop.run(one.function) == "1 in Kiel"
        assert LOG == ["open Kiel"]
    assert LOG == ["open Kiel", "close Kiel"]


def test_what_was_opened_is_closed_in_reverse_also_when_the_block_fails() -> None:
    @asynccontextmanager
    async def noting(name: str) -> AsyncGenerator[str]:
        try:
            yield name
        finally:
            LOG.append(f"close {name}")

    def fail(loop: EventLoop) -> None:
        assert loop.open(noting("first")) == "first"
        loop.open(noting("second"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), EventLoop() as loop:
        fail(loop)
    assert LOG == ["close second", "close first"]


def test_what_can_t_be_opened_is_told_once() -> None:
    @asynccontextmanager
    async def failing() -> AsyncGenerator[None]:
        raise OSError("locked")
        yield

    with EventLoop() as loop, pytest.raises(OSError, match="locked"):
        loop.open(failing())


@pytest.mark.parametrize(
    ("hanging", "told"),
    [
        ("work", ["opened", "ended", "closed", "interrupted"]),
        ("door", ["ended", "interrupted"]),
    ],
)
def test_ctrl_c_ends_what_goes_on_and_closes_what_is_open(hanging: str, told: list[str]) -> None:
    code = (
        "import os, signal, sys, anyio\n"
        "from contextlib import asynccontextmanager\n"
        "from agentkit.terminal.event_loop import EventLoop\n"
        "async def hang():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await anyio.sleep_forever()\n"
        "    finally:\n"
        "        print('ended')\n"
        "@asynccontextmanager\n"
        "async def door():\n"
        "    if sys.argv[1] == 'door':\n"
        "        await hang()\n"
        "    print('opened')\n"
        "    yield\n"
        "    print('closed')\n"
        "try:\n"
        "    with EventLoop() as loop:\n"
        "        loop.open(door())\n"
        "        loop.run(hang)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    command = [sys.executable, "-c", code, hanging]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == told
