"""The command `agentkit tools`: the installed tool plugins, tried out.

Knows plugins and what is asked of them; every drawing is another's. Must not know agents.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rich.console import Console

from agentkit.defining.opening import OpenPlugin
from agentkit.defining.plugin import InstalledPlugin, discover, unknown_plugin
from agentkit.defining.tool import AnyTool
from agentkit.defining.toolset import Toolset
from agentkit.errors import AgentKitError, PluginError
from agentkit.message import Call
from agentkit.terminal.calling import arguments_of, call_tool, tool_named
from agentkit.terminal.drawing import draw_arguments
from agentkit.terminal.drawing_plugins import draw_check, draw_plugin, draw_plugins
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.looking import Checked, Look, check, look_at
from agentkit.terminal.reading import Reader

APPROVAL = "make this call? y or n: "


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit tools` takes; `list` where nothing is said."""
    parser.set_defaults(action="list")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="list the plugins and their tools (the default)")
    show = actions.add_parser("show", help="tell all of one: tools, permissions, configuration")
    show.add_argument("name", metavar="NAME", help="of the plugin")
    checked = actions.add_parser("check", help="run self-tests")
    checked.add_argument("names", metavar="NAME", nargs="*", help="plugins (default: all)")
    called = actions.add_parser("call", help="call a tool as a run does")
    called.add_argument(
        "name", metavar="TOOL", help="the tool; PLUGIN.TOOL where several have that name"
    )
    called.add_argument(
        "arguments", metavar="JSON", nargs="?", default="{}", help="its arguments (default: {})"
    )
    called.add_argument(
        "--yes", action="store_true", help="make the call without asking where it needs approval"
    )
    for action in (listed, show, checked, called):
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object"
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; 1 where a plugin is broken, a self-test or a call failed."""
    with EventLoop() as loop:
        match arguments.action:
            case "show":
                return _show(arguments, loop)
            case "check":
                return _check(arguments, loop)
            case "call":
                return _call(arguments, loop)
            case _:
                return _list(arguments, loop)


def _list(arguments: argparse.Namespace, loop: EventLoop) -> int:
    looks = [loop.run(look_at, found) for found in discover()]
    if arguments.json:
        _print({"plugins": [_summary(look) for look in looks]})
    else:
        Console().print(draw_plugins(looks))
    return 1 if any(look.state == "broken" for look in looks) else 0


def _show(arguments: argparse.Namespace, loop: EventLoop) -> int:
    look = loop.run(look_at, _found(arguments.name))
    if arguments.json:
        _print(_described(look))
    else:
        Console().print(draw_plugin(look))
    return 1 if look.state == "broken" else 0


def _check(arguments: argparse.Namespace, loop: EventLoop) -> int:
    """Each plugin in turn; one that was not named may as well not be set up."""
    chosen = [_found(name) for name in arguments.names] or discover()
    console = Console()
    done: list[Checked] = []
    for number, found in enumerate(chosen, 1):
        said = f"checking {found.name} ({number} of {len(chosen)})"
        with Console(stderr=True).status(said):
            done.append(loop.run(check, found))
        if not arguments.json:
            console.print(draw_check(done[-1]))
    if arguments.json:
        _print({"checks": [_as_json(one) for one in done]})
    bad = {"failed", "not set up"} if arguments.names else {"failed"}
    return 1 if any(one.outcome in bad for one in done) else 0


def _call(arguments: argparse.Namespace, loop: EventLoop) -> int:
    given = arguments_of(arguments.arguments)
    toolsets, closed = loop.open(_open_for(arguments.name))
    tool = tool_named(arguments.name, toolsets, closed)
    if tool.deferred:
        raise AgentKitError(f"calls of {tool.name!r} are finished elsewhere; none is made here")
    if tool.held and not arguments.yes and not _approved(Call("", tool.name, given)):
        raise AgentKitError(f"{tool.name!r} was not called")
    result = loop.run(call_tool, tool, given)
    if arguments.json:
        told = {"tool": result.tool, "arguments": given}
        _print(told | {"result": result.content, "is_error": result.is_error})
    else:
        print(result.content, file=sys.stderr if result.is_error else sys.stdout)
    return 1 if result.is_error else 0


def _approved(call: Call) -> bool:
    """The user's word on a call that needs it."""
    console = Console(stderr=True)
    reader = Reader(console)
    if not reader.interactive:
        raise AgentKitError(f"calls of {call.tool!r} need approval; give it with --yes")
    console.print(draw_arguments(call, {}))
    said = reader.line(APPROVAL)
    return said is not None and said.strip().lower() in ("y", "yes")


@asynccontextmanager
async def _open_for(name: str) -> AsyncGenerator[tuple[list[Toolset], list[str]]]:
    """The toolset of the plugin that is named; without one, those of all that open.

    With the names of the plugins that did not.
    """
    plugin, dot, _ = name.partition(".")
    async with AsyncExitStack() as stack:
        toolsets: list[Toolset] = []
        closed: list[str] = []
        for found in [_found(plugin)] if dot else discover():
            try:
                toolsets.append(await stack.enter_async_context(_opened(found)))
            except PluginError:
                if dot:
                    raise
                closed.append(found.name)
        yield toolsets, closed


def _opened(found: InstalledPlugin) -> OpenPlugin:
    if found.plugin is None:
        raise found.error or PluginError(f"tool plugin {found.name!r} can't be loaded")
    return OpenPlugin(found.plugin)


def _found(name: str) -> InstalledPlugin:
    """The installed plugin of that name, which may be broken."""
    installed = discover()
    for found in installed:
        if found.name == name:
            return found
    raise unknown_plugin(name, [found.name for found in installed])


def _summary(look: Look) -> dict[str, Any]:
    plugin, toolset = look.plugin, look.toolset
    return {
        "name": look.name,
        "source": look.source,
        "description": "" if plugin is None else plugin.description,
        "state": look.state,
        "problem": look.problem,
        "explicit": plugin is not None and plugin.explicit,
        "permissions": [] if plugin is None else list(plugin.permissions),
        "tools": [] if toolset is None else [one.name for one in toolset],
    }


def _described(look: Look) -> dict[str, Any]:
    settings = () if look.configuration is None else look.configuration.settings
    return _summary(look) | {
        "settings": [
            {
                "name": one.name,
                "type": one.type,
                "description": one.description,
                "value": one.value,
                "origin": one.origin,
                "problem": one.problem,
            }
            for one in settings
        ],
        "tools": [_tool(one) for one in look.toolset or ()],
    }


def _tool(tool: AnyTool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "timeout": tool.timeout,
        "approval": tool.approval,
        "approval_when": None if tool.approval_when is None else tool.approval_when.text,
        "deferred": tool.deferred,
        "pure": tool.pure,
        "sequential": tool.sequential,
    }


def _as_json(one: Checked) -> dict[str, Any]:
    return {
        "name": one.name,
        "outcome": one.outcome,
        "problem": one.problem,
        "seconds": round(one.seconds, 3),
    }


def _print(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False))
