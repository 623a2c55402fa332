"""What the tools need of a database, whichever it is, and which one a URL means.

Knows the shape of a database; the two kinds there are live in modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from agentkit import PluginError

if TYPE_CHECKING:
    from sqlalchemy import Connection

Over: TypeAlias = Callable[[], bool]
"""Whether nobody waits for a statement any more."""

FETCHED = 20
"""Rows that are asked for at once: what is read past a cap is never more than these."""


class Refused(Exception):
    """What was asked can't be done; says why, for a model to read."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gave: rows as they come, none where there are no columns.

    changed: rows that it changed, as the database counts them.
    """

    columns: Sequence[str]
    rows: Iterator[Sequence[Any]]
    changed: int = 0


class Database(Protocol):
    """One database. Every method that gives a context has a connection for just that long.

    A statement is handed to the driver as it is, with `$1`, `$2` for its parameters: no text is
    ever put into another. It ends when its time is up, or nobody waits for it any more.
    """

    @property
    def kind(self) -> str:
        """What people call it."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it raises."""
        ...

    def words(self, error: Exception) -> str:
        """What an error says, without secrets."""
        ...

    def quoted(self, table: str, schema: str | None) -> str:
        """A table's name as it stands in a statement."""
        ...

    def inspecting(self, over: Over) -> AbstractContextManager[Connection]:
        """A connection that can't change anything, for SQLAlchemy's inspection."""
        ...

    def reading(
        self, sql: str, parameters: Sequence[Any], over: Over
    ) -> AbstractContextManager[Result]:
        """One statement that can't change anything."""
        ...

    def writing(
        self, sql: str, parameters: Sequence[Any], over: Over, keep: int
    ) -> AbstractContextManager[Result]:
        """One statement in a transaction, which is kept where the block ends without an error.

        keep: how many of the rows that it gives are handed on.
        """
        ...


def open_database(url: str, *, seconds: float, max_stored: int, privileged: bool) -> Database:
    """The database that a URL means; nothing is connected to.

    Raises:
        PluginError: it is no URL of SQLite or PostgreSQL, or what it takes is not installed.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise PluginError(
            "the sql tools need SQLAlchemy; install agentkit-diffusion[sql]"
        ) from error
    try:
        parsed = make_url(url)
    except ArgumentError:  # its text has the URL, and that may have a password
        raise PluginError("`url` is no database URL; write sqlite:///shop.sqlite3, say") from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        from agentkit_tools.sql.sqlite import SQLite

        return SQLite(parsed, seconds, max_stored)
    if kind in {"postgresql", "postgres"}:
        from agentkit_tools.sql.postgresql import PostgreSQL

        return PostgreSQL(parsed, seconds, privileged=privileged)
    raise PluginError(f"`url` is of {kind!r}; the sql tools know sqlite and postgresql")
