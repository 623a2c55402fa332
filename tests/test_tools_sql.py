"""The database tools, attacked on real SQLite files and a real PostgreSQL server."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from postgres import binaries, server
from pydantic import SecretStr

from agentkit import Agent, PluginError, Retry, RunContext, Tool, tool
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.sql import SQLConfig, plugin, sql_toolset

pytest.importorskip("sqlalchemy", reason="needs the extra `sql`")
psycopg = pytest.importorskip("psycopg", reason="needs the extra `sql`")

CONTEXT = RunContext[Any](deps=None)
TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer INTEGER NOT NULL REFERENCES customers (id),
    total NUMERIC(10, 2) DEFAULT 0
);
CREATE UNIQUE INDEX names ON customers (name);
CREATE VIEW spent AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
INSERT INTO customers (id, name) VALUES (1, 'Ada'), (2, 'Grace');
INSERT INTO orders (id, customer, total) VALUES (1, 1, 12.5), (2, 1, 30), (3, 2, NULL);
"""


@dataclass
class Shop:
    """A database with customers and orders, made anew for each test."""

    kind: str
    url: str
    dump: Any

    def tools(self, **options: Any) -> dict[str, Tool[..., Any]]:
        made = sql_toolset(SQLConfig(url=SecretStr(self.url), **options))
        return {one.name: one for one in made.tools}

    def query(self, sql: str, *parameters: Any, **options: Any) -> Any:
        return self.tools(**options)["sql_query"](CONTEXT, sql, parameters)

    def execute(self, sql: str, *parameters: Any, **options: Any) -> Any:
        return self.tools(write=True, **options)["sql_execute"](CONTEXT, sql, parameters)


@pytest.fixture
def sqlite(tmp_path: Path) -> Shop:
    path = tmp_path / "the shop.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(TABLES)
    connection.close()

    def dump() -> list[str]:
        reading = sqlite3.connect(path)
        try:
            return list(reading.iterdump())
        finally:
            reading.close()

    return Shop("SQLite", f"sqlite:///{path}", dump)


@dataclass
class Cluster:
    """A server, and its superuser's connection."""

    url: str
    boss: Any


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed here (initdb, pg_ctl)")
    with server() as url, psycopg.connect(url.format(role="boss"), autocommit=True) as boss:
        boss.execute("CREATE ROLE guest LOGIN")
        yield Cluster(url, boss)


@pytest.fixture
def postgresql(cluster: Cluster) -> Shop:
    made = f"""
    DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO guest;
    SET ROLE guest; {TABLES}; RESET ROLE
    """
    cluster.boss.execute(made.encode())

    def dump() -> list[Any]:
        return [
            *cluster.boss.execute("SELECT * FROM customers ORDER BY id"),
            *cluster.boss.execute("SELECT * FROM orders ORDER BY id"),
            *cluster.boss.execute("SELECT relname FROM pg_class ORDER BY oid"),
        ]

    return Shop("PostgreSQL", cluster.url.format(role="guest"), dump)


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(request.param)
    return found


# --- what a model sees


def test_the_tables_are_listed_with_their_columns(shop: Shop) -> None:
    assert shop.tools()["sql_tables"](CONTEXT) == (
        "customers: id, name\norders: id, customer, total\nspent (view): customer, total"
    )


def test_a_table_is_described_with_types_and_keys(shop: Shop) -> None:
    described = shop.tools()["sql_describe"](CONTEXT, "Orders")
    assert described.splitlines()[:4] == [
        "table orders",
        "  id INTEGER primary key",
        "  customer INTEGER not null references customers.id",
        "  total NUMERIC(10, 2) default 0",
    ]
    assert "unique index on name" in shop.tools()["sql_describe"](CONTEXT, "customers")
    assert shop.tools()["sql_describe"](CONTEXT, "spent").startswith("view spent\n  customer")


def test_rows_may_be_shown_with_a_table(shop: Shop) -> None:
    described = shop.tools(sample_rows=1)["sql_describe"](CONTEXT, "customers")
    assert described.endswith("rows such as: [[1, 'Ada']]")
    assert "rows such as" not in shop.tools()["sql_describe"](CONTEXT, "customers")


@pytest.mark.parametrize("name", ["order", 'orders"; DROP TABLE orders; --', ""])
def test_a_table_that_is_not_there_is_told_with_those_that_are(shop: Shop, name: str) -> None:
    with pytest.raises(Retry, match="orders") as told:
        shop.tools(sample_rows=1)["sql_describe"](CONTEXT, name)
    assert told.value.value == "table"


