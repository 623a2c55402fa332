"""Code search: regular expressions over a folder, by ripgrep where it is, else in Python.

Both read the same files (what `.gitignore` leaves, without links, binaries and large files), are
given the pattern as data and never as an option, and run in a process of their own that is ended
when its time is up. Knows how to ask either; must not know who asks.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentkit import Plugin, PluginError, Retry, Tool, Toolset, tool
from agentkit_tools.system.globs import BadGlob, expanded, matches
from agentkit_tools.system.process import Finished, Limits, execute, folder_path
from agentkit_tools.system.rooted import HAS_DESCRIPTORS, HIDDEN, Refused, Root, shown
from agentkit_tools.system.scanning import Line, Request

_MAX_OUTPUT = 8 << 20  # bytes that a searcher may print before it is ended
_MARGIN = 10.0  # seconds for ending a searcher, and reading what it printed
_RIPGREP = (
    *("--no-config", "--json", "--no-messages", "--sort=path", "--crlf", "--hidden"),
    # The rules of files, and only those: the ones that the other searcher knows too.
    *("--no-require-git", "--no-ignore-global", "--no-ignore-parent"),
    *("--no-ignore-exclude", "--no-ignore-dot"),
)


class CodeSearchConfig(BaseModel):
    """What is searched, and how much is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    root: Path
    """The folder that is searched; nothing outside of it is read."""
    engine: Literal["auto", "ripgrep", "python"] = "auto"
    """What searches; "auto" takes ripgrep where it is installed."""
    hidden: tuple[str, ...] = HIDDEN
    """Patterns of names that are neither searched nor told, at any depth."""
    seconds: float = Field(default=10.0, gt=0, le=600)
    """Seconds that a search may take."""
    lines: int = Field(default=50, ge=1, le=10_000)
    """Matching lines that are told at most."""
    line_characters: int = Field(default=200, ge=20, le=10_000)
    """Characters of a line that are told."""
    file_bytes: int = Field(default=1_000_000, ge=1)
    """Bytes; larger files are skipped."""


class CodeSearch:
    """Searches the folder of a configuration.

    Raises:
        PluginError: there is no such folder, or no ripgrep where that is to search.
    """

    def __init__(self, config: CodeSearchConfig) -> None:
        self.config = config
        self.ripgrep = _engine(config)
        try:
            self.root = Root(config.root, hidden=config.hidden)
        except Refused as error:
            raise PluginError(f"code_search: root: {error}") from error

    async def find(
        self, pattern: str, *, files: str = "", ignore_case: bool = False, context: int = 0
    ) -> tuple[list[Line], bool]:
        """The lines found, and whether there are more.

        Raises:
            Retry: the pattern can't be read, or takes too long.
        """
        _check_pattern(pattern)
        try:
            globs = expanded(files) if files else []
        except BadGlob as error:
            raise Retry(str(error), value="files") from error
        request = Request(
            root=str(self.root.path),
            pattern=pattern,
            globs=tuple(globs),
            hidden=self.config.hidden,
            ignore_case=ignore_case,
            context=context,
            file_bytes=self.config.file_bytes,
            lines=self.config.lines + 1,  # one more, to know whether there are more
            by_descriptor=HAS_DESCRIPTORS,
        )
        done = await self._searched(request)
        if done.ended == "timeout":
            raise Retry(
                f"{pattern!r} took longer than {self.config.seconds:g} s; search for less, with a "
                "simpler pattern or fewer files.",
                value="pattern",
            )
        read = _read_ripgrep if self.ripgrep else _read_python
        found = [line for line in read(done, pattern) if self._wanted(line.path, globs)]
        return _cut(found, self.config.lines, done.ended == "flood")

    async def _searched(self, request: Request) -> Finished:
        limits = Limits(
            seconds=self.config.seconds, head=_MAX_OUTPUT, tail=0, flood=_MAX_OUTPUT, grace=0.2
        )
        with self.root.folder() as folder:
            return await execute(
                self._command(request),
                folder=folder_path(folder),
                environment=_environment(),
                limits=limits,
            )

    def _command(self, request: Request) -> list[str]:
        if self.ripgrep is None:
            module = "agentkit_tools.system.scanning"
            return [sys.executable, "-P", "-m", module, request.argument()]
        command = [self.ripgrep, *_RIPGREP, f"--max-filesize={request.file_bytes}"]
        command += [f"--context={request.context}", f"--max-count={request.lines}"]
        command += ["--ignore-case" if request.ignore_case else "--case-sensitive"]
        command += [f"--iglob=!{name}" for name in request.hidden]
        names = _names(request.globs)
        if names:  # a glob of ripgrep's would win over `.gitignore`, a type does not
            command += [f"--type-add=wanted:{name}" for name in names]
            command.append("--type=wanted")
        # To the end of the line: ripgrep tells of every match, and one in a line will do.
        return [*command, "--regexp", f"(?:{request.pattern}).*", "--", "./"]

    def _wanted(self, path: str, globs: Sequence[str]) -> bool:
        parts = path.split("/")
        if any(self.root.hides(part) for part in parts):
            return False
        return not globs or any(matches(parts, glob) for glob in globs)

    def tools(self) -> list[Tool[..., Any]]:
        """The tool that searches this folder."""

        @tool(timeout=self.config.seconds + _MARGIN)
        async def code_search(
            pattern: Annotated[str, Field(min_length=1, max_length=500)],
            files: Annotated[str, Field(max_length=200)] = "",
            ignore_case: bool = False,
            context: Annotated[int, Field(ge=0, le=10)] = 0,
        ) -> str:
            """Find the lines of code that match a regular expression.

            Args:
                pattern: The regular expression; it matches within one line.
                files: Which files, as *.py or src/**/*.ts; all files if left out.
                ignore_case: Whether capital and small letters are the same.
                context: Lines to show before and after each match.
            """
            found, more = await self.find(
                pattern, files=files, ignore_case=ignore_case, context=context
            )
            return self._told(found, more, files)

        return [code_search]

    def _told(self, found: list[Line], more: bool, files: str) -> str:
        if not found:
            return f"No line matches{f' in {files}' if files else ''}."
        told: list[str] = []
        apart = any(not line.match for line in found)
        last: Line | None = None
        for line in found:
            if apart and last and (last.path, last.line + 1) != (line.path, line.line):
                told.append("--")
            sign = ":" if line.match else "-"
            path = shown(line.path.split("/"))
            told.append(f"{path}{sign}{line.line}{sign} {self._shortened(line.text)}".rstrip())
            last = line
        if more:
            told.append(
                f"[the first {self.config.lines} matches; say more with `pattern` or `files`]"
            )
        return "\n".join(told)

    def _shortened(self, text: str) -> str:
        limit = self.config.line_characters
        text = text.rstrip()
        return text if len(text) <= limit else f"{text[:limit]}… [{len(text):,} characters]"


