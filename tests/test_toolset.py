"""Toolsets and the plugins that bring them; a broken plugin harms no other."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from agentkit import DefinitionError, PluginError, Toolset, discover, load_toolsets, tool
from agentkit.defining.toolset import GROUP


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


Install = Callable[..., None]


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


def test_a_toolset_is_its_tools_under_a_name() -> None:
    def plain(a: int) -> int:
        return a

    made = Toolset("mixed", [add, plain])
    assert (made.name, len(made), names(made)) == ("mixed", 2, ["add", "plain"])
    assert made.tools[0] is add


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two tools are named 'add'"):
        Toolset("twice", [add, add])


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


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("TEXT", "resolves to a Tool, a Toolset"),
        ("NUMBERS", "resolves to a Tool, a Toolset"),
        ("TWICE", "two tools are named 'add'"),
        ("needy", "missing 1 required positional argument: 'path'"),
        ("broken", "OSError: no database"),
        ("leaving", "SystemExit: 1"),
        ("nothing", "AttributeError"),
        ("no_such_module:x", "ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_is_named_with_the_reason(
    install: Install, value: str, reason: str
) -> None:
    install(math=value)
    with pytest.raises(PluginError, match=r"tool plugin 'math' \(.*\) can't be loaded") as caught:
        load_toolsets(["math"])
    assert reason in str(caught.value)


def test_a_broken_plugin_leaves_the_others_alone(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(zero="broken", math="PAIR", one="add")
    assert [(found.name, found.error is None) for found in discover()] == [
        ("math", True),
        ("one", True),
        ("zero", False),
    ]
    assert [loaded.name for loaded in load_toolsets()] == ["math", "one"]
    assert "tool plugin 'zero'" in caplog.text


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


def test_a_plugin_that_refuses_its_configuration_is_told_as_it_says(install: Install) -> None:
    install(todo="misconfigured")
    with pytest.raises(PluginError, match=r"^tool plugin 'todo': AGENTKIT_TODO is no file$"):
        load_toolsets(["todo"])


def misconfigured() -> Any:
    raise PluginError("AGENTKIT_TODO is no file")