def test_a_query_gives_columns_and_rows(shop: Shop) -> None:
    result = shop.query("SELECT name, id FROM customers ORDER BY id")
    assert result == {"columns": ["name", "id"], "rows": [["Ada", 1], ["Grace", 2]]}


def test_columns_of_the_same_name_are_all_there(shop: Shop) -> None:
    result = shop.query("SELECT 1 AS a, 2 AS a")
    assert result == {"columns": ["a", "a"], "rows": [[1, 2]]}


def test_parameters_are_bound_and_never_text(shop: Shop) -> None:
    hostile = "Ada'; DROP TABLE orders; --"
    query = "SELECT count(*) FROM customers WHERE name = $1 OR name = $2"
    assert shop.query(query, hostile, "Ada")["rows"] == [[1]]
    given = shop.query("SELECT id, '$1 :a %s ?' FROM customers WHERE id = $1", 2)
    assert given["rows"] == [[2, "$1 :a %s ?"]]
    assert shop.query("SELECT name FROM customers WHERE name LIKE '%a%' AND 1 = $1", 1)["rows"]


def test_the_databases_own_words_are_told_about_the_statement(shop: Shop) -> None:
    with pytest.raises(Retry, match="nowhere") as told:
        shop.query("SELECT * FROM nowhere")
    assert told.value.value == "sql"
    assert told.value.why.startswith(f"{shop.kind}: ")
    with pytest.raises(Retry):
        shop.query("SELECT $1")


async def test_a_run_reads_and_asks_before_it_writes(shop: Shop) -> None:
    tools = list(shop.tools(write=True).values())
    change = call("sql_execute", sql="DELETE FROM orders")
    count = call("sql_query", sql="SELECT count(*) FROM orders WHERE id > $1", parameters=[1])
    backend = ScriptedBackend([count, change])
    result = await Agent(tools=tools, backend=backend).run("go")
    assert result.status == "paused"
    assert json.loads(result.results[0].content)["rows"] == [[2]]
    assert result.pending[0].call.tool == "sql_execute"
    assert "sql_execute" not in shop.tools()
    assert not shop.tools(write=True, approval=False)["sql_execute"].approval


# --- values


def test_values_of_sqlite_are_json(sqlite: Shop) -> None:
    row = sqlite.query("SELECT NULL, 1.5, x'00ff', 9e999, 'ü', CAST(x'ff41' AS TEXT), $1", True)
    assert row["rows"] == [[None, 1.5, "0x00ff", "inf", "ü", "�A", 1]]


def test_values_of_postgresql_are_json(postgresql: Shop) -> None:
    row = postgresql.query(
        "SELECT NULL, 1.10::numeric, date '2026-03-01', timestamp '2026-03-01 12:00', "
        "'{1,2}'::int[], '{\"a\": [1]}'::jsonb, 'NaN'::float8, '\\x00ff'::bytea, "
        "interval '1 day', $1::text, true",
        "ü",
    )["rows"][0]
    assert row[:4] == [None, "1.10", "2026-03-01", "2026-03-01T12:00:00"]
    assert row[4:] == [[1, 2], {"a": [1]}, "nan", "0x00ff", "1 day, 0:00:00", "ü", True]
    json.dumps(row, allow_nan=False)


# --- caps


def test_many_rows_are_cut_with_a_note(shop: Shop) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    if shop.kind == "PostgreSQL":
        endless = "SELECT generate_series(1, 1000000000)"
    result = shop.query(endless, max_rows=3)
    assert result["rows"] == [[1], [2], [3]]
    assert "3 rows are the most" in result["note"]


def test_just_as_many_rows_as_allowed_are_all(shop: Shop) -> None:
    assert "note" not in shop.query("SELECT id FROM orders", max_rows=3)


def test_long_values_and_long_rows_are_cut(shop: Shop) -> None:
    long = "hex(zeroblob(2500))" if shop.kind == "SQLite" else "repeat('0', 5000)"
    result = shop.query(f"SELECT {long} AS a, {long} AS b FROM orders", max_bytes=300, max_value=50)
    assert len(result["rows"]) == 2
    assert result["rows"][0][0] == "0" * 50 + "… (5000 characters)"
    assert "300 bytes are the most" in result["note"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(zeroblob(2000000000))",
        "SELECT hex(randomblob(900000000))",
        "SELECT replace(hex(zeroblob(400000)), '00', hex(zeroblob(400000)))",
        "WITH RECURSIVE n(s) AS (SELECT 'xx' UNION ALL SELECT s || s FROM n) "
        "SELECT count(*) FROM n LIMIT 1",
    ],
)
def test_one_value_can_not_take_the_memory(sqlite: Shop, sql: str) -> None:
    with pytest.raises(Retry, match="too big"):
        sqlite.query(sql)


