"""The front: takes HTTP, hands each request to a replica, and hands the answer on as it comes.

Knows ASGI, and that a replica may be lost. Must not know Ray, nor what any request asks for.

It stands in the process of the command, with no proxy before it. Ray Serve has one, but it chooses
a replica before it has read a body, and so can't know by which prompt a request begins; and what
goes wrong between it and a replica it answers in plain text, whatever API was asked. A deployment
that takes requests from that proxy and forwards them would cost a second way between processes, of
about 5 ms, and do nothing that is not done here.

What is lost with its replica is asked again, where nothing of an answer was sent yet and the same
asked twice does no harm; else the client is told to (503 and Retry-After, or the last event of a
stream). A request that changes a session does harm unless it says `after` which message.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from agentkit_engine.server.app import dialect_of, gates
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.operation.keys import KeyRequired
from agentkit_engine.server.scaling.affinity import Bond, bond_of
from agentkit_engine.server.transport.bodies import read_bytes
from agentkit_engine.server.transport.connection import while_connected
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import Refused, problem_of

# A request's scope and what it belongs to -> the messages of its answer.
Call: TypeAlias = Callable[[dict[str, Any], Bond], AsyncGenerator[tuple[Message, ...]]]

_TRIES = 3
_AGAIN = 1.0  # seconds after which a client whose replica was lost may come again
_SLACK = 10.0  # seconds beside those that a replica may take
_PROMPT = {"/healthz": 5.0, "/readyz": 5.0}  # seconds, for who asks whether anybody is there
_SENT = ("method", "path", "raw_path", "query_string", "headers", "client", "server", "scheme")
_REWRITTEN = (b"content-length", b"transfer-encoding")


class ReplicaLost(Exception):
    """A replica ended, or could not be reached, before its answer did."""


def make_front(
    call: Call,
    *,
    api_key: Sequence[str] = (),
    limits: Limits | None = None,
    hosts: Sequence[str] | None = None,
    cors: Sequence[str] = (),
) -> Starlette:
    """The application that clients ask, for any ASGI server; the front is its `state.service`.

    Args:
        call: asks a replica; raises `ReplicaLost`.
        api_key, limits, hosts, cors: see `make_app`; replicas have the same keys and limits.
    """
    front = Front(call, limits=limits or Limits())
    # No body is read for who has no key. What needs none has no body, which a replica knows.
    keyed = KeyRequired(front, keys=api_key, free=frozenset(), dialect=dialect_of)

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        checked = bool(api_key) and scope["method"] not in ("GET", "HEAD")
        await (keyed if checked else front)(scope, receive, send)

    app = Starlette(middleware=gates((), frozenset(), hosts, cors))
    app.router.default = let_in
    app.state.service = front
    return app


class Front:
    """What replicas answer for.

    Attributes:
        draining: it was told to end: `/readyz` says so, what is under way goes on.
    """

    def __init__(self, call: Call, *, limits: Limits) -> None:
        self._call, self._limits = call, limits
        self.draining = False
        self._under_way: set[anyio.CancelScope] = set()

    def end(self) -> None:
        """Ends whatever is still under way: it is answered 503, or that is its last event."""
        self.draining = True
        for scope in self._under_way:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        relay = _Relay(send, dialect_of(scope["path"]))
        try:
            if self.draining and scope["path"] == "/readyz":
                raise _ending()
            request = Request(scope, receive)
            body = await read_bytes(request, self._limits)
            bond = bond_of(scope["method"], scope["path"], Headers(scope=scope), body)
            with anyio.CancelScope() as under_way:
                self._under_way.add(under_way)
                try:
                    await while_connected(request, partial(self._answer, scope, bond, relay))
                finally:
                    self._under_way.discard(under_way)
            if under_way.cancelled_caught:
                raise _ending()
        except ClientDisconnect:
            return
        except Exception as error:
            await relay.fail(error, scope, receive)

    async def _answer(self, scope: Scope, bond: Bond, relay: _Relay) -> None:
        """Relays the answer of a replica, or of another where that is lost.

        Raises:
            Refused: none could answer.
        """
        asked = _asked(scope, bond)
        seconds = _PROMPT.get(scope["path"], self._limits.seconds + _SLACK)
        for tries in range(1, _TRIES + 1):
            try:
                with anyio.fail_after(seconds) as waiting:
                    async with aclosing(self._call(asked, bond)) as answer:
                        async for messages in answer:
                            waiting.deadline = math.inf  # a replica minds the time of its work
                            await relay.send(messages)
                return
            except TimeoutError as error:
                why = "no replica has answered; ask again in a while"
                raise Refused(503, "NoReplica", why, retry_after=_AGAIN) from error
            except ReplicaLost as error:
                if relay.begun or not bond.repeatable or tries == _TRIES:
                    raise _lost(bond) from error


def _asked(scope: Scope, bond: Bond) -> dict[str, Any]:
    """A request's scope as it is sent on, with the length of the body as that is."""
    asked = {name: scope[name] for name in _SENT if name in scope}
    headers = [pair for pair in scope["headers"] if pair[0] not in _REWRITTEN]
    if bond.body:
        headers.append((b"content-length", str(len(bond.body)).encode()))
    return {**asked, "headers": headers, "type": "http", "http_version": "1.1"}


def _ending() -> Refused:
    return Refused(503, "ShuttingDown", "the server ends; ask another one", retry_after=_AGAIN)


def _lost(bond: Bond) -> Refused:
    again = "ask again"
    if not bond.repeatable:
        again = (
            "what was asked may be done or not; ask again with `after`, the number of messages "
            "that yours stand behind"
        )
    why = f"the replica that was at it has ended; {again}"
    return Refused(503, "ReplicaLost", why, retry_after=_AGAIN)


class _Relay:
    """An answer on its way to its client.

    Attributes:
        begun: some of it was sent.
    """

    def __init__(self, send: Send, dialect: Dialect) -> None:
        self._send, self._dialect = send, dialect
        self.begun = False
        self._streams = False

    async def send(self, messages: tuple[Message, ...]) -> None:
        """Sends what came together."""
        for message in messages:
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                self._streams = kind.startswith("text/event-stream")
            self.begun = True
            await self._send(message)

    async def fail(self, error: Exception, scope: Scope, receive: Receive) -> None:
        """Tells what went wrong, also as the last event of a stream.

        Raises:
            Exception: the same, where all that is left is to break the connection.
        """
        problem = problem_of(error)
        if not self.begun:
            return await self._dialect.response(problem)(scope, receive, self._send)
        if not self._streams:
            raise error
        last = self._dialect.event("error", self._dialect.error(problem))
        return await self._send({"type": "http.response.body", "body": last, "more_body": False})
