"""Reads lines from whoever sits at the terminal, with their history; or from a pipe, without.

Knows the standard input, readline and the user's editor. Must not know agents.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.text import Text

LONGEST_HISTORY = 1000
_LOCAL = 3  # the place of the local modes in what termios gives
# \x01 and \x02: readline counts no width for what stands between them
_BOLD = "\x01\x1b[1m\x02{}\x01\x1b[0m\x02"


class Reader:
    """Asks for lines.

    interactive: whether a person types, at a terminal.
    """

    def __init__(
        self,
        console: Console,
        *,
        history: Path | None = None,
        completions: Sequence[str] = (),
    ) -> None:
        """history: a file that keeps what was typed, for the next time; None keeps nothing."""
        self.console = console
        self.interactive = sys.stdin.isatty() and console.is_terminal
        self._history = history
        self._readline = _readline() if self.interactive else None
        if self._readline is not None:
            self._prepare(self._readline, completions)

    def message(self, prompt: str) -> str | None:
        """What is typed next, kept in the history; None where the input ends.

        Several lines that are pasted at once are one message.
        """
        line = self.line(prompt)
        if line and line.strip() and self._readline is not None:
            self._readline.add_history(line)
            self._keep(self._readline)
        return line

    def line(self, prompt: str, *, prefill: str = "") -> str | None:
        """What is typed next; None where the input ends."""
        if not self.interactive:
            return self._piped(prompt)
        readline = self._readline
        if readline is None:
            return _typed(prompt)
        # Not rich's own prompt: readline has to know how much of the line is taken.
        shown = prompt if self.console.no_color else _BOLD.format(prompt)
        readline.set_startup_hook(lambda: readline.insert_text(prefill))
        try:
            return _typed(shown)
        finally:
            readline.set_startup_hook(None)

    def edited(self, prompt: str, text: str, *, suffix: str = ".txt") -> str | None:
        """`text` as the user changes it: in $VISUAL or $EDITOR, else on the line."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor or not self.interactive:
            return self.line(prompt, prefill=text)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"edit{suffix}"
            path.write_text(f"{text}\n", "utf-8")
            try:
                subprocess.run([*shlex.split(editor), str(path)], check=True)
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                self.console.print(Text(f"{editor!r} failed: {error}", style="red"))
                return self.line(prompt, prefill=text)
            return path.read_text("utf-8").strip()

    @contextmanager
    def quiet(self) -> Generator[None]:
        """Lets nothing that is typed show up, which would tear what is redrawn in place."""
        termios = _termios() if self.interactive else None
        if termios is None:
            yield
            return
        before = termios.tcgetattr(sys.stdin)
        changed = list(before)
        changed[_LOCAL] &= ~termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _piped(self, prompt: str) -> str | None:
        line = sys.stdin.readline()
        if not line:
            return None
        # so that what is written reads as a conversation
        self.console.print(Text(f"{prompt}{line.rstrip()}", style="bold"))
        return line.rstrip("\n")

    def _prepare(self, readline: ModuleType, completions: Sequence[str]) -> None:
        readline.set_auto_history(False)  # answers to questions are none of its business
        readline.clear_history()
        readline.set_completer_delims("")
        readline.set_completer(_completer(completions))
        if "libedit" in (readline.__doc__ or ""):
            readline.parse_and_bind("bind ^I rl_complete")
        else:
            readline.parse_and_bind("tab: complete")
            # Python turns it off; with it, a paste of several lines comes as one.
            readline.parse_and_bind("set enable-bracketed-paste on")
        if self._history is not None:
            with suppress(OSError):
                readline.read_history_file(self._history)

    def _keep(self, readline: ModuleType) -> None:
        if self._history is None:
            return
        readline.set_history_length(LONGEST_HISTORY)
        with suppress(OSError):  # a home that can't be written to is no reason to fail
            self._history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(self._history)


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows
        return None
    return readline


def _termios() -> Any:
    try:
        import termios
    except ImportError:  # Windows
        return None
    return termios


def _typed(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        print()
        return None


def _completer(words: Sequence[str]) -> Callable[[str, int], str | None]:
    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if text and word.startswith(text)]
        return found[state] if state < len(found) else None

    return complete
