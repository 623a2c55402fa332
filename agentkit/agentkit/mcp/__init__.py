"""Both ends of the Model Context Protocol: the tools of servers for our agents, ours for others.

    client      a server's tools as a toolset, its prompts and resources
    server      toolsets and agents as a server
    endpoint, link, offering, relaxing, contents      rooms of the client
    answering                                         what the server says

Knows the official SDK, which the extra `mcp` brings. Must not know how a run goes on.
"""

from __future__ import annotations

try:
    import mcp as _sdk  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as error:
    raise ImportError(
        f"agentkit.mcp needs what is not installed: {error}; "
        "install it with `pip install 'agentkit-diffusion[mcp]'`"
    ) from error

from agentkit.mcp.client import McpToolset, Prompt, mcp_toolset
from agentkit.mcp.link import ServerError
from agentkit.mcp.offering import Resource
from agentkit.mcp.server import Http, serve

__all__ = [
    "Http",
    "McpToolset",
    "Prompt",
    "Resource",
    "ServerError",
    "mcp_toolset",
    "serve",
]
