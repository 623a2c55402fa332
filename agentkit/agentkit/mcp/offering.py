"""Makes tools of what a server offers: which ones, under which names, with which schemas.

Knows the server's description of its tools and the link that calls go over. Must not know how the
link comes about.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread
import mcp_types as types
from mcp import MCPError
from mcp.client import Client
from pydantic import ValidationError
from pydantic_core import to_json

from agentkit.context import RunContext
from agentkit.defining.schema import JsonSchema, problems_of
from agentkit.defining.tool import AnyTool, Tool
from agentkit.errors import AgentKitError, PluginError
from agentkit.mcp.contents import resource_text, result_text
from agentkit.mcp.link import Link, ServerError
from agentkit.mcp.relaxing import Loosened, relaxed
from agentkit.running.writing import listed
from agentkit.signals import Retry

P = TypeVar("P", bound=types.PaginatedResult)

_MAX_PAGES = 100  # of a listing; a server that never ends one is not asked for ever
_log = logging.getLogger("agentkit.mcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of a server's tools are offered, and how; patterns are of the server's own names."""

    prefix: str = ""
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    approval: tuple[str, ...] | None = None
    pure: tuple[str, ...] = ()
    timeout: float | None = None
    resources: bool = False

    def takes(self, name: str) -> bool:
        """Whether a tool is offered."""
        wanted = self.include is None or _matches(name, self.include)
        return wanted and not _matches(name, self.exclude)

    def waits(self, tool: types.Tool) -> bool:
        """Whether a tool's calls wait for a human."""
        if self.approval is not None:
            return _matches(tool.name, self.approval)
        return tool.annotations is not None and tool.annotations.destructive_hint is True

    def check(self, names: Sequence[str]) -> None:
        """Raises PluginError where a pattern fits none of a server's tools: a slip, mostly."""
        for option in ("include", "exclude", "approval", "pure"):
            for pattern in getattr(self, option) or ():
                if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                    raise PluginError(
                        f"{option}={pattern!r} fits no tool of the server; it has: "
                        f"{', '.join(map(repr, names)) or 'none'}"
                    )


@dataclass(frozen=True, slots=True)
class Offer:
    """What is offered now. loosened: a tool's name -> what of its schema is not guaranteed."""

    tools: tuple[AnyTool, ...] = ()
    loosened: dict[str, tuple[Loosened, ...]] = field(
        default_factory=dict[str, tuple[Loosened, ...]]
    )


async def offer_of(client: Client, link: Link, choice: Choice, *, strict: bool) -> Offer:
    """Ask a server for its tools and make ours of them; one that can't be is left out and told.

    strict: every pattern of `choice` has to fit a tool.

    Raises:
        PluginError: one does not.
        MCPError: the server refuses.
    """
    has = client.server_capabilities
    listed = [] if has.tools is None else await pages(client.list_tools)
    offered = [one for page in listed for one in page.tools]
    if strict:
        choice.check([one.name for one in offered])
    tools: dict[str, AnyTool] = {}
    loosened: dict[str, tuple[Loosened, ...]] = {}
    for one in offered:
        if not choice.takes(one.name):
            continue
        name = _free(_spelled(f"{choice.prefix}{one.name}"), tools)
        try:
            # a schema may take the engine seconds
            made = await anyio.to_thread.run_sync(_made, one, name, link, choice)
        except AgentKitError as error:
            _log.warning("tool %r of %s is left out: %s", one.name, link, error)
            continue
        tools[name] = made.tool
        if made.loosened:
            loosened[name] = made.loosened
        for item in made.loosened:
            said = "the keyword %r at %r is checked before each call, but not guaranteed: %s"
            _log.warning(
                f"tool %r of %s: {said}", one.name, link, item.keyword, item.pointer, item.why
            )
    if choice.resources and has.resources is not None:
        for extra in _resource_tools(link, choice):
            tools.setdefault(extra.name, extra)
    return Offer(tuple(tools.values()), loosened)


async def pages(listing: Callable[..., Awaitable[P]]) -> list[P]:
    """All pages of one of a server's lists."""
    found = [await listing()]
    while len(found) < _MAX_PAGES and found[-1].next_cursor is not None:
        found.append(await listing(cursor=found[-1].next_cursor))
    return found


