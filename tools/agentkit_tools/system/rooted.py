"""A folder that no path leads out of.

A path is taken apart, and every folder on its way is opened from the one before, by descriptor and
without following links (openat with O_NOFOLLOW). What was checked is what is used: a folder that
somebody swaps for a link in between is refused, not followed. Where the system has no such calls
(Windows), each part is looked at before it is used, which a swap at the right moment escapes.

Mount points and hard links that others put into the folder count as part of it.
Knows paths and descriptors; must not know what is in a file.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Parts: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["file", "folder", "link", "other"]

HAS_DESCRIPTORS = (
    hasattr(os, "O_NOFOLLOW")
    and {os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link} <= os.supports_dir_fd
    and os.scandir in os.supports_fd
)
"""Whether this system opens paths from a descriptor, without following links."""

_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | _NO_LINK | getattr(os, "O_DIRECTORY", 0)
# Without O_NONBLOCK, opening a FIFO waits for a writer.
_FILE: int = (
    os.O_RDONLY
    | _NO_LINK
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
HIDDEN = (".git", "agentkit.toml")
"""Names hidden by default: what git runs, and what configures these tools and may hold secrets."""
MAX_DEPTH = 64
"""Folders below each other that are walked; each is a descriptor held open."""
_MAX_PATH = 1000
_REPARSE_POINT = 0x400  # of Windows: links, junctions, and whatever else leads elsewhere
# Names that mean something else to Windows: devices, streams, short names, trailing dots.
_ODD_ON_WINDOWS = re.compile(
    r'(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[:<>"|?*\\].*|.*[. ]|.*~\d.*'
)


class Refused(ValueError):
    """A path that won't do; says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder holds under a name."""

    name: str
    kind: Kind
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder at or below the root.

    descriptor: what its entries are opened from; None where the system has no such thing.
    """

    path: Path
    descriptor: int | None

    def at(self, name: str) -> str:
        """The path of an entry, to go with `dir_fd=folder.descriptor`."""
        return name if self.descriptor is not None else str(self.path / name)

    def look(self, name: str) -> os.stat_result | None:
        """What is there under that name, a link for itself; None where nothing is."""
        try:
            return os.stat(self.at(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def entries(self) -> list[Entry]:
        """All that is in it, in the order of the bytes of the names."""
        found: list[Entry] = []
        source = self.path if self.descriptor is None else self.descriptor
        with os.scandir(source) as listing:
            for item in listing:
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:  # gone since
                    continue
                found.append(Entry(item.name, kind_of(status), status.st_size))
        return sorted(found, key=lambda entry: os.fsencode(entry.name))

    def read(self, name: str, *, limit: int) -> tuple[bytes, os.stat_result]:
        """The bytes of a regular file.

        Raises:
            Refused: it is none, is too large, or is not there.
        """
        status = self.look(name)
        if status is None:
            raise Refused(f"there is no {shown((name,))!r} in that folder")
        _check_file(name, status)
        try:
            descriptor = os.open(self.at(name), _FILE, dir_fd=self.descriptor)
        except OSError as error:
            raise _told(error, name) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())  # of what was opened, whatever the name means now
            _check_file(name, status)
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Refused(
                f"{shown((name,))!r} has {max(status.st_size, len(data)):,} bytes, and at most "
                f"{limit:,} are read; search in it instead"
            )
        return data, status


class Root:
    """The folder that paths are relative to.

    hidden: patterns of names (`.git`, `*.pem`) that are neither shown nor reached, at any depth.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        hidden: Sequence[str] = (),
        by_descriptor: bool = HAS_DESCRIPTORS,
    ) -> None:
        """
        Raises:
            Refused: there is no such folder.
        """
        self.path = Path(path).expanduser().resolve()
        if not self.path.is_dir():
            raise Refused(f"{str(path)!r} is no folder; make it first, or name another one")
        self._hidden = tuple(_plain(pattern) for pattern in hidden)
        self._by_descriptor = by_descriptor

    def hides(self, name: str) -> bool:
        """Whether a name is one of those that are not shown."""
        plain = _plain(name)
        return any(fnmatch.fnmatchcase(plain, pattern) for pattern in self._hidden)

    def parts(self, path: str) -> Parts:
        """Take a path apart: relative, of plain names, `()` for the root itself.

        Raises:
            Refused: it would lead out, or is hidden.
        """
        if len(path) > _MAX_PATH:
            raise Refused(f"a path of {len(path)} characters is too long; at most {_MAX_PATH}")
        if "\0" in path:
            raise Refused("a path has no NUL in it")
        names = path.replace("\\", "/") if os.name == "nt" else path
        if names.startswith(("/", "~")) or re.match(r"[A-Za-z]:", names):
            raise Refused(f"{path!r} is no path within the folder; give one such as 'notes/a.txt'")
        parts = tuple(part for part in names.split("/") if part not in {"", "."})
        if ".." in parts:
            raise Refused(f"{path!r} has '..' in it; give the path from the folder itself")
        for part in parts:
            if os.name == "nt" and _ODD_ON_WINDOWS.fullmatch(part):
                raise Refused(f"{part!r} is no plain file name; choose another")
            if self.hides(part):
                raise Refused(f"{part!r} is hidden from this tool; leave it alone")
        return parts

    @contextmanager
    def folder(self, parts: Parts = (), *, create: bool = False) -> Generator[Folder]:
        """Open a folder below the root, by way of folders only.

        create: make those that are missing.

        Raises:
            Refused: something on the way is missing, a link, or no folder.
        """
        opened = self._top()
        try:
            for depth, name in enumerate(parts, 1):
                inner = self._inside(opened, name, parts[:depth], create=create)
                _close(opened)
                opened = inner
            yield opened
        finally:
            _close(opened)

    def walk(
        self,
        parts: Parts = (),
        *,
        skip: Callable[[Folder, Parts, Entry], bool] = lambda folder, path, entry: False,
        depth: int = MAX_DEPTH,
    ) -> Iterator[tuple[Folder, Parts, Entry]]:
        """All that is below a folder and not hidden: where it lies, its path, what it is.

        Links are told and not followed; what lies deeper than `depth` is left out.

        skip: whether to leave an entry out, with all that is in it.
        """
        with self.folder(parts) as folder:
            yield from self._walk(folder, parts, skip, depth)

    def _walk(
        self,
        folder: Folder,
        parts: Parts,
        skip: Callable[[Folder, Parts, Entry], bool],
        depth: int,
    ) -> Iterator[tuple[Folder, Parts, Entry]]:
        for entry in folder.entries():
            path = (*parts, entry.name)
            if self.hides(entry.name) or skip(folder, path, entry):
                continue
            yield folder, path, entry
            if entry.kind != "folder" or depth <= 1:
                continue
            try:
                inner = self._inside(folder, entry.name, path, create=False)
            except Refused:  # closed to us, or swapped since it was listed
                continue
            try:
                yield from self._walk(inner, path, skip, depth - 1)
            finally:
                _close(inner)

    def _top(self) -> Folder:
        if not self._by_descriptor:
            return Folder(self.path, None)
        try:
            return Folder(self.path, os.open(self.path, _FOLDER))
        except OSError as error:
            raise Refused(f"the folder can't be opened: {error.strerror}") from error

    def _inside(self, folder: Folder, name: str, parts: Parts, *, create: bool) -> Folder:
        path = self.path.joinpath(*parts)
        if create:
            try:
                os.mkdir(folder.at(name), dir_fd=folder.descriptor)
            except FileExistsError:
                pass
            except OSError as error:
                raise _told(error, shown(parts)) from error
        status = folder.look(name)
        if status is None:
            raise Refused(f"there is no folder {shown(parts)!r}")
        kind = kind_of(status)
        if kind != "folder":
            raise Refused(f"{shown(parts)!r} is {_SAID[kind]}, no folder")
        if folder.descriptor is None:
            return Folder(path, None)
        try:
            return Folder(path, os.open(name, _FOLDER, dir_fd=folder.descriptor))
        except OSError as error:
            raise _told(error, shown(parts)) from error


