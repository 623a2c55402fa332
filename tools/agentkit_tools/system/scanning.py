"""Searches a folder for a regular expression, in a process of its own: ripgrep's stand-in.

Run as `python -m agentkit_tools.system.scanning REQUEST`, a JSON object; prints one JSON object a
line: {"path", "line", "text", "match"} for a line, {"error"} where the expression can't be read,
{"done": true} at the end. An expression that takes forever is ended by ending the process.

Reads what git would track: `.gitignore` files are heeded at every depth. Skips links, binary files
and large ones. Knows folders and expressions; must not know tools.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from agentkit_tools.system.globs import matches
from agentkit_tools.system.ignoring import GitIgnore
from agentkit_tools.system.rooted import Folder, Refused, Root
from agentkit_tools.system.text import NotText, decoded


@dataclass(frozen=True, slots=True)
class Request:
    """What is searched for, and where.

    globs: a file matches one of them; none for all files. file_bytes: larger files are skipped.
    lines: found at most. context: lines around each that are told too.
    """

    root: str
    pattern: str
    globs: tuple[str, ...]
    hidden: tuple[str, ...]
    ignore_case: bool
    context: int
    file_bytes: int
    lines: int
    by_descriptor: bool

    def argument(self) -> str:
        """As the command line takes it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file that matches, or stands around one that does."""

    path: str
    line: int
    text: str
    match: bool


def scan(request: Request) -> Iterator[Line]:
    """The lines found, in the order of paths and of lines.

    Raises:
        re.error: the expression can't be read.
    """
    expression = re.compile(request.pattern, re.IGNORECASE if request.ignore_case else 0)
    root = Root(request.root, hidden=request.hidden, by_descriptor=request.by_descriptor)
    for folder, path, entry in root.walk(skip=GitIgnore().skips):
        if entry.kind != "file" or entry.size > request.file_bytes:
            continue
        if request.globs and not any(matches(path, glob) for glob in request.globs):
            continue
        lines = _lines(folder, entry.name, request.file_bytes)
        yield from _found(lines, expression, "/".join(path), request.context)


def _lines(folder: Folder, name: str, limit: int) -> Sequence[str]:
    try:
        data, _ = folder.read(name, limit=limit)
        # latin-1 reads everything: what is no UTF-8 is searched as far as it is ASCII
        content = decoded(data, fallback="latin-1").content
    except (Refused, NotText, OSError):  # swapped or closed to us meanwhile; binary
        return ()
    lines = content.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _found(
    lines: Sequence[str], expression: re.Pattern[str], path: str, context: int
) -> Iterator[Line]:
    before: deque[Line] = deque(maxlen=context)
    after = 0
    for number, text in enumerate(lines, 1):
        if expression.search(text):
            yield from before
            before.clear()
            after = context
            yield Line(path, number, text, match=True)
        elif after:
            after -= 1
            yield Line(path, number, text, match=False)
        elif context:
            before.append(Line(path, number, text, match=False))


def main(argument: str) -> None:
    """Search, and print what is found."""
    request = Request(**json.loads(argument))
    left = request.lines
    try:
        for line in scan(request):
            left -= line.match
            if left < 0:
                break
            print(json.dumps(asdict(line)))
    except (re.error, RecursionError, OverflowError) as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps({"done": left >= 0}))


if __name__ == "__main__":
    main(sys.argv[1])