@dataclass(frozen=True, slots=True)
class _Made:
    tool: AnyTool
    loosened: tuple[Loosened, ...]


def _made(one: types.Tool, name: str, link: Link, choice: Choice) -> _Made:
    own = JsonSchema({"type": "object", **one.input_schema}, f"tool {one.name!r}")
    said = relaxed(own.schema)
    check = own if said.loosened else None

    async def call(_run: RunContext[Any], **arguments: Any) -> str:
        if check is not None:
            _checked(check, arguments)

        async def report(progress: float, total: float | None, message: str | None) -> None:
            await _run.report(message or "", done=progress, total=total)

        async def ask(client: Client) -> types.CallToolResult:
            return await client.call_tool(one.name, arguments, progress_callback=report)

        result = await link.request(ask)
        if result.is_error:
            raise ServerError(result_text(result) or "it did not say why")
        return result_text(result)

    waits = choice.waits(one)
    tool = Tool.from_schema(
        name,
        one.description or one.title or "",
        said.schema,
        call,
        timeout=choice.timeout,
        approval=waits,
        pure=not waits and _matches(one.name, choice.pure),
    )
    return _Made(tool, said.loosened)


def _checked(schema: JsonSchema, arguments: dict[str, Any]) -> None:
    """Raises Retry where the server's own schema does not accept the arguments."""
    from referencing.exceptions import Unresolvable  # jsonschema's own, which brings it

    try:
        schema.read(to_json(arguments))
    except ValidationError as error:
        problems = problems_of(error, arguments)
        value = next(iter(problems)) if len(problems) == 1 else None
        raise Retry(f"Invalid arguments: {listed(problems)}.", value=value or None) from error
    except Unresolvable:  # nothing is fetched for it; the server has the last word anyway
        return


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a server lets be read. A pattern's `uri` has parts in braces to fill in."""

    uri: str
    name: str
    description: str = ""
    pattern: bool = False


async def resources_of(client: Client) -> list[Resource]:
    """All that a server lets be read; nothing where it has no resources."""
    if client.server_capabilities.resources is None:
        return []
    found = [
        Resource(one.uri, one.name, one.description or "")
        for page in await pages(client.list_resources)
        for one in page.resources
    ]
    try:
        patterns = await pages(client.list_resource_templates)
    except MCPError as error:
        if error.code == types.METHOD_NOT_FOUND:  # not every server that has resources has these
            return found
        raise
    return found + [
        Resource(one.uri_template, one.name, one.description or "", pattern=True)
        for page in patterns
        for one in page.resource_templates
    ]


async def read_resource_of(client: Client, uri: str) -> str:
    """What a resource holds, as text."""
    return "\n".join(resource_text(one) for one in (await client.read_resource(uri)).contents)


def _resource_tools(link: Link, choice: Choice) -> list[AnyTool]:
    async def list_resources() -> list[dict[str, str]]:
        said = [asdict(one) for one in await link.request(resources_of)]
        return [{key: value for key, value in one.items() if value} for one in said]

    async def read_resource(uri: str) -> str:
        return await link.request(partial(read_resource_of, uri=uri))

    uri = {"type": "string", "description": "The resource's URI, as list_resources gives it."}
    return [
        Tool.from_schema(
            f"{choice.prefix}list_resources",
            "List what can be read: URIs, and patterns of URIs with {parts} to fill in.",
            {"type": "object", "properties": {}, "additionalProperties": False},
            list_resources,
            timeout=choice.timeout,
        ),
        Tool.from_schema(
            f"{choice.prefix}read_resource",
            "Read one resource.",
            {
                "type": "object",
                "properties": {"uri": uri},
                "required": ["uri"],
                "additionalProperties": False,
            },
            read_resource,
            timeout=choice.timeout,
        ),
    ]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _spelled(name: str) -> str:
    """A name as tools may have it; servers also use dots and slashes."""
    spelled = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return spelled if re.match(r"[A-Za-z_]", spelled) else f"_{spelled}"


def _free(name: str, taken: dict[str, AnyTool]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
