"""The Python runner: real processes that try what they should not."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest

from agentkit import Agent, PluginError, Retry
from agentkit.testing import ScriptedBackend, call
from agentkit_tools.python_runner import PythonConfig, plugin, python_toolset

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the limits are POSIX's")


def can_isolate() -> bool:
    """Whether this system lets a user make namespaces, as its own tool says."""
    try:
        command = ["unshare", "--user", "--net", "--pid", "--ipc", "--fork"]
        command += ["--mount-proc", "true"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


ISOLATED = can_isolate()
isolated = pytest.mark.skipif(not ISOLATED, reason="this system lets nobody make namespaces")


async def run(code: str, **options: Any) -> str:
    made = python_toolset(PythonConfig(**options)).tools[0]
    return cast(str, await made(code))


async def failure(code: str, **options: Any) -> str:
    with pytest.raises(Retry) as told:
        await run(code, **options)
    assert told.value.value == "code"
    return told.value.why


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, to see what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


# --- what it gives


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("6 * 7", "42\n"),
        ("x = 3\nx ** 2", "9\n"),
        ("print('a')\n'b'", "a\n'b'\n"),
        ("print('ünï 🥛')", "ünï 🥛\n"),
        ("None", "The program ended and printed nothing."),
        ("# nothing", "The program ended and printed nothing."),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(20)", "2432902008176640000\n"),
        ("import sys; sys.exit(0)", "The program ended and printed nothing."),
        ("from fractions import Fraction; Fraction(1, 3)", "Fraction(1, 3)\n"),
        ("import sys; print('e', file=sys.stderr)", "e\n"),
        ("if __name__ == '__main__': print(1)", "1\n"),
    ],
)
async def test_what_is_printed_and_the_last_value_are_told(code: str, printed: str) -> None:
    assert await run(code) == printed


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(): return g()\nf()", "NameError: name 'g' is not defined"),
        ("a b", "SyntaxError: invalid syntax"),
        ("input()", "EOFError"),
        ("raise SystemExit(3)", "failed with status 3"),
        ("import os; os.abort()", "failed with status"),
        ("print('before'); 1 / 0", "before"),
        ("import numpy", "No module named 'numpy'"),
    ],
)
async def test_a_program_that_fails_is_told_to_be_mended(code: str, told: str) -> None:
    why = await failure(code)
    assert told in why
    assert "child.py" not in why


async def test_the_line_that_failed_is_shown() -> None:
    assert "line 2" in await failure("x = 1\nx.y")


async def test_installed_packages_are_there_where_that_is_wanted() -> None:
    assert await run("import pydantic; pydantic.__name__", packages=True) == "'pydantic'\n"
    assert "No module named 'pydantic'" in await failure("import pydantic")


async def test_each_call_waits_for_a_human_by_default() -> None:
    toolset = python_toolset(PythonConfig())
    backend = ScriptedBackend([call("python", code="1")])
    result = await Agent(tools=[toolset], backend=backend).run("go")
    assert result.status == "paused"
    assert not python_toolset(PythonConfig(approval=False)).tools[0].approval


# --- what it can't use up


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(1000)"])
async def test_a_program_that_takes_too_long_is_ended(code: str) -> None:
    why = await failure(f"print('begun', flush=True)\n{code}", seconds=0.5)
    assert "did not end within 0.5 s" in why or "status" in why


async def test_a_program_that_ignores_signals_is_ended_too() -> None:
    code = """
