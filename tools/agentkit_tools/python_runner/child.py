"""Runs a program of Python in the process that is to hold it: shuts doors first, then goes in.

Started as a script of its own, by a Python that knows nothing but its standard library. On Linux it
moves into namespaces of its own (users, network, processes) where the system lets it: no network
but a loopback that is down, no sight of other processes, and all of it ends with its first process.
Knows the operating system; imports nothing of ours.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

CAN_NOT_DENY = 97
"""The status where the network was to be denied for sure and can't be."""

_NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
_NEW_MOUNTS = 0x00020000
_PRIVATE, _NO_DEVICES_OR_PROGRAMS = (1 << 14) | (1 << 18), 2 | 4 | 8  # of mount
_PARENT_DEATH, _NO_NEW_PRIVILEGES = 1, 38  # of prctl


def main() -> None:
    """Hold the program at `argv[2]`, as the JSON at `argv[1]` says."""
    settings = json.loads(sys.argv[1])
    isolated = _isolated(network=settings["network"] == "allowed")
    if settings["network"] == "denied" and not isolated:
        sys.stderr.write("this system can't keep a process from the network")
        sys.exit(CAN_NOT_DENY)
    if isolated:
        _go_on_as_first_process()
    _limit(settings, isolated)
    _run(Path(sys.argv[2]))


def _isolated(*, network: bool) -> bool:
    """Move into namespaces of our own, or all but that of the network; whether we could."""
    if not sys.platform.startswith("linux"):
        return False
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    ours = _NEW_USER | _NEW_PID | _NEW_IPC | _NEW_MOUNTS
    if libc.unshare(ours | (0 if network else _NEW_NET)) != 0:
        return False
    # the same user inside, so that the folder stays ours
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def _go_on_as_first_process() -> None:
    """Return in a child that all other processes inside end with; the parent waits for it."""
    child = os.fork()
    libc = ctypes.CDLL(None)
    if child == 0:
        libc.prctl(_PARENT_DEATH, signal.SIGKILL)
        # A /proc of our own, which knows no other processes. Containers may deny it: then their
        # command lines can be read, and nothing else of them.
        libc.mount(None, b"/", None, _PRIVATE, None)
        libc.mount(b"proc", b"/proc", b"proc", _NO_DEVICES_OR_PROGRAMS, None)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)


def _limit(settings: Mapping[str, Any], isolated: bool) -> None:
    try:
        import resource
    except ImportError:  # Windows has none
        return
    # Outside a namespace of our own all processes of the user count: then there are no new ones.
    processes = settings["processes"] if isolated else 0
    for name, most in (
        ("RLIMIT_CPU", settings["cpu_seconds"]),
        ("RLIMIT_AS", settings["memory_bytes"]),
        ("RLIMIT_FSIZE", settings["file_bytes"]),
        ("RLIMIT_NOFILE", settings["open_files"]),
        ("RLIMIT_NPROC", processes),
        ("RLIMIT_CORE", 0),
    ):
        with suppress(AttributeError, OSError, ValueError):  # not of this system
            resource.setrlimit(getattr(resource, name), (most, most))


def _run(path: Path) -> None:
    """Run a program; show what its last line is worth, as at Python's own prompt."""
    code = path.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        tree = ast.parse(code, str(path.name))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            if value is not None:
                print(repr(value))
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        sys.stdout.flush()
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, inside, limit=-5)
        sys.exit(1)


if __name__ == "__main__":
    main()
