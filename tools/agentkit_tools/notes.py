"""Notes in a SQLite file that several agents and processes may share: add, search, list, delete.

Knows one table, and its full-text index where SQLite has FTS5. Every operation is one transaction
on a connection of its own. Numbers are never given twice. It must not know who calls it.
"""

import re
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from agentkit import Plugin, PluginError, Retry, Tool, Toolset, tool
from agentkit_tools.system.database import transaction

_TABLE = """
CREATE TABLE IF NOT EXISTS notes (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    text   TEXT NOT NULL,
    added  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
# Triggers keep the index, so that a process without FTS5 can't leave it behind: its writes fail.
_INDEX = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content=notes, content_rowid=id, "
    "tokenize='unicode61 remove_diacritics 2')",
    "CREATE TRIGGER IF NOT EXISTS words_added AFTER INSERT ON notes BEGIN "
    "INSERT INTO words (rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER IF NOT EXISTS words_deleted AFTER DELETE ON notes BEGIN "
    "INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text); END",
)


class NotesConfig(BaseModel):
    """Where the notes are, and how many of them are told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: Path | None = None
    """The file, made when it is first written; None for `notes.sqlite3` in the user's data."""
    max_length: int = Field(default=2_000, ge=1)
    """Characters of one note."""
    max_notes: int = Field(default=10_000, ge=1)
    """Notes that are kept; then none can be added before others are deleted."""
    max_shown: int = Field(default=10, ge=1)
    """Notes that are told at once."""
    approval: bool = True
    """Each deletion waits for a human."""


@dataclass(frozen=True, slots=True)
class Note:
    """One note. added: the day and time, of UTC, to the second."""

    id: int
    text: str
    added: str

    def __str__(self) -> str:
        return f"{self.id} ({self.added[:10]}): {self.text}"


class Notes:
    """Notes in the SQLite file at `path`.

    Raises:
        PluginError: (every method) the file can't be opened or holds no notes.
    """

    def __init__(
        self, path: str | Path, *, full_text: bool = True, max_notes: int = 10_000
    ) -> None:
        """
        Args:
            full_text: use FTS5 where SQLite has it; otherwise notes are searched one by one.
        """
        self.path = Path(path)
        self._full_text = full_text and _has_fts5()
        self._max_notes = max_notes

    def add(self, text: str) -> Note:
        """Keep a note.

        Raises:
            ValueError: it is empty, or there is no room for another one.
        """
        if not text.strip():
            raise ValueError("a note needs a text")
        with self._transaction() as connection:
            if connection.execute("SELECT count(*) FROM notes").fetchone()[0] >= self._max_notes:
                raise ValueError(f"there are {self._max_notes} notes already; delete some first")
            row = connection.execute(
                "INSERT INTO notes (text) VALUES (?) RETURNING id, text, added", [text.strip()]
            ).fetchone()
        return Note(*row)

    def latest(self, limit: int, before: int | None = None) -> list[Note]:
        """The newest notes, of those with a number below `before`."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, text, added FROM notes WHERE ? IS NULL OR id < ? "
                "ORDER BY id DESC LIMIT ?",
                [before, before, limit],
            )
            return [Note(*row) for row in rows]

    def search(self, words: str, limit: int) -> list[Note]:
        """The notes that have all of the words, or their beginnings, the best first."""
        sought = re.findall(r"\w+", words)
        if not sought:
            return []
        with self._transaction() as connection:
            rows = _matches(connection, sought, limit) if self._full_text else None
            if rows is None:
                rows = _likenesses(connection, sought, limit)
            return [Note(*row) for row in rows]

    def delete(self, number: int) -> Note:
        """Delete a note for good.

        Raises:
            ValueError: there is none of this number.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "DELETE FROM notes WHERE id = ? RETURNING id, text, added", [number]
            ).fetchone()
        if row is None:
            raise ValueError(f"there is no note {number}; search for it first")
        return Note(*row)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """One write transaction on the notes, whose tables are made first."""
        try:
            with transaction(self.path) as connection:
                connection.execute(_TABLE)
                if self._full_text:
                    _index(connection)
                yield connection
        except (sqlite3.Error, OSError) as error:
            message = f"the notes {str(self.path)!r} can't be used: {error}"
            raise PluginError(message) from error


