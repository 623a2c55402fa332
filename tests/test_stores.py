"""Stores: what is kept, what two runs on one conversation do, and files that are not ours."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentkit import Agent
from agentkit.errors import ConversationChanged, StoreError
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    History,
    ResultMessage,
    UserMessage,
)
from agentkit.stores.memory import MemoryStore
from agentkit.stores.sqlite import SQLiteStore
from agentkit.stores.store import Store
from agentkit.testing import ScriptedBackend, answer

HISTORY: History = (
    UserMessage("hé\u2028llo \U0001f600 \x00"),
    CallMessage((Call("call_1", "add", {"a": 1, "b": [1.5, None, {"ü": "\\u0041"}]}),)),
    ResultMessage("call_1", "add", "no", is_error=True),
    FeedbackMessage("answer in French"),
    AnswerMessage("non"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        async with SQLiteStore(path) as opened:
            yield opened


# --- every store


async def test_what_was_appended_is_loaded_equal(store: Store) -> None:
    await store.append("a", HISTORY[:2], at=0)
    await store.append("a", HISTORY[2:], at=2)
    assert await store.load("a") == HISTORY


async def test_a_conversation_never_begun_is_empty(store: Store) -> None:
    assert await store.load("nobody") == ()
    await store.delete("nobody")
    await store.append("nobody", (), at=0)
    assert await store.keys() == ()


async def test_keys_stand_in_the_order_they_were_begun(store: Store) -> None:
    for key in ("b", "ä 'quoted'; --", "a"):
        await store.append(key, HISTORY[:1], at=0)
    await store.append("b", HISTORY[:1], at=1)
    assert await store.keys() == ("b", "ä 'quoted'; --", "a")


async def test_deleting_forgets_one_conversation_and_it_may_begin_anew(store: Store) -> None:
    await store.append("a", HISTORY, at=0)
    await store.append("b", HISTORY[:1], at=0)
    await store.delete("a")
    assert await store.load("a") == ()
    assert await store.load("b") == HISTORY[:1]
    await store.append("a", HISTORY[:1], at=0)
    assert await store.load("a") == HISTORY[:1]


@pytest.mark.parametrize(("at", "became"), [(1, "has added"), (3, "was deleted")])
async def test_a_changed_conversation_is_said_and_left_as_it_is(
    store: Store, at: int, became: str
) -> None:
    await store.append("a", HISTORY[:2], at=0)
    with pytest.raises(ConversationChanged, match=rf"'a' holds 2 messages.* {at}: .*{became}"):
        await store.append("a", HISTORY[2:], at=at)
    assert await store.load("a") == HISTORY[:2]


async def test_appending_nothing_still_says_that_the_conversation_changed(store: Store) -> None:
    await store.append("a", HISTORY[:2], at=0)
    with pytest.raises(ConversationChanged):
        await store.append("a", (), at=1)


async def test_of_many_who_append_at_one_place_one_does(store: Store) -> None:
    lost: list[int] = []

    async def append(number: int) -> None:
        try:
            await store.append("a", (UserMessage(str(number)),), at=0)
        except ConversationChanged:
            lost.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(append, number)
    (kept,) = await store.load("a")
    assert isinstance(kept, UserMessage)
    assert sorted([*lost, int(kept.text)]) == list(range(10))


@pytest.mark.parametrize("key", ["", 7, "\ud800"])
async def test_what_is_no_key_is_refused(store: Store, key: Any) -> None:
    for use in (store.load(key), store.delete(key), store.append(key, HISTORY, at=0)):
        with pytest.raises(StoreError, match="the conversation's key"):
            await use


async def test_event_loops_in_several_threads_share_a_store(store: Store) -> None:
    async def add_ten() -> None:
        for _ in range(10):
            while True:
                try:
                    await store.append("a", HISTORY[:1], at=len(await store.load("a")))
                    break
                except ConversationChanged:
                    continue

    threads = [threading.Thread(target=anyio.run, args=(add_ten,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert await store.load("a") == HISTORY[:1] * 30


# --- a file


async def test_what_a_cancelled_run_hands_over_is_kept(path: Path) -> None:
    async with SQLiteStore(path) as store:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.append("a", HISTORY, at=0)
        assert await store.load("a") == HISTORY


async def test_an_append_that_a_timeout_of_asyncio_leaves_is_done_all_the_same(path: Path) -> None:
    async with SQLiteStore(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the append waits for this in its thread
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):  # which anyio's shields do not keep out
                    await store.append("a", HISTORY, at=0)
            other.execute("COMMIT")
        assert await store.load("a") == HISTORY


async def test_a_run_that_a_timeout_leaves_while_it_stores_ends_by_the_timeout(path: Path) -> None:
    async with SQLiteStore(path) as store:
        agent = Agent(backend=ScriptedBackend([answer("one"), answer("two")]), store=store)
        await agent.run("first", conversation="a")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await agent.run("second", conversation="a")
            other.execute("COMMIT")
        assert (await store.load("a"))[2:] == (UserMessage("second"),)


async def test_hung_tools_in_every_worker_thread_do_not_keep_a_store_from_working(
    path: Path,
) -> None:
    release = threading.Event()

    async def hang() -> None:
        await anyio.to_thread.run_sync(release.wait)

    hung = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
    async with SQLiteStore(path) as store, anyio.create_task_group() as group:
        for _ in range(hung):
            group.start_soon(hang)
        await anyio.wait_all_tasks_blocked()
        try:
            with anyio.fail_after(20):
                await store.append("a", HISTORY, at=0)
        finally:
            release.set()


async def test_an_append_writes_only_what_is_new(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.append("a", (UserMessage("x" * 100_000),) * 20, at=0)
        log = path.with_name(f"{path.name}-wal")
        before = log.stat().st_size
        await store.append("a", HISTORY[:1], at=20)
        assert 0 < log.stat().st_size - before < 50_000


async def test_a_closed_file_is_one_file_and_opens_again(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.append("a", HISTORY, at=0)
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    await store.aclose()
    with pytest.raises(StoreError, match=r"conversations\.db' is closed"):
        await store.load("a")
    async with SQLiteStore(path) as again:
        assert await again.load("a") == HISTORY


async def test_a_store_needs_no_opening_and_leaves_the_disk_alone_until_then(path: Path) -> None:
    store = SQLiteStore(str(path))
    assert [*path.parent.iterdir()] == []
    await store.append("a", HISTORY, at=0)
    await store.aclose()
    assert [*path.parent.iterdir()] == [path]


def run_python(source: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own, which ends when its program does."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


APPENDING = """
import sys, anyio
from agentkit.errors import ConversationChanged
from agentkit.message import UserMessage
from agentkit.stores.sqlite import SQLiteStore

