"""What the file tools do, within one folder: read, change, find.

Every change is made to the content as it is then, one change at a time, and the file is written
whole; whoever looks finds the old content or the new one. Knows rooted folders and texts; must not
know tools. What goes wrong is told as `Refused`, `NotText` or `BadGlob`, all ValueErrors.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from agentkit_tools.files.config import FilesConfig
from agentkit_tools.system.globs import expanded, matches
from agentkit_tools.system.rooted import (
    HAS_DESCRIPTORS,
    Entry,
    Folder,
    Kind,
    Parts,
    Refused,
    Root,
    kind_of,
    shown,
)
from agentkit_tools.system.saving import exclusive, rename_new, save
from agentkit_tools.system.text import NotText, Text, decoded

Seen = MutableMapping[str, str]
"""Path -> digest of the content that a run knows a file to have."""

_MAX_LISTED = 5  # lines that are named where a text occurs several times


class Misplaced(Refused):
    """The text to replace is not there, or not only once."""


class _TimeUp(Exception):
    """Finding takes longer than it may."""


@dataclass(frozen=True, slots=True)
class Results:
    """What was found, and why there may be more: empty where that is all."""

    lines: list[str]
    more: str = ""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file as it is now, in its open folder."""

    folder: Folder
    name: str
    text: Text
    data: bytes
    status: os.stat_result


