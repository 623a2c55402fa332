"""A program at a terminal of its own: a real pseudo-terminal, typed into and read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 60.0  # seconds until a test that hangs is given up
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\x01\x02]")

CTRL_C, CTRL_D, ENTER, UP = "\x03", "\x04", "\r", "\x1b[A"


class Terminal:
    """`python -m agentkit ...` at a pseudo-terminal; a context manager that ends it.

    raw: all that was written so far, escape sequences included.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        home: Path,
        width: int = 80,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """home: where it runs, and what it takes for the user's home."""
        self.raw = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "NO_COLOR", "EDITOR", "VISUAL", "INPUTRC")
            and not name.startswith("XDG_")
        }
        environment |= {"TERM": "xterm-256color", "HOME": str(home), **(variables or {})}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agentkit", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=home,
            env=environment,
            start_new_session=True,
            preexec_fn=_takes_the_terminal,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """What was written so far, without escape sequences."""
        return _ESCAPE.sub("", self.raw).replace("\r", "")

    def type(self, text: str) -> None:
        """Type, without Enter."""
        os.write(self._master, text.encode())

    def say(self, line: str) -> None:
        """Type a line and Enter."""
        self.type(line + ENTER)

    def until(self, shown: str) -> str:
        """Wait for a text that was not waited for yet; what was written up to it, and with it."""
        found = self._found(shown, PATIENCE)
        if found is None:
            raise AssertionError(f"{shown!r} never came after:\n{self.text[self._seen :]}")
        return found

    def interrupt(self, shown: str) -> None:
        """Ctrl-C at a prompt, until a text is written.

        Python's reading of a line sleeps through a signal that comes just before it waits for keys;
        the next one wakes it.
        """
        for _ in range(int(PATIENCE)):
            self.type(CTRL_C)
            if self._found(shown, 1.0) is not None:
                return
        raise AssertionError(f"{shown!r} never came after:\n{self.text[self._seen :]}")

    def ended(self) -> int:
        """Wait for the program's end; its exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(timeout=PATIENCE)

    def _found(self, shown: str, seconds: float) -> str | None:
        deadline = time.monotonic() + seconds
        while (place := self.text.find(shown, self._seen)) < 0:
            if time.monotonic() > deadline or not self._read(deadline):
                return None
        began, self._seen = self._seen, place + len(shown)
        return self.text[began : self._seen]

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            found = os.read(self._master, 65536)
        except OSError:  # Linux says so where nobody writes any more
            return False
        self.raw += found.decode(errors="replace")
        return bool(found)


def _takes_the_terminal() -> None:
    # whoever runs the tests in the background ignores Ctrl-C, and children inherit that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