async def main(path, name, times, batch):
    async with SQLiteStore(path) as store:
        for number in range(times):
            while True:
                at = len(await store.load("a"))
                try:
                    messages = [UserMessage(f"{name} {number} {i}") for i in range(batch)]
                    await store.append("a", messages, at=at)
                    break
                except ConversationChanged:
                    pass
            print(number, flush=True)

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


async def test_processes_make_one_new_file_together_and_lose_nothing(path: Path) -> None:
    writers = [run_python(APPENDING, path, name, 6, 2) for name in "xyz"]
    errors = [(await anyio.to_thread.run_sync(writer.communicate))[1] for writer in writers]
    assert errors == ["", "", ""]
    async with SQLiteStore(path) as store:
        kept = [item.text for item in await store.load("a") if isinstance(item, UserMessage)]
    assert sorted(kept) == sorted(f"{n} {i} {j}" for n in "xyz" for i in range(6) for j in (0, 1))
    pairs = [
        (one.rsplit(" ", 1)[0], two.rsplit(" ", 1)[0])
        for one, two in zip(kept[::2], kept[1::2], strict=True)
    ]
    assert all(one == two for one, two in pairs)


async def test_a_process_killed_while_it_appends_leaves_whole_batches(path: Path) -> None:
    batch = 50
    writer = run_python(APPENDING, path, "x", 100_000, batch)
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(20)]
    writer.kill()
    said += writer.communicate()[0].splitlines()
    async with SQLiteStore(path) as store:
        kept = await store.load("a")
        assert len(kept) % batch == 0
        # the last batch may have been kept before its process could say so
        assert len(kept) // batch - len(said) in (0, 1)
        await store.append("a", HISTORY, at=len(kept))


