"""Writes files whole: a reader, or a crash, finds the old content or the new one, never a mix.

The new content goes into a file beside the old one, onto the disk, and is renamed over it.
Knows open folders; must not know what is written.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from agentkit_tools.system.rooted import Folder, Refused, kind_of, shown

PATIENCE = 10.0
"""Seconds that a change of a folder waits for another one to end."""

_here = threading.Lock()


@contextmanager
def exclusive(folder: Folder) -> Generator[None]:
    """One change of a folder at a time, among the threads and processes that ask for it so.

    Raises:
        TimeoutError: another one takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    if not _here.acquire(timeout=PATIENCE):
        raise TimeoutError("another change is still going on; try again")
    try:
        if sys.platform == "win32" or folder.descriptor is None:
            yield  # other processes are seen by `expected` alone
            return
        import fcntl

        # Of a descriptor of its own: a lock ends with it, and no caller keeps it by mistake.
        lock = os.open(".", os.O_RDONLY, dir_fd=folder.descriptor)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("another process changes that folder") from None
                    time.sleep(0.005)
            yield
        finally:
            os.close(lock)
    finally:
        _here.release()


def save(folder: Folder, name: str, data: bytes, *, expected: os.stat_result | None) -> None:
    """Give a file new content; its permissions, and where we may its owner, stay.

    expected: the status it had when it was read; None where it is to be made.

    Raises:
        Refused: it is not as expected any more: changed, gone, or there already.
    """
    temporary = f".agentkit-{secrets.token_hex(8)}.tmp"
    mode = 0o666 if expected is None else 0o600
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(folder.at(temporary), flags, mode, dir_fd=folder.descriptor)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if expected is not None:
                _like(file.fileno(), expected)
            os.fsync(file.fileno())
        _check(folder, name, expected)
        if expected is None:
            rename_new(folder, temporary, folder, name)
        else:
            source, target = folder.at(temporary), folder.at(name)
            os.replace(source, target, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(folder.at(temporary), dir_fd=folder.descriptor)
        raise
    _keep(folder)


def rename_new(source: Folder, old: str, target: Folder, new: str) -> None:
    """Rename a file to a name that is not taken, and stays as it is where it is taken meanwhile.

    Raises:
        Refused: there is something of that name.
    """
    try:
        os.link(
            source.at(old),
            target.at(new),
            src_dir_fd=source.descriptor,
            dst_dir_fd=target.descriptor,
            follow_symlinks=False,
        )
    except FileExistsError as error:
        raise Refused(f"{shown((new,))!r} is there already") from error
    except (OSError, NotImplementedError):  # a file system without hard links
        if target.look(new) is not None:
            raise Refused(f"{shown((new,))!r} is there already") from None
        os.rename(
            source.at(old),
            target.at(new),
            src_dir_fd=source.descriptor,
            dst_dir_fd=target.descriptor,
        )
    else:
        os.unlink(source.at(old), dir_fd=source.descriptor)


def _check(folder: Folder, name: str, expected: os.stat_result | None) -> None:
    now = folder.look(name)
    if now is None and expected is None:
        return
    if now is None:
        raise Refused(f"{shown((name,))!r} is gone meanwhile; look what is there now")
    if expected is None:
        raise Refused(f"{shown((name,))!r} is there already")
    if kind_of(now) != "file" or _version(now) != _version(expected):
        raise Refused(f"{shown((name,))!r} was changed meanwhile; read it again")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _like(descriptor: int, status: os.stat_result) -> None:
    if sys.platform != "win32":
        with suppress(PermissionError):  # not ours to give away
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _keep(folder: Folder) -> None:
    """Put the renaming onto the disk as well."""
    if folder.descriptor is not None:
        with suppress(OSError):  # some file systems sync no folders
            os.fsync(folder.descriptor)
