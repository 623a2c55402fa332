"""Plugins: found, opened and closed; a broken one harms no other.

How they are configured is specified in test_plugins_configuration.py.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import pytest
from plugged import FIRST, LOG, PAIR, SQL, Database, add, alone, living, sub
from pydantic import BaseModel, Field

from agentkit import (
    Agent,
    DefinitionError,
    Plugin,
    PluginError,
    Toolset,
    discover,
    load_toolsets,
    open_tools,
)
from agentkit.defining.plugin import GROUP
from agentkit.testing import ScriptedBackend, answer, call

LISTED = [add, sub]
TEXT = "no tool"
NUMBERS = [1, 2]
TWICE = [add, add]


def factory() -> Toolset:
    return PAIR


def needy(path: str) -> Toolset:
    raise AssertionError(path)


def broken() -> Toolset:
    raise OSError("no database")


def leaving() -> Toolset:
    raise SystemExit(1)


def misconfigured() -> Toolset:
    raise PluginError("AGENTKIT_TODO is no file")


class Aliased(BaseModel):
    path: str = Field(alias="PATH")


SECOND = living("second")
SHY = living("shy", explicit=True)


@asynccontextmanager
async def closed() -> AsyncGenerator[Toolset]:
    raise OSError("the door is locked")
    yield PAIR


CLOSED = Plugin("closed", open=closed)
Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    LOG.clear()
    alone(tmp_path, monkeypatch)
    yield
    LOG.clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that these are the plugins installed: name -> attribute of this module."""

    def install(**plugins: str) -> None:
        entries = [
            EntryPoint(name, value if ":" in value else f"{__name__}:{value}", GROUP)
            for name, values in plugins.items()
            for value in values.split()
        ]

        def entry_points(*, group: str) -> list[EntryPoint]:
            return [entry for entry in entries if entry.group == group]

        monkeypatch.setattr("importlib.metadata.entry_points", entry_points)

    return install


def names(loaded: Toolset) -> list[str]:
    return [one.name for one in loaded]


# what an entry point may name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("add", ["add"]),
        ("PAIR", ["add", "sub"]),
        ("LISTED", ["add", "sub"]),
        ("factory", ["add", "sub"]),
    ],
)
def test_what_an_entry_point_may_resolve_to(
    install: Install, value: str, expected: list[str]
) -> None:
    install(math=value)
    [loaded] = load_toolsets(["math"])
    assert (loaded.name, names(loaded)) == ("math", expected)


