"""The connection to a server: opened by the one task that owns it, used by any, opened anew.

Knows sessions and their ends. Must not know tools. A session's cancel scopes have to be left by
the task that entered them, so all sessions of a link live in `Link.run`; requests are made by
whoever makes them, so that their cancellation reaches the server.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import mcp_types as types
from anyio.abc import TaskStatus
from mcp import MCPError
from mcp.client import Client, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

import agentkit
from agentkit.mcp.endpoint import Endpoint, Streams, Url
from agentkit.running.groups import owned_group

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds between two starts
_REST = 60.0  # seconds after which a link that was given up is tried again
_LISTEN_AGAIN = 1.0  # seconds
_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}  # those above are critical
_log = logging.getLogger("agentkit.mcp")


class ServerError(Exception):
    """The server answered that it could not do what was asked; says what it said."""


class Link:
    """A connection that is opened when it is needed, and again when it was lost.

    opened: told of each new session, and of each change of the server's tools; it may use the
        client, and what it raises ends the session.
    restarts: times in a row that a session may be opened anew without a request that succeeds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str,
        opened: Callable[[Client], Awaitable[None]],
        connect_timeout: float,
        restarts: int,
        log_level: types.LoggingLevel | None,
    ) -> None:
        self._endpoint, self._name, self._opened = endpoint, name, opened
        self._connect_timeout, self._restarts = connect_timeout, restarts
        self._log_level: types.LoggingLevel | None = log_level
        self._loop = anyio.lowlevel.current_token()
        self._client: Client | None = None
        self._failure: Exception | None = None
        self._wanted, self._tried = anyio.Event(), anyio.Event()
        self._stirred = anyio.Event()  # lost, or the tools have changed
        self._open = self._lost = self._changed = self._closed = False
        self._starts = 0  # since a request last succeeded
        self._last = -math.inf  # when the last start was

    def __str__(self) -> str:
        return f"the MCP server {self._name!r}"

    async def request(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the server, over a session that is opened if there is none.

        Raises:
            ServerError: the server refuses, or answers what it should not.
            ConnectionError: it can't be reached, or was lost meanwhile.
        """
        if anyio.lowlevel.current_token() != self._loop:
            raise RuntimeError(
                f"{self} was opened in another event loop; use its tools "
                "in the one that `async with mcp_toolset(...)` runs in"
            )
        for last in (False, True):
            client = await self._connected()
            try:
                answer = await ask(client)
            except MCPError as error:
                if not last and _forgotten(error):  # it was never looked at, so it may be repeated
                    self._lose(client)
                    continue
                if not self._is_lost(client, error):
                    raise ServerError(error.message) from error
                self._lose(client)
                hint = await self._endpoint.hint()
                raise ConnectionError(
                    f"{self} was lost during the call, which may or may not "
                    f"have had its effect{hint}"
                ) from error
            except (ValidationError, RuntimeError) as error:  # what the SDK finds wrong with it
                said = str(error).splitlines()[0]
                raise ServerError(f"it answered what it should not: {said}") from error
            self._starts = 0
            return answer
        raise AssertionError("the second try returns or raises")

    async def run(self) -> None:
        """Open sessions whenever one is wanted, until cancelled. Raises nothing else."""
        try:
            await self._sessions()
        finally:
            self._closed, self._client = True, None
            self._tried.set()

    async def _sessions(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            pause = min(_FIRST_PAUSE * 2 ** (self._starts - 2), _LONGEST_PAUSE)
            await anyio.sleep(pause if self._starts >= 2 else 0)  # the first two: at once
            self._starts += 1
            self._last = anyio.current_time()
            try:
                await self._session()
            except Exception as error:
                await self._ended(error)
            else:
                await self._ended(ConnectionError("it closed the connection"))

    async def connect(self) -> None:
        """Open the first session. Raises what went wrong."""
        await self._connected()

    async def _connected(self) -> Client:
        while (client := self._client) is None:
            if self._closed:
                raise ConnectionError(
                    f"{self} was left: use its tools within the block of "
                    "`async with mcp_toolset(...)`"
                )
            resting = anyio.current_time() < self._last + _REST
            if self._starts > self._restarts and resting:
                raise ConnectionError(
                    f"{self} was started {self._starts} times in vain and "
                    f"is left alone for a minute: {self._failure}"
                )
            self._wanted.set()
            await self._tried.wait()
            if self._failure is not None:  # None where a session was opened
                raise ConnectionError(
                    f"{self} can't be reached: {self._failure}"
                ) from self._failure
        return client

    async def _session(self) -> None:
        """One session, from its opening until it is lost."""
        self._open = self._lost = self._changed = False
        with anyio.CancelScope(deadline=anyio.current_time() + self._connect_timeout) as scope:
            async with self._client_of() as client, owned_group() as group:
                if _announces(client):  # before its tools are read: no change is missed
                    await group.start(self._listen, client)
                await self._opened(client)
                scope.deadline = math.inf
                self._client, self._failure, self._open = client, None, True
                self._tried.set()
                await self._watch(client)
                group.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise TimeoutError(f"no session within {self._connect_timeout:g} s")

    async def _watch(self, client: Client) -> None:
        """Look after an open session until it is lost."""
        while not self._lost:
            await self._stirred.wait()
            self._stirred = anyio.Event()
            if self._changed and not self._lost:
                self._changed = False
                try:
                    with anyio.move_on_after(self._connect_timeout):
                        await self._opened(client)
                except MCPError as error:
                    _log.warning("the tools of %s can't be read: %s", self, error)

    async def _ended(self, error: Exception) -> None:
        error = _innermost(error)
        known = isinstance(error, MCPError) and error.code == types.CONNECTION_CLOSED
        said = "it ended" if known else str(error) or type(error).__name__
        self._failure = ConnectionError(f"{said}{await self._endpoint.hint()}")
        self._client = None
        if not self._open:  # told to all who wait; those who wait for a lost one get the next
            self._wanted = anyio.Event()
            self._tried.set()
        if self._tried.is_set():
            self._tried = anyio.Event()

    @asynccontextmanager
    async def _client_of(self) -> AsyncGenerator[Client]:
        client = Client(
            _Watched(self._endpoint, self._lose),
            read_timeout_seconds=None,  # a call's limit is its tool's, a session's that of opening
            logging_callback=self._logged,
            log_level=self._log_level,
            message_handler=self._heard,
            client_info=types.Implementation(name="agentkit", version=agentkit.__version__),
            cache=None,
        )
        async with client:
            if self._log_level and client.server_capabilities.logging is not None:
                await _set_level(client, self._log_level)
            yield client

    def _is_lost(self, client: Client, error: MCPError) -> bool:
        """Whether an error says that the session is over; servers use its code for other things."""
        if error.code != types.CONNECTION_CLOSED:
            return False
        ended = client is not self._client or error.message == "Connection closed"
        return ended or isinstance(self._endpoint, Url)  # where a new session costs nothing

    def _lose(self, client: Client | None = None) -> None:
        """The session is over: of `client`, or the one that is open."""
        if client is None or client is self._client:
            if self._client is not None:
                self._tried = anyio.Event()
            self._client, self._lost = None, True
            self._stirred.set()

    async def _listen(self, client: Client, *, task_status: TaskStatus[None]) -> None:
        """Hear of changes, from servers that tell only those who ask."""
        first = True
        while True:
            try:
                async with client.listen(tools_list_changed=True) as events:
                    if first:
                        task_status.started()
                    else:
                        self._change()  # what was told meanwhile was not heard
                    first = False
                    async for _ in events:
                        self._change()
            except (MCPError, SubscriptionLost, TimeoutError) as error:
                _log.debug("listening to %s ended: %s", self, error)
            if first:  # it can't be listened to; its tools are those of now
                task_status.started()
                return
            await anyio.sleep(_LISTEN_AGAIN)

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._change()
        elif isinstance(message, Exception):
            _log.warning("%s wrote what is no message: %s", self, message)

    def _change(self) -> None:
        self._changed = True
        self._stirred.set()

    async def _logged(self, params: types.LoggingMessageNotificationParams) -> None:
        data = params.data
        text = data if isinstance(data, str) else json.dumps(data, default=repr)
        level = _LEVELS.get(params.level, logging.CRITICAL)
        _log.log(level, "%s: %s", params.logger or self._name, text)


def _innermost(error: Exception) -> Exception:
    """What ended a session, out of the groups that the SDK's task groups wrap it in."""
    while isinstance(error, ExceptionGroup):
        error = cast(ExceptionGroup[Exception], error).exceptions[0]
    return error


def _forgotten(error: MCPError) -> bool:
    """Whether the server does not know our session any more: it was restarted, say."""
    return error.code == types.INVALID_REQUEST and error.message == "Session terminated"


def _announces(client: Client) -> bool:
    tools = client.server_capabilities.tools
    changes = tools is not None and bool(tools.list_changed)
    return changes and client.protocol_version in MODERN_PROTOCOL_VERSIONS


async def _set_level(client: Client, level: types.LoggingLevel) -> None:
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:  # there each request says it
        asked = types.SetLevelRequest(params=types.SetLevelRequestParams(level=level))
        await client.session.send_request(asked, types.EmptyResult)


class _Watched:
    """A transport as the SDK takes it, which tells when no more messages will come.

    A session of the SDK does not tell when its server is gone; requests find out.
    """

    def __init__(self, endpoint: Endpoint, ended: Callable[[], None]) -> None:
        self._context = endpoint.streams()
        self._ended = ended

    async def __aenter__(self) -> Streams:
        reading, writing = await self._context.__aenter__()
        return _Reading(reading, self._ended), writing

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, traceback)


class _Reading:
    """A stream of messages that tells when it is at its end."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream, self._ended = stream, ended

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        try:
            return await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ended()
            raise

    def __aiter__(self) -> _Reading:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._ended()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> _Reading:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> bool | None:
        closed: bool | None = await self._stream.__aexit__(*raised)
        return closed
