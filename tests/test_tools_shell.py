"""The shell tool: real programs, and real attempts to get out of its hands."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentkit import (
    Agent,
    Approve,
    Cancellation,
    PluginError,
    Resume,
    Retry,
    RunContext,
    Tool,
)
from agentkit.message import Call
from agentkit.running.performing import perform
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.files import FilesConfig, files_toolset
from agentkit_tools.shell import Allowed, Shell, ShellConfig, plugin, shell_toolset
from agentkit_tools.system.process import Capture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="of POSIX systems")

PYTHON = sys.executable
Make = Callable[..., Shell]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(*allow: str, **options: Any) -> Shell:
        options = {"allow": allow, "seconds": 20, "grace": 0.2, **options}
        return Shell(ShellConfig(root=tmp_path, **options))

    return make


def tools_of(shell: Shell) -> dict[str, Tool[..., Any]]:
    return {tool.name: tool for tool in shell.tools()}


async def run(shell: Shell, *command: str, folder: str = ".") -> str:
    """What the tool for allowed programs tells of a command."""
    return str(await tools_of(shell)["run_program"](command=list(command), folder=folder))


async def code(shell: Shell, program: str) -> str:
    return await run(shell, PYTHON, "-c", program)


@pytest.fixture
def python(make: Make) -> Shell:
    return make(PYTHON)


# What runs


async def test_a_program_runs_and_tells_how_it_ended(python: Shell) -> None:
    told = await code(
        python, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    first, rest = told.split("\n", 1)
    assert first.startswith("[exit status 3, ")
    assert first.endswith(" s]")
    assert rest == "[output]\nout\n[errors]\nerr"


async def test_a_program_that_a_signal_ended_says_so(python: Shell) -> None:
    told = await code(python, "import os; os.kill(os.getpid(), 11)")
    assert told.startswith("[ended by signal 11, ")


async def test_arguments_arrive_as_they_are(make: Make, tmp_path: Path) -> None:
    arguments = [
        "$HOME",
        "`id`",
        "$(touch x)",
        "; touch x",
        "a b",
        "*",
        "",
        "| cat",
        "\\",
        "'",
        "ü",
    ]
    told = await run(
        make(PYTHON), PYTHON, "-c", "import sys; print(ascii(sys.argv[1:]))", *arguments
    )
    assert ascii(arguments) in told
    assert os.listdir(tmp_path) == []


async def test_no_shell_reads_operators_and_that_is_said(make: Make, tmp_path: Path) -> None:
    told = await run(make("ls"), "ls", ".", "|", "wc", ">", "out.txt")
    assert "[no shell read this: '|' was an argument like any other]" in told
    assert not (tmp_path / "out.txt").exists()


async def test_a_command_line_as_one_text_is_refused_with_the_mend(make: Make) -> None:
    tool = tools_of(make("ls"))["run_program"]
    outcome = await perform(Call("1", "run_program", {"command": "ls -l 'a b'"}), {tool.name: tool})
    assert outcome.result is not None
    assert outcome.result.is_error
    assert "['ls', '-l', 'a b']" in outcome.result.content
    assert list(outcome.rejected) == ["/command"]
    assert tool.parameters["properties"]["command"]["type"] == "array"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["ls -l"], r"Give each argument as an item, as \['ls', '-l'\]"),
        (["no-such-program"], "no program 'no-such-program'"),
        ([""], "no program ''"),
        (["ls", "a\0b"], "no NUL"),
        (["./evil"], r"no program '\./evil'"),
        (["/etc/passwd"], "no program"),
    ],
)
async def test_what_can_not_be_run_is_told(make: Make, command: list[str], why: str) -> None:
    with pytest.raises(Retry, match=why) as caught:
        await make().run(command)
    assert caught.value.value == "command"


async def test_a_program_starts_in_a_folder_below_the_root(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/")
    shell = make(PYTHON)
    told = await run(shell, PYTHON, "-c", "import os; print(os.getcwd())", folder="a/b")
    assert told.endswith(f"[output]\n{tmp_path}/a/b")
    for folder in ("..", "/", "link", "a/../..", "a/none"):
        with pytest.raises(Retry) as caught:
            await run(shell, PYTHON, "-c", "", folder=folder)
        assert caught.value.value == "folder"


async def test_a_program_sees_no_secrets_and_reads_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PYTHONSTARTUP", "/tmp/x")
    program = "import os, sys; print(sorted(os.environ), repr(sys.stdin.read()))"
    told = await code(make(PYTHON, environment={"MINE": "1"}), program)
    assert "secret" not in told
    named = told.split("[output]\n")[1]
    assert named.endswith(" ''")
    known = {"AGENTKIT_CALL", "MINE", "NO_COLOR", "PATH", "TERM", "LC_CTYPE"}
    known |= {"GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"}
    assert set(eval(named.rsplit(" ", 1)[0])) <= known | set(ShellConfig(root=Path()).inherit)


async def test_a_program_put_into_the_folder_is_not_run_by_name(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        (folder / "ls").write_text("#!/bin/sh\necho trapped\n")
        (folder / "ls").chmod(0o755)
    before = os.environ["PATH"]
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "bin", str(tmp_path / "bin"), before]))
    assert "trapped" not in await run(make("ls"), "ls")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_a_repository_that_a_model_wrote_names_no_programs(make: Make) -> None:
    shell = make("git status")
    tools = {tool.name: tool for tool in files_toolset(FilesConfig(root=shell.root.path))}
    trapped = shell.root.path / "trapped"
    settings = f'[core]\nbare = false\nworktree = .\nfsmonitor = "touch {trapped}; false"\n'
    bare = {"HEAD": "ref: refs/heads/main", "config": settings, "objects/a": "", "refs/a": ""}
    for name, content in bare.items():
        tools["write_file"](RunContext[Any](deps=None), f"inner/{name}", content)
    assert "safe.bareRepository" in await run(shell, "git", "status", folder="inner")
    assert not trapped.exists()


async def test_the_descriptors_of_the_host_are_not_handed_on(python: Shell, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        told = await code(
            python,
            f"import os\ntry: os.fstat({file.fileno()})\nexcept OSError: print('closed')",
        )
    assert told.endswith("closed")


# What is allowed


@pytest.mark.parametrize(
    ("pattern", "command", "allowed"),
    [
        ("ls", "ls", True),
        ("ls", "ls -l /", True),
        ("ls", "/tmp/ls", False),
        ("ls", "lsof", False),
        ("git status", "git status", True),
        ("git status", "git status -s", False),
        ("git status", "git -c core.pager=x status", False),
        ("git log **", "git log", True),
        ("git log **", "git log main src/a.py", True),
        ("git log **", "git log --output=/etc/x", False),
        ("git log -* **", "git log -5 main", True),
        ("git show *", "git show HEAD", True),
        ("git show *", "git show", False),
        ("git show *", "git show --ext-diff", False),
        ("git show *", "git show HEAD HEAD", False),
        ("cat *.txt", "cat a.txt", True),
        ("cat *.txt", "cat a.py", False),
        ("cat docs/*", "cat docs/a/b.txt", True),
        ("cat docs/*", "cat docs/../secret", False),
        ("cat docs/**", "cat docs/..", False),
        ("cat ../docs/*", "cat ../docs/a", True),
        ("git diff a/*", "git diff a/b..c", True),
    ],
)
def test_what_a_pattern_allows(pattern: str, command: str, allowed: bool) -> None:
    assert Allowed.of([pattern]).allows(command.split()) is allowed


@given(st.lists(st.text(alphabet="-ab*? ", max_size=4), max_size=4))
def test_a_wildcard_never_lets_an_option_in(arguments: list[str]) -> None:
    if Allowed.of(["git log **", "git show *"]).allows(["git", *arguments]):
        assert not any(word.startswith("-") for word in arguments)


async def test_what_is_not_allowed_is_not_run(make: Make, tmp_path: Path) -> None:
    with pytest.raises(Retry, match=r"'touch x' is not allowed\. Allowed: ls, git status"):
        await run(make("ls", "git status"), "touch", "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("allow", [[""], ["*"], ["l? -l"], ["'ls"]])
def test_a_pattern_that_names_no_program_is_refused(allow: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        ShellConfig(root=tmp_path, allow=tuple(allow))


def test_which_tools_there_are(make: Make, tmp_path: Path) -> None:
    def approval(shell: Shell) -> dict[str, bool]:
        return {name: tool.approval for name, tool in tools_of(shell).items()}

    assert approval(make()) == {"run_any_program": True}
    assert approval(make("ls")) == {"run_program": False, "run_any_program": True}
    assert approval(make("ls", others="refuse")) == {"run_program": False}
    with pytest.raises(PluginError, match="no program is allowed"):
        shell_toolset(ShellConfig(root=tmp_path, others="refuse"))
    with pytest.raises(PluginError, match="root"):
        shell_toolset(ShellConfig(root=tmp_path / "none"))
    assert plugin.open(ShellConfig(root=tmp_path)).name == "shell"  # type: ignore[union-attr]


async def test_by_default_every_program_waits_for_a_human(tmp_path: Path) -> None:
    model = ScriptedBackend([call("run_any_program", command=["touch", "x"]), answer("Done.")])
    agent = Agent(tools=[shell_toolset(ShellConfig(root=tmp_path))], backend=model)
    paused = await agent.run("Make x")
    assert paused.status == "paused"
    assert not (tmp_path / "x").exists()
    [waiting] = paused.pending
    await agent.run(Resume({waiting.call.id: Approve()}), history=paused.history)
    assert (tmp_path / "x").exists()


# What it may use up


async def test_of_much_output_the_beginning_and_the_end_are_told(make: Make) -> None:
    shell = make(PYTHON, output_bytes=200)
    told = await code(shell, "print('first'); print('x' * 5_000_000); print('last')")
    assert told.startswith("[exit status 0, ")
    assert "first\nxxx" in told
    assert told.endswith("xxx\nlast")
    assert "bytes left out]" in told
    assert len(told) < 400


@given(st.lists(st.binary(max_size=20)), st.integers(0, 15), st.integers(0, 15))
def test_a_capture_keeps_head_and_tail_and_counts_the_rest(
    chunks: list[bytes], head: int, tail: int
) -> None:
    capture, whole = Capture(head, tail), b"".join(chunks)
    for chunk in chunks:
        capture.add(chunk)
    rest = whole[head:]
    assert capture.kept == whole[:head] + rest[max(0, len(rest) - tail) :]
    assert capture.dropped == len(whole) - len(capture.kept)
    assert len(capture.tail) <= 2 * tail + 20


async def test_a_flood_of_output_ends_the_program(make: Make) -> None:
    told = await run(make("yes", flood_bytes=200_000, output_bytes=100), "yes")
    assert told.startswith("[ended after 200,000 bytes of output, ")


async def test_output_that_is_no_text_is_told_as_far_as_it_is(python: Shell) -> None:
    told = await code(python, "import sys; sys.stdout.buffer.write(b'a\\xff\\0b')")
    assert "a\ufffd\0b" in told


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deeper = int(sys.argv[1])
if deeper:
    subprocess.Popen(
        [sys.executable, __file__, str(deeper - 1)], start_new_session=deeper == int(sys.argv[2])
        if len(sys.argv) > 2 else False,
    )
open(f"pid{deeper}", "w").write(str(os.getpid()))
print("up", deeper, flush=True)
time.sleep(1000)
"""


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Path]:
    """A program that ignores SIGTERM, as do the child and the grandchild that it starts."""
    if not Path("/proc/self/status").exists():
        pytest.skip("of Linux")
    path = tmp_path / "stubborn.py"
    path.write_text(STUBBORN)
    yield tmp_path
    for left in tmp_path.glob("pid*"):
        if alive(int(left.read_text())):
            os.kill(int(left.read_text()), signal.SIGKILL)


