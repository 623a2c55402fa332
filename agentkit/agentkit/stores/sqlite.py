"""Conversations in an SQLite file: one row a message, kept by the time an append returns.

Knows the store protocol, SQL and the file's format; must not know runs. Every call works in a
thread, so that no event loop waits for a disk. Imports sqlite3 with the first use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from agentkit.errors import StoreError
from agentkit.message import History, Message, dump_message, load_message
from agentkit.stores.store import check_unchanged, checked_key

if TYPE_CHECKING:
    import sqlite3

P = ParamSpec("P")
R = TypeVar("R")

FORMAT = 1
"""The version of the file's format; `user_version` holds it."""

_THREADS = 8  # of one event loop, for all its stores
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("agentkit.stores.sqlite")
_APPLICATION = 0x61676B74  # "agkt" in ASCII, in the file's header: this file is one of ours
_SCHEMA = f"""
    CREATE TABLE conversation (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
    CREATE TABLE message (
        conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (conversation, position)
    ) WITHOUT ROWID;
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {FORMAT};
"""


class SQLiteStore:
    """Keeps conversations in a file that any number of processes may use at once.

        async with SQLiteStore("conversations.db") as store:
            agent = Agent(store=store)
            await agent.run("Hello", conversation="user-7")

    path: made where it is not there yet; its folder has to be. wait: seconds that a call waits for
    others who write, before it gives up.
    """

    def __init__(self, path: str | os.PathLike[str], *, wait: float = 10.0) -> None:
        self._path = Path(path)
        self._wait = wait
        self._lock = Lock()  # one connection, used by one thread at a time
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def load(self, key: str) -> History:
        """See `Store.load`."""
        checked_key(key)
        return await _in_thread(lambda: self._history(key, self._do(_rows, key)))

    async def append(self, key: str, messages: Sequence[Message], *, at: int) -> None:
        """See `Store.append`."""
        checked_key(key)
        bodies = [self._body(key, place, item) for place, item in enumerate(messages, start=at)]
        # Shielded: a run that is cancelled keeps what it has done.
        with anyio.CancelScope(shield=True):
            await _in_thread(lambda: self._do(_append, key, bodies, at))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        checked_key(key)
        await _in_thread(lambda: self._do(_delete, key))

    async def keys(self) -> tuple[str, ...]:
        """See `Store.keys`."""
        return await _in_thread(lambda: self._do(_keys))

    async def aclose(self) -> None:
        """Close the file. Closing twice is fine; nothing else works afterwards."""
        with anyio.CancelScope(shield=True):
            await _in_thread(self._close)

    async def __aenter__(self) -> Self:
        await self.keys()  # a file that won't do is said here, not in the middle of a run
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _do(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        with self._lock, self._errors():
            return work(self._opened(), *args, **kwargs)

    def _opened(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"the store {str(self._path)!r} is closed; make another one")
        if self._connection is None:
            self._connection = _open(self._path, self._wait)
        return self._connection

    def _close(self) -> None:
        with self._lock, self._errors():
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _errors(self) -> Generator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"the store {str(self._path)!r} failed: {error}") from error

    def _body(self, key: str, position: int, message: Message) -> str:
        try:
            return dump_message(message)
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise StoreError(
                f"message {position} of conversation {key!r} can't be kept in "
                f"{str(self._path)!r}: {error}"
            ) from error

    def _history(self, key: str, rows: Sequence[tuple[int, str]]) -> History:
        return tuple(
            self._message(key, place, position, body) for place, (position, body) in enumerate(rows)
        )

    def _message(self, key: str, place: int, position: int, body: str) -> Message:
        if position != place:
            raise StoreError(
                f"message {place} of conversation {key!r} is missing from {str(self._path)!r}"
            )
        try:
            return load_message(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = "".join(f" at {part!r}" for part in first["loc"][-1:])
            raise StoreError(
                f"message {position} of conversation {key!r} in {str(self._path)!r} can't be "
                f"read: {first['msg']}{at}; a newer version of agentkit may have written it"
            ) from error


async def _in_thread(work: Callable[[], R]) -> R:
    # Threads of their own: tools that hang in all of the others must not keep a run from its end.
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


def _open(path: Path, wait: float) -> sqlite3.Connection:
    import sqlite3

    if not path.parent.is_dir():
        raise StoreError(f"no store can be made at {str(path)!r}: there is no folder of that name")
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        _check_ours(connection, path)
        _as_log(connection, wait)
        connection.execute("PRAGMA foreign_keys = ON")
        # What tools did in the world can't be taken back, so a message outlives even a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        with _written(connection):
            if not _check_ours(connection, path):
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is one of ours; False of an empty one, which may become one."""
    import sqlite3

    try:
        application, version, tables = (
            connection.execute(query).fetchone()[0]
            for query in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{str(path)!r} is no store of conversations: {error}") from error
    if application == 0 and version == 0 and tables == 0:
        return False
    if application != _APPLICATION:
        raise StoreError(
            f"{str(path)!r} is an SQLite file of something else; give the store a file of its own"
        )
    if version > FORMAT:
        raise StoreError(
            f"{str(path)!r} was written by a newer version of agentkit (its format is {version}, "
            f"this one knows {FORMAT}); upgrade agentkit-diffusion"
        )
    return True


def _as_log(connection: sqlite3.Connection, wait: float) -> None:
    """Have the file write ahead, so that those who read and one who writes don't wait."""
    import sqlite3

    deadline = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # SQLite does not wait here by itself where several processes make one new file.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _written(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures have rolled back already
            connection.execute("ROLLBACK")
        raise


def _rows(connection: sqlite3.Connection, key: str) -> list[tuple[int, str]]:
    return connection.execute(
        "SELECT position, body FROM message JOIN conversation ON id = conversation"
        " WHERE key = ? ORDER BY position",
        (key,),
    ).fetchall()


def _append(connection: sqlite3.Connection, key: str, bodies: Sequence[str], at: int) -> None:
    with _written(connection):
        found = connection.execute("SELECT id FROM conversation WHERE key = ?", (key,)).fetchone()
        number = None if found is None else found[0]
        # Positions have no gaps, so the last one counts them without a look at the others.
        (holds,) = connection.execute(
            "SELECT coalesce(max(position) + 1, 0) FROM message WHERE conversation = ?", (number,)
        ).fetchone()
        check_unchanged(key, holds=holds, at=at)
        if not bodies:
            return
        if number is None:
            number = connection.execute(
                "INSERT INTO conversation (key) VALUES (?)", (key,)
            ).lastrowid
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?)",
            [(number, position, body) for position, body in enumerate(bodies, start=at)],
        )


def _delete(connection: sqlite3.Connection, key: str) -> None:
    with _written(connection):
        connection.execute("DELETE FROM conversation WHERE key = ?", (key,))


def _keys(connection: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(key for (key,) in connection.execute("SELECT key FROM conversation ORDER BY id"))
