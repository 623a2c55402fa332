"""Looks at tool plugins: opens one for a moment, and says what it has or what is wrong.

Knows plugins and how they are configured. Must not know commands, nor how it is told.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anyio

from agentkit.defining.configuration import Configuration
from agentkit.defining.opening import OpenPlugin
from agentkit.defining.plugin import InstalledPlugin, Plugin
from agentkit.defining.toolset import Toolset
from agentkit.errors import PluginError

OPEN_SECONDS = 30.0
"""How long opening and closing a plugin may take here."""
CHECK_SECONDS = 60.0
"""How long its self-test may take beside."""

State: TypeAlias = Literal["ready", "not set up", "broken"]
Outcome: TypeAlias = Literal["passed", "untested", "not set up", "failed"]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of a plugin.

    toolset: None unless it is ready. configuration: None where it can't be loaded.
    problem: why it is not ready, and the mend.
    """

    name: str
    state: State
    source: str = ""
    plugin: Plugin[Any] | None = None
    configuration: Configuration | None = None
    toolset: Toolset | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a self-test went. "untested": it opens, and has none."""

    name: str
    outcome: Outcome
    problem: str
    seconds: float


async def look_at(found: InstalledPlugin) -> Look:
    """Open a plugin and close it again."""
    if found.plugin is None:
        return Look(found.name, "broken", found.source, problem=str(found.error))
    opened = OpenPlugin(found.plugin)
    toolset: Toolset | None = None
    state: State = "broken"
    problem = ""
    try:
        async with _in_time(opened, OPEN_SECONDS) as toolset:
            state = "ready"
    except PluginError as error:
        state, problem, toolset = "broken", str(error), None
        if opened.configuration.is_missing:
            state = "not set up"
    return Look(
        found.name, state, found.source, found.plugin, opened.configuration, toolset, problem
    )


async def check(found: InstalledPlugin) -> Checked:
    """Open a plugin and run its self-test."""
    if found.plugin is None:
        return Checked(found.name, "failed", str(found.error), 0.0)
    opened = OpenPlugin(found.plugin)
    test = found.plugin.check
    began = time.monotonic()
    outcome: Outcome = "untested" if test is None else "passed"
    problem = ""
    try:
        async with _in_time(opened, OPEN_SECONDS + CHECK_SECONDS) as toolset:
            if test is not None:
                problem = await _why_not(found.plugin, toolset)
    except PluginError as error:
        outcome = "not set up" if opened.configuration.is_missing else "failed"
        problem = str(error)
    if problem and outcome == "passed":
        outcome, problem = "failed", opened.configuration.hide(problem)
    return Checked(found.name, outcome, problem, time.monotonic() - began)


@asynccontextmanager
async def _in_time(opened: OpenPlugin, seconds: float) -> AsyncGenerator[Toolset]:
    """The plugin, opened; given up where all of it takes too long."""
    with anyio.move_on_after(seconds) as scope:
        async with opened as toolset:
            yield toolset
    if scope.cancelled_caught:
        raise PluginError(
            f"tool plugin {opened.plugin.name!r} was given up: it took more than {seconds:g} s"
        )


async def _why_not(plugin: Plugin[Any], toolset: Toolset) -> str:
    """Why a plugin's self-test failed; empty where it passed."""
    assert plugin.check is not None
    try:
        await plugin.check(toolset)
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return f"{said} ({_line(error)})"
    return ""


def _line(error: BaseException) -> str:
    """The line of the self-test that failed: an assertion says nothing else."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else "no line is known"
