"""Who may ask: API keys, and the names under which a server without one may be asked.

Knows ASGI and headers. Must not know routes, but for those that need no key.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused, problem_of


class KeyRequired:
    """Lets through who bears one of the keys: `Authorization: Bearer KEY`, or `x-api-key: KEY`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[str],
        free: frozenset[str],
        dialect: Callable[[str], Dialect],
    ) -> None:
        """
        Args:
            free: paths that need no key.
            dialect: that of a path, in which it is refused.
        """
        self._app, self._free, self._dialect = app, free, dialect
        self._wanted = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._free and not self._borne(scope):
            why = "the key is missing or wrong; send it as 'Authorization: Bearer KEY'"
            refused = problem_of(Refused(401, "Unauthorized", why))
            response = self._dialect(scope["path"]).response(refused)
            response.headers["www-authenticate"] = "Bearer"
            return await response(scope, receive, send)
        return await self._app(scope, receive, send)

    def _borne(self, scope: Scope) -> bool:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")  # as Anthropic's clients send it
        key = key.strip()
        # All are compared, each in a time that tells nothing of how much of it is right.
        return sum([hmac.compare_digest(key, wanted) for wanted in self._wanted]) > 0


class HostRequired:
    """Lets through who asks for this machine by one of its names.

    A server that listens on loopback and wants no key trusts whoever can connect. A web page can,
    by a name of its own that it has made to mean this machine; so that name is looked at.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Sequence[str], dialect: Callable[[str], Dialect]
    ) -> None:
        """
        Args:
            hosts: names allowed beside those of loopback.
        """
        self._app, self._dialect = app, dialect
        self._hosts = {host.lower().encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            named = [value for name, value in scope["headers"] if name == b"host"]
            if not named or not all(map(self._allowed, named)):
                asked = b", ".join(named).decode(errors="replace")[:100]
                why = f"the host {asked!r} is not served; allow it with --allow-host, or set a key"
                refused = problem_of(Refused(403, "HostNotAllowed", why))
                response = self._dialect(scope["path"]).response(refused)
                return await response(scope, receive, send)
        return await self._app(scope, receive, send)

    def _allowed(self, host: bytes) -> bool:
        name = host.rpartition(b":")[0] if host[-1:] != b"]" and b":" in host else host
        name = name.strip(b"[]").lower()
        return name in self._hosts or name == b"localhost" or is_loopback(name.decode("latin-1"))


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone; a name is none."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