# --- time

ENDLESS = {
    "SQLite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n",
    "PostgreSQL": "SELECT pg_sleep(1000)",
}


def test_a_statement_that_takes_too_long_is_ended(shop: Shop) -> None:
    with pytest.raises(Retry, match=r"did not finish within|statement timeout"):
        shop.query(ENDLESS[shop.kind], seconds=0.1)
    with pytest.raises(Retry, match=r"did not finish within|statement timeout"):
        shop.execute(ENDLESS[shop.kind], seconds=0.1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CASE i WHEN 1 THEN set_config('statement_timeout', '0', false) "
        "WHEN 30 THEN pg_sleep(1000)::text END FROM generate_series(1, 1000) i",
        "SELECT CASE i WHEN 22 THEN set_config('statement_timeout', '0', false) "
        "WHEN 30 THEN pg_sleep(1000)::text END FROM generate_series(1, 1000) i",
    ],
)
def test_a_query_can_not_put_its_time_limit_off(postgresql: Shop, sql: str) -> None:
    with pytest.raises(Retry, match="canceling statement"):
        postgresql.query(sql, seconds=0.2)
    shown = postgresql.query("SELECT current_setting('statement_timeout')", seconds=0.2)
    assert shown["rows"] == [["200ms"]]


def test_a_lock_is_not_waited_for_for_ever(shop: Shop) -> None:
    if shop.kind == "SQLite":
        holder: Any = sqlite3.connect(shop.url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    else:
        holder = psycopg.connect(shop.url)
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
    try:
        with pytest.raises(Retry, match=r"locked|timeout"):
            shop.query("SELECT * FROM orders", seconds=0.1)
    finally:
        holder.close()


async def test_a_cancelled_run_releases_the_thread(sqlite: Shop) -> None:
    started = anyio.Event()

    @tool
    async def begun() -> None:
        started.set()
        await anyio.sleep_forever()

    turn = [call("sql_query", sql=ENDLESS["SQLite"]), call("begun")]
    tools = [*sqlite.tools(seconds=1000).values(), begun]

    def working() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "agentkit tool"]

    before = len(working())
    async with anyio.create_task_group() as group:
        agent = Agent(tools=tools, backend=ScriptedBackend([turn, answer("never")]))
        group.start_soon(agent.run, "go")
        await started.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(30):
        while len(working()) > before:  # noqa: ASYNC110
            await anyio.sleep(0.01)


# --- attacks: nothing that is asked as a query changes anything

ANYWHERE = [
    "DELETE FROM orders",
    "UPDATE orders SET total = 0",
    "INSERT INTO customers VALUES (3, 'Eve')",
    "DROP TABLE orders",
    "CREATE TABLE more (id INTEGER)",
    "SELECT 1; DELETE FROM orders",
    "SELECT 1; DELETE FROM orders; --",
    "/* SELECT */ DELETE FROM orders",
    "-- a comment\nDELETE FROM orders",
    "/* one /* two */ */ DELETE FROM orders",
    "BEGIN",
    "COMMIT",
    "ROLLBACK; DELETE FROM orders",
    "",
    ";",
    "-- nothing",
    "SELECT '\x00'; DELETE FROM orders",
]
ON_SQLITE = [
    "WITH gone AS (SELECT 1) DELETE FROM orders WHERE id IN (SELECT * FROM gone)",
    "DELETE FROM orders RETURNING id",
    "REPLACE INTO customers VALUES (1, 'Eve')",
    "ATTACH DATABASE '{folder}/other.sqlite3' AS other",
    "ATTACH DATABASE 'file:{folder}/the%20shop.sqlite3?mode=rw' AS other",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = WAL",
    "PRAGMA user_version = 7",
    "SELECT * FROM pragma_user_version(7)",
    "SELECT load_extension('evil')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT writefile('{folder}/other.sqlite3', 'x')",
    "SELECT printf('%.*c', 2000000000, 'x')",
    "SELECT format('%.*c', 2000000000, 'x')",
    "UPDATE sqlite_master SET sql = 'x'",
    "SELECT 'a' REGEXP '(a+)+$'",
    "VACUUM INTO '{folder}/other.sqlite3'",
    "CREATE TEMP TABLE other (id)",
    "CREATE VIRTUAL TABLE other USING fts5(a)",
    "ANALYZE",
    "REINDEX",
    "SAVEPOINT one",
]
ON_POSTGRESQL = [
    "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
    "SELECT * INTO more FROM orders",
    "SELECT * FROM orders FOR UPDATE",
    "COPY orders TO PROGRAM 'cat > {folder}/other'",
    "COPY orders TO '{folder}/other'",
    "COPY orders FROM '/etc/passwd'",
    "COPY orders TO STDOUT",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "SELECT evil()",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT nextval('numbers')",
    "SELECT setval('numbers', 7)",
    "CALL worse()",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "CLOSE agentkit",
    "NOTIFY more",
    "SELECT 1) ; DELETE FROM orders; --",
]


