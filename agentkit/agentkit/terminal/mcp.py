"""The command `agentkit mcp`: serve tools over MCP, or show what another server offers.

Knows the two ends of the protocol and how their results are drawn. Must not know their messages.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import anyio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentkit.agent import Agent
from agentkit.defining.opening import open_tools
from agentkit.defining.tool import AnyTool
from agentkit.errors import AgentKitError
from agentkit.mcp import Http, McpToolset, Prompt, Resource, ServerError, mcp_toolset, serve
from agentkit.mcp.client import McpOptions
from agentkit.terminal.drawing import draw_tools
from agentkit.terminal.loading import FORM, load_agent, load_deps
from agentkit.terminal.options import names

KEY_VARIABLE = "AGENTKIT_API_KEY"


@dataclass(frozen=True, slots=True)
class Found:
    """What a server offers."""

    name: str
    instructions: str
    tools: Sequence[AnyTool]
    resources: Sequence[Resource]
    prompts: Sequence[Prompt]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit mcp` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    serving = actions.add_parser("serve", help="serve tools and agents, over standard streams")
    _add_serving(serving)
    listing = actions.add_parser(
        "list",
        help="show a server's tools, resources and prompts",
        usage="agentkit mcp list [OPTIONS] (URL | -- COMMAND ...)",
    )
    listing.add_argument("server", metavar="SERVER", nargs="+", help="a URL, or a command")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.add_argument(
        "--header",
        metavar="NAME:VALUE",
        type=partial(_pair, ":"),
        action="append",
        default=[],
        help="of requests to a URL; may be given several times",
    )
    listing.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=partial(_pair, "="),
        action="append",
        default=[],
        help="of a command's environment; may be given several times",
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tools", metavar="NAMES", type=names, help="tool plugins to serve, separated by commas"
    )
    parser.add_argument(
        "--agent",
        metavar="AGENT",
        action="append",
        default=[],
        help=f"an agent to serve as the tool ask_NAME, as {FORM}; may be given several times",
    )
    parser.add_argument(
        "--deps", metavar="NAME", help="what agents and tools are given: a value beside AGENT"
    )
    parser.add_argument(
        "--approve",
        metavar="NAMES",
        type=names,
        default=[],
        help="tools that may be called though they need approval, separated by commas",
    )
    parser.add_argument(
        "--http", metavar="PORT", type=int, help="listen for HTTP; 0 takes a port that is free"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine)"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"that every HTTP request must bear (default: ${KEY_VARIABLE}, which no list of "
        "processes shows; none where it is not set)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until the client leaves, or show what a server offers."""
    if arguments.action == "serve":
        anyio.run(_serve, arguments)
        return 0
    found = anyio.run(_found, arguments)
    if arguments.json:
        print(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        _draw(found, Console())
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    agents = [_agent(arguments, reference) for reference in arguments.agent]
    if arguments.tools is None and not agents:
        raise AgentKitError("nothing to serve; name tool plugins with --tools, or an --agent")
    if arguments.deps is not None and not agents:
        raise AgentKitError(f"--deps {arguments.deps!r} belongs to an agent; name one")
    deps = None if arguments.deps is None else load_deps(arguments.agent[0], arguments.deps)
    async with open_tools(arguments.tools or []) as toolsets:
        await serve(
            toolsets,
            agents=agents,
            transport="stdio" if arguments.http is None else _http(arguments),
            approve=arguments.approve,
            deps=deps,
        )


def _agent(arguments: argparse.Namespace, reference: str) -> Agent[object, object]:
    agent = load_agent(reference)
    return agent if arguments.injected is None else agent.with_backend(arguments.injected)


def _http(arguments: argparse.Namespace) -> Http:
    return Http(
        host=arguments.host,
        port=arguments.http,
        key=arguments.api_key or os.environ.get(KEY_VARIABLE) or None,
        listening=lambda url: print(f"agentkit: MCP at {url}", file=sys.stderr, flush=True),
    )


async def _found(arguments: argparse.Namespace) -> Found:
    first, *rest = arguments.server
    try:
        if first.startswith(("http://", "https://")) and not rest:
            async with mcp_toolset(url=first, headers=dict(arguments.header)) as toolset:
                return await _asked(toolset)
        options: McpOptions = {"env": dict(arguments.env)}
        async with mcp_toolset(first, *rest, **options) as toolset:
            return await _asked(toolset)
    except (ServerError, ConnectionError) as error:
        raise AgentKitError(f"the server does not tell what it offers: {error}") from error


async def _asked(toolset: McpToolset) -> Found:
    return Found(
        toolset.name,
        toolset.instructions,
        toolset.tools,
        await toolset.resources(),
        await toolset.prompts(),
    )


def _as_json(found: Found) -> dict[str, object]:
    return {
        "name": found.name,
        "instructions": found.instructions,
        "tools": [asdict(tool.spec) | {"approval": tool.approval} for tool in found.tools],
        "resources": [asdict(one) for one in found.resources],
        "prompts": [asdict(one) for one in found.prompts],
    }


def _draw(found: Found, console: Console) -> None:
    console.print(Text(found.name, style="bold"))
    console.print(draw_tools(found.tools) if found.tools else Text("no tools"))
    for title, rows in (
        ("resources", [(one.uri, one.description or one.name) for one in found.resources]),
        ("prompts", [(_signature(one), one.description) for one in found.prompts]),
    ):
        if not rows:
            continue
        console.print(Text(f"\n{title}", style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="bold cyan", overflow="fold")
        table.add_column(style="dim", overflow="fold")
        for name, said in rows:
            table.add_row(Text(name), Text(said))
        console.print(table)


def _signature(prompt: Prompt) -> str:
    given = [name if required else f"{name}?" for name, required in prompt.arguments.items()]
    return f"{prompt.name}({', '.join(given)})"


def _pair(mark: str, text: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME{mark}VALUE")
    return name.strip(), value.strip() if mark == ":" else value