def test_an_entry_point_may_name_a_plugin(install: Install) -> None:
    install(sql="SQL")
    [found] = discover()
    assert found.plugin is SQL
    [loaded] = load_toolsets(["sql"], config={"sql": {"url": "memory"}})
    assert (loaded.name, names(loaded)) == ("sql", ["say_memory"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("TEXT", "loaded: TypeError: it resolves to a Plugin, or to a Tool"),
        ("NUMBERS", "loaded: TypeError: it resolves to a Plugin, or to a Tool"),
        ("TWICE", "loaded: DefinitionError: two tools are named 'add'"),
        ("needy", "opened: TypeError: needy.. missing 1 required positional argument: 'path'"),
        ("broken", "opened: OSError: no database"),
        ("leaving", "opened: SystemExit: 1"),
        ("nothing", "loaded: AttributeError"),
        ("SQL", "loaded: DefinitionError: the entry point 'math' names a plugin 'sql'"),
        ("no_such_module:x", "loaded: ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_is_named_with_the_reason(
    install: Install, value: str, reason: str
) -> None:
    install(math=value)
    with pytest.raises(PluginError, match=rf"tool plugin 'math' .*can't be {reason}"):
        load_toolsets(["math"])


def test_nothing_is_opened_to_find_plugins(install: Install) -> None:
    install(zero="broken", first="FIRST", math="no_such_module:x")
    assert [(found.name, found.error is None) for found in discover()] == [
        ("first", True),
        ("math", False),
        ("zero", True),
    ]
    assert LOG == []


def test_a_broken_plugin_leaves_the_others_alone(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(zero="broken", math="PAIR", lost="no_such_module:x", one="add")
    assert [loaded.name for loaded in load_toolsets()] == ["math", "one"]
    assert "tool plugin 'zero'" in caplog.text
    assert "tool plugin 'lost'" in caplog.text


def test_toolsets_come_in_the_order_asked_for_and_only_those_are_loaded(install: Install) -> None:
    install(zero="broken", math="PAIR", one="add")
    assert [loaded.name for loaded in load_toolsets(["one", "math"])] == ["one", "math"]
    assert load_toolsets([]) == []


def test_an_unknown_plugin_is_told_with_those_there_are(install: Install) -> None:
    install(math="PAIR", one="add")
    with pytest.raises(
        PluginError, match="no tool plugin is named 'two'; installed: 'math', 'one'"
    ):
        load_toolsets(["two"])
    install()
    with pytest.raises(PluginError, match="installed: none"):
        load_toolsets(["two"])


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    install(math="PAIR add")
    with pytest.raises(PluginError, match=r"several tool plugins are named 'math'.*uninstall"):
        load_toolsets(["math"])


def test_a_plugin_that_refuses_to_work_is_told_as_it_says(install: Install) -> None:
    install(todo="misconfigured")
    with pytest.raises(PluginError, match=r"^tool plugin 'todo': AGENTKIT_TODO is no file$"):
        load_toolsets(["todo"])


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"name": "no name"}, "a name is letters, digits, '_' and '-'"),
        ({"config": dict}, "is no class of pydantic's BaseModel"),
        ({"config": Aliased}, "setting 'path' has an alias; settings go by the names"),
        ({"open": PAIR}, "can't be called; give a function"),
        ({"permissions": "reads files"}, r"write \('reads files',\)"),
    ],
)
def test_a_plugin_that_is_put_together_wrongly_is_refused(parts: dict[str, Any], why: str) -> None:
    make: Any = Plugin
    with pytest.raises(DefinitionError, match=why):
        make(**{"name": "math", "open": factory, **parts})


# opening and closing


async def test_all_are_opened_in_order_and_closed_in_reverse(install: Install) -> None:
    install(first="FIRST", second="SECOND", math="PAIR")
    async with open_tools(["second", "math", "first"]) as toolsets:
        assert [toolset.name for toolset in toolsets] == ["second", "math", "first"]
        assert LOG == ["open second", "open first"]
    assert LOG[2:] == ["close first", "close second"]


async def test_all_are_closed_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_tools([FIRST, SECOND]):
            raise ZeroDivisionError
    assert LOG == ["open first", "open second", "close second", "close first"]


async def test_all_are_closed_when_one_can_t_be_opened() -> None:
    with pytest.raises(PluginError, match=r"'closed' can't be opened: OSError: the door is locked"):
        async with open_tools([FIRST, CLOSED, SECOND]):
            raise AssertionError
    assert LOG == ["open first", "close first"]


async def test_all_are_closed_when_the_task_is_cancelled() -> None:
    with anyio.move_on_after(0) as scope:
        async with open_tools([FIRST, SECOND]):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert LOG == ["open first", "open second", "close second", "close first"]


async def test_all_are_closed_when_one_can_t_be_closed() -> None:
    @asynccontextmanager
    async def stuck() -> AsyncGenerator[Toolset]:
        yield PAIR
        raise OSError("the door is stuck")

    with pytest.raises(PluginError, match=r"'stuck' can't be kept open or closed: OSError: the do"):
        async with open_tools([FIRST, Plugin("stuck", open=stuck), SECOND]):
            pass
    assert LOG == ["open first", "open second", "close second", "close first"]


