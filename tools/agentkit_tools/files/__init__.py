"""Tools that read and change the files of one folder, and of no other.

Knows what a model is told and what a human approves; how files are reached is for
`agentkit_tools.system`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from agentkit import Plugin, PluginError, Retry, RunContext, Tool, Toolset, tool
from agentkit_tools.files.config import Change, FilesConfig
from agentkit_tools.files.folder import Misplaced, Results, RootedFiles, Seen
from agentkit_tools.system.globs import BadGlob
from agentkit_tools.system.rooted import Refused
from agentkit_tools.system.text import NotText

__all__ = ["FilesConfig", "files_toolset", "plugin"]

PathText = Annotated[str, Field(min_length=1, max_length=1000)]
FileTool = Tool[..., Any]
_MARGIN = 20.0  # seconds that finding may overrun its own, before the call is given up


def files_toolset(config: FilesConfig) -> Toolset:
    """The tools that work in the folder of a configuration.

    Raises:
        PluginError: there is no such folder.
    """
    try:
        files = RootedFiles(config)
    except Refused as error:
        raise PluginError(f"files: root: {error}") from error
    tools = _reading(files) + _finding(files)
    if not config.read_only:
        tools += _writing(files) + _adding(files) + _rearranging(files)
    return Toolset("files", tools)


async def _check(toolset: Toolset) -> None:
    by_name = {one.name: one for one in toolset}
    by_name["list_files"]()


plugin = Plugin(
    "files",
    description="Reads, finds and changes the files of a folder.",
    config=FilesConfig,
    open=files_toolset,
    permissions=(
        "Reads the files under `root`, those that `hidden` names left out.",
        "Changes them, unless `read_only` is set; those in `approve` wait for a human.",
    ),
    check=_check,
    explicit=True,
)


def _reading(files: RootedFiles) -> list[FileTool]:
    @tool(pure=True)
    def list_files(folder: str = ".") -> str:
        """List what is in a folder.

        Args:
            folder: The folder.
        """
        with _blaming("folder"):
            return _told(files.listed(folder), "The folder is empty.")

    @tool
    def read_file(
        context: RunContext[Any],
        path: PathText,
        start: Annotated[int, Field(ge=1)] = 1,
        end: Annotated[int, Field(ge=1)] | None = None,
    ) -> str:
        """Read a text file, or some of its lines.

        Args:
            path: The file.
            start: The first line to read.
            end: The last line to read; the last of the file if left out.
        """
        with _blaming("path"):
            content = files.read(path, _seen(context, files)).content
        return _pages(content, start, end, files.config.result_characters)

    return [list_files, read_file]


def _finding(files: RootedFiles) -> list[FileTool]:
    limit = files.config.seconds + _MARGIN

    @tool(timeout=limit, pure=True)
    def find_files(pattern: Annotated[str, Field(min_length=1, max_length=200)]) -> str:
        """Find files by name.

        Args:
            pattern: A pattern, as *.py or src/**/test_*.py.
        """
        with _blaming("pattern"):
            return _told(files.globbed(pattern), f"No file matches {pattern!r}.")

    @tool(timeout=limit)
    def search_files(
        text: Annotated[str, Field(min_length=1, max_length=1000)],
        folder: str = ".",
        ignore_case: bool = False,
    ) -> str:
        """Find the lines of files that contain a text.

        Args:
            text: The text, as it stands in a line.
            folder: Where to search.
            ignore_case: Whether capital and small letters are the same.
        """
        if "\n" in text:
            raise Retry("The text is searched for in single lines; give one line.", value="text")
        with _blaming("folder"):
            found = files.searched(text, folder, ignore_case=ignore_case)
        return _told(found, f"No line contains {text!r}.")

    return [find_files, search_files]


def _writing(files: RootedFiles) -> list[FileTool]:
    change = _changing(files.config)
    approved = "write" in files.config.approve

    @change("write")
    def write_file(context: RunContext[Any], path: PathText, content: str) -> str:
        """Create a text file, or overwrite one that was read before.

        Args:
            path: The file; missing folders are made.
            content: All that is to be in it.
        """
        seen = _seen(context, files)
        with _blaming("path"):
            if files.exists(path):
                files.replace(path, content, seen, approved=approved)
                return f"Overwrote {path!r}: {_size(content)}."
            files.create(path, content, seen)
            return f"Created {path!r}: {_size(content)}."

    @change("edit")
    def edit_file(context: RunContext[Any], path: PathText, old: str, new: str) -> str:
        """Replace one part of a text file.

        Args:
            path: The file.
            old: The text to replace, exactly as in the file; it must occur only once.
            new: The text to put there.
        """
        with _blaming("path"):
            line = files.edit(path, old, new, _seen(context, files))
        return f"Changed {path!r} at line {line}."

    return [write_file, edit_file]


def _adding(files: RootedFiles) -> list[FileTool]:
    @_changing(files.config)("append")
    def append_to_file(context: RunContext[Any], path: PathText, content: str) -> str:
        """Add text to the end of a file.

        Args:
            path: The file.
            content: What to add, on a new line.
        """
        with _blaming("path"):
            files.append(path, content, _seen(context, files))
        return f"Added {_size(content)} to {path!r}."

    return [append_to_file]


def _rearranging(files: RootedFiles) -> list[FileTool]:
    change = _changing(files.config)

    @change("move")
    def move_file(source: PathText, destination: PathText) -> str:
        """Move or rename a file or folder.

        Args:
            source: What to move.
            destination: Its new path, where nothing is yet.
        """
        with _blaming(None):
            files.move(source, destination)
        return f"Moved {source!r} to {destination!r}."

    @change("delete")
    def delete_file(path: PathText) -> str:
        """Delete a file or an empty folder.

        Args:
            path: What to delete.
        """
        with _blaming("path"):
            kind = files.delete(path)
        return f"Deleted the {'folder' if kind == 'folder' else 'file'} {path!r}."

    return [move_file, delete_file]


def _changing(
    config: FilesConfig,
) -> Callable[[Change], Callable[[Callable[..., str]], FileTool]]:
    """A decorator for tools that change files: in turn, and approved where that is wanted."""

    def change(name: Change) -> Callable[[Callable[..., str]], FileTool]:
        return lambda function: tool(function, sequential=True, approval=name in config.approve)

    return change


@contextmanager
def _blaming(argument: str | None) -> Generator[None]:
    """Tell the model which argument won't do, and why."""
    try:
        yield
    except (Refused, NotText, BadGlob) as error:
        why = str(error).rstrip(".")
        if isinstance(error, Misplaced):
            argument = "old"
        raise Retry(f"{why[:1].upper()}{why[1:]}.", value=argument) from error
    except OSError as error:  # a full disk, a folder that is not empty
        raise ValueError(f"The system refuses: {error.strerror or error}.") from error


