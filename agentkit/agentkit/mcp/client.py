"""The tools of an MCP server, as a toolset of ours.

Knows how a server is named, opened and left. Must not know what its messages look like.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import httpx2
import mcp_types as types
from mcp.client import Client

from agentkit.defining.toolset import Toolset
from agentkit.errors import DefinitionError, PluginError
from agentkit.mcp.contents import prompt_history
from agentkit.mcp.endpoint import Endpoint, Process, Url
from agentkit.mcp.link import Link
from agentkit.mcp.offering import (
    Choice,
    Offer,
    Resource,
    offer_of,
    pages,
    read_resource_of,
    resources_of,
)
from agentkit.mcp.relaxing import Loosened
from agentkit.message import History
from agentkit.running.groups import owned_group

_TIMEOUT, _CONNECT_TIMEOUT, _RESTARTS = 60.0, 60.0, 5


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that a server has ready. arguments: name -> whether it is required."""

    name: str
    description: str
    arguments: Mapping[str, bool]


class McpOptions(TypedDict, total=False):
    """What `mcp_toolset` may be told beside where the server is.

    name: of the toolset, and in errors and logs; by default what the server calls itself.
    env, cwd: of the process. headers, auth: of HTTP requests.
    prefix: put before every tool's name.
    include, exclude: which tools are offered: patterns as `read_*`, of the server's own names.
    approval: the tools whose calls wait for a human, as patterns; by default those that the server
        itself calls destructive. () for none, ("*",) for all.
    pure: the tools that may be started early, as patterns; see `CallOptions`. None by default.
    resources: also offers `list_resources` and `read_resource`.
    timeout: seconds a call may take; 60 by default, None for no limit.
    connect_timeout: seconds until the server must be ready; 60 by default.
    restarts: how often in a row a lost server is started anew; 5 by default.
    log_level: from which level on the server should log; by default as it likes.
    """

    name: str
    env: Mapping[str, str]
    cwd: str | Path
    headers: Mapping[str, str]
    auth: httpx2.Auth
    prefix: str
    include: Sequence[str]
    exclude: Sequence[str]
    approval: Sequence[str]
    pure: Sequence[str]
    resources: bool
    timeout: float | None
    connect_timeout: float
    restarts: int
    log_level: types.LoggingLevel


class McpToolset(Toolset):
    """The tools of an MCP server that is connected. Made by `mcp_toolset`.

    `tools` follow the server's own, and the next run of an agent that has them does too. They
    may be called from any task of the event loop that the server was opened in.

    instructions: how the server says that it is used. loosened: what of which tool's schema is
    checked before each call, but not guaranteed.
    """

    __slots__ = ("_choice", "_link", "_offer", "instructions")

    _choice: Choice
    _link: Link
    _offer: Offer | None
    instructions: str

    @property
    def loosened(self) -> Mapping[str, tuple[Loosened, ...]]:
        return {} if self._offer is None else self._offer.loosened

    async def prompts(self) -> tuple[Prompt, ...]:
        """The prompts that the server has ready. Raises ServerError or ConnectionError."""
        return tuple(await self._link.request(_prompts_of))

    async def prompt(self, name: str, /, **arguments: str) -> History:
        """A prompt's messages: the history of a run, or what to ask it.

        Raises:
            ServerError: the server has none of that name, or needs other arguments.
            ConnectionError: the server can't be reached.
        """
        said = await self._link.request(lambda client: client.get_prompt(name, arguments))
        return prompt_history(said.messages)

    async def resources(self) -> tuple[Resource, ...]:
        """What the server lets be read. Raises ServerError or ConnectionError."""
        return tuple(await self._link.request(resources_of))

    async def read(self, uri: str) -> str:
        """What a resource holds, as text.

        Raises:
            ServerError: the server has none there.
            ConnectionError: the server can't be reached.
        """
        return await self._link.request(lambda client: read_resource_of(client, uri))

    async def _opened(self, client: Client) -> None:
        """A session has begun, or the server's tools have changed."""
        first = self._offer is None
        if first and not self.name and client.server_info is not None:
            object.__setattr__(self, "name", client.server_info.name)
        offer = await offer_of(client, self._link, self._choice, strict=first)
        object.__setattr__(self, "_offer", offer)
        object.__setattr__(self, "instructions", client.instructions or "")
        # A toolset is frozen to all but its server.
        object.__setattr__(self, "tools", offer.tools)