def code_search_toolset(config: CodeSearchConfig) -> Toolset:
    """The tool, searching the folder of a configuration."""
    return Toolset("code_search", CodeSearch(config).tools())


async def _check(toolset: Toolset) -> None:
    await toolset.tools[0]("a pattern that is hardly anywhere", files="*.agentkit-self-test")


plugin = Plugin(
    "code_search",
    description="Finds lines of code by regular expression.",
    config=CodeSearchConfig,
    open=code_search_toolset,
    permissions=("Reads the files under `root`.", "Runs ripgrep, or Python."),
    check=_check,
    explicit=True,
)


def _engine(config: CodeSearchConfig) -> str | None:
    """Where ripgrep is; None for the searcher in Python."""
    found = None if config.engine == "python" else shutil.which("rg")
    if found is not None:
        return str(Path(found).absolute())
    if config.engine == "ripgrep":
        raise PluginError("code_search: `rg` is not on the PATH; install ripgrep, or engine='auto'")
    return None


def _environment() -> dict[str, str]:
    """What a searcher needs: nothing but, for Python, where its modules are."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"}


def _check_pattern(pattern: str) -> None:
    if "\n" in pattern or "\0" in pattern:
        raise Retry("A pattern matches within one line: no line end in it.", value="pattern")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        # All else ripgrep may read; this it would, too, where we put the pattern in brackets.
        if "unbalanced parenthesis" in str(error):
            why = f"{pattern!r} is no regular expression: {error}."
            raise Retry(why, value="pattern") from error


def _names(globs: Sequence[str]) -> list[str]:
    """Patterns of the names of all files that globs match; none where any name will do."""
    names = [glob.rpartition("/")[2] for glob in globs]
    if any("**" in name for name in names):
        return []
    return [name.replace("#", "[#]").replace(" ", "[ ]") for name in names]


def _read_python(done: Finished, pattern: str) -> Iterator[Line]:
    records = [json.loads(line) for line in _complete_lines(done)]
    if done.ended == "exited" and done.status != 0:
        raise ValueError(f"the search failed: {done.err.text()[-500:]}")
    for record in records:
        if "error" in record:
            raise Retry(
                f"{pattern!r} is no regular expression: {record['error']}.", value="pattern"
            )
        if "done" not in record:
            yield Line(**record)


def _read_ripgrep(done: Finished, pattern: str) -> Iterator[Line]:
    if done.ended == "exited" and done.status not in {0, 1} and not done.out.total:
        why = " ".join(done.err.text().split())[-500:].rpartition("error: ")[2]
        raise Retry(f"{pattern!r} is no regular expression: {why}.", value="pattern")
    pending: list[Line] = []
    for text in _complete_lines(done):
        record = json.loads(text)
        data = record["data"]
        if record["type"] in {"match", "context"}:
            path = _path(data["path"]).removeprefix("./")
            line = _text(data["lines"]).rstrip("\r\n")
            pending.append(Line(path, data["line_number"], line, record["type"] == "match"))
        elif record["type"] == "end":
            if data["binary_offset"] is None:
                yield from pending
            pending = []
    yield from pending


def _text(said: dict[str, str]) -> str:
    """A line as ripgrep tells it: one that is no UTF-8 in base64."""
    return said["text"] if "text" in said else base64.b64decode(said["bytes"]).decode("latin-1")


def _path(said: dict[str, str]) -> str:
    return said["text"] if "text" in said else os.fsdecode(base64.b64decode(said["bytes"]))


def _complete_lines(done: Finished) -> list[bytes]:
    """The lines printed, without a last one that was cut off."""
    lines = done.out.kept.split(b"\n")
    return [line for line in lines[:-1] if line]


def _cut(found: list[Line], limit: int, more: bool) -> tuple[list[Line], bool]:
    """The first matches with their context, and whether there are more."""
    matched = 0
    for place, line in enumerate(found):
        matched += line.match
        if matched > limit:
            return found[:place], True
    return found, more
