"""A server's routes, asked over HTTP.

Knows requests, responses, and how errors travel. Must not know conversations.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, TypeAlias, cast

import httpx2

from agentkit import errors
from agentkit.backends.per_loop import PerLoop
from agentkit.errors import AgentKitError, BackendError, EngineError

JSON: TypeAlias = dict[str, Any]
OnDraft: TypeAlias = Callable[[JSON], None]

_ROUTE = "x-agentkit-session"
_CONNECT = 10.0  # seconds
_IDLE = 30.0  # seconds that a connection is kept for the next turn; less than the server keeps it
# The connection ended before a word of the answer: it had been kept for too long, or the server was
# started anew. Whatever is asked here does no harm when it is asked twice.
_BROKEN = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


class SessionGone(BackendError):
    """There is no such session, or not all of it, or the id is taken: another is to be made."""


class Service:
    """One server. Serves any number of event loops, each with connections of its own."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float) -> None:
        """
        Args:
            timeout: seconds without a word from the server.

        Raises:
            BackendError: the URL is none of HTTP.
        """
        parsed = _parsed(url)
        self.url = str(parsed).rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = httpx2.Timeout(timeout, connect=min(timeout, _CONNECT))
        self._client = PerLoop(self._new_client, httpx2.AsyncClient.aclose)

    async def ask(self, method: str, path: str, body: JSON | None = None, *, route: str) -> JSON:
        """What the server answers.

        Args:
            route: requests of the same reach the same replica, where there are several.

        Raises:
            SessionGone: it does not hold the session.
            EngineError: what was raised there.
            BackendError: it can't be reached, or refuses.
        """
        async with self._explained():
            client = await self._client.get()
            headers = {_ROUTE: route}
            try:
                response = await client.request(method, path, json=body, headers=headers)
            except _BROKEN:
                response = await client.request(method, path, json=body, headers=headers)
            return self._read(response)

    async def listen(self, path: str, body: JSON, on_draft: OnDraft, *, route: str) -> JSON:
        """The decision that the server streams; the drafts before it go to `on_draft`.

        Args and Raises: as `ask`.
        """
        heard = False

        def tell(draft: JSON) -> None:
            nonlocal heard
            heard = True
            on_draft(draft)

        async with self._explained():
            client = await self._client.get()
            try:
                return await self._listen(client, path, body, tell, route)
            except _BROKEN:
                if heard:  # another try may be drafted and decided otherwise
                    raise
                return await self._listen(client, path, body, tell, route)
            except SessionGone as error:
                if heard:
                    raise BackendError(str(error)) from error
                raise

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._client.aclose()

    async def _listen(
        self, client: httpx2.AsyncClient, path: str, body: JSON, on_draft: OnDraft, route: str
    ) -> JSON:
        headers = {_ROUTE: route}
        async with client.sse(path, method="POST", json=body, headers=headers) as source:
            if source.response.is_error:
                await source.response.aread()
                return self._read(source.response)
            async for event in source:
                value: JSON = json.loads(event.data)
                match event.event:
                    case "draft":
                        on_draft(value)
                    case "error":
                        raise self._error(source.response.status_code, value)
                    case _:
                        return value
        raise httpx2.RemoteProtocolError("the stream ended before the decision")

    def _read(self, response: httpx2.Response) -> JSON:
        try:
            value: Any = response.json() if response.content else {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BackendError(
                f"{self.url} answered {response.status_code} and no JSON object; is that an "
                "`agentkit serve`?"
            )
        found = cast(JSON, value)
        if response.is_success:
            return found
        raise self._error(response.status_code, found)

    def _error(self, status: int, body: JSON) -> AgentKitError:
        """The error that a server's answer tells of."""
        about: JSON = body["error"] if isinstance(body.get("error"), dict) else {}
        kind, message = str(about.get("type", "")), str(about.get("message", body))
        known = getattr(errors, kind, None)
        if isinstance(known, type) and issubclass(known, EngineError):
            error: AgentKitError = known(*about.get("arguments", ()))
            for note in about.get("notes", ()):
                error.add_note(str(note))
            return error
        if kind in ("SessionGone", "SessionExists"):
            return SessionGone(f"{self.url}: {message}")
        if status in (401, 403):
            return BackendError(
                f"{self.url} refuses the key: give `api_key=`, or set AGENTKIT_API_KEY"
            )
        return BackendError(f"{self.url} answered {status}: {message}")

    @asynccontextmanager
    async def _explained(self) -> AsyncGenerator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise BackendError(
                f"{self.url} did not reply in time; give it longer with `timeout=`, or see why it "
                "is slow"
            ) from error
        except (httpx2.TransportError, json.JSONDecodeError) as error:
            raise BackendError(
                f"no connection to {self.url}: {error}; is `agentkit serve` running there?"
            ) from error

    def _new_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url,
            headers=self._headers,
            timeout=self._timeout,
            limits=httpx2.Limits(keepalive_expiry=_IDLE),
            verify=self._trusted,
        )

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return httpx2.create_ssl_context()  # slow to make, and good for every loop


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise BackendError(f"{url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BackendError(f"{url!r} is no server; write it as 'http://127.0.0.1:8000'")
    return parsed