@asynccontextmanager
async def mcp_toolset(
    *command: str | Path, url: str | None = None, **options: Unpack[McpOptions]
) -> AsyncGenerator[McpToolset]:
    """The tools of an MCP server, for as long as the block lasts.

        async with mcp_toolset("npx", "-y", "@modelcontextprotocol/server-filesystem", ".") as own:
            agent = Agent(tools=[own])

    command: starts a server that is spoken to over its standard streams; or `url`: where one is
        reached by streamable HTTP.

    Calls satisfy the servers' own schemas. A server that is lost fails the calls under way and is
    started anew by the next.

    Raises:
        DefinitionError: neither a command nor a URL, or both, or options of the other.
        PluginError: the server can't be started or reached, or has no tools as they are asked for.
    """
    endpoint = _endpoint(command, url, options)
    toolset = _toolset(endpoint, options)
    link = toolset._link  # pyright: ignore[reportPrivateUsage]
    async with owned_group() as group:
        group.start_soon(link.run)
        try:
            await link.connect()
        except ConnectionError as error:
            raise PluginError(str(error)) from error
        try:
            yield toolset
        finally:
            group.cancel_scope.cancel()


def _toolset(endpoint: Endpoint, options: McpOptions) -> McpToolset:
    approval = options.get("approval")
    include = options.get("include")
    choice = Choice(
        prefix=options.get("prefix", ""),
        include=None if include is None else _patterns("include", include),
        exclude=_patterns("exclude", options.get("exclude", ())),
        approval=None if approval is None else _patterns("approval", approval),
        pure=_patterns("pure", options.get("pure", ())),
        timeout=options.get("timeout", _TIMEOUT),
        resources=options.get("resources", False),
    )
    toolset = McpToolset(options.get("name", ""), ())
    link = Link(
        endpoint,
        name=options.get("name", str(endpoint)),
        opened=toolset._opened,  # pyright: ignore[reportPrivateUsage]
        connect_timeout=options.get("connect_timeout", _CONNECT_TIMEOUT),
        restarts=options.get("restarts", _RESTARTS),
        log_level=options.get("log_level"),
    )
    for attribute, value in (("_choice", choice), ("_link", link), ("_offer", None)):
        object.__setattr__(toolset, attribute, value)
    return toolset


def _endpoint(command: Sequence[str | Path], url: str | None, options: McpOptions) -> Endpoint:
    if bool(command) == (url is not None):
        raise DefinitionError(
            "an MCP server is a command or a URL: mcp_toolset('npx', ...) or mcp_toolset(url=...)"
        )
    foreign = {"headers", "auth"} if url is None else {"env", "cwd"}
    if stray := sorted(foreign & options.keys()):
        kind = "a command" if url is None else "a URL"
        raise DefinitionError(f"{stray[0]!r} says nothing of an MCP server that is {kind}")
    if url is None:
        cwd = options.get("cwd")
        return Process(
            tuple(map(str, command)), options.get("env", {}), None if cwd is None else Path(cwd)
        )
    if httpx2.URL(url).scheme not in {"http", "https"}:
        raise DefinitionError(f"url={url!r} is no http:// or https:// address")
    return Url(url, options.get("headers", {}), options.get("auth"))


def _patterns(option: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise DefinitionError(f"{option}={given!r} is a text; give a list of names or patterns")
    return tuple(given)


async def _prompts_of(client: Client) -> list[Prompt]:
    if client.server_capabilities.prompts is None:
        return []
    return [
        Prompt(
            one.name,
            one.description or "",
            {item.name: bool(item.required) for item in one.arguments or ()},
        )
        for page in await pages(client.list_prompts)
        for one in page.prompts
    ]
