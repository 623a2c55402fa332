"""The notes: a real file, several writers, nothing lost, nothing of a search's words understood."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, PluginError, Retry, Tool
from agentkit.testing import ScriptedBackend, answer, call
from agentkit_tools.notes import Notes, NotesConfig, default_path, notes_toolset, plugin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "notes.sqlite3"


@pytest.fixture(params=[True, False], ids=["fts5", "plain"])
def notes(request: pytest.FixtureRequest, path: Path) -> Notes:
    return Notes(path, full_text=request.param)


def tools_at(path: Path, **options: Any) -> dict[str, Tool[..., str]]:
    toolset = notes_toolset(NotesConfig(path=path, **options))
    return {made.name: made for made in toolset.tools}


def texts(notes: Notes, words: str) -> list[str]:
    return [note.text for note in notes.search(words, 10)]


async def test_notes_are_kept_found_shown_and_deleted(path: Path) -> None:
    turns = [
        call("note_add", text="the cat eats at 7"),
        call("note_add", text="  the dog eats at 8\n"),
        call("note_search", words="cat"),
        call("note_list"),
        call("note_delete", id=1),
        call("note_list"),
    ]
    toolset = notes_toolset(NotesConfig(path=path, approval=False))
    backend = ScriptedBackend([*turns, answer("done")])
    result = await Agent(tools=[toolset], backend=backend).run("go")
    added, _, found, listed, deleted, left = (one.content for one in result.results)
    day = added.split("(")[1][:10]
    assert added == f"Kept note 1 ({day}): the cat eats at 7"
    assert found == f"1 ({day}): the cat eats at 7"
    assert listed == f"2 ({day}): the dog eats at 8\n{found}"
    assert deleted == f"Deleted note {found}"
    assert left == f"2 ({day}): the dog eats at 8"


async def test_a_deletion_waits_for_a_human_by_default(path: Path) -> None:
    Notes(path).add("keep me")
    backend = ScriptedBackend([call("note_delete", id=1)])
    toolset = notes_toolset(NotesConfig(path=path))
    result = await Agent(tools=[toolset], backend=backend).run("go")
    assert result.status == "paused"
    assert [note.text for note in Notes(path).latest(10)] == ["keep me"]


def test_all_words_are_sought_or_their_beginnings(notes: Notes) -> None:
    for text in ("Zürich: meeting with Ada", "meeting notes", "Ada's birthday"):
        notes.add(text)
    assert texts(notes, "meeting ada") == ["Zürich: meeting with Ada"]
    assert sorted(texts(notes, "MEET")) == ["Zürich: meeting with Ada", "meeting notes"]
    assert texts(notes, "zür") == ["Zürich: meeting with Ada"]
    assert texts(notes, "nothing") == []


@pytest.mark.parametrize(
    "words",
    [
        '"',
        "'; DROP TABLE notes; --",
        "a OR b",
        "text:milk",
        "NEAR(a b)",
        "*",
        "%",
        "_",
        "^milk",
        "-milk",
        "NOT",
        "\x00",
        "\ud800",
        "(" * 100,
    ],
)
def test_words_are_words_and_never_a_query(notes: Notes, words: str) -> None:
    notes.add("milk, eggs")
    assert texts(notes, words) in ([], ["milk, eggs"])
    assert [note.text for note in notes.latest(10)] == ["milk, eggs"]


def test_a_deleted_note_is_not_found_any_more(notes: Notes) -> None:
    notes.add("milk")
    assert notes.delete(1).text == "milk"
    assert texts(notes, "milk") == []
    assert notes.add("eggs").id == 2
    with pytest.raises(ValueError, match="no note 1"):
        notes.delete(1)


def test_text_is_kept_as_it_is(notes: Notes) -> None:
    text = "Robert'); DROP TABLE notes;-- “ünï”\n  second line 🥛"
    notes.add(text)
    assert notes.latest(1)[0].text == text


def test_notes_that_were_written_without_an_index_are_found_with_one(path: Path) -> None:
    Notes(path, full_text=False).add("milk")
    assert texts(Notes(path), "milk") == ["milk"]
    Notes(path).add("eggs")
    assert texts(Notes(path, full_text=False), "eggs") == ["eggs"]


def test_a_long_list_is_told_in_parts(path: Path) -> None:
    tools = tools_at(path, max_shown=3)
    for number in range(1, 6):
        tools["note_add"](text=f"note number {number}")
    shown = tools["note_list"]().splitlines()
    assert [line[0] for line in shown] == ["5", "4", "3", "T"]
    assert shown[-1] == "There are more; ask for those before 3."
    assert [line[0] for line in tools["note_list"](before=3).splitlines()] == ["2", "1"]
    assert tools["note_search"](words="note").endswith("There are more; use more words.")


def test_what_is_empty_is_told(path: Path) -> None:
    tools = tools_at(path)
    assert tools["note_list"]() == "There are no notes."
    assert tools["note_search"](words="milk") == "No note has all of 'milk'."
    with pytest.raises(Retry, match="needs a text"):
        tools["note_add"](text=" \n")
    with pytest.raises(Retry, match="no note 7"):
        tools["note_delete"](id=7)


def test_there_is_an_end_to_how_many_are_kept(path: Path) -> None:
    tools = tools_at(path, max_notes=2, max_length=20)
    tools["note_add"](text="one")
    tools["note_add"](text="two")
    with pytest.raises(Retry, match="2 notes already; delete some first"):
        tools["note_add"](text="three")
    assert tools["note_add"].parameters["properties"]["text"]["maxLength"] == 20


def test_threads_and_processes_may_add_at_once(path: Path) -> None:
    code = (
        "import sys; from agentkit_tools.notes import Notes\n"
        "for number in range(5): Notes(sys.argv[1]).add(f'{sys.argv[2]} {number}')"
    )
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen([*command, f"process{writer}"]) for writer in range(2)]

    def add(writer: int) -> None:
        for number in range(5):
            Notes(path).add(f"thread{writer} {number}")

    threads = [threading.Thread(target=add, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    kept = Notes(path).latest(100)
    assert sorted(note.id for note in kept) == list(range(1, 31))
    assert len({note.text for note in kept}) == 30
    assert len(Notes(path).search("process1", 100)) == 5


@pytest.mark.parametrize("kind", ["text", "folder", "other"])
def test_a_file_that_holds_no_notes_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "letter.txt"
    if kind == "folder":
        path.mkdir()
    elif kind == "other":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (something TEXT)")
        connection.close()
    else:
        path.write_text("milk, and rather a lot of it, and eggs, and flour" * 10)
    with pytest.raises(PluginError, match=r"letter\.txt"):
        Notes(path).add("one")


async def test_the_plugin_checks_itself(path: Path, tmp_path: Path) -> None:
    assert plugin.check is not None
    await plugin.check(notes_toolset(NotesConfig(path=path)))
    with pytest.raises(PluginError):
        await plugin.check(notes_toolset(NotesConfig(path=tmp_path)))
    assert default_path().name == "notes.sqlite3"
