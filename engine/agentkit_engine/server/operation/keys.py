"""API keys: who may ask.

Knows ASGI and headers. Must not know routes, but for those that need no key.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Problem


class KeyRequired:
    """Lets through who bears the key: `Authorization: Bearer KEY`, or `x-api-key: KEY`."""

    def __init__(
        self, app: ASGIApp, *, key: str, free: frozenset[str], dialect: Callable[[str], Dialect]
    ) -> None:
        """
        Args:
            free: paths that need no key.
            dialect: that of a path, in which it is refused.
        """
        self._app, self._wanted, self._free, self._dialect = app, key.encode(), free, dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._free and not self._borne(scope):
            why = "the key is missing or wrong; send it as 'Authorization: Bearer KEY'"
            refused = Problem(status=401, kind="Unauthorized", message=why)
            response = self._dialect(scope["path"]).response(refused)
            response.headers["www-authenticate"] = "Bearer"
            return await response(scope, receive, send)
        return await self._app(scope, receive, send)

    def _borne(self, scope: Scope) -> bool:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")  # as Anthropic's clients send it
        # in a time that tells nothing of how much of it is right
        return hmac.compare_digest(key.strip(), self._wanted)