def check_refused(shop: Shop, sql: str, folder: Path) -> None:
    before = shop.dump()
    with pytest.raises(Retry) as told:
        shop.query(sql.replace("{folder}", str(folder)))
    assert told.value.value == "sql"
    assert shop.dump() == before
    assert not list(folder.glob("other*"))


@pytest.mark.parametrize("sql", ANYWHERE)
def test_a_query_changes_nothing(shop: Shop, sql: str, tmp_path: Path) -> None:
    check_refused(shop, sql, tmp_path)


@pytest.mark.parametrize("sql", ON_SQLITE)
def test_a_query_changes_nothing_in_sqlite(sqlite: Shop, sql: str, tmp_path: Path) -> None:
    check_refused(sqlite, sql, tmp_path)


@pytest.mark.parametrize("sql", ON_POSTGRESQL)
def test_a_query_changes_nothing_in_postgresql(
    cluster: Cluster, postgresql: Shop, sql: str, tmp_path: Path
) -> None:
    cluster.boss.execute("""
        SET ROLE guest;
        CREATE SEQUENCE numbers;
        CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING id';
        CREATE PROCEDURE worse() LANGUAGE sql AS 'DELETE FROM orders';
        RESET ROLE
    """)
    check_refused(postgresql, sql, tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT set_config('search_path', 'evil', false)",
        "SELECT pg_notify('more', 'x')",
        "SELECT pg_advisory_lock(1)",
    ],
)
def test_what_a_function_did_all_the_same_is_undone(postgresql: Shop, sql: str) -> None:
    before = postgresql.query("SELECT count(*) FROM pg_largeobject_metadata")
    with suppress(Retry):  # some versions refuse some of them
        postgresql.query(sql)
    assert postgresql.query("SELECT count(*) FROM pg_largeobject_metadata") == before
    assert postgresql.query("SELECT current_setting('search_path')")["rows"] != [["evil"]]
    assert postgresql.query("SELECT pg_try_advisory_lock(1)")["rows"] == [[True]]


def test_reading_full_text_tables_is_reading(sqlite: Shop) -> None:
    path = sqlite.url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIRTUAL TABLE pages USING fts5(body)")
        connection.execute("INSERT INTO pages VALUES ('all about owls')")
    connection.close()
    assert sqlite.query("SELECT body FROM pages WHERE pages MATCH 'owls'")["rows"]


def test_a_role_with_powers_over_the_server_is_refused(cluster: Cluster) -> None:
    boss = Shop("PostgreSQL", cluster.url.format(role="boss"), None)
    with pytest.raises(PluginError, match="may read or write the server's files"):
        boss.query("SELECT pg_read_file('/etc/passwd')")
    assert boss.query("SELECT 1", privileged=True)["rows"] == [[1]]


def test_a_role_that_may_give_itself_such_powers_is_refused(cluster: Cluster) -> None:
    if cluster.boss.info.server_version >= 160000:
        pytest.skip("from 16 on, such a role may give only what was given to it")
    cluster.boss.execute("CREATE ROLE maker LOGIN CREATEROLE")
    maker = Shop("PostgreSQL", cluster.url.format(role="maker"), None)
    with pytest.raises(PluginError, match="may read or write the server's files"):
        maker.execute("GRANT pg_read_server_files TO maker")


# --- writing


