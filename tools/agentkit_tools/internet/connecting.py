"""A transport that looks a host up once, checks every answer, and connects to those answers.

The name is not looked up again on the way to the socket, so a resolver that answers differently
the second time gains nothing; the Host header and the TLS server name stay the host's. Knows
httpcore's network backends. Must not know redirects, limits or tools.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import anyio
import httpcore2
import httpx2

from agentkit_tools.internet.address import Refused, Rules, addresses_of, canonical

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host and a port -> its addresses as text."""


async def looked_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system's resolver knows them."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [entry[4][0] for entry in found]


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens sockets to checked addresses alone; `inner` opens them."""

    def __init__(
        self, rules: Rules, resolve: Resolve, inner: httpcore2.AsyncNetworkBackend
    ) -> None:
        self._rules, self._resolve, self._inner = rules, resolve, inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of the host that answers, if all may be reached."""
        host = canonical(host)
        try:
            addresses = addresses_of(await self._resolve(host, port))
        except (OSError, ValueError) as error:
            raise httpcore2.ConnectError(f"the host {host!r} has no address") from error
        self._rules.check_addresses(host, addresses)
        failure: Exception = httpcore2.ConnectError(f"the host {host!r} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: no URL leads to a socket of this machine."""
        raise Refused(f"{path!r} is a socket of this machine")


class CheckedTransport(httpx2.AsyncBaseTransport):
    """httpx's way to httpcore, over a `CheckedBackend`; no proxy, HTTP/1.1."""

    def __init__(self, backend: CheckedBackend, tls: ssl.SSLContext) -> None:
        self._pool = httpcore2.AsyncConnectionPool(ssl_context=tls, network_backend=backend)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; what goes wrong is an exception of httpcore, or `Refused`."""
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore2.Request(
                request.method,
                httpcore2.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=cast("AsyncIterable[bytes]", request.stream),
                extensions=request.extensions,
            )
        )
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=cast("dict[str, Any]", response.extensions),  # pyright: ignore[reportUnknownMemberType]
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
