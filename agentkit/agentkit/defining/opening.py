"""Opens tool plugins for a while: configured, entered in order, left in reverse.

Knows plugins and their configuration. Must not know agents; what a plugin's tools do is its own.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeAlias, cast

import anyio
from pydantic import BaseModel

from agentkit.defining.configuration import Configuration, configure
from agentkit.defining.plugin import Opened, Plugin, discover, find_plugin, toolset_of
from agentkit.defining.toolset import Toolset
from agentkit.errors import PluginError

_log = logging.getLogger("agentkit")

Configs: TypeAlias = Mapping[str, Mapping[str, Any] | BaseModel]


@asynccontextmanager
async def open_tools(
    plugins: Sequence[str | Plugin[Any]] | None = None, *, config: Configs | None = None
) -> AsyncGenerator[list[Toolset]]:
    """Open plugins, and close all of them in reverse order: `async with open_tools(["files"])`.

    Without `plugins`, all that are installed are opened but those that say `explicit`; one that is
    broken is logged as a warning, and one that wants settings which nobody gave is left out.

    Args:
        plugins: Names of installed plugins, or plugins themselves. Each must open.
        config: A plugin's name -> settings, which go before those of the environment and of
            `agentkit.toml`; or its whole configuration as an object, which is taken as it is.

    Raises:
        PluginError: a plugin asked for is broken, not installed or not configured; one can't be
            closed, or ended before its block did; names it. All others are closed then.
    """
    async with AsyncExitStack() as stack:
        toolsets: list[Toolset] = []
        for opened in _asked(plugins, config or {}):
            try:
                toolsets.append(await stack.enter_async_context(opened))
            except PluginError as error:
                _tell(error, asked=plugins is not None)
        yield toolsets


def load_toolsets(
    plugins: Sequence[str | Plugin[Any]] | None = None, *, config: Configs | None = None
) -> list[Toolset]:
    """`open_tools` for plugins that have nothing to close.

    Raises:
        PluginError: as there; also where one asked for has to be closed.
    """
    toolsets: list[Toolset] = []
    for opened in _asked(plugins, config or {}):
        try:
            toolsets.append(opened.load())
        except PluginError as error:
            _tell(error, asked=plugins is not None)
    return toolsets


@dataclass(slots=True)
class OpenPlugin:
    """One plugin from opening to closing: an async context manager that gives its toolset.

    given: settings for it, as `open_tools` takes them.
    """

    plugin: Plugin[Any]
    given: Mapping[str, Any] | BaseModel | None = None
    configuration: Configuration = field(init=False)
    _manager: AbstractAsyncContextManager[Toolset] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.configuration = configure(self.plugin, self.given)

    async def __aenter__(self) -> Toolset:
        """
        Raises:
            PluginError: it can't be configured or opened; says why and the mend.
        """
        made = self._made()
        try:
            if isinstance(made, AbstractAsyncContextManager):
                entered = await made.__aenter__()
                self._manager = made
                return await self._entered(entered)
            return toolset_of(self.plugin.name, made)
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            raise self._broken("opened", error) from self._cause(error)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """
        Raises:
            PluginError: it can't be closed, or ended its block itself.
        """
        if self._manager is None:
            return False
        manager, self._manager = self._manager, None
        try:
            swallowed = await manager.__aexit__(kind, error, trace)
        except Exception as failure:
            if error is not None and _is_only(failure, error):
                return False
            raise self._broken("kept open or closed", failure) from self._cause(failure)
        if swallowed and isinstance(error, anyio.get_cancelled_exc_class()):
            # A scope of its own was cancelled around what went on here, which is cut off now.
            raise PluginError(
                f"tool plugin {self.plugin.name!r} ended while its tools were still in use"
            )
        return False

    def load(self) -> Toolset:
        """Its toolset, where it has nothing to close.

        Raises:
            PluginError: it has, or can't be configured or opened.
        """
        made = self._made()
        if isinstance(made, AbstractAsyncContextManager):
            raise PluginError(
                f"tool plugin {self.plugin.name!r} has to be closed again; write "
                f"`async with open_tools([{self.plugin.name!r}]) as toolsets`"
            )
        try:
            return toolset_of(self.plugin.name, made)
        except Exception as error:
            raise self._broken("opened", error) from self._cause(error)

    def _made(self) -> Opened:
        """What the plugin's `open` gives back."""
        config = self.configuration.checked()
        try:
            made = self.plugin.open() if config is None else self.plugin.open(config)
        except PluginError as error:
            said = self.configuration.hide(f"tool plugin {self.plugin.name!r}: {error}")
            raise PluginError(said) from self._cause(error)
        except (Exception, SystemExit) as error:
            raise self._broken("opened", error) from self._cause(error)
        if inspect.iscoroutine(made):
            made.close()
            raise PluginError(
                f"tool plugin {self.plugin.name!r} can't be opened: its `open` is an `async def`; "
                "decorate it with contextlib's `asynccontextmanager`, and `yield` the toolset"
            )
        return made

    async def _entered(self, made: object) -> Toolset:
        """The toolset that its context manager gave; one that gave something else is left."""
        try:
            return toolset_of(self.plugin.name, made)
        except Exception as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    def _broken(self, done: str, error: BaseException) -> PluginError:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return PluginError(
            self.configuration.hide(
                f"tool plugin {self.plugin.name!r} can't be {done}: {said}; "
                f"`agentkit tools show {self.plugin.name}` tells how it is configured"
            )
        )

    def _cause(self, error: BaseException) -> BaseException | None:
        """The error to be told as the cause; None where it says what is secret."""
        said = str(error)
        return error if self.configuration.hide(said) == said else None


def _asked(plugins: Sequence[str | Plugin[Any]] | None, config: Configs) -> list[OpenPlugin]:
    """The plugins to open, in order; none of them is open so far."""
    named = [find_plugin(one) if isinstance(one, str) else one for one in plugins or ()]
    if plugins is None:
        named = _implied()
    if strangers := sorted(config.keys() - {one.name for one in named}):
        opened = ", ".join(repr(one.name) for one in named) or "none"
        raise PluginError(f"config is for {strangers[0]!r}, which is not opened; opened: {opened}")
    asked = [OpenPlugin(one, config.get(one.name)) for one in named]
    return [one for one in asked if plugins is not None or not one.configuration.is_missing]


def _implied() -> list[Plugin[Any]]:
    """What is opened where nothing is named; what can't be loaded is told."""
    plugins: list[Plugin[Any]] = []
    for found in discover():
        if found.error is not None:
            _tell(found.error, asked=False)
        elif found.plugin is not None and not found.plugin.explicit:
            plugins.append(found.plugin)
    return plugins


def _tell(error: PluginError, *, asked: bool) -> None:
    """Raise what is wrong with a plugin that was asked for; of others, only say it."""
    if asked:
        raise error
    _log.warning("%s", error)


def _is_only(failure: BaseException, error: BaseException) -> bool:
    """Whether `failure` is `error` itself, or a group of tasks that hands it on."""
    if isinstance(failure, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", failure)
        return all(_is_only(one, error) for one in group.exceptions)
    return failure is error
