"""A to-do list in a SQLite file that several agents and processes may share.

Knows one table. Every operation is one transaction on a connection of its own, so nothing is
shared between threads and a crash leaves either the old list or the new one. Item numbers are
never given twice. It must not know who calls it.
"""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from agentkit import Plugin, PluginError, Tool, Toolset, tool
from agentkit_tools.system.database import transaction

PATH_VARIABLE = "AGENTKIT_TODO_PATH"
"""Environment variable that names the file; without it, the user's data folder holds it."""
MAX_SHOWN = 20
"""Items that `todo_list` tells a model at most."""

_TABLE = """
CREATE TABLE IF NOT EXISTS items (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    text    TEXT NOT NULL,
    added   TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    done    TEXT
)
"""


class TodoConfig(BaseModel):
    """Where the list is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: Path | None = None
    """The file, made when it is first used; None for the one at `default_path()`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do."""

    id: int
    text: str

    def __str__(self) -> str:
        return f"{self.id}: {self.text}"


def default_path() -> Path:
    """Where the list lives: `$AGENTKIT_TODO_PATH`, or the user's data folder."""
    if named := os.environ.get(PATH_VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_data_path  # only looked for when no path was named

    return user_data_path("agentkit") / "todo.sqlite3"


class TodoList:
    """A to-do list in the SQLite file at `path`, made when it is first used.

    Raises:
        PluginError: (every method) the file can't be opened or is no to-do list.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def add(self, text: str) -> Item:
        """Append an item; runs of white space become one space.

        Raises:
            ValueError: the text is empty.
        """
        words = " ".join(text.split())
        if not words:
            raise ValueError("an item needs a text")
        with self._transaction() as connection:
            cursor = connection.execute("INSERT INTO items (text) VALUES (?)", [words])
            number = cursor.lastrowid
        assert number is not None  # an INSERT always has one
        return Item(number, words)

    def open_items(self) -> list[Item]:
        """The items that are not done, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT id, text FROM items WHERE done IS NULL ORDER BY id")
            return [Item(*row) for row in rows]

    def finish(self, number: int) -> Item:
        """Mark an open item as done.

        Raises:
            ValueError: no open item has this number; the message lists those that are open.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT id, text FROM items WHERE id = ? AND done IS NULL", [number]
            ).fetchone()
            if row is not None:
                done = "UPDATE items SET done = CURRENT_TIMESTAMP WHERE id = ?"
                connection.execute(done, [number])
        if row is None:
            ids = ", ".join(str(item.id) for item in self.open_items()[:MAX_SHOWN])
            mend = f"open items: {ids}" if ids else "the to-do list is empty"
            raise ValueError(f"no open item {number}; {mend}")
        return Item(*row)

    def tools(self) -> list[Tool[..., str]]:
        """The three tools that work on this list."""

        @tool
        def todo_add(text: Annotated[str, Field(min_length=1, max_length=200)]) -> str:
            """Add an item to the to-do list.

            Args:
                text: What to do.
            """
            item = self.add(text)
            return f"Added {item}"

        @tool
        def todo_list() -> str:
            """Show the open items of the to-do list."""
            items = self.open_items()
            if not items:
                return "The to-do list is empty."
            shown = "; ".join(map(str, items[:MAX_SHOWN]))
            rest = len(items) - MAX_SHOWN
            return f"{shown}; and {rest} more" if rest > 0 else shown

        @tool
        def todo_done(id: Annotated[int, Field(ge=1)]) -> str:
            """Mark an item of the to-do list as done.

            Args:
                id: The number of the item.
            """
            return f"Done {self.finish(id)}"

        return [todo_add, todo_list, todo_done]

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """One write transaction on the list, whose table is made first."""
        try:
            with transaction(self.path) as connection:
                connection.execute(_TABLE)
                yield connection
        except (sqlite3.Error, OSError) as error:
            message = f"the to-do list {str(self.path)!r} can't be used: {error}"
            raise PluginError(message) from error


def toolset(config: TodoConfig = TodoConfig()) -> Toolset:  # noqa: B008 (it is frozen)
    """The tools of one list."""
    return Toolset("todo", TodoList(config.path or default_path()).tools())


async def _check(tools: Toolset) -> None:
    show = next(made for made in tools if made.name == "todo_list")
    await anyio.to_thread.run_sync(show.function)


plugin = Plugin(
    "todo",
    description="Keeps a to-do list in a SQLite file.",
    config=TodoConfig,
    open=toolset,
    permissions=("reads and writes the file at `path`, and no other",),
    check=_check,
)
