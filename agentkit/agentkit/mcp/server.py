"""Toolsets and agents as an MCP server, over standard streams or streamable HTTP.

Knows transports, and who may reach them. Must not know what is answered.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

import agentkit
from agentkit.agent import Agent
from agentkit.defining.tool import AnyTool
from agentkit.defining.toolset import Toolset
from agentkit.errors import AgentKitError
from agentkit.mcp.answering import Answers
from agentkit.running.threads import in_thread
from agentkit_engine.server.listening import bound_socket

PATH = "/mcp"
_PARTING = 5  # seconds that what is under way is given when the server is told to end
_CHUNK = 1 << 16  # bytes
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Where to listen for streamable HTTP.

    port: 0 takes one that is free.
    key: that every request must bear, as `Authorization: Bearer KEY`; needed beyond this machine.
    hosts: names by which clients reach the server, beside those of this machine.
    listening: told the URL, once there is one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    listening: Callable[[str], None] = lambda url: None


async def serve(
    toolsets: Sequence[AnyTool | Toolset | Callable[..., Any]],
    *,
    agents: Sequence[Agent[Any, Any]] = (),
    transport: Literal["stdio"] | Http = "stdio",
    approve: Sequence[str] = (),
    deps: Any = None,
    name: str = "agentkit",
) -> None:
    """Serve tools, and agents as tools `ask_NAME(request)`, until the client leaves or cancelled.

    Over "stdio", what tools print goes to stderr: standard output is the protocol's.

    approve: tools that may be called though they need approval, as names or patterns. Of others
        the client's human is asked, where the client can; else the call is refused.
    deps: what tools and agents find as `context.deps`.

    Raises:
        DefinitionError: two tools have the same name, or `approve` fits none that needs it.
        AgentKitError: nobody can listen there, or nobody should without a key.
    """
    answers = Answers(toolsets, agents=agents, approve=approve, deps=deps)
    server = Server(
        name,
        version=agentkit.__version__,
        on_list_tools=answers.listed,
        on_call_tool=answers.called,
    )
    if transport == "stdio":
        await _over_stdio(server)
    else:
        await _over_http(server, transport)


async def _over_stdio(server: Server[Any]) -> None:
    with _own_input() as lines:
        async with stdio_server(stdin=cast(Any, lines)) as (reading, writing):
            # The SDK moves the descriptor away; Python's buffer would be written out after that.
            with redirect_stdout(sys.stderr):
                await server.run(reading, writing, server.create_initialization_options())


@contextmanager
def _own_input() -> Generator[_Lines]:
    """Standard input for the protocol alone; what tools and their processes read is empty."""
    wire, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    try:
        yield _Lines(wire)
    finally:
        os.dup2(wire, 0)  # `wire` stays open: a thread may still wait on it


class _Lines:
    """The lines of a descriptor. Waiting for one can be cancelled, by Ctrl-C say."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest = descriptor, b""

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        while b"\n" not in self._rest:
            read = await in_thread(os.read, self._descriptor, _CHUNK)
            if not read:
                raise StopAsyncIteration
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


async def _over_http(server: Server[Any], at: Http) -> None:
    with bound_socket(at.host, at.port) as bound:
        host, port = bound.getsockname()[:2]
        local = ipaddress.ip_address(host).is_loopback
        if not local and not at.key:
            raise AgentKitError(
                f"at {host} anybody in reach could call the tools; give a key, or listen at "
                "127.0.0.1"
            )
        app = server.streamable_http_app(
            streamable_http_path=PATH, transport_security=_security(at, local=local)
        )
        config = uvicorn.Config(
            app if at.key is None else _Bearing(app, at.key),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_PARTING,
        )
        shown = f"[{host}]" if ":" in host else host
        await _run(
            uvicorn.Server(config), bound, lambda: at.listening(f"http://{shown}:{port}{PATH}")
        )


async def _run(server: uvicorn.Server, bound: socket.socket, listening: Callable[[], None]) -> None:
    """Run a web server until it ends or we are cancelled; it gets to close what it opened."""
    async with anyio.create_task_group() as group:

        async def run() -> None:
            with anyio.CancelScope(shield=True):
                await server.serve(sockets=[bound])
            group.cancel_scope.cancel()

        bound.listen()  # clients may come from now on, and wait
        listening()
        group.start_soon(run)
        try:
            await anyio.sleep_forever()
        finally:
            server.should_exit = True


def _security(at: Http, *, local: bool) -> TransportSecuritySettings:
    """What `Host` and `Origin` may be: a page that a browser shows must not reach the tools."""
    names = [*(_LOCAL if local else ()), *at.hosts]
    if not names:  # beyond this machine, by whatever name: the key is what counts
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return TransportSecuritySettings(
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            form
            for name in names
            for scheme in ("http", "https")
            for form in (f"{scheme}://{name}", f"{scheme}://{name}:*")
        ],
    )


class _Bearing:
    """Lets through who bears the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._wanted = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "").encode()
            if not hmac.compare_digest(given, self._wanted):
                refusal = PlainTextResponse(
                    "the key is missing or wrong; send it as 'Authorization: Bearer KEY'",
                    status_code=401,
                    headers={"www-authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