def started(folder: Path) -> list[int]:
    """The processes of the family that are up, or were."""
    return [int(text) for path in folder.glob("pid*") if (text := path.read_text())]


async def all_up(folder: Path) -> list[int]:
    """The processes, once all three are up."""
    while len(pids := started(folder)) < 3:  # noqa: ASYNC110 (files tell nobody)
        await anyio.sleep(0.01)
    return pids


@pytest.mark.parametrize("own_session", [[], ["2"], ["1"]])
async def test_when_time_is_up_the_whole_family_is_ended(
    make: Make, stubborn: Path, own_session: list[str]
) -> None:
    shell = make(PYTHON, seconds=1.5)
    told = await run(shell, PYTHON, "stubborn.py", "2", *own_session)
    assert told.startswith("[ended after 1.5 s, its time is up, ")
    pids = started(stubborn)
    assert pids
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.parametrize("own_session", [[], ["2"]])
async def test_when_the_run_is_cancelled_the_whole_family_is_ended(
    stubborn: Path, own_session: list[str]
) -> None:
    command = [PYTHON, "stubborn.py", "2", *own_session]
    model = ScriptedBackend([call("run_program", command=command), answer("Done.")])
    config = ShellConfig(root=stubborn, allow=(PYTHON,), grace=0.2)
    agent = Agent(tools=[shell_toolset(config)], backend=model)
    cancellation = Cancellation()
    statuses: list[str] = []

    async def start() -> None:
        statuses.append((await agent.run("Start it", cancellation=cancellation)).status)

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await all_up(stubborn)
        cancellation.cancel()
    pids = started(stubborn)
    assert statuses == ["cancelled"]
    assert len(pids) == 3
    assert [pid for pid in pids if alive(pid)] == []


