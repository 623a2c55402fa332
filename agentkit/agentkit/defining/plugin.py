"""Tool plugins: what one is, and those that are installed.

An entry point of group "agentkit.tools" names a `Plugin`. Where there is nothing to configure it
may as well name a `Tool`, a `Toolset`, a sequence of these, or a function of no arguments that
returns one. Knows installed distributions; must not know how a plugin is configured or opened, nor
agents. No plugin is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, cast, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from agentkit.defining.tool import AnyTool, Tool
from agentkit.defining.toolset import Toolset
from agentkit.errors import DefinitionError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "agentkit.tools"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

Config = TypeVar("Config", bound=BaseModel | None, default=None)
Given = TypeVar("Given", bound=BaseModel)
Opened: TypeAlias = Toolset | AbstractAsyncContextManager[Toolset]
Check: TypeAlias = Callable[[Toolset], Awaitable[None]]


@dataclass(frozen=True, init=False)  # slots and generics make `Plugin[X](...)` fail
class Plugin(Generic[Config]):
    """Tools that are configured, opened and closed together, for whoever installs them.

    name: that of the entry point, of the table in `agentkit.toml` and of the variables.
    description: what it is for, in a sentence.
    config: the type of its configuration; None where there is nothing to configure.
    open: makes the tools, given the configuration where there is a type of it. A toolset is had at
        once; an async context manager is entered in the event loop that the tools are called in,
        and left in the same task. It shields what it has to await while it is cancelled.
    permissions: what its tools may read, change, run or reach, a plain sentence each; none for
        tools that only compute.
    check: a self-test: calls the tools in a harmless way, and raises where they don't work.
    explicit: whether it is opened only where it is named, and not where all plugins are.
    """

    name: str
    description: str
    config: type[BaseModel] | None
    open: Callable[..., Opened]
    permissions: tuple[str, ...]
    check: Check | None
    explicit: bool

    @overload
    def __init__(
        self: Plugin[None],
        name: str,
        *,
        open: Callable[[], Opened],
        description: str = "",
        config: None = None,
        permissions: tuple[str, ...] = (),
        check: Check | None = None,
        explicit: bool = False,
    ) -> None: ...

    @overload
    def __init__(
        self: Plugin[Given],
        name: str,
        *,
        open: Callable[[Given], Opened],
        config: type[Given],
        description: str = "",
        permissions: tuple[str, ...] = (),
        check: Check | None = None,
        explicit: bool = False,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        open: Callable[..., Opened],
        description: str = "",
        config: type[BaseModel] | None = None,
        permissions: tuple[str, ...] = (),
        check: Check | None = None,
        explicit: bool = False,
    ) -> None:
        """Put a plugin together; nothing of it is opened.

        Raises:
            DefinitionError: a part of it can't be what it is given as; says why and the mend.
        """
        set_ = object.__setattr__
        set_(self, "name", name)
        set_(self, "description", description)
        set_(self, "config", config)
        set_(self, "open", open)
        set_(self, "permissions", permissions)
        set_(self, "check", check)
        set_(self, "explicit", explicit)
        _check_parts(self)


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """What is installed under a name: a plugin, or the error that loading it gave.

    source: the distribution that brings it, with its version.
    """

    name: str
    plugin: Plugin[Any] | None
    error: PluginError | None = None
    source: str = ""


def discover() -> list[InstalledPlugin]:
    """Load every installed plugin, in order of name, and open none; a broken one is told."""
    entries = _entries()
    return [_installed(name, entries[name]) for name in sorted(entries)]


def find_plugin(name: str) -> Plugin[Any]:
    """The installed plugin of that name.

    Raises:
        PluginError: it is broken, or not installed; names it.
    """
    entries = _entries()
    if name not in entries:
        raise unknown_plugin(name, sorted(entries))
    return _load(name, entries[name])


def unknown_plugin(name: str, known: Sequence[str]) -> PluginError:
    """What to raise where no plugin of a name is installed; names those that are."""
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    there = ", ".join(map(repr, known)) or "none"
    return PluginError(f"no tool plugin is named {name!r}; {meant}installed: {there}")


def toolset_of(name: str, made: object) -> Toolset:
    """What a plugin makes or an entry point names, as a toolset under that name.

    Raises:
        TypeError: it is no tool, no toolset and no sequence of these.
        DefinitionError: two tools have the same name.
    """
    items = cast("Sequence[object]", made) if isinstance(made, list | tuple) else [made]
    if not all(isinstance(item, Tool | Toolset) for item in items):
        raise TypeError(
            "it resolves to a Plugin, or to a Tool, a Toolset, a sequence of these, or a function "
            f"of no arguments that returns one; this one gave {made!r}"
        )
    if isinstance(made, Toolset) and made.name == name:
        return made
    return Toolset(name, cast("Sequence[AnyTool]", items))


def _installed(name: str, entries: Sequence[EntryPoint]) -> InstalledPlugin:
    source = ", ".join(dict.fromkeys(map(_source, entries)))
    try:
        return InstalledPlugin(name, _load(name, entries), None, source)
    except PluginError as error:
        return InstalledPlugin(name, None, error, source)


def _source(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""


def _entries() -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # slow to import, and not all look for plugins

    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        entries.setdefault(entry.name, []).append(entry)
    return entries


def _load(name: str, entries: Sequence[EntryPoint]) -> Plugin[Any]:
    values = sorted({entry.value for entry in entries})
    if len(values) > 1:
        raise PluginError(
            f"several tool plugins are named {name!r}: {', '.join(values)}; uninstall all but one"
        )
    try:
        return _plugin_of(name, entries[0].load())
    except PluginError as error:
        raise PluginError(f"tool plugin {name!r}: {error}") from error
    except (Exception, SystemExit) as error:  # a plugin's import may do anything
        raise PluginError(
            f"tool plugin {name!r} ({values[0]}) can't be loaded: "
            f"{type(error).__name__}: {error}; mend or uninstall it"
        ) from error


def _plugin_of(name: str, loaded: object) -> Plugin[Any]:
    if isinstance(loaded, Plugin):
        plugin = cast("Plugin[BaseModel | None]", loaded)
        if plugin.name != name:
            raise DefinitionError(
                f"the entry point {name!r} names a plugin {plugin.name!r}; give both one name"
            )
        return plugin
    if _makes_one(loaded):
        return Plugin(name, open=cast("Callable[[], Opened]", loaded))
    toolset = toolset_of(name, loaded)
    return Plugin(name, open=lambda: toolset)


def _makes_one(loaded: object) -> bool:
    """Whether it is to be called for what it returns; a tool can be called, too."""
    return callable(loaded) and not isinstance(loaded, Tool)


def _check_parts(plugin: Plugin[Any]) -> None:
    said = f"tool plugin {plugin.name!r}"
    if not _NAME.fullmatch(plugin.name):
        raise DefinitionError(
            f"{said}: a name is letters, digits, '_' and '-', and starts with a letter"
        )
    config = cast(object, plugin.config)
    if config is not None and not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise DefinitionError(f"{said}: config={config!r} is no class of pydantic's BaseModel")
    for name, field in config.model_fields.items() if config is not None else ():
        if field.alias is not None or field.validation_alias is not None:
            raise DefinitionError(
                f"{said}: setting {name!r} has an alias; settings go by the names of their fields"
            )
    if not callable(plugin.open):
        raise DefinitionError(f"{said}: open={plugin.open!r} can't be called; give a function")
    if isinstance(cast(object, plugin.permissions), str):
        raise DefinitionError(f"{said}: permissions is a tuple; write ({plugin.permissions!r},)")
