"""The to-do list: a real file, several writers, nothing lost."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentkit import PluginError, Tool
from agentkit_tools.todo import (
    MAX_SHOWN,
    PATH_VARIABLE,
    TodoConfig,
    TodoList,
    default_path,
    plugin,
    toolset,
)


@pytest.fixture
def todo(tmp_path: Path) -> TodoList:
    return TodoList(tmp_path / "folder" / "todo.sqlite3")


@pytest.fixture
def tools(todo: TodoList) -> dict[str, Tool[..., str]]:
    return {tool.name: tool for tool in todo.tools()}


def test_items_are_added_shown_and_done(tools: dict[str, Tool[..., str]]) -> None:
    assert tools["todo_list"]() == "The to-do list is empty."
    assert tools["todo_add"](text="buy milk") == "Added 1: buy milk"
    assert tools["todo_add"](text="  call\n Bob ") == "Added 2: call Bob"
    assert tools["todo_list"]() == "1: buy milk; 2: call Bob"
    assert tools["todo_done"](id=1) == "Done 1: buy milk"
    assert tools["todo_list"]() == "2: call Bob"


def test_the_list_outlives_the_object(todo: TodoList) -> None:
    todo.add("buy milk")
    assert [item.text for item in TodoList(todo.path).open_items()] == ["buy milk"]


def test_a_number_is_never_given_twice(todo: TodoList) -> None:
    assert todo.add("one").id == 1
    todo.finish(1)
    assert todo.add("two").id == 2


def test_an_unknown_or_finished_item_is_refused_with_those_that_are_open(todo: TodoList) -> None:
    with pytest.raises(ValueError, match="no open item 7; the to-do list is empty"):
        todo.finish(7)
    for text in ("one", "two", "three"):
        todo.add(text)
    todo.finish(2)
    with pytest.raises(ValueError, match="no open item 2; open items: 1, 3"):
        todo.finish(2)


def test_an_item_needs_a_text(todo: TodoList) -> None:
    with pytest.raises(ValueError, match="needs a text"):
        todo.add(" \n ")


def test_text_is_kept_as_it_is(todo: TodoList) -> None:
    text = "Robert'); DROP TABLE items;-- “ünï” 🥛"
    todo.add(text)
    assert todo.open_items()[0].text == text


def test_a_long_list_is_cut_for_the_model(todo: TodoList, tools: dict[str, Tool[..., str]]) -> None:
    for number in range(MAX_SHOWN + 5):
        todo.add(f"item {number}")
    shown = tools["todo_list"]()
    assert shown.count(":") == MAX_SHOWN
    assert shown.endswith("; and 5 more")


def test_threads_may_add_at_once(todo: TodoList) -> None:
    def add(writer: int) -> None:
        for number in range(5):
            todo.add(f"{writer} {number}")

    writers = [threading.Thread(target=add, args=(writer,)) for writer in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    items = todo.open_items()
    assert [item.id for item in items] == list(range(1, 41))
    assert len({item.text for item in items}) == 40


def test_processes_may_add_at_once(todo: TodoList) -> None:
    code = (
        "import sys; from agentkit_tools.todo import TodoList\n"
        "for number in range(10): TodoList(sys.argv[1]).add(f'{sys.argv[2]} {number}')"
    )
    command = [sys.executable, "-c", code, str(todo.path)]
    processes = [subprocess.Popen([*command, str(writer)]) for writer in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert len({item.text for item in todo.open_items()}) == 30


def test_a_failed_operation_leaves_the_list_as_it_was(todo: TodoList) -> None:
    todo.add("one")

    def lose_the_list() -> None:
        with todo._transaction() as connection:
            connection.execute("DELETE FROM items")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        lose_the_list()
    assert [item.text for item in todo.open_items()] == ["one"]


def test_the_file_is_in_write_ahead_mode(todo: TodoList) -> None:
    todo.add("one")
    with sqlite3.connect(todo.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("kind", ["text", "folder"])
def test_a_file_that_is_no_list_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "notes.txt"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("milk, and rather a lot of it, and eggs, and flour" * 10)
    with pytest.raises(PluginError, match=r"notes\.txt"):
        TodoList(path).add("one")


def test_the_path_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "mine.sqlite3"))
    assert default_path() == tmp_path / "mine.sqlite3"
    add, show, _ = toolset().tools
    assert add(text="one") == "Added 1: one"
    assert show() == "1: one"
    monkeypatch.delenv(PATH_VARIABLE)
    assert default_path().name == "todo.sqlite3"
    assert "agentkit" in default_path().parts


def test_the_schema_bounds_what_a_model_may_fill(tools: dict[str, Tool[..., str]]) -> None:
    text = tools["todo_add"].parameters["properties"]["text"]
    number = tools["todo_done"].parameters["properties"]["id"]
    assert (text["minLength"], text["maxLength"]) == (1, 200)
    assert number["minimum"] == 1
    assert tools["todo_list"].parameters["properties"] == {}


async def test_the_plugin_has_a_path_of_its_own_and_checks_itself(tmp_path: Path) -> None:
    assert plugin.check is not None
    mine = toolset(TodoConfig(path=tmp_path / "mine.sqlite3"))
    await plugin.check(mine)
    assert mine.tools[0](text="one") == "Added 1: one"
    assert [item.text for item in TodoList(tmp_path / "mine.sqlite3").open_items()] == ["one"]
    with pytest.raises(PluginError):
        await plugin.check(toolset(TodoConfig(path=tmp_path)))
