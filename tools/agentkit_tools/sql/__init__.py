"""A database for agents: its tables, queries that can only read, and statements that change it.

Knows what a model is offered and told; the two kinds of database are in `sqlite` and `postgresql`,
what is shown of rows in `rows`. SQLAlchemy is imported when a toolset is opened, not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agentkit import Plugin, PluginError, Retry, RunContext, Tool, Toolset, tool
from agentkit_tools.sql.database import Database, Refused, open_database
from agentkit_tools.sql.rows import Caps, shown
from agentkit_tools.sql.tables import Table, tables_of

_CONNECTING = 5.0  # seconds on top of a statement's own, to connect and to come back
_MAX_TABLES = 200  # listed at once

SQL = Annotated[str, Field(min_length=1, max_length=10_000)]
Scalar = str | int | float | bool | None


class SQLConfig(BaseModel):
    """Which database, what the tools may do with it, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: SecretStr
    """An SQLAlchemy URL: `sqlite:////data/shop.sqlite3`, or `postgresql://user@host/shop`."""
    write: bool = False
    """Whether `sql_execute` is offered too, which changes the database."""
    approval: bool = True
    """Each call of `sql_execute` waits for a human."""
    seconds: float = Field(default=10.0, gt=0, le=3600)
    """Seconds of one statement."""
    max_rows: int = Field(default=100, ge=1)
    """Rows of one result."""
    max_bytes: int = Field(default=50_000, ge=100)
    """Bytes of one result, written as JSON."""
    max_value: int = Field(default=2_000, ge=10)
    """Characters of one value."""
    max_stored: int = Field(default=1_000_000, ge=10_000)
    """Bytes of one value inside SQLite: they bound the memory of a statement, and the time of a
    function such as instr(), which looks at no clock. Rows with longer ones can't be read."""
    sample_rows: int = Field(default=0, ge=0, le=20)
    """Rows that `sql_describe` shows of a table."""
    db_schema: str | None = None
    """The schema of PostgreSQL whose tables are listed; None for the first of the search path."""
    privileged: bool = False
    """Whether a PostgreSQL role will do that may read or write the server's files or run its
    programs; a read-only transaction does not hold such a role back."""


def sql_toolset(config: SQLConfig) -> Toolset:
    """The tools of one database.

    Each call has a connection of its own, so nothing that a statement sets outlives it.

    Raises:
        PluginError: the URL is none of SQLite or PostgreSQL, or SQLAlchemy is not installed.
    """
    database = open_database(
        config.url.get_secret_value(),
        seconds=config.seconds,
        max_stored=config.max_stored,
        privileged=config.privileged,
    )
    caps = Caps(config.max_rows, config.max_bytes, config.max_value)
    tools = [
        *_inspecting(database, config, caps),
        _querying(database, config.seconds + _CONNECTING, caps),
    ]
    if config.write:
        tools.append(_executing(database, config, caps))
    return Toolset("sql", tools)


def _inspecting(database: Database, config: SQLConfig, caps: Caps) -> list[Tool[..., Any]]:
    limit = config.seconds + _CONNECTING

    @tool(timeout=limit)
    def sql_tables(context: RunContext[Any]) -> str:
        """List the tables of the database with their columns."""
        with _told(database, None), database.inspecting(lambda: context.over) as connection:
            found = tables_of(connection, config.db_schema)
        if not found:
            return "The database has no tables."
        lines = [table.line() for table in found[:_MAX_TABLES]]
        if len(found) > _MAX_TABLES:
            lines.append(f"and {len(found) - _MAX_TABLES} more; call sql_describe with a name")
        return "\n".join(lines)

    @tool(timeout=limit)
    def sql_describe(context: RunContext[Any], table: str) -> str:
        """Describe one table of the database: columns, types and keys.

        Args:
            table: The name of the table.
        """

        def over() -> bool:
            return context.over

        with _told(database, "table"), database.inspecting(over) as connection:
            found = _table(table, tables_of(connection, config.db_schema))
            text = found.described(connection)
        if config.sample_rows:
            query = f"SELECT * FROM {database.quoted(found.name, found.schema)}"
            few = Caps(config.sample_rows, caps.max_bytes, caps.max_value, hint="")
            with _told(database, "table"), database.reading(query, (), over) as result:
                text += f"\nrows such as: {shown(result, few)['rows']}"
        return text

    return [sql_tables, sql_describe]


def _querying(database: Database, limit: float, caps: Caps) -> Tool[..., Any]:
    @tool(timeout=limit, description=f"Read from the {database.kind} database with one SELECT.")
    def sql_query(
        context: RunContext[Any], sql: SQL, parameters: Sequence[Scalar] = ()
    ) -> dict[str, Any]:
        """
        Args:
            sql: One SELECT statement; write $1, $2 for the parameters.
            parameters: The values of $1, $2.
        """
        with (
            _told(database, "sql"),
            database.reading(sql, parameters, lambda: context.over) as result,
        ):
            return shown(result, caps)

    return sql_query


def _executing(database: Database, config: SQLConfig, caps: Caps) -> Tool[..., Any]:
    @tool(
        timeout=config.seconds + _CONNECTING,
        approval=config.approval,
        description=f"Change the {database.kind} database with one statement.",
    )
    def sql_execute(
        context: RunContext[Any], sql: SQL, parameters: Sequence[Scalar] = ()
    ) -> dict[str, Any]:
        """
        Args:
            sql: One statement, an INSERT say; write $1, $2 for the parameters.
            parameters: The values of $1, $2.
        """

        def over() -> bool:
            return context.over

        with (
            _told(database, "sql"),
            database.writing(sql, parameters, over, caps.max_rows + 1) as result,
        ):
            changed: dict[str, Any] = {"changed": result.changed}
            return {**changed, **shown(result, caps)} if result.columns else changed

    return sql_execute


@contextmanager
def _told(database: Database, value: str | None) -> Generator[None]:
    """Has the database's own words reach the model, with the argument they are about."""
    try:
        yield
    except Refused as error:
        raise Retry(str(error), value=value) from error
    except database.errors as error:
        why = database.words(error)
        if value is None:
            raise ValueError(why) from error
        raise Retry(why, value=value) from error


def _table(name: str, tables: list[Table]) -> Table:
    wanted = name.strip().strip('"').lower()
    for table in tables:
        if wanted in {table.name.lower(), f"{table.schema}.{table.name}".lower()}:
            return table
    known = [table.name for table in tables]
    close = difflib.get_close_matches(name, known, n=3) or known[:10]
    raise Refused(f"there is no table {name!r}; there are: {', '.join(close) or 'none'}")


async def _check(toolset: Toolset) -> None:
    context = RunContext[Any](deps=None)
    tools = {made.name: made for made in toolset.tools}
    await anyio.to_thread.run_sync(tools["sql_tables"], context)
    answer = await anyio.to_thread.run_sync(tools["sql_query"], context, "SELECT 1 AS one")
    if answer["rows"] != [[1]]:
        raise PluginError(f"the database answered {answer!r} to SELECT 1")


plugin = Plugin(
    "sql",
    description="Reads a SQLite or PostgreSQL database, and changes it where that is allowed.",
    config=SQLConfig,
    open=sql_toolset,
    permissions=(
        "reads the database at `url`",
        "changes it where `write` is true, after a human's approval unless `approval` is false",
    ),
    check=_check,
    explicit=True,
)
