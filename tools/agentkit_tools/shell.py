"""A tool that runs programs: argument lists, never a command line that a shell reads.

Which programs run without a human is a list of patterns, empty unless configured. A program starts
in a folder below the root, sees a few harmless variables and no input, and is ended with all that
it started when it takes too long, writes too much, or the run is cancelled.

It is no sandbox: a program that runs may do what its user may. Knows commands and configuration;
must not know how a process is watched, or who asks.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from agentkit import Plugin, PluginError, Retry, Tool, Toolset, tool
from agentkit_tools.system.process import Finished, Limits, execute, folder_path
from agentkit_tools.system.rooted import Refused, Root

_MARGIN = 15.0  # seconds for ending what does not end by itself, beyond the program's own
_INHERITED = (
    *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TMPDIR", "TZ", "USER"),
    *("APPDATA", "PATHEXT", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE"),  # Windows
)
# Git reads a repository's configuration, which can name programs to run, wherever a folder has the
# shape of a bare one; a model can write such a folder. From 2.38 on, git leaves it alone by this.
_NO_BARE_REPOSITORIES = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.bareRepository",
    "GIT_CONFIG_VALUE_0": "explicit",
}
_OPERATORS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1", "*"}


class ShellConfig(BaseModel):
    """Which programs may run, where, with what, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path
    """The folder that programs start in, or below."""
    allow: tuple[str, ...] = ()
    """Commands that run without a human: "ls" with any arguments, "git status" as it is, "git log
    **" with any arguments that are no options. `*` stands for one argument, `-*` for an
    option; `docs/*` for nothing with a `..` of its own."""
    others: Literal["approve", "refuse"] = "approve"
    """What becomes of all other commands: a human is asked, or nobody is."""
    inherit: tuple[str, ...] = _INHERITED
    """Variables that programs see as they are here; PATH is always among them."""
    environment: dict[str, str] = {}
    """Variables that programs see besides."""
    path: str | None = None
    """PATH; None for the one here, without relative folders and those below the root."""
    seconds: float = Field(default=30.0, gt=0, le=3600)
    """Seconds that a program may run."""
    grace: float = Field(default=2.0, ge=0, le=10)
    """Seconds between asking a program to end and making it."""
    output_bytes: int = Field(default=16_000, ge=100)
    """Bytes that are told of each stream: the first half of them, and the last."""
    flood_bytes: int = Field(default=50_000_000, ge=1000)
    """Bytes of output that end a program."""

    @field_validator("allow")
    @classmethod
    def _readable(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for command in allow:
            words = shlex.split(command)
            if not words or any(letter in words[0] for letter in "*?["):
                raise ValueError(f"{command!r} names no program; write one, as 'git status'")
        return allow


def _list(value: Any) -> Any:
    if isinstance(value, str):
        raise Retry(
            "No shell reads a command. Give the program and each argument as an item of a list, "
            f"as {_split(value)!r}.",
            value="command",
        )
    return value


Command = Annotated[
    list[Annotated[str, Field(max_length=10_000)]],
    BeforeValidator(_list),
    Field(min_length=1, max_length=200),
]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which commands run without a human."""

    patterns: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(allow: Sequence[str]) -> Allowed:
        """Read what a configuration allows."""
        return Allowed(tuple(tuple(shlex.split(command)) for command in allow))

    def allows(self, command: Sequence[str]) -> bool:
        """Whether a command is among them."""
        return any(_fits(command, pattern) for pattern in self.patterns)

    def __str__(self) -> str:
        return ", ".join(" ".join(pattern) for pattern in self.patterns) or "none"


class Shell:
    """Runs programs as a configuration says.

    Raises:
        PluginError: the root is no folder.
    """

    def __init__(self, config: ShellConfig) -> None:
        self.config = config
        self.allowed = Allowed.of(config.allow)
        try:
            self.root = Root(config.root)
        except Refused as error:
            raise PluginError(f"shell: root: {error}") from error
        self.environment = _environment(config, self.root.path)

    async def run(self, command: list[str], folder: str = ".") -> Finished:
        """Run a command, whatever it is, within the limits.

        Raises:
            Retry: there is no such program or folder.
        """
        program = self._program(command)
        half = self.config.output_bytes // 2
        limits = Limits(
            seconds=self.config.seconds,
            head=half,
            tail=half,
            flood=self.config.flood_bytes,
            grace=self.config.grace,
        )
        try:
            with self.root.folder(self.root.parts(folder)) as opened:
                return await execute(
                    [program, *command[1:]],
                    folder=folder_path(opened),
                    environment=self.environment,
                    limits=limits,
                )
        except Refused as error:
            raise Retry(str(error), value="folder") from error
        except OSError as error:
            raise Retry(
                f"{command[0]!r} can't be run: {error.strerror}.", value="command"
            ) from error

    def _program(self, command: list[str]) -> str:
        """The file of a program: by name from the PATH, or by a path that is absolute."""
        name = command[0]
        if any("\0" in word for word in command):
            raise Retry("An argument has no NUL in it.", value="command")
        if os.path.dirname(name) and not os.path.isabs(name):
            name = str(self.root.path / name)
        found = shutil.which(name, path=self.environment["PATH"]) if name else None
        if found is None:
            words = _split(command[0])
            mend = f" Give each argument as an item, as {words!r}." if len(words) > 1 else ""
            raise Retry(f"There is no program {command[0]!r}.{mend}", value="command")
        if os.name == "nt" and found.lower().endswith((".bat", ".cmd")):
            raise Retry(f"{command[0]!r} is a script that a shell reads.", value="command")
        return found

    def tools(self) -> list[Tool[..., Any]]:
        """The tools: one for what is allowed, one that asks a human for the rest."""
        made: list[Tool[..., Any]] = []
        limit = self.config.seconds + self.config.grace + _MARGIN

        @tool(timeout=limit, sequential=True)
        async def run_program(command: Command, folder: str = ".") -> str:
            """Run one of the allowed programs and tell what it prints.

            Args:
                command: The program and its arguments, each an item: ["ls", "-l"].
                folder: The folder to start in.
            """
            if not self.allowed.allows(command):
                raise Retry(
                    f"{shlex.join(command)!r} is not allowed. Allowed: {self.allowed}.",
                    value="command",
                )
            return self._told(command, await self.run(command, folder))

        @tool(timeout=limit, sequential=True, approval=True)
        async def run_any_program(command: Command, folder: str = ".") -> str:
            """Run any program, once a human has approved it, and tell what it prints.

            Args:
                command: The program and its arguments, each an item: ["make", "test"].
                folder: The folder to start in.
            """
            return self._told(command, await self.run(command, folder))

        if self.allowed.patterns:
            made.append(run_program)
        if self.config.others == "approve":
            made.append(run_any_program)
        return made

    def _told(self, command: list[str], done: Finished) -> str:
        ended = {
            "exited": f"exit status {done.status}",
            "timeout": f"ended after {self.config.seconds:g} s, its time is up",
            "flood": f"ended after {self.config.flood_bytes:,} bytes of output",
        }[done.ended]
        if done.ended == "exited" and done.status < 0:
            ended = f"ended by signal {-done.status}"
        told = [f"[{ended}, {done.seconds:.2f} s]"]
        taken = [word for word in command[1:] if word in _OPERATORS]
        if done.status and taken:
            told.append(f"[no shell read this: {taken[0]!r} was an argument like any other]")
        for name, capture in (("output", done.out), ("errors", done.err)):
            if capture.total:
                told += [f"[{name}]", capture.text().rstrip("\n")]
        return "\n".join(told)


def shell_toolset(config: ShellConfig) -> Toolset:
    """The tools that run programs as a configuration says.

    Raises:
        PluginError: the root is no folder, or nothing could be run at all.
    """
    if not config.allow and config.others == "refuse":
        raise PluginError("shell: no program is allowed; give `allow`, or others='approve'")
    return Toolset("shell", Shell(config).tools())


plugin = Plugin(
    "shell",
    description="Runs programs.",
    config=ShellConfig,
    open=shell_toolset,
    permissions=(
        "Runs the programs that `allow` names, and others that a human approves.",
        "What a program may do is not limited: it is no sandbox.",
    ),
    explicit=True,
)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote without its partner
        return text.split()


def _fits(command: Sequence[str], pattern: tuple[str, ...]) -> bool:
    """Whether a command is one that the pattern stands for."""
    if not command or command[0] != pattern[0]:
        return False
    given, wanted = command[1:], pattern[1:]
    if not wanted:  # the program alone: with whatever arguments
        return True
    if wanted[-1] == "**":
        rest = given[len(wanted) - 1 :]
        if any(word.startswith("-") for word in rest):
            return False
        given, wanted = given[: len(wanted) - 1], wanted[:-1]
    return len(given) == len(wanted) and all(map(_word_fits, given, wanted))


def _word_fits(word: str, pattern: str) -> bool:
    if word.startswith("-") and not pattern.startswith("-"):
        return False  # an option is not smuggled in where a name is meant
    if "/" in pattern and ".." in set(word.split("/")) - set(pattern.split("/")):
        return False  # nor does `docs/*` lead out of docs
    return fnmatch.fnmatchcase(word, pattern)


def _environment(config: ShellConfig, root: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in config.inherit if name in os.environ}
    path = config.path
    if path is None:
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        path = os.pathsep.join(folder for folder in folders if _trusted(folder, root))
    # PWD would tell of another folder than the one it starts in
    kept.pop("PWD", None)
    fixed = {"PATH": path, "TERM": "dumb", "NO_COLOR": "1"}
    return {**_NO_BARE_REPOSITORIES, **kept, **fixed, **config.environment}


def _trusted(folder: str, root: Path) -> bool:
    """Whether nothing that a model wrote is run by its mere name from a folder of the PATH."""
    return os.path.isabs(folder) and not Path(folder).resolve().is_relative_to(root)