async def test_without_names_a_broken_one_is_told_and_the_rest_works(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(first="FIRST", closed="CLOSED", lost="no_such_module:x", math="PAIR")
    async with open_tools() as toolsets:
        assert [toolset.name for toolset in toolsets] == ["first", "math"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["'lost'" in warned[0], "'closed'" in warned[1], len(warned)] == [True, True, 2]


async def test_without_names_one_that_is_not_set_up_or_explicit_is_left_out(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(sql="SQL", shy="SHY", math="PAIR")
    async with open_tools() as toolsets:
        assert [toolset.name for toolset in toolsets] == ["math"]
    assert caplog.text == ""
    async with open_tools(["shy"]) as [shy]:
        assert shy.name == "shy"
    with pytest.raises(PluginError, match="url is not set"):
        async with open_tools(["sql"]):
            pass
    async with open_tools(config={"sql": {"url": "a"}}) as toolsets:
        assert [toolset.name for toolset in toolsets] == ["math", "sql"]


async def test_configuration_for_a_plugin_that_is_not_opened_is_refused(install: Install) -> None:
    install(sql="SQL", math="PAIR")
    with pytest.raises(PluginError, match=r"config is for 'sql', which is not opened; .*'math'"):
        async with open_tools(["math"], config={"sql": {"url": "a"}}):
            pass


async def test_a_plugin_may_have_tasks_of_its_own() -> None:
    """The errors of the block come out as they are, and not in the group of the plugin's tasks."""

    @asynccontextmanager
    async def busy() -> AsyncGenerator[Toolset]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield PAIR
            group.cancel_scope.cancel()

    plugin = Plugin("busy", open=busy)
    async with open_tools([plugin]) as [toolset]:
        assert names(toolset) == ["add", "sub"]
    with pytest.raises(ZeroDivisionError):
        async with open_tools([plugin]):
            raise ZeroDivisionError


async def test_a_plugin_that_fails_while_its_tools_are_in_use_is_told() -> None:
    async def fail() -> None:
        raise OSError("the line is dead")

    @asynccontextmanager
    async def busy() -> AsyncGenerator[Toolset]:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            yield PAIR

    with pytest.raises(PluginError, match="tool plugin 'busy' can't be kept open"):
        async with open_tools([FIRST, Plugin("busy", open=busy)]):
            await anyio.sleep_forever()
    assert LOG == ["open first", "close first"]


async def test_a_plugin_that_ends_early_does_not_end_the_block_in_silence() -> None:
    @asynccontextmanager
    async def brief() -> AsyncGenerator[Toolset]:
        with anyio.move_on_after(0):
            yield PAIR

    with pytest.raises(PluginError, match="'brief' ended while its tools were still in use"):
        async with open_tools([Plugin("brief", open=brief)]):
            await anyio.sleep_forever()


async def test_an_open_that_is_a_coroutine_is_told_the_mend() -> None:
    async def opening() -> Toolset:
        return PAIR

    wrong: Any = opening
    with pytest.raises(PluginError, match="its `open` is an `async def`; decorate it"):
        async with open_tools([Plugin("late", open=wrong)]):
            pass


async def test_a_context_manager_that_gives_no_toolset_is_left_again() -> None:
    @asynccontextmanager
    async def wrong() -> AsyncGenerator[Any]:
        try:
            yield 7
        finally:
            LOG.append("left")

    with pytest.raises(
        PluginError, match=r"'wrong' can't be opened: TypeError: .* this one gave 7"
    ):
        async with open_tools([Plugin("wrong", open=wrong)]):
            pass
    assert LOG == ["left"]


def test_what_has_to_be_closed_needs_a_block(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(first="FIRST", math="PAIR")
    with pytest.raises(PluginError, match=r"write `async with open_tools\(\['first'\]\)"):
        load_toolsets(["first"])
    assert [loaded.name for loaded in load_toolsets()] == ["math"]
    assert "'first' has to be closed again" in caplog.text
    assert LOG == []


async def test_an_agent_uses_what_is_open() -> None:
    backend = ScriptedBackend([call("say_first"), answer("Said.")])
    async with open_tools([FIRST]) as toolsets:
        result = await Agent(tools=toolsets, backend=backend).run("Say which")
    assert [outcome.content for outcome in result.results] == ["first"]


def test_a_plugin_is_typed_by_its_configuration() -> None:
    typed: Plugin[Database] = SQL
    untyped: Plugin[None] = FIRST
    assert (typed.config, untyped.config) == (Database, None)


def test_what_needs_no_configuration_loads_nothing_that_reads_any() -> None:
    code = (
        "import sys; from agentkit import load_toolsets; load_toolsets(['calculator'])\n"
        "print({'pydantic_settings', 'platformdirs', 'tomllib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
