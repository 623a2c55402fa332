"""One request within limits: of time in all, of bytes on the wire and unpacked, of redirects.

Knows HTTP. Must not know what the bytes say, or who asks.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from typing import Literal, TypeAlias, cast

import anyio
import httpcore2
import httpx2

from agentkit_tools.internet.address import Refused, Rules
from agentkit_tools.internet.connecting import (
    CheckedBackend,
    CheckedTransport,
    Resolve,
    looked_up,
)

Redirects: TypeAlias = Literal["anywhere", "same origin", "none"]
_MOVED = frozenset({301, 302, 303, 307, 308})


@cache  # reading the authorities takes as long as a request
def _usual_tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


def _sockets() -> httpcore2.AsyncNetworkBackend:
    return cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())


class Failed(ValueError):
    """No answer came that can be used; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """seconds: for all of it, redirects and every byte. bytes: of a body, packed and unpacked."""

    seconds: float = 20.0
    bytes: int = 2_000_000
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. cut: the body goes on beyond what was read."""

    url: httpx2.URL
    status: int
    headers: httpx2.Headers
    body: bytes
    cut: bool

    @property
    def media_type(self) -> str:
        """The type in lower case, without its parameters; empty where none was told."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The character set that the type names."""
        read = Message()
        read["content-type"] = self.headers.get("content-type", "")
        return read.get_content_charset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Sends requests that reach only where `rules` let them.

    tls: None for the usual authorities. resolve, network: how names are looked up and sockets
    opened; what is found is checked whoever found it.
    """

    rules: Rules
    limits: Limits = field(default_factory=Limits)
    user_agent: str = "agentkit"
    tls: ssl.SSLContext | None = None
    resolve: Resolve = looked_up
    network: httpcore2.AsyncNetworkBackend = field(default_factory=_sockets)

    async def send(
        self,
        method: str,
        url: httpx2.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        redirects: Redirects = "anywhere",
        wanted: Callable[[Reply], bool] = lambda reply: True,
    ) -> Reply:
        """Send a request and read the answer; of one that is not `wanted` only the head.

        Raises:
            Refused: the URL may not be reached.
            Failed: no answer, none in time, or it leads where nothing may be reached.
        """
        sent = {"user-agent": self.user_agent, "accept-encoding": "gzip", **(headers or {})}
        try:
            with anyio.fail_after(self.limits.seconds):
                async with self._client() as client:
                    request = client.build_request(method, url, headers=sent, content=content)
                    return await self._followed(client, request, redirects, wanted)
        except TimeoutError:
            raise Failed(f"no whole answer came within {self.limits.seconds:g} seconds") from None
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise Failed(f"{url.host!r} can't be reached: {_first_line(error)}") from error
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.UnsupportedProtocol,
            httpx2.HTTPError,
        ) as error:
            raise Failed(f"{url.host!r} gave no proper answer: {_first_line(error)}") from error

    def _client(self) -> httpx2.AsyncClient:
        """A client for one request: no cookie and no connection outlives it.

        Nothing (proxies, netrc) comes from the environment.
        """
        backend = CheckedBackend(self.rules, self.resolve, self.network)
        transport = CheckedTransport(backend, self.tls or _usual_tls())
        return httpx2.AsyncClient(transport=transport, trust_env=False, timeout=None)

    async def _followed(
        self,
        client: httpx2.AsyncClient,
        request: httpx2.Request,
        redirects: Redirects,
        wanted: Callable[[Reply], bool],
    ) -> Reply:
        first = request.url
        self.rules.check(first)
        for hop in range(self.limits.redirects + 1):
            try:
                self.rules.check(request.url)
                response = await client.send(request, stream=True)
            except Refused as error:
                if hop == 0:
                    raise
                raise Failed(f"it leads to {request.url}: {error}") from None
            try:
                target = _target(response)
                if target is None or redirects == "none":
                    return await self._read(response, wanted)
            finally:
                await response.aclose()
            if redirects == "same origin" and _origin(target) != _origin(first):
                raise Failed(f"it leads elsewhere, to {target.copy_with(query=None)}")
            headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            request = client.build_request(request.method, target, headers=headers)
        raise Failed(f"it leads on more than {self.limits.redirects} times, last to {request.url}")

    async def _read(self, response: httpx2.Response, wanted: Callable[[Reply], bool]) -> Reply:
        head = Reply(response.url, response.status_code, response.headers, b"", False)
        if not wanted(head):
            return head
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in {"identity", "gzip", "x-gzip", ""}:
            raise Failed(f"its body is packed as {coding!r}, which was not asked for")
        body = _Unpacking(self.limits.bytes, packed="gzip" in coding)
        async for part in response.aiter_raw():
            body.add(part)
            if body.full:
                break
        return Reply(head.url, head.status, head.headers, bytes(body.bytes), body.full)


class _Unpacking:
    """A body as it comes, up to a limit; a bomb is never unpacked beyond it."""

    def __init__(self, limit: int, *, packed: bool) -> None:
        self.bytes = bytearray()
        self.full = False
        self._limit, self._wire = limit, 0
        self._gzip = zlib.decompressobj(31) if packed else None

    def add(self, part: bytes) -> None:
        self._wire += len(part)
        if self._gzip is None:
            self.bytes += part
        else:
            self._unpack(part)
        self.full = len(self.bytes) > self._limit or self._wire > self._limit
        del self.bytes[self._limit :]

    def _unpack(self, part: bytes) -> None:
        assert self._gzip is not None
        while part and len(self.bytes) <= self._limit:
            try:
                # One byte more than fits tells a body that goes on from one that ends here.
                self.bytes += self._gzip.decompress(part, self._limit + 1 - len(self.bytes))
            except zlib.error as error:
                raise Failed(f"its body is no proper gzip: {error}") from None
            if self._gzip.eof:  # another member may follow; what is none is padding
                part, self._gzip = self._gzip.unused_data, zlib.decompressobj(31)
                part = part if part.startswith(b"\x1f") else b""
            else:
                part = self._gzip.unconsumed_tail


def _target(response: httpx2.Response) -> httpx2.URL | None:
    place = response.headers.get("location")
    if response.status_code not in _MOVED or place is None:
        return None
    try:
        return response.url.join(place).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError) as error:
        raise Failed(f"it leads to {place[:200]!r}, which is no URL: {error}") from None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
