"""Servers to be measured: `agentkit serve` as a process of its own, and what memory it holds.

Knows processes and sockets. Must not know what is asked of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["ServerProcess", "server_process"]

_SERVE = "import sys; from agentkit.terminal.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs.

    Attributes:
        url: where it listens.
        pid: its process.
    """

    url: str
    pid: int

    @property
    def resident_mb(self) -> float:
        """The memory it holds, in MB; Linux only."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def server_process(*options: str) -> Generator[ServerProcess]:
    """`agentkit serve` on a free port of loopback, until the end of the block.

    Raises:
        RuntimeError: it did not come up; says what it printed.
    """
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", *options]
    # a file and no pipe, which would be full one day and hold up the server
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stderr=said) as process:
        try:
            while not (found := re.search(r"http://[^\s\"]+:\d+", _read(said))):
                if process.poll() is not None:
                    raise RuntimeError(f"the server did not come up:\n{_read(said)}")
                time.sleep(0.05)
            yield ServerProcess(found[0], process.pid)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _read(said: IO[str]) -> str:
    said.seek(0)
    return said.read()
