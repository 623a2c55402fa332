"""The remote backend: an engine in another process, behind the loop's one seam.

Knows where the server is. Must not know agents or models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.backend import Capabilities, ToolSpec
from agentkit.backends.remote.conversation import RemoteConversation
from agentkit.backends.remote.forms import write_tool
from agentkit.backends.remote.service import Service

_KEY_VARIABLE = "AGENTKIT_API_KEY"


class RemoteBackend:
    """Runs agents with the model of an `agentkit serve`, as if it were in this process.

    Args:
        url: of the server, as "http://127.0.0.1:8000".
        api_key: that the server wants; by default AGENTKIT_API_KEY of the environment.
        timeout: seconds without a word from the server after which it is given up.

    Raises:
        BackendError: the URL is none of HTTP.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 120.0) -> None:
        key = api_key or os.environ.get(_KEY_VARIABLE)
        self._service = Service(url, api_key=key, timeout=timeout)
        self._capabilities = Capabilities()

    def __repr__(self) -> str:
        return f"RemoteBackend({self._service.url!r})"

    @property
    def capabilities(self) -> Capabilities:
        """As the server told when the latest conversation was opened; nothing before the first."""
        return self._capabilities

    async def open(
        self,
        *,
        instructions: str,
        tools: Sequence[ToolSpec],
        output: Mapping[str, Any] | None = None,
    ) -> RemoteConversation:
        """Start a conversation; the server compiles the tools' templates.

        Raises:
            EngineError: a schema can't be honoured, or the server is busy.
            BackendError: the server can't be reached, or refuses the key.
        """
        opening = {
            "instructions": instructions,
            "tools": list(map(write_tool, tools)),
            "output": None if output is None else dict(output),
        }
        conversation = RemoteConversation(self._service, opening)
        try:
            await conversation.begin()
        except BaseException:
            await conversation.aclose()
            raise
        self._capabilities = conversation.capabilities
        return conversation

    async def aclose(self) -> None:
        """Close the running event loop's connections; those of other loops close with them."""
        await self._service.aclose()