async def test_a_program_that_ends_when_asked_has_time_to_tidy_up(make: Make) -> None:
    program = "trap 'echo tidied; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    told = await run(make("sh", seconds=1, grace=10), "sh", "-c", program)
    assert told.startswith("[ended after 1 s")
    assert "up\ntidied" in told


async def test_what_a_program_leaves_behind_is_ended_with_it(make: Make, stubborn: Path) -> None:
    program = (
        "import subprocess, sys, os, time\n"
        "subprocess.Popen([sys.executable, 'stubborn.py', '2'])\n"
        "while not all(os.path.exists(f'pid{n}') for n in range(3)): time.sleep(0.01)\n"
        "print('gone')"
    )
    told = await code(make(PYTHON), program)
    assert told.startswith("[exit status 0, ")
    assert "gone" in told
    assert [pid for pid in await all_up(stubborn) if alive(pid)] == []


async def test_a_neighbour_that_is_none_of_ours_lives_on(make: Make, stubborn: Path) -> None:
    async with await anyio.open_process([PYTHON, "-c", "input()"]) as neighbour:
        await run(make(PYTHON, seconds=0.5), PYTHON, "stubborn.py", "0")
        assert neighbour.returncode is None
        neighbour.kill()


async def test_programs_run_side_by_side(python: Shell, tmp_path: Path) -> None:
    """Each waits until all the others are there."""
    program = (
        "import os, sys, time\n"
        "open(f'here{sys.argv[1]}', 'w').close()\n"
        "while not all(os.path.exists(f'here{n}') for n in range(3)): time.sleep(0.01)"
    )
    told: list[str] = []

    async def one(number: int) -> None:
        told.append(await run(python, PYTHON, "-c", program, str(number)))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    assert [text[: len("[exit status 0, ")] for text in told] == ["[exit status 0, "] * 3