_SAID: dict[Kind, str] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a link, and links are not followed",
    "other": "a device, pipe or socket",
}


def kind_of(status: os.stat_result) -> Kind:
    """What a status, taken without following links, is of."""
    mode = status.st_mode
    if stat.S_ISLNK(mode) or getattr(status, "st_file_attributes", 0) & _REPARSE_POINT:
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def shown(parts: Sequence[str]) -> str:
    """A path as people write it; one with odd characters as Python writes it."""
    path = "/".join(parts) or "."
    return path if path.isprintable() else ascii(path)


def _check_file(name: str, status: os.stat_result) -> None:
    kind = kind_of(status)
    if kind != "file":
        raise Refused(f"{shown((name,))!r} is {_SAID[kind]}; name a file")


def _plain(name: str) -> str:
    """A name as a file system may compare it: without case, nor characters that do not show."""
    letters = unicodedata.normalize("NFKC", name)
    seen = "".join(letter for letter in letters if unicodedata.category(letter) != "Cf")
    return seen.casefold().rstrip(". ") or seen


def _told(error: OSError, name: str) -> Refused:
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
        return Refused(f"{name!r} was swapped for a link meanwhile; links are not followed")
    return Refused(f"{name!r}: {error.strerror}")


def _close(folder: Folder) -> None:
    if folder.descriptor is not None:
        os.close(folder.descriptor)
