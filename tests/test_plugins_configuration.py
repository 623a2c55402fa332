"""Settings of plugins: where they come from, what is wrong with them, and what is kept secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from plugged import FIRST, PAIR, SQL, Database, Limits, alone
from pydantic import BaseModel, field_validator

from agentkit import Plugin, PluginError, Retry, RunContext, Toolset, load_toolsets
from agentkit.defining.configuration import Configuration, Setting, configure
from agentkit_tools.code_search import CodeSearchConfig as Searched
from agentkit_tools.code_search import code_search_toolset
from agentkit_tools.files import FilesConfig, files_toolset


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(tmp_path, monkeypatch)


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a link away")
def test_a_link_above_that_somebody_else_made_is_not_followed(tmp_path: Path) -> None:
    written = write(tmp_path / "mine.toml", '[tools.sql]\nurl = "mine"\n')
    link = tmp_path / "agentkit.toml"
    link.symlink_to(written)
    assert configure(SQL).value == Database(url="mine")
    os.lchown(link, 12345, 12345)
    assert configure(SQL).missing == ("url",)


async def test_no_tool_reads_or_writes_what_configures_tools(tmp_path: Path) -> None:
    """A model could else give itself more, for the next run."""
    write(tmp_path / "agentkit.toml", '[tools.sql]\nurl = "postgresql://me:hush@db/shop"\n')
    files = files_toolset(FilesConfig(root=tmp_path))
    tools = {made.name: made for made in (*files, *code_search_toolset(Searched(root=tmp_path)))}
    context = RunContext[Any](deps=None)
    with pytest.raises(Retry, match="is hidden from this tool"):
        tools["read_file"](context, "agentkit.toml")
    with pytest.raises(Retry, match="is hidden from this tool"):
        tools["write_file"](context, "inner/Agentkit.TOML", "[tools.shell]")
    assert "hush" not in tools["search_files"]("hush").removeprefix("No line contains 'hush'.")
    assert "me:hush" not in await tools["code_search"]("hush")


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
