"""A tool that runs Python: a program in a process, a folder and, on Linux, namespaces of its own.

The process has no variables of ours, no packages but the standard library's, limits of time, memory
and files, and no network where the system can deny it. It is no sandbox: the program reads every
file that its user may read. So each call waits for a human unless the configuration says otherwise.
Knows what a model is offered and told; `child` holds the program.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal, cast

import anyio
from pydantic import BaseModel, ConfigDict, Field

from agentkit import Plugin, PluginError, Retry, Toolset, tool
from agentkit_tools.system.process import Finished, Limits, execute

_log = logging.getLogger("agentkit")
_CHILD = Path(__file__).with_name("child.py")
_MARGIN = 15.0  # seconds for ending what does not end by itself, beyond the program's own
_FLOOD = 50  # times what is told of the output may be written before the program is ended


class PythonConfig(BaseModel):
    """What a program may use up, and who is asked before it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    approval: bool = True
    """Each call waits for a human."""
    network: Literal["denied", "denied-if-possible", "allowed"] = "denied-if-possible"
    """Whether a program has one. Only Linux can deny it, where it lets users make namespaces."""
    packages: bool = False
    """Whether installed packages can be imported, and not the standard library alone."""
    seconds: float = Field(default=10.0, gt=0, le=3600)
    """Seconds that a program may take, waiting included."""
    memory_bytes: int = Field(default=512_000_000, ge=50_000_000)
    """Bytes of memory of each process."""
    file_bytes: int = Field(default=10_000_000, ge=0)
    """Bytes of each file that is written."""
    open_files: int = Field(default=64, ge=16)
    """Files that a process may have open."""
    processes: int = Field(default=16, ge=0)
    """Processes and threads at once; none but the first where users can't make namespaces. It does
    not bind where everything runs as root."""
    output_bytes: int = Field(default=16_000, ge=100)
    """Bytes that are told of what is printed: the first half of them, and the last."""


def python_toolset(config: PythonConfig) -> Toolset:
    """The tool that runs programs."""
    limits = Limits(
        seconds=config.seconds,
        head=config.output_bytes // 2,
        tail=config.output_bytes // 2,
        flood=config.output_bytes * _FLOOD,
        grace=0.0,  # who wrote it does not wait for a signal
    )
    settings = {
        "network": config.network,
        "cpu_seconds": math.ceil(config.seconds),
        "memory_bytes": config.memory_bytes,
        "file_bytes": config.file_bytes,
        "open_files": config.open_files,
        "processes": config.processes,
    }
    flags = ["-I", "-B", "-X", "utf8", *([] if config.packages else ["-S"])]
    start = [sys.executable, *flags, str(_CHILD), json.dumps(settings)]

    @tool(timeout=config.seconds + _MARGIN, approval=config.approval)
    async def python(code: Annotated[str, Field(min_length=1, max_length=20_000)]) -> str:
        """Run a Python program and get what it prints and the value of its last line.

        Args:
            code: The program.
        """
        with tempfile.TemporaryDirectory(prefix="python-", ignore_cleanup_errors=True) as folder:
            program = anyio.Path(folder, "program.py")
            await program.write_bytes(code.encode("utf-8", "replace"))
            finished = await execute(
                [*start, str(program)], folder=folder, environment={}, limits=limits
            )
        return _told(finished, config)

    return Toolset("python", [python])


def _told(finished: Finished, config: PythonConfig) -> str:
    printed = finished.out.text() + finished.err.text()
    if finished.ended == "timeout":
        why = f"the program did not end within {config.seconds:g} s"
    elif finished.ended == "flood":
        why = f"the program printed more than {config.output_bytes * _FLOOD:,} bytes"
    elif finished.status == 0:
        return printed or "The program ended and printed nothing."
    else:
        why = f"the program failed with status {finished.status}"
    raise Retry(f"{why}.\n{printed}".strip(), value="code")


_PROBE = "import socket; print([name for _, name in socket.if_nameindex() if name != 'lo'])"


async def _check(toolset: Toolset) -> None:
    run = toolset.tools[0]
    if (answer := cast(str, await run("6 * 7"))) != "42\n":
        raise PluginError(f"Python's answer to 6 * 7 is {answer!r}")
    if sys.platform == "win32" or cast(str, await run(_PROBE)) != "[]\n":
        _log.warning("tool plugin 'python': programs have the network of this machine")


plugin = Plugin(
    "python",
    description="Runs Python programs in a process of their own. It is no sandbox.",
    config=PythonConfig,
    open=python_toolset,
    permissions=(
        "runs Python programs as the user, after a human's approval unless `approval` is false",
        "they read what the user may read",
        "they reach the network where the system can't deny it, or `network` allows it",
    ),
    check=_check,
    explicit=True,
)
