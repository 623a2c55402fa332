"""Plugins: found, configured, opened and closed; a broken one harms no other."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator

from agentkit import (
    Agent,
    DefinitionError,
    Plugin,
    PluginError,
    Toolset,
    discover,
    load_toolsets,
    open_tools,
    tool,
)
from agentkit.defining.configuration import Configuration, Setting, configure
from agentkit.defining.plugin import GROUP
from agentkit.testing import ScriptedBackend, answer, call


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def sub(a: int, b: int) -> int:
    """Subtract."""
    return a - b


PAIR = Toolset("pair", [add, sub])
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


class Limits(BaseModel):
    rows: int = 100
    seconds: float = 5.0


class Database(BaseModel):
    url: str
    mode: Literal["read", "write"] = "read"
    tables: tuple[str, ...] = ()
    limits: Limits = Limits()
    token: SecretStr | None = Field(default=None, description="What the server asks for.")

    @field_validator("token", mode="before")
    @classmethod
    def short(cls, value: Any) -> Any:
        if isinstance(value, str) and len(value) > 20:
            raise ValueError(f"{value} is too long")
        return value


class Aliased(BaseModel):
    path: str = Field(alias="PATH")


LOG: list[str] = []
"""What the plugins below did."""


def living(name: str, **options: Any) -> Plugin[None]:
    """A plugin that is opened and closed, and writes down both."""

    @asynccontextmanager
    async def opening() -> AsyncGenerator[Toolset]:
        LOG.append(f"open {name}")
        try:
            yield Toolset(name, [named(name)])
        finally:
            LOG.append(f"close {name}")

    return Plugin(name, open=opening, **options)


def named(name: str) -> Any:
    def work() -> str:
        """Say which."""
        return name

    return tool(work, name=f"say_{name}")


FIRST, SECOND = living("first"), living("second")
SHY = living("shy", explicit=True)
SQL = Plugin("sql", config=Database, open=lambda config: Toolset("sql", [named(config.url)]))


@asynccontextmanager
async def closed() -> AsyncGenerator[Toolset]:
    raise OSError("the door is locked")
    yield PAIR


CLOSED = Plugin("closed", open=closed)
Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file and no variable of whoever runs the tests."""
    LOG.clear()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
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


# where a configuration comes from


def setting(configuration: Configuration, name: str) -> Setting:
    return next(one for one in configuration.settings if one.name == name)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def user_file(tmp_path: Path, text: str) -> Path:
    return write(tmp_path / "user" / "agentkit" / "agentkit.toml", text)


def test_each_source_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = user_file(tmp_path, '[tools.sql]\nurl = "user"\nmode = "write"\n')
    found = configure(SQL)
    assert isinstance(found.value, Database)
    assert (found.value.url, setting(found, "url").origin) == ("user", f"{user} [tools.sql]")
    assert setting(found, "tables").origin == "default"

    near = write(tmp_path / "agentkit.toml", '[tools.sql]\nurl = "near"\n')  # of a folder above
    found = configure(SQL)
    assert isinstance(found.value, Database)
    assert (found.value.url, setting(found, "url").origin) == ("near", f"{near} [tools.sql]")
    assert (found.value.mode, setting(found, "mode").origin) == ("write", f"{user} [tools.sql]")

    monkeypatch.setenv("AGENTKIT_SQL_URL", "variable")
    found = configure(SQL)
    assert isinstance(found.value, Database)
    assert (found.value.url, setting(found, "url").origin) == ("variable", "AGENTKIT_SQL_URL")

    found = configure(SQL, {"url": "code"})
    assert isinstance(found.value, Database)
    assert (found.value.url, setting(found, "url").origin) == ("code", "code")


def test_the_nearest_file_alone_is_read(tmp_path: Path) -> None:
    write(tmp_path / "agentkit.toml", '[tools.sql]\nurl = "above"\nmode = "write"\n')
    write(tmp_path / "here" / "agentkit.toml", '[tools.sql]\nurl = "here"\n')
    assert configure(SQL).value == Database(url="here")


