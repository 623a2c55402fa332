"""Servers on loopback, and an internet of the tests' own in which they have public addresses.

The tools look names up in a table and their sockets are led from public addresses to loopback.
Everything between, checks included, is the real thing.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import httpcore2
import uvicorn
from starlette.types import ASGIApp

from agentkit_tools.internet.address import Rules
from agentkit_tools.internet.requesting import Limits, Requester

PUBLIC = "93.184.215.14"
OTHER = "2606:2800:21f::14"


@contextmanager
def hosted(app: ASGIApp, *, certificate: str | None = None) -> Generator[int]:
    """An app behind HTTP on a loopback port, until the end of the block."""
    config = uvicorn.Config(
        app, port=0, log_level="error", access_log=False, ssl_certfile=certificate
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.001)
        [listening] = server.servers[0].sockets
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Generator[int]:
    """A server that is a function of a connection, whatever it does to HTTP."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=tried, args=[connection], daemon=True).start()

    def tried(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                answer(connection)
            except OSError:
                pass  # the client has gone, as it should

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@dataclass
class Internet(httpcore2.AsyncNetworkBackend):
    """Names and addresses that lead to ports of loopback.

    names: host -> its answers, one after the other; the last is given ever after.
    routes: address -> the port on loopback behind it. connected: the addresses asked for.
    """

    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """What the resolver of this internet answers."""
        self.asked.append(host)
        answers = self.names.get(host)
        if answers is None:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to what stands behind an address; loopback is itself."""
        self.connected.append(host)
        led = ("127.0.0.1", self.routes[host]) if host in self.routes else (host, port)
        real = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())
        return await real.connect_tcp(*led, timeout, local_address, socket_options)

    def requester(
        self,
        rules: Rules | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Requester:
        """A requester whose internet this is."""
        return Requester(
            rules=rules or Rules(),
            limits=limits or Limits(),
            tls=tls,
            resolve=self.resolve,
            network=self,
        )