class RootedFiles:
    """The files below the root of a configuration.

    Raises:
        Refused: there is no such folder.
    """

    def __init__(self, config: FilesConfig, *, by_descriptor: bool = HAS_DESCRIPTORS) -> None:
        self.config = config
        self.root = Root(config.root, hidden=config.hidden, by_descriptor=by_descriptor)

    def read(self, path: str, seen: Seen | None = None) -> Text:
        """The text of a file."""
        with self._opened(path) as opened:
            _remember(seen, self.root.parts(path), opened.data)
            return opened.text

    def create(self, path: str, content: str, seen: Seen | None = None) -> None:
        """Make a file, and the folders on its way."""
        parts, data = self._file(path), self._sized(Text("").encoded(content))
        with self.root.folder(parts[:-1], create=True) as folder, exclusive(folder):
            save(folder, parts[-1], data, expected=None)
        _remember(seen, parts, data)

    def replace(self, path: str, content: str, seen: Seen, *, approved: bool = False) -> None:
        """Give a file new content, if it has the one that was seen.

        approved: a human has agreed, so that it need not have been seen.
        """
        parts = self._file(path)
        with self.root.folder(parts[:-1]) as folder, exclusive(folder):
            # its bytes, not its text: what is replaced may be binary
            old, status = folder.read(parts[-1], limit=self.config.file_bytes)
            known = seen.get(shown(parts))
            if known is None and not approved:
                raise Refused(
                    f"{shown(parts)!r} exists. Read it before it is overwritten, or change a part "
                    "of it with edit_file."
                )
            if known is not None and known != _digest(old):
                raise Refused(f"{shown(parts)!r} was changed since it was read; read it again")
            try:
                text = decoded(old, fallback=self.config.fallback_encoding)
            except NotText:
                text = Text("")
            data = self._sized(text.encoded(content))
            save(folder, parts[-1], data, expected=status)
        _remember(seen, parts, data)

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        parts = self._file(path)
        try:
            with self.root.folder(parts[:-1]) as folder:
                return folder.look(parts[-1]) is not None
        except Refused:
            return False

    def edit(self, path: str, old: str, new: str, seen: Seen | None = None) -> int:
        """Replace the one place where `old` stands; gives its line."""
        if not old:
            raise Misplaced("the text to replace is empty; give the lines that are to change")
        if old == new:
            raise Refused("the new text is the old one; give another")
        lines: list[int] = []

        def change(text: Text) -> str:
            content, wanted = text.content, old
            if text.newline == "\r\n":  # which is read as \n
                wanted = old.replace("\r\n", "\n")
            lines[:] = _lines_of(content, wanted)
            if len(lines) != 1:
                raise Misplaced(_misplaced(content, wanted, lines, path))
            return content.replace(wanted, new, 1)

        self._change(path, change, seen)
        return lines[0]

    def append(self, path: str, content: str, seen: Seen | None = None) -> None:
        """Add to the end of a file, on a line of its own."""

        def change(text: Text) -> str:
            between = "\n" if text.content and not text.content.endswith("\n") else ""
            return f"{text.content}{between}{content}"

        self._change(path, change, seen)

    def move(self, source: str, destination: str) -> None:
        """Move a file or folder to a path where nothing is."""
        old, new = self._file(source), self._file(destination)
        if new[: len(old)] == old:
            raise Refused(f"{shown(old)!r} can't be moved into itself")
        with self.root.folder(old[:-1]) as here, self.root.folder(new[:-1], create=True) as there:
            status = here.look(old[-1])
            if status is None:
                raise Refused(f"there is no {shown(old)!r}")
            if there.look(new[-1]) is not None:
                raise Refused(f"{shown(new)!r} is there already; choose another path")
            with exclusive(there):
                _rename(here, old[-1], there, new[-1])

    def delete(self, path: str) -> Kind:
        """Delete a file, a link (not what it leads to) or an empty folder; gives which it was."""
        parts = self._file(path)
        with self.root.folder(parts[:-1]) as folder:
            status = folder.look(parts[-1])
            if status is None:
                raise Refused(self._missing(folder, parts))
            kind = kind_of(status)
            if kind == "folder":
                os.rmdir(folder.at(parts[-1]), dir_fd=folder.descriptor)
            else:
                os.unlink(folder.at(parts[-1]), dir_fd=folder.descriptor)
        return kind

    def listed(self, path: str) -> Results:
        """What is in a folder, a line each."""
        with self.root.folder(self.root.parts(path)) as folder:
            entries = [entry for entry in folder.entries() if not self.root.hides(entry.name)]
        lines = [_described(entry.name, entry) for entry in entries[: self.config.results]]
        rest = len(entries) - len(lines)
        return Results(lines, f"and {rest:,} more" if rest else "")

    def globbed(self, pattern: str) -> Results:
        """The paths that match a pattern, a line each."""
        patterns = expanded(pattern)
        found = (
            _described(shown(parts), entry)
            for _, parts, entry in self._below(())
            if any(matches(parts, one) for one in patterns)
        )
        return self._collected(found, "give a narrower pattern")

    def searched(self, text: str, path: str, *, ignore_case: bool) -> Results:
        """The lines of files below a folder that hold a text: path, number, line."""
        wanted = text.casefold() if ignore_case else text
        found = (
            f"{shown(parts)}:{number}: {_short(line.strip())}"
            for folder, parts, entry in self._below(self.root.parts(path))
            if entry.kind == "file" and entry.size <= self.config.file_bytes
            for number, line in self._lines(folder, entry.name)
            if wanted in (line.casefold() if ignore_case else line)
        )
        return self._collected(found, "search for a longer text, or name a folder")

    def _collected(self, found: Iterable[str], mend: str) -> Results:
        lines: list[str] = []
        try:
            for line in found:
                if len(lines) == self.config.results:
                    return Results(lines, f"the first {len(lines):,}; {mend}")
                lines.append(line)
        except _TimeUp:
            return Results(lines, f"given up after {self.config.seconds:g} s; {mend}")
        return Results(lines)

    def _below(self, parts: Parts) -> Iterator[tuple[Folder, Parts, Entry]]:
        """All below a folder, while there is time."""
        deadline = time.monotonic() + self.config.seconds
        for found in self.root.walk(parts):
            if time.monotonic() > deadline:
                raise _TimeUp
            yield found

    def _lines(self, folder: Folder, name: str) -> Iterator[tuple[int, str]]:
        try:
            data, _ = folder.read(name, limit=self.config.file_bytes)
            text = decoded(data, fallback=self.config.fallback_encoding)
        except (Refused, NotText, OSError):  # gone, closed to us, or no text
            return iter(())
        return enumerate(text.content.split("\n"), 1)

    def _change(self, path: str, change: Callable[[Text], str], seen: Seen | None) -> None:
        with self._opened(path, alone=True) as opened:
            data = self._sized(opened.text.encoded(change(opened.text)))
            save(opened.folder, opened.name, data, expected=opened.status)
        parts = self.root.parts(path)
        if seen is not None and seen.get(shown(parts)) == _digest(opened.data):
            _remember(seen, parts, data)  # what was known of it, and this change

    @contextmanager
    def _opened(self, path: str, *, alone: bool = False) -> Generator[_Opened]:
        parts = self._file(path)
        with self.root.folder(parts[:-1]) as folder:
            if folder.look(parts[-1]) is None:
                raise Refused(self._missing(folder, parts))
            if not alone:
                yield self._read(folder, parts)
                return
            with exclusive(folder):
                yield self._read(folder, parts)

    def _read(self, folder: Folder, parts: Parts) -> _Opened:
        data, status = folder.read(parts[-1], limit=self.config.file_bytes)
        try:
            text = decoded(data, fallback=self.config.fallback_encoding)
        except NotText as error:
            size = f"{len(data):,} bytes"
            raise NotText(f"{shown(parts)!r} is no text: {error}, {size}") from error
        return _Opened(folder, parts[-1], text, data, status)

    def _file(self, path: str) -> Parts:
        parts = self.root.parts(path)
        if not parts:
            raise Refused(f"{path!r} is the folder itself; name something in it")
        return parts

    def _sized(self, data: bytes) -> bytes:
        limit = self.config.file_bytes
        if len(data) > limit:
            raise Refused(f"{len(data):,} bytes are too many for a file; at most {limit:,}")
        return data

    def _missing(self, folder: Folder, parts: Parts) -> str:
        names = [entry.name for entry in folder.entries() if not self.root.hides(entry.name)]
        close = difflib.get_close_matches(parts[-1], names, n=1)
        mend = f"did you mean {shown((*parts[:-1], *close))!r}?" if close else "list the folder"
        return f"there is no {shown(parts)!r}; {mend}"


