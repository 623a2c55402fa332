"""Runs a program to its end, within limits, and leaves nothing of it running.

A program gets a process group of its own. When it ends, takes too long, writes too much or is no
longer wanted, the whole group is asked to end (SIGTERM) and then made to (SIGKILL). On Linux that
goes for descendants in groups of their own too: they are known by a mark in their environment,
unless they wipe it. On Windows `taskkill` ends the tree.

Knows processes; must not know what they are for.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from agentkit_tools.system.rooted import Folder

Ended: TypeAlias = Literal["exited", "timeout", "flood"]

_MARK = "AGENTKIT_CALL"
_PAUSE = 0.02  # seconds between two looks at processes that are to end
_LAST_WORDS = 2.0  # seconds for what an ended program wrote to arrive
_ROUNDS = 20  # of killing those that still multiply


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use up.

    seconds: of time. head, tail: bytes of each stream that are kept, of its beginning and its end.
    flood: bytes of both streams that end the program. grace: seconds between SIGTERM and SIGKILL.
    """

    seconds: float
    head: int
    tail: int
    flood: int
    grace: float = 2.0


@dataclass(slots=True)
class Capture:
    """The beginning and the end of a stream."""

    head_limit: int
    tail_limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    total: int = 0

    def add(self, chunk: bytes) -> None:
        """Keep what there is room for."""
        self.total += len(chunk)
        room = self.head_limit - len(self.head)
        self.head += chunk[:room]
        self.tail += chunk[room:]
        if len(self.tail) > 2 * self.tail_limit:  # seldom, so that a byte is not moved often
            del self.tail[: len(self.tail) - self.tail_limit]

    @property
    def kept(self) -> bytes:
        """What was kept, head and tail together."""
        return bytes(self.head) + self._end()

    @property
    def dropped(self) -> int:
        """Bytes in between that were not kept."""
        return self.total - len(self.head) - len(self._end())

    def text(self) -> str:
        """What was kept, with a note of what was not."""
        head = self.head.decode(errors="replace")
        tail = self._end().decode(errors="replace")
        return f"{head}\n[{self.dropped:,} bytes left out]\n{tail}" if self.dropped else head + tail

    def _end(self) -> bytes:
        return bytes(self.tail[max(0, len(self.tail) - self.tail_limit) :])


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    status: as Python tells it, -9 for one that SIGKILL ended.
    """

    status: int
    ended: Ended
    seconds: float
    out: Capture
    err: Capture


def folder_path(folder: Folder) -> str:
    """The path by which a program can start in an open folder, even where it is moved meanwhile."""
    by_descriptor = f"/proc/self/fd/{folder.descriptor}"
    if folder.descriptor is not None and Path(by_descriptor).exists():
        return by_descriptor
    return str(folder.path)


async def execute(
    command: Sequence[str], *, folder: str, environment: Mapping[str, str], limits: Limits
) -> Finished:
    """Run a program with nothing to read. When cancelled, it has ended before we return.

    Raises:
        OSError: it can't be started.
    """
    mark = secrets.token_hex(16)
    started = time.monotonic()
    process = await anyio.open_process(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**environment, _MARK: mark},
        start_new_session=True,
    )
    out, err = Capture(limits.head, limits.tail), Capture(limits.head, limits.tail)
    try:
        ended = await _watch(process, mark, out, err, limits)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _end(process, mark, limits.grace)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()
    assert process.returncode is not None  # it has ended
    return Finished(process.returncode, ended, time.monotonic() - started, out, err)


async def _watch(process: Process, mark: str, out: Capture, err: Capture, limits: Limits) -> Ended:
    """Read both streams until the program ends, or is ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    flooded = False
    read = [anyio.Event(), anyio.Event()]

    async def drain(stream: ByteReceiveStream, capture: Capture, done: anyio.Event) -> None:
        nonlocal flooded
        try:
            async for chunk in stream:
                capture.add(chunk)
                if out.total + err.total > limits.flood:
                    flooded = True
                    scope.cancel()
        finally:
            done.set()

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        scope.deadline = anyio.current_time() + limits.seconds
        with scope:
            group.start_soon(drain, process.stdout, out, read[0])
            group.start_soon(drain, process.stderr, err, read[1])
            await process.wait()
        with anyio.CancelScope(shield=True):
            await _end(process, mark, limits.grace)
            # What holds a pipe open now has escaped us: it is not waited for.
            with anyio.move_on_after(_LAST_WORDS):
                for done in read:
                    await done.wait()
        group.cancel_scope.cancel()
    if flooded:
        return "flood"
    return "timeout" if scope.cancelled_caught else "exited"


async def _end(process: Process, mark: str, grace: float) -> None:
    """End what is left of a program and its descendants; comes back when nothing is."""
    if sys.platform == "win32":
        await _end_tree(process)
        return
    if await _signal(process, mark, signal.SIGTERM):
        with anyio.move_on_after(grace):
            while _signal_group(process, 0):  # noqa: ASYNC110 (nobody tells when a group ends)
                await anyio.sleep(_PAUSE)
    for _ in range(_ROUNDS):
        if not await _signal(process, mark, signal.SIGKILL):
            break
        await anyio.sleep(_PAUSE)
    await process.wait()


async def _signal(process: Process, mark: str, number: int) -> bool:
    """Send a signal to all that is left of a program; whether anything was."""
    group = _signal_group(process, number)
    marked = await anyio.to_thread.run_sync(_signal_marked, mark, number)
    return group or marked


def _signal_group(process: Process, number: int) -> bool:
    """Send a signal to the group of a program; whether anything was left of it."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # gone; of macOS: none but the dead
        return False
    return True


def _signal_marked(mark: str, number: int) -> bool:
    """Signal every process with the mark in its environment, as far as Linux tells."""
    sought = f"{_MARK}={mark}".encode()
    found = False
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            handle = os.pidfd_open(int(folder.name))  # so that no newcomer of that number is hit
        except (OSError, AttributeError):  # gone; not Linux
            continue
        try:
            if sought in (folder / "environ").read_bytes():
                signal.pidfd_send_signal(handle, number)
                found = True
        except OSError:  # gone, or not ours
            pass
        finally:
            os.close(handle)
    return found


async def _end_tree(process: Process) -> None:
    if process.returncode is None:
        command = ["taskkill", "/PID", str(process.pid), "/T", "/F"]
        await anyio.run_process(command, check=False)
    await process.wait()
