"""Named groups of tools, and the plugins that bring them.

A plugin is an entry point of group "agentkit.tools". It resolves to a `Tool`, a `Toolset`, a
sequence of these, or a function of no arguments that returns one of them. Knows tools and
installed distributions; must not know agents. No plugin is imported before it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agentkit.defining.tool import AnyTool, Tool, tool
from agentkit.errors import DefinitionError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "agentkit.tools"
_log = logging.getLogger("agentkit")


@dataclass(frozen=True, slots=True)
class Toolset:
    """Tools that belong together, under a name. An agent takes it wherever it takes a tool."""

    name: str
    tools: tuple[AnyTool, ...]

    def __init__(self, name: str, tools: Sequence[AnyTool | Callable[..., Any]]) -> None:
        """Plain functions among `tools` are made into tools.

        Raises:
            DefinitionError: one of them can't be a tool, or two have the same name.
        """
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "tools", as_tools(tools))

    def __iter__(self) -> Iterator[AnyTool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin: its toolset, or the error that loading it gave."""

    name: str
    toolset: Toolset | None
    error: PluginError | None


def as_tools(items: Sequence[AnyTool | Toolset | Callable[..., Any]]) -> tuple[AnyTool, ...]:
    """Flatten tools, toolsets and plain functions into tools.

    Raises:
        DefinitionError: a function can't be a tool, or two tools have the same name.
    """
    found: dict[str, AnyTool] = {}
    for item in items:
        for one in _tools_of(item):
            if one.name in found:
                raise DefinitionError(
                    f"two tools are named {one.name!r}: {found[one.name].function!r} and "
                    f"{one.function!r}; rename one with `tool(function, name=...)`"
                )
            found[one.name] = one
    return tuple(found.values())


def _tools_of(item: AnyTool | Toolset | Callable[..., Any]) -> tuple[AnyTool, ...]:
    if isinstance(item, Toolset):
        return item.tools
    if isinstance(item, Tool):
        return (cast(AnyTool, item),)
    return (tool(item),)


def discover() -> list[Plugin]:
    """Load every installed plugin, in order of name; a broken one is told, not raised."""
    return [_tried(name) for name in sorted(_entries())]


def load_toolsets(names: Sequence[str] | None = None) -> list[Toolset]:
    """The toolsets of the plugins named, or of all that work.

    With names, each must load. Without, a broken plugin is logged as a warning and left out.

    Raises:
        PluginError: a plugin asked for is broken or not installed; names it.
    """
    if names is not None:
        return [_load(name) for name in names]
    plugins = discover()
    for plugin in plugins:
        if plugin.error is not None:
            _log.warning("%s", plugin.error)
    return [plugin.toolset for plugin in plugins if plugin.toolset is not None]


def _tried(name: str) -> Plugin:
    try:
        return Plugin(name, _load(name), None)
    except PluginError as error:
        return Plugin(name, None, error)


def _entries() -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # slow to import, and not all look for plugins

    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        entries.setdefault(entry.name, []).append(entry)
    return entries


def _load(name: str) -> Toolset:
    entries = _entries()
    if name not in entries:
        known = ", ".join(map(repr, sorted(entries))) or "none"
        raise PluginError(f"no tool plugin is named {name!r}; installed: {known}")
    values = sorted({entry.value for entry in entries[name]})
    if len(values) > 1:
        raise PluginError(
            f"several tool plugins are named {name!r}: {', '.join(values)}; uninstall all but one"
        )
    try:
        return Toolset(name, _resolved(entries[name][0].load()))
    except PluginError as error:
        raise PluginError(f"tool plugin {name!r}: {error}") from error
    except (Exception, SystemExit) as error:  # a plugin's import may do anything
        raise PluginError(
            f"tool plugin {name!r} ({values[0]}) can't be loaded: "
            f"{type(error).__name__}: {error}; mend or uninstall it"
        ) from error


def _resolved(loaded: object) -> tuple[AnyTool, ...]:
    if callable(loaded) and not isinstance(loaded, Tool):
        loaded = loaded()
    if isinstance(loaded, Tool | Toolset):
        return as_tools([cast(AnyTool | Toolset, loaded)])
    if isinstance(loaded, list | tuple):
        items = cast(Sequence[object], loaded)
        if all(isinstance(item, Tool | Toolset) for item in items):
            return as_tools(cast(Sequence[AnyTool | Toolset], items))
    raise TypeError(
        f"an entry point of group {GROUP!r} resolves to a Tool, a Toolset, a sequence of these, "
        f"or a function of no arguments that returns one; this one gave {loaded!r}"
    )