def _rename(here: Folder, old: str, there: Folder, new: str) -> None:
    """Rename what may be a folder, onto nothing."""
    status = here.look(old)
    if status is None:
        raise Refused(f"{shown((old,))!r} is gone meanwhile")
    if kind_of(status) == "folder":  # onto one that came meanwhile, it works only if that is empty
        os.rename(
            here.at(old), there.at(new), src_dir_fd=here.descriptor, dst_dir_fd=there.descriptor
        )
    else:
        rename_new(here, old, there, new)


def _described(path: str, entry: Entry) -> str:
    match entry.kind:
        case "file":
            return f"{shown((path,))} ({entry.size:,} bytes)"
        case "folder":
            return f"{shown((path,))}/"
        case "link":
            return f"{shown((path,))} (a link, not followed)"
        case "other":
            return f"{shown((path,))} (a device, pipe or socket)"


def _lines_of(content: str, text: str) -> list[int]:
    """The lines where a text begins, places that overlap counted each."""
    found: list[int] = []
    place = content.find(text)
    while place >= 0 and len(found) <= _MAX_LISTED:
        found.append(content.count("\n", 0, place) + 1)
        place = content.find(text, place + 1)
    return found


def _misplaced(content: str, text: str, lines: list[int], path: str) -> str:
    if lines:
        named = ", ".join(map(str, lines[:_MAX_LISTED]))
        more = " and more" if len(lines) > _MAX_LISTED else ""
        return (
            f"the text to replace stands {'several times' if more else f'{len(lines)} times'} in "
            f"{path!r}, in lines {named}{more}; give more of the lines around the one meant"
        )
    wanted = [line.split() for line in text.strip().split("\n")]
    there = [line.split() for line in content.split("\n")]
    for place in range(len(there) - len(wanted) + 1):
        if there[place : place + len(wanted)] == wanted:
            return (
                f"the text to replace is not in {path!r} as it was given; line {place + 1} differs "
                "in white space only: copy it exactly"
            )
    return f"the text to replace is not in {path!r}; read the file, and copy a part of it exactly"


def _short(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:200]}…"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _remember(seen: Seen | None, parts: Parts, data: bytes) -> None:
    if seen is not None:
        seen[shown(parts)] = _digest(data)