import signal
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
while True: pass
"""
    assert "did not end within" in await failure(code, seconds=0.5)


async def test_a_flood_ends_the_program_and_is_cut() -> None:
    why = await failure("while True: print('x' * 1000)", output_bytes=1000)
    assert "printed more than 50,000 bytes" in why
    assert len(why) < 2500


async def test_long_output_keeps_its_beginning_and_its_end() -> None:
    printed = await run("print('a' * 3000 + 'b' * 3000)", output_bytes=1000)
    assert printed.startswith("a" * 500)
    assert printed.endswith("b" * 499 + "\n")
    assert "bytes left out" in printed


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not bound the memory")
async def test_memory_is_bounded() -> None:
    assert "MemoryError" in await failure("x = 'x' * 1_000_000_000", memory_bytes=300_000_000)


async def test_files_are_bounded(temporary: Path) -> None:
    code = "open('big', 'wb').write(bytes(2_000_000))"
    assert "File too large" in await failure(code, file_bytes=1_000_000)
    assert "Too many open files" in await failure("x = [open('f', 'w') for _ in range(99)]")
    assert left_in(temporary) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the number of root's processes is not bounded")
async def test_processes_are_bounded() -> None:
    code = "import subprocess; x = [subprocess.Popen(['sleep', '9']) for _ in range(20)]"
    assert "BlockingIOError" in await failure(code)
    assert "BlockingIOError" in await failure(code, network="allowed")


# --- what it can't see or keep


async def test_our_variables_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_TEST_SECRET", "hunter2")
    printed = await run("import os; dict(os.environ)")
    assert "hunter2" not in printed
    assert "PATH" not in printed


@isolated
async def test_our_variables_are_not_found_in_our_process_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = await failure(f"open('/proc/{os.getpid()}/environ').read()")
    assert "FileNotFoundError" in told or "PermissionError" in told  # where /proc can't be mounted
    assert "ProcessLookupError" in await failure(f"import os; os.kill({os.getpid()}, 0)")


@isolated
async def test_it_finds_no_processes_but_its_own() -> None:
    listed = "import os; [name for name in os.listdir('/proc') if name.isdigit()]"
    assert await run(listed) == "['1']\n"


async def test_it_works_in_a_folder_that_is_gone_afterwards(temporary: Path) -> None:
    printed = await run("import os; open('f', 'w').write('x'); os.getcwd(), os.listdir()")
    assert str(temporary) in printed
    assert "'f'" in printed
    assert left_in(temporary) == []


async def test_nothing_of_one_program_is_there_in_the_next() -> None:
    await run("open('kept.py', 'w').write('x = 1'); y = 1")
    assert "ModuleNotFoundError" in await failure("import kept")
    assert "NameError" in await failure("y")


@pytest.fixture
def listener() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5).close()"


@isolated
@pytest.mark.parametrize("network", ["denied", "denied-if-possible"])
async def test_the_network_is_denied(listener: socket.socket, network: str) -> None:
    port = listener.getsockname()[1]
    assert "OSError" in await failure(CONNECT.format(port=port), network=network)
    rejoin = f"""
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
for pid in ("1", "{os.getpid()}", str(os.getppid())):
    try: print(libc.setns(os.open(f"/proc/{{pid}}/ns/net", os.O_RDONLY), 0))
    except OSError as error: print(error)
{CONNECT.format(port=port)}
"""
    assert "OSError" in await failure(rejoin, network=network)


async def test_the_network_is_there_where_it_is_allowed(listener: socket.socket) -> None:
    code = CONNECT.format(port=listener.getsockname()[1])
    assert "nothing" in await run(code, network="allowed")


async def test_no_program_runs_where_a_network_that_must_be_denied_is_there() -> None:
    made = python_toolset(PythonConfig(network="denied"))
    if ISOLATED:
        assert await made.tools[0]("1") == "1\n"
    else:
        with pytest.raises(Retry, match="can't keep a process from the network"):
            await made.tools[0]("1")


# --- what is left of it

LEAVING = """
import os, sys, time
held = open({fifo!r}, 'w')
held.write('begun\\n'); held.flush()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        time.sleep(1000)
    time.sleep(1000)
{then}
"""


@pytest.mark.parametrize("then", ["", "time.sleep(1000)", "while True: print('x' * 1000)"])
@pytest.mark.parametrize("network", ["denied-if-possible", "allowed"])
async def test_all_that_a_program_started_ends_with_it(
    tmp_path: Path, then: str, network: str
) -> None:
    if os.geteuid() != 0 and not ISOLATED:
        pytest.skip("then it can't start anything")
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    read: list[str] = []

    async def wait_for_the_last_one() -> None:
        # a FIFO ends when nobody has it open for writing any more
        read.append(await anyio.to_thread.run_sync(fifo.read_text, abandon_on_cancel=True))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_the_last_one)
            code = LEAVING.format(fifo=str(fifo), then=then)
            if then:
                await failure(code, seconds=1, network=network, open_files=32)
            else:
                await run(code, network=network)
    assert read == ["begun\n"]


async def test_a_cancelled_call_ends_the_program_and_all_of_it(
    tmp_path: Path, temporary: Path
) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    code = LEAVING.format(fifo=str(fifo), then="time.sleep(1000)")
    if not ISOLATED and os.geteuid() != 0:
        code = f"held = open({str(fifo)!r}, 'w'); held.write('begun\\n'); held.flush()\nwhile 1: 1"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run, code)
            with await anyio.to_thread.run_sync(fifo.open) as held:
                assert await anyio.to_thread.run_sync(held.readline) == "begun\n"
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    assert await anyio.to_thread.run_sync(held.read) == ""
    assert left_in(temporary) == []


# --- the plugin


async def test_the_plugin_checks_itself_and_tells_of_the_network(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert plugin.check is not None
    with caplog.at_level(logging.WARNING, "agentkit"):
        await plugin.check(python_toolset(PythonConfig()))
        assert ("have the network" in caplog.text) != ISOLATED
        caplog.clear()
        await plugin.check(python_toolset(PythonConfig(network="allowed")))


async def test_a_python_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plugin.check is not None
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    with pytest.raises(PluginError, match="answer to 6"):
        await plugin.check(python_toolset(PythonConfig()))