def test_a_file_above_that_somebody_else_wrote_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user could else configure our tools through a folder that all may write to."""
    write(tmp_path / "agentkit.toml", '[tools.sql]\nurl = "theirs"\n')
    monkeypatch.setattr("os.getuid", lambda: 12345, raising=False)
    monkeypatch.setattr("agentkit.defining.sources._ROOT", 12346)
    assert configure(SQL).missing == ("url",)
    write(tmp_path / "here" / "agentkit.toml", '[tools.sql]\nurl = "here"\n')
    assert configure(SQL).value == Database(url="here")


def test_parts_of_a_setting_may_come_from_several_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_SQL_LIMITS", '{"rows": 7, "seconds": 1}')
    monkeypatch.setenv("AGENTKIT_SQL_LIMITS__SECONDS", "2")
    found = configure(SQL, {"url": "a"})
    assert found.value == Database(url="a", limits=Limits(rows=7, seconds=2))
    assert setting(found, "limits").origin == "AGENTKIT_SQL_LIMITS, AGENTKIT_SQL_LIMITS__SECONDS"
    found = configure(SQL, {"url": "a", "limits": {"rows": 9}})
    assert found.value == Database(url="a", limits=Limits(rows=9, seconds=2))


@pytest.mark.parametrize("text", ["a,b", "a, b", '["a", "b"]'])
def test_lists_in_variables_are_json_or_separated_by_commas(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_SQL_TABLES", text)
    assert configure(SQL, {"url": "a"}).value == Database(url="a", tables=("a", "b"))


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_SQL_URL", "")
    assert configure(SQL).missing == ("url",)


def test_a_configuration_that_the_code_gives_whole_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTKIT_SQL_MODE", "write")
    given = Database(url="a")
    found = configure(SQL, given)
    assert found.value is given
    assert [(one.name, one.origin) for one in found.settings][:2] == [
        ("url", "code"),
        ("mode", "default"),
    ]
    with pytest.raises(PluginError, match="the code gives a Limits; give a Database, or a mapping"):
        configure(SQL, Limits()).checked()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "url is not set; set AGENTKIT_SQL_URL, or `url` under [tools.sql] in agentkit.toml"),
        ({"url": "a", "mode": "all"}, "mode (from code): Input should be 'read' or 'write'"),
        (
            {"url": "a", "limits": {"rows": "many"}},
            "limits.rows (from code): Input should be a valid integer",
        ),
        ({"url": "a", "tabels": []}, "tabels (from code): there is no such setting; did you mean"),
        ({"url": "a", "x": 1}, "there are 'url', 'mode', 'tables', 'limits', 'token'"),
    ],
)
def test_what_is_wrong_is_told_with_the_setting_its_origin_and_the_mend(
    given: dict[str, Any], told: str
) -> None:
    with pytest.raises(PluginError) as caught:
        configure(SQL, given).checked()
    assert str(caught.value).startswith("tool plugin 'sql': ")
    assert told in str(caught.value)


def test_what_is_wrong_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENTKIT_SQL_LIMITS", "few")
    monkeypatch.setenv("AGENTKIT_SQL_MODE", "all")
    [limits, mode] = sorted(configure(SQL, {"url": "a"}).problems)
    assert limits.startswith("limits (from AGENTKIT_SQL_LIMITS): Input should be a valid dict")
    assert mode.startswith("mode (from AGENTKIT_SQL_MODE): ")
    assert mode.endswith("; change it there")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tools.sql]\nurl = \n", "is no TOML: Invalid value (at line 2"),
        ("tools = 3\n", "[tools.sql] of"),
        ("[tools]\nsql = 3\n", "is no table; write it as one"),
        ("[tools.sql]\nurl = 3\n", "[tools.sql]): Input should be a valid string"),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path / "here" / "agentkit.toml", text)
    with pytest.raises(PluginError) as caught:
        configure(SQL).checked()
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_plugin_without_configuration_takes_none() -> None:
    with pytest.raises(PluginError, match="'first': it takes no configuration"):
        configure(FIRST, {"url": "a"}).checked()


def test_a_validator_may_fail_in_any_way() -> None:
    class Odd(BaseModel):
        number: int = 0

        @field_validator("number")
        @classmethod
        def check(cls, value: int) -> int:
            raise TypeError("what is a number?")

    plugin = Plugin("odd", config=Odd, open=lambda config: PAIR)
    with pytest.raises(PluginError, match="'odd': TypeError: what is a number"):
        configure(plugin, {"number": 1}).checked()


# secrets


def test_no_secret_is_ever_told(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret-and-much-too-long-for-it"
    monkeypatch.setenv("AGENTKIT_SQL_TOKEN", secret)
    found = configure(SQL, {"url": "postgresql://me:passw0rd@host/db"})
    assert not found.value
    assert "is too long" in found.problems[0]
    told = f"{found.problems} {found.settings} {found!r}"
    assert secret not in told
    assert "passw0rd" not in told
    assert setting(found, "url").value == "postgresql://me:**********@host/db"
    assert setting(found, "token").value == "**********"


def test_what_a_plugin_raises_is_told_without_the_secrets_it_was_given() -> None:
    def connect(config: Database) -> Toolset:
        assert config.token is not None
        raise OSError(f"{config.url} refuses {config.token.get_secret_value()}")

    plugin = Plugin("sql", config=Database, open=connect)
    with pytest.raises(PluginError) as caught:
        load_toolsets([plugin], config={"sql": {"url": "x://me:pass@host", "token": "hush"}})
    assert "OSError: x://me:**********@host refuses **********" in str(caught.value)
    assert caught.value.__cause__ is None  # a traceback would tell it


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
