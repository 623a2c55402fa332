"""A SQLite file: opened for reading alone, with an authorizer that knows nothing but reading.

Knows SQLite; must not know tools. Three things hold a statement back, each enough on its own: the
file is opened with `mode=ro`, `PRAGMA query_only` is on, and the authorizer refuses whatever is no
read while the statement is compiled (ATTACH, PRAGMA, extensions, transactions).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit import PluginError
from agentkit_tools.sql.database import FETCHED, Over, Refused, Result

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

_STEPS = 1000  # of SQLite's machine, between two looks at the clock
_BUSY = 2.0  # seconds to wait for another's lock; a waiting statement looks at no clock
_MAX_PATTERN = 100  # bytes of a LIKE pattern: matching one looks at no clock either
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_NEVER = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
}
# Those that reach out of the file, and those that can take long without a look at the clock.
_FUNCTIONS = {
    *("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"),
    *("printf", "format", "regexp"),
}
# What a full-text table does when it is opened for reading: it looks whether others have written,
# and compiles its own declaration. Neither changes anything in a file opened for reading.
_OPENING = {
    (sqlite3.SQLITE_PRAGMA, "data_version"),
    (sqlite3.SQLITE_UPDATE, "sqlite_master"),
}


class SQLite:
    """The file that a URL names. It has to be there: nothing is created."""

    kind = "SQLite"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning, OverflowError)

    def __init__(self, url: URL, seconds: float, max_stored: int) -> None:
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise PluginError(
                "`url` names no SQLite file; write sqlite:///shop.sqlite3, or "
                "sqlite:////data/shop.sqlite3 for an absolute path"
            )
        self._path = Path(url.database).expanduser().absolute()
        self._seconds, self._max_stored = seconds, max_stored

    def words(self, error: Exception) -> str:
        if isinstance(error, sqlite3.OperationalError) and str(error) == "interrupted":
            return f"it did not finish within {self._seconds:g} s; ask for less"
        if "too big" in str(error):
            return f"SQLite: {error}: no value may have more than {self._max_stored} bytes"
        if "authoriz" in str(error):
            return f"SQLite: {error}; a query only reads, and no statement may set anything else"
        return f"SQLite: {error}"

    def quoted(self, table: str, schema: str | None) -> str:
        return '"' + table.replace('"', '""') + '"'

    @contextmanager
    def inspecting(self, over: Over) -> Generator[Connection]:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        def create() -> sqlite3.Connection:
            connection = self._open("ro", over)
            connection.execute("PRAGMA query_only = ON")
            return connection

        # with no authorizer: the inspection asks by PRAGMA, and runs no text of the model's
        with create_engine("sqlite://", creator=create, poolclass=NullPool).connect() as made:
            yield made

    @contextmanager
    def reading(self, sql: str, parameters: Sequence[Any], over: Over) -> Generator[Result]:
        with closing(self._open("ro", over)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.set_authorizer(_authorizer(_may_read))
            cursor = connection.execute(sql, _named(parameters))
            if cursor.description is None:
                raise Refused("there is no query in it; write one SELECT")
            yield _result(cursor)

    @contextmanager
    def writing(
        self, sql: str, parameters: Sequence[Any], over: Over, keep: int
    ) -> Generator[Result]:
        with closing(self._open("rw", over)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            connection.set_authorizer(_authorizer(_may_write))
            cursor = connection.execute(sql, _named(parameters))
            result = _result(cursor)
            kept = list(islice(result.rows, keep))
            # to the last row: a statement ends where its rows do
            changed = len(kept) + sum(1 for _ in result.rows)
            yield Result(result.columns, iter(kept), changed or result.changed)
            connection.set_authorizer(None)
            connection.execute("COMMIT")

    def _open(self, mode: str, over: Over) -> sqlite3.Connection:
        if not self._path.is_file():
            raise PluginError(f"there is no SQLite file {str(self._path)!r}")
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}",
            uri=True,
            timeout=min(_BUSY, self._seconds),
            isolation_level=None,  # transactions begin and end where we say so
            check_same_thread=False,
        )
        connection.text_factory = _text
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._max_stored)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _MAX_PATTERN)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        deadline = time.monotonic() + self._seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline or over(), _STEPS)
        return connection


def _named(parameters: Sequence[Any]) -> dict[str, Any]:
    """`$1` is a parameter of the name "1" to SQLite."""
    return {str(number): value for number, value in enumerate(parameters, 1)}


def _result(cursor: sqlite3.Cursor) -> Result:
    if cursor.description is None:
        return Result((), iter(()), max(cursor.rowcount, 0))
    return Result([column[0] for column in cursor.description], _fetched(cursor))


def _fetched(cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(FETCHED):
        yield from rows


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")  # SQLite takes any bytes for text


def _may_read(action: int, first: str | None, second: str | None) -> bool:
    if action == sqlite3.SQLITE_FUNCTION:
        return str(second).lower() not in _FUNCTIONS
    return action in _READS or (action, first) in _OPENING


def _may_write(action: int, first: str | None, second: str | None) -> bool:
    return action not in _NEVER and (
        action != sqlite3.SQLITE_FUNCTION or str(second).lower() not in _FUNCTIONS
    )


def _authorizer(
    allowed: Callable[[int, str | None, str | None], bool],
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def decide(
        action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        return sqlite3.SQLITE_OK if allowed(action, first, second) else sqlite3.SQLITE_DENY

    return decide
