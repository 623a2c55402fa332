"""Runs engines over cases so that none can take the machine, or the benchmark, down with it.

Knows processes, limits and files of results. Must not know schemas' meaning or what is made of the
results. An engine is loaded in a process of its own, which forks workers: a worker that runs out of
time or memory is lost with its case, and the next goes on behind it. Linux and macOS only. Times
are CPU seconds, since machines are shared.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from grammar_cases import BOOKING, Case
from grammar_engines import Engine, Setting, Unavailable

__all__ = ["Costs", "Limits", "Record", "costs", "run"]

Load = Callable[[Setting], Engine]
_FORK = multiprocessing.get_context("fork")
_TRIVIAL = {"type": "boolean"}
_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Limits:
    """CPU seconds to compile a schema and to judge its values, and bytes of address space.

    `wall` seconds without an answer end a case that waits and so uses no CPU.
    """

    compile: float = 10.0
    judge: float = 30.0
    memory: int = 12 << 30
    wall: float = 120.0


class Record(TypedDict):
    """What came of one case.

    seconds, size: to compile, and bytes that it made; absent if it never ended. refused: the
    engine's words. died: how the worker was lost ("time", "wall", "signal 6", ...). verdicts:
    (order, valid, accepted) of each trial; accepted is None where the engine failed.
    """

    id: str
    split: str
    seconds: NotRequired[float]
    size: NotRequired[int | None]
    refused: NotRequired[str]
    died: NotRequired[str]
    verdicts: NotRequired[list[tuple[str, bool, bool | None]]]


class Costs(TypedDict):
    """What one engine takes for itself and for `BOOKING`, in seconds and bytes.

    ready: from a parsed tokenizer to the engine. trivial: its first schema, a small one, which
    pays for what is made lazily. booking: the first time; again: with only an annotation changed,
    median; right: whether its trials were judged right.
    """

    ready: float
    trivial: float
    booking: float
    again: float
    size: int | None
    right: bool


def run(
    load: Load, setting: Setting, cases: Sequence[Case], limits: Limits, path: Path
) -> Iterator[Record]:
    """The record of every case, those found in `path` first; new ones are appended to it.

    Raises Unavailable if the engine can't be loaded.
    """
    known: dict[str, Record] = {}
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            known = {record["id"]: record for record in map(json.loads, lines)}
    yield from (known[case.id] for case in cases if case.id in known)
    left = [case for case in cases if case.id not in known]
    if not left:
        return
    with path.open("a", encoding="utf-8") as file:
        for record in _messages(_nurse, load, setting, left, limits):
            print(json.dumps(record), file=file, flush=True)
            yield record


def costs(load: Load, setting: Setting) -> Costs:
    """Measures in a fresh process; raises Unavailable if the engine can't be loaded."""
    (found,) = _messages(_measure, load, setting)
    return cast("Costs", found)


def _messages(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """What `target(*arguments, sender)` sends from a process of its own, until it ends."""
    process, receiver = _start(target, *arguments)
    try:
        while (message := _received(receiver)) is not None:
            if "unavailable" in message:
                raise Unavailable(message["unavailable"])
            yield message
    finally:
        process.terminate()
        process.join()


def _start(target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=target, args=(*arguments, sender))
    process.start()
    sender.close()  # so that the receiver sees the end when the process is gone
    return process, receiver


def _received(receiver: Connection) -> Any:
    """The next message, or None when the other side is gone."""
    try:
        return receiver.recv()
    except EOFError:
        return None


def _nurse(
    load: Load, setting: Setting, cases: Sequence[Case], limits: Limits, out: Connection
) -> None:
    """Loads the engine and sends a record for every case, whatever happens to its workers."""
    engine = _loaded(load, setting, out)
    at = 0
    while engine is not None and at < len(cases):
        worker, receiver = _start(_work, engine, cases[at:], limits)
        signal.signal(signal.SIGTERM, partial(_stop, worker))
        begun: dict[str, Any] = {}
        died = ""
        while True:
            if not receiver.poll(limits.wall):
                worker.kill()
                died = "wall"
                break
            message = _received(receiver)
            if message is None:
                break
            begun = message
            if "id" in message:
                out.send(message)
                begun = {}
                at += 1
        worker.join()
        if at < len(cases):
            lost = {"id": cases[at].id, "split": cases[at].split}
            out.send(lost | begun | {"died": died or _cause(worker.exitcode)})
            at += 1


def _stop(worker: BaseProcess, *_: object) -> None:
    """Told to stop, the nurse takes its worker along."""
    worker.kill()
    sys.exit(1)


def _loaded(load: Load, setting: Setting, out: Connection) -> Engine | None:
    """The engine; None, after saying why, where it can't be had. Silences what engines print."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        return load(setting)
    except Exception as error:  # whatever it is, the other engines go on
        out.send({"unavailable": str(error) or type(error).__name__})
        return None


def _cause(exitcode: int | None) -> str:
    assert exitcode is not None, "joined"
    if exitcode == -signal.SIGPROF:
        return "time"
    return f"signal {-exitcode}" if exitcode < 0 else f"exit {exitcode}"


def _work(engine: Engine, cases: Sequence[Case], limits: Limits, out: Connection) -> None:
    """Sends one record a case, and before it what a compile took, should the trials kill it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # the default ends the process, in the midst of an engine's compiled code too
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    for case in cases:
        record: dict[str, Any] = {"id": case.id, "split": case.split}
        signal.setitimer(signal.ITIMER_PROF, limits.compile)
        try:
            compiled, seconds = _timed(engine.compile, case.schema)
        except BaseException as error:  # engines in Rust panic with exceptions beside Exception
            record["refused"] = f"{type(error).__name__}: {error}"[:300]
        else:
            made = {"seconds": round(seconds, 7), "size": engine.size(compiled)}
            out.send(made)
            signal.setitimer(signal.ITIMER_PROF, limits.judge)
            record |= made
            record["verdicts"] = [
                (trial.order, trial.valid, _judged(engine, compiled, trial.value))
                for trial in case.trials
            ]
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.send(record)


def _judged(engine: Engine, compiled: Any, value: Any) -> bool | None:
    try:
        return engine.accepts(compiled, value)
    except Exception:  # counted as a wrong verdict
        return None


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What `work(*arguments)` returns, and its CPU seconds.

    While a timer is armed, Linux counts a process's time in steps of a few milliseconds, and a
    thread's exactly: the larger one is near the truth with one thread and with many.
    """
    process, thread = time.process_time(), time.thread_time()
    found = work(*arguments)
    return found, max(time.process_time() - process, time.thread_time() - thread)


def _measure(load: Load, setting: Setting, out: Connection) -> None:
    # imports what the engine imports, and reads the tokenizer: neither is timed
    if _loaded(load, Setting(setting.tokenizer, "bytes"), out) is None:
        return
    setting.load()
    engine, ready = _timed(load, setting)
    _, trivial = _timed(engine.compile, _TRIVIAL)
    compiled, booking = _timed(engine.compile, BOOKING.schema)
    repeats = [
        _timed(engine.compile, BOOKING.schema | {"title": str(number)})[1]
        for number in range(_REPEATS)
    ]
    found: Costs = {
        "ready": ready,
        "trivial": trivial,
        "booking": booking,
        "again": statistics.median(repeats),
        "size": engine.size(compiled),
        "right": all(
            engine.accepts(compiled, trial.value) == trial.valid for trial in BOOKING.trials
        ),
    }
    out.send(found)