def _index(connection: sqlite3.Connection) -> None:
    known = "SELECT count(*) FROM sqlite_master WHERE name = 'words'"
    if not connection.execute(known).fetchone()[0]:
        for statement in _INDEX:
            connection.execute(statement)
        connection.execute("INSERT INTO words (words) VALUES ('rebuild')")  # notes without one


def _matches(
    connection: sqlite3.Connection, sought: Sequence[str], limit: int
) -> list[tuple[int, str, str]]:
    # in quotes, a word is none of the query language's own
    query = " ".join(f'"{word}"*' for word in sought)
    return connection.execute(
        "SELECT id, notes.text, added FROM words JOIN notes ON id = words.rowid "
        "WHERE words MATCH ? ORDER BY rank LIMIT ?",
        [query, limit],
    ).fetchall()


def _likenesses(
    connection: sqlite3.Connection, sought: Sequence[str], limit: int
) -> list[tuple[int, str, str]]:
    conditions = " AND ".join("text LIKE ? ESCAPE '!'" for _ in sought)
    patterns = [f"%{word.replace('_', '!_')}%" for word in sought]
    return connection.execute(
        f"SELECT id, text, added FROM notes WHERE {conditions} ORDER BY id DESC LIMIT ?",
        [*patterns, limit],
    ).fetchall()


def _has_fts5() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        except sqlite3.OperationalError:
            return False
    return True


def default_path() -> Path:
    """The file in the user's data folder."""
    from platformdirs import user_data_path  # only looked for when no path was named

    return user_data_path("agentkit") / "notes.sqlite3"


def notes_toolset(config: NotesConfig) -> Toolset:
    """The tools that work on one file of notes."""
    notes = Notes(config.path or default_path(), max_notes=config.max_notes)
    add, delete = _changing(notes, config)
    return Toolset("notes", [add, *_finding(notes, config.max_shown), delete])


def _changing(notes: Notes, config: NotesConfig) -> list[Tool[..., str]]:
    @tool
    def note_add(text: Annotated[str, Field(min_length=1, max_length=config.max_length)]) -> str:
        """Keep a note for later.

        Args:
            text: What to remember.
        """
        try:
            return f"Kept note {notes.add(text)}"
        except ValueError as error:
            raise Retry(str(error), value="text") from error

    @tool(approval=config.approval)
    def note_delete(id: Annotated[int, Field(ge=1)]) -> str:
        """Delete a note for good.

        Args:
            id: The number of the note.
        """
        try:
            return f"Deleted note {notes.delete(id)}"
        except ValueError as error:
            raise Retry(str(error), value="id") from error

    return [note_add, note_delete]


def _finding(notes: Notes, shown: int) -> list[Tool[..., str]]:
    @tool
    def note_search(words: Annotated[str, Field(min_length=1, max_length=200)]) -> str:
        """Find notes by words in them.

        Args:
            words: Words that the note has.
        """
        found = notes.search(words, shown + 1)
        return _listed(found, shown, "use more words") or f"No note has all of {words!r}."

    @tool
    def note_list(before: Annotated[int | None, Field(ge=1)] = None) -> str:
        """Show the latest notes.

        Args:
            before: Only notes with a smaller number.
        """
        found = notes.latest(shown + 1, before)
        rest = f"ask for those before {found[shown - 1].id}" if len(found) > shown else ""
        return _listed(found, shown, rest) or "There are no notes."

    return [note_search, note_list]


def _listed(found: Sequence[Note], shown: int, rest: str) -> str:
    lines = [str(note) for note in found[:shown]]
    if len(found) > shown:
        lines.append(f"There are more; {rest}.")
    return "\n".join(lines)


async def _check(toolset: Toolset) -> None:
    import anyio.to_thread

    tools = {made.name: made for made in toolset.tools}
    await anyio.to_thread.run_sync(tools["note_list"])


plugin = Plugin(
    "notes",
    description="Keeps notes in a SQLite file, and finds them again.",
    config=NotesConfig,
    open=notes_toolset,
    permissions=(
        "reads and writes the file at `path`, and no other",
        "deletes notes, after a human's approval unless `approval` is false",
    ),
    check=_check,
    explicit=True,
)