def _seen(context: RunContext[Any], files: RootedFiles) -> Seen:
    """What this run knows of files, kept with the run."""
    seen: Seen = context.metadata.setdefault(f"agentkit_tools.files {files.root.path}", {})
    return seen


def _told(results: Results, nothing: str) -> str:
    lines = [*results.lines, *([f"[{results.more}]"] if results.more else [])]
    return "\n".join(lines) or nothing


def _size(content: str) -> str:
    lines = content.count("\n") + (not content.endswith("\n") and bool(content))
    return f"{lines:,} {'line' if lines == 1 else 'lines'}"


def _pages(content: str, start: int, end: int | None, limit: int) -> str:
    """Lines of a text, as many as there is room for, and how to read on."""
    lines = content.removesuffix("\n").split("\n") if content else []
    if not lines:
        return "[the file is empty]"
    if start > len(lines) or (end is not None and end < start):
        raise Retry(
            f"There are lines 1 to {len(lines)}; start={start} and end={end} name none of them.",
            value="start",
        )
    wanted = lines[start - 1 : end]
    taken: list[str] = []
    for line in wanted:
        if taken and limit < len(line) + 1:
            break
        taken.append(
            line if len(line) < limit else f"{line[:limit]}… [cut: {len(line):,} characters]"
        )
        limit -= len(line) + 1
        if limit <= 0:
            break
    last = start - 1 + len(taken)
    if start == 1 and last == len(lines):
        return "\n".join(taken)
    more = f"; read on with start={last + 1}" if len(taken) < len(wanted) else ""
    return "\n".join([*taken, f"[lines {start} to {last} of {len(lines):,}{more}]"])
