"""A real PostgreSQL server, in a folder of its own and on a socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    named = shutil.which("initdb")
    return Path(named).parent if named else None


@contextmanager
def server() -> Generator[str]:
    """A server with a superuser `boss` and a role `guest`; gives a URL that has `{role}` in it."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    bin_ = binaries()
    assert bin_ is not None
    as_whom: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL}
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_whom |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    initdb: list[str | Path] = [
        bin_ / "initdb",
        "-D",
        data,
        "-U",
        "boss",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    control: list[str | Path] = [bin_ / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-c listen_addresses='' -c fsync=off -c shared_buffers=16MB -k {folder}"
    try:
        subprocess.run([*initdb, "--locale", "C.UTF-8"], check=True, timeout=60, **as_whom)
        subprocess.run([*control, "-o", options, "start"], check=True, timeout=60, **as_whom)
        try:
            yield f"postgresql://{{role}}@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, timeout=60, **as_whom)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
