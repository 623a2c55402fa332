"""Transactions on a SQLite file that several threads, processes and agents may share.

Knows files and sqlite3; must not know what is in the tables.
"""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_BUSY = 10.0  # seconds that a transaction waits for another process's


@contextmanager
def transaction(path: Path) -> Generator[sqlite3.Connection]:
    """One write transaction on a connection of its own; the file and its folder are made.

    Committed when the block ends, rolled back when it raises.

    Raises:
        OSError, sqlite3.Error: the file can't be used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    with closing(made) as connection:
        # The file keeps the mode. Changing it does not wait for its turn as all else does: who
        # finds it locked leaves it to whoever is at it.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
        # IMMEDIATE waits for its turn here; a deferred one could fail half-way.
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