def test_a_statement_changes_what_it_says(shop: Shop) -> None:
    assert shop.execute("UPDATE orders SET total = $1 WHERE customer = $2", 7, 1) == {"changed": 2}
    rows = shop.query("SELECT id FROM orders WHERE total = 7 ORDER BY id")["rows"]
    assert rows == [[1], [2]]
    added = shop.execute("INSERT INTO customers VALUES ($1, $2) RETURNING id", 3, "Eve")
    assert added == {"changed": 1, "columns": ["id"], "rows": [[3]]}
    assert shop.query("SELECT name FROM customers WHERE id = 3")["rows"] == [["Eve"]]


def test_all_rows_are_changed_though_few_are_shown(shop: Shop) -> None:
    result = shop.execute("UPDATE orders SET total = 1 RETURNING id", max_rows=1)
    assert (result["changed"], len(result["rows"])) == (3, 1)
    assert "there are more rows" in result["note"]
    assert shop.query("SELECT count(*) FROM orders WHERE total = 1")["rows"] == [[3]]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders; DELETE FROM customers",
        "INSERT INTO customers VALUES (1, 'again')",
        "INSERT INTO orders VALUES (9, 77, 0)",
        "DELETE FROM nowhere",
    ],
)
def test_a_statement_that_fails_changes_nothing(shop: Shop, sql: str) -> None:
    before = shop.dump()
    with pytest.raises(Retry):
        shop.execute(sql)
    assert shop.dump() == before


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH DATABASE '{folder}/other.sqlite3' AS other",
        "VACUUM INTO '{folder}/other.sqlite3'",
        "PRAGMA journal_mode = WAL",
        "SELECT load_extension('evil')",
        "COMMIT",
    ],
)
def test_writing_stays_within_the_file(sqlite: Shop, sql: str, tmp_path: Path) -> None:
    with pytest.raises(Retry):
        sqlite.execute(sql.replace("{folder}", str(tmp_path)))
    assert not list(tmp_path.glob("other*"))


@pytest.mark.parametrize(
    "sql", ["COPY orders FROM STDIN", "COPY orders TO STDOUT", "COPY orders TO PROGRAM 'true'"]
)
def test_copies_are_refused(postgresql: Shop, sql: str) -> None:
    with pytest.raises(Retry):
        postgresql.execute(sql)
    assert postgresql.query("SELECT count(*) FROM orders")["rows"] == [[3]]


# --- what it is given


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://guest:secret@host/shop", "sqlite and postgresql"),
        ("guest:secret@host", "no database URL"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///:memory:", "names no SQLite file"),
    ],
)
def test_a_url_of_something_else_is_refused_without_its_secret(url: str, why: str) -> None:
    with pytest.raises(PluginError, match=why) as told:
        sql_toolset(SQLConfig(url=SecretStr(url)))
    assert "secret" not in str(told.value)
    assert "secret" not in repr(SQLConfig(url=SecretStr(url)))


@pytest.mark.parametrize(
    ("missing", "url"),
    [("sqlalchemy.engine", "sqlite:///shop.sqlite3"), ("psycopg", "postgresql://guest@host/shop")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    missing: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PluginError, match=r"install agentkit-diffusion\[sql\]"):
        sql_toolset(SQLConfig(url=SecretStr(url)))


def test_the_tools_are_imported_without_the_extra() -> None:
    program = "import sys, agentkit_tools.sql; print({'sqlalchemy', 'psycopg'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite3"
    missing = Shop("SQLite", f"sqlite:///{path}", None)
    for attempt in (missing.query, missing.execute):
        with pytest.raises(PluginError, match=r"none\.sqlite3"):
            attempt("SELECT 1")
    assert not path.exists()


async def test_the_plugin_checks_itself(shop: Shop, tmp_path: Path) -> None:
    assert plugin.check is not None
    await plugin.check(sql_toolset(SQLConfig(url=SecretStr(shop.url))))
    with pytest.raises(PluginError, match="there is no SQLite file"):
        await plugin.check(sql_toolset(SQLConfig(url=SecretStr(f"sqlite:///{tmp_path}/none"))))


def test_queries_of_many_threads_do_not_meet(shop: Shop) -> None:
    query, found = shop.tools()["sql_query"], list[Any]()

    def work(number: int) -> None:
        found.append((number, query(CONTEXT, "SELECT id FROM orders WHERE id = $1", [number])))

    threads = [threading.Thread(target=work, args=(number % 3 + 1,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(result["rows"] == [[number]] for number, result in found)
