"""A PostgreSQL server: one statement in a read-only transaction, with time limits.

Knows PostgreSQL and psycopg; must not know tools. A query is declared as a server-side cursor,
which takes a SELECT and nothing else, neither two statements nor a CTE that writes. What such a
SELECT may still do is up to the functions its role may call; so a role that may touch the server's
files or programs is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from agentkit import PluginError
from agentkit_tools.sql.database import FETCHED, Over, Result

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL, Connection

_CONNECT = 5  # seconds
_GRACE = 1.0  # seconds after which a statement is cancelled that has put its own limit off
_POWERS = """
SELECT rolname FROM pg_roles
WHERE pg_has_role(session_user, oid, 'MEMBER')
  AND (rolsuper
       OR rolname IN
          ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
       -- before 16, who may create roles may join them all
       OR rolcreaterole AND current_setting('server_version_num')::int < 160000)
"""


class PostgreSQL:
    """The server's database that a URL names."""

    kind = "PostgreSQL"

    def __init__(self, url: URL, seconds: float, *, privileged: bool) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise PluginError(
                "PostgreSQL takes psycopg; install agentkit-diffusion[sql]"
            ) from error
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        self.errors: tuple[type[Exception], ...] = (psycopg.Error, SQLAlchemyError)
        self._seconds, self._checked = seconds, privileged
        self._engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            connect_args={"connect_timeout": _CONNECT, "application_name": "agentkit"},
        )

    def words(self, error: Exception) -> str:
        error = cast(Exception, getattr(error, "orig", None) or error)
        # the rest of the text quotes a statement that is not quite the one that was asked for
        said = str(error).partition("\nLINE ")[0].strip()
        if hint := getattr(getattr(error, "diag", None), "message_hint", None):
            said = f"{said} ({hint})"
        return f"PostgreSQL: {said}"

    def quoted(self, table: str, schema: str | None) -> str:
        names = [table] if schema is None else [schema, table]
        return ".".join('"' + name.replace('"', '""') + '"' for name in names)

    @contextmanager
    def inspecting(self, over: Over) -> Generator[Connection]:
        with self._transaction(read_only=True) as (connection, _):
            yield connection

    @contextmanager
    def reading(self, sql: str, parameters: Sequence[Any], over: Over) -> Generator[Result]:
        import psycopg

        with (
            self._transaction(read_only=True) as (_, raw),
            psycopg.RawServerCursor(raw, "agentkit") as cursor,
        ):
            cursor.execute(sql.encode(), parameters)
            yield Result(_columns(cursor), _fetched(raw, cursor, self._limits(), over))

    @contextmanager
    def writing(
        self, sql: str, parameters: Sequence[Any], over: Over, keep: int
    ) -> Generator[Result]:
        import psycopg

        with (
            self._transaction(read_only=False) as (connection, raw),
            psycopg.RawCursor(raw) as cursor,
        ):
            text = sql.encode()
            if _gives_rows(raw, text):
                stream = cursor.stream(text, parameters)  # one at a time: memory is bounded
                kept = list(islice(stream, keep))
                changed = len(kept) + sum(1 for _ in stream)
            else:
                # a prepared statement is one statement; psycopg sends several of them otherwise
                cursor.execute(text, parameters, prepare=True)
                kept, changed = [], max(cursor.rowcount, 0)
            yield Result(_columns(cursor), iter(kept), changed)
            connection.commit()

    @contextmanager
    def _transaction(
        self, *, read_only: bool
    ) -> Generator[tuple[Connection, psycopg.Connection[Any]]]:
        """A connection of its own: what a statement sets for its session ends with it."""
        options = {"postgresql_readonly": read_only}
        with self._engine.connect().execution_options(**options) as connection:
            raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            watchdog = threading.Timer(self._seconds + _GRACE, raw.cancel_safe)
            watchdog.daemon = True
            watchdog.start()
            try:
                connection.exec_driver_sql(self._limits())
                self._check(connection)
                yield connection, raw
            except BaseException:
                connection.invalidate()  # whatever it is at, a COPY say, ends with it
                raise
            finally:
                watchdog.cancel()

    def _limits(self) -> str:
        milliseconds = max(1, round(self._seconds * 1000))
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        return "; ".join(f"SET LOCAL {name} = {milliseconds}" for name in names)

    def _check(self, connection: Connection) -> None:
        if self._checked:
            return
        powers = [row[0] for row in connection.exec_driver_sql(_POWERS)]
        if powers:
            raise PluginError(
                "the database role may read or write the server's files or run its programs (it "
                f"is {powers[0]!r} or a member of it); use another role, or allow this one with "
                "`privileged`"
            )
        self._checked = True


def _gives_rows(raw: psycopg.Connection[Any], sql: bytes) -> bool:
    """Whether a statement gives rows, as the server says without running it."""
    import psycopg

    prepared = raw.pgconn.prepare(b"", sql)
    if prepared.error_message:
        raise psycopg.DatabaseError(prepared.error_message.decode("utf-8", "replace"))
    return raw.pgconn.describe_prepared(b"").nfields > 0


def _columns(cursor: psycopg.Cursor[Any] | psycopg.ServerCursor[Any]) -> list[str]:
    return [column.name for column in cursor.description or ()]


def _fetched(
    raw: psycopg.Connection[Any], cursor: psycopg.ServerCursor[Any], limits: str, over: Over
) -> Iterator[Sequence[Any]]:
    while not over() and (rows := cursor.fetchmany(FETCHED)):
        yield from rows
        raw.execute(limits.encode())  # which a function of the query may have put off
