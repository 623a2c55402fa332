"""The command `agentkit tools`: the installed tool plugins. Knows plugins; must not know agents."""

from __future__ import annotations

import argparse

from rich.console import Console

from agentkit.defining.toolset import discover
from agentkit.terminal.drawing import draw_plugins


def add_options(parser: argparse.ArgumentParser) -> None:
    """`agentkit tools` takes nothing."""


def run(arguments: argparse.Namespace) -> int:
    """List the plugins; 1 where one is broken."""
    plugins = discover()
    Console().print(draw_plugins(plugins))
    return 1 if any(plugin.error for plugin in plugins) else 0