# --- files that won't do


def write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# The format as version 1 wrote it: files like this are out there, so this text stays as it is.
VERSION_1 = (
    "CREATE TABLE conversation (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)",
    "CREATE TABLE message (conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE"
    " CASCADE, position INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (conversation, position))"
    " WITHOUT ROWID",
    "PRAGMA application_id = 1634167668",
    "PRAGMA user_version = 1",
    "INSERT INTO conversation VALUES (7, 'a')",
    """INSERT INTO message VALUES (7, 0, '{"text":"hi","role":"user"}')""",
    """INSERT INTO message VALUES (7, 1, '{"text":"ho","role":"answer"}')""",
)


async def test_a_file_of_version_1_is_read_and_added_to(path: Path) -> None:
    write(path, *VERSION_1)
    async with SQLiteStore(path) as store:
        assert await store.load("a") == (UserMessage("hi"), AnswerMessage("ho"))
        await store.append("a", HISTORY, at=2)
        assert len(await store.load("a")) == 2 + len(HISTORY)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"text":"ho","role":"oracle"}', "'oracle'.*newer version of agentkit"),
        ('{"text":"ho","role":"answer","mood":"good"}', "at 'mood'"),
        ('{"text":"ho","ro', "Invalid JSON"),
        ('{"role":"answer"}', "at 'text'"),
        ("", "Invalid JSON"),
    ],
)
async def test_a_row_that_is_no_message_is_named(path: Path, body: str, why: str) -> None:
    write(path, *VERSION_1, f"UPDATE message SET body = '{body}' WHERE position = 1")
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreError, match=rf"message 1 of conversation 'a' in '.*\.db'.*{why}"):
            await store.load("a")


async def test_a_gap_is_named(path: Path) -> None:
    write(path, *VERSION_1, "UPDATE message SET position = 2 WHERE position = 1")
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreError, match="message 1 of conversation 'a' is missing"):
            await store.load("a")


def of_something_else(path: Path) -> None:
    write(path, "CREATE TABLE recipe (title)")


def newer(path: Path) -> None:
    write(path, *VERSION_1, "PRAGMA user_version = 2")


def no_database(path: Path) -> None:
    path.write_text("hello, I am a text file, and longer than a header of an SQLite file is\n" * 9)


def truncated(path: Path) -> None:
    write(path, *VERSION_1)
    path.write_bytes(path.read_bytes()[:5000])


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (of_something_else, "of something else; give the store a file of its own"),
        (newer, "newer version of agentkit .its format is 2, this one knows 1.; upgrade"),
        (no_database, "is no store of conversations"),
        (Path.mkdir, "failed"),
        (truncated, "malformed|no store"),
    ],
)
async def test_a_file_that_will_not_do_is_said_at_once(
    path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(path)
    before = content(path)
    with pytest.raises(StoreError, match=rf"conversations\.db.*({why})"):
        async with SQLiteStore(path) as store:
            await store.load("a")
    assert content(path) == before


async def test_a_folder_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        await SQLiteStore(path / "deeper" / "c.db").keys()


async def test_a_file_that_others_keep_locked_is_given_up_after_a_while(path: Path) -> None:
    async with SQLiteStore(path, wait=0.01) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await store.load("a") == ()
            with pytest.raises(StoreError, match=r"conversations\.db' failed: .*locked"):
                await store.append("a", HISTORY, at=0)
        await store.append("a", HISTORY, at=0)


async def test_a_message_that_is_no_json_is_refused_and_nothing_is_kept(path: Path) -> None:
    message = CallMessage((Call("call_1", "add", {"a": object()}),))
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreError, match="message 1 of conversation 'a' can't be kept"):
            await store.append("a", (HISTORY[0], message), at=0)
        with pytest.raises(StoreError, match="surrogates not allowed"):
            await store.append("a", (UserMessage("\ud800"),), at=0)
        assert await store.load("a") == ()


def test_sqlite3_is_loaded_with_the_first_use() -> None:
    source = """
import sys
from agentkit.stores.sqlite import SQLiteStore
SQLiteStore("conversations.db")
print("sqlite3" in sys.modules)
"""
    assert run_python(source).communicate() == ("False\n", "")
