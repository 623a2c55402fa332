"""Where a server is, and how to get its two streams of messages: a process, or a URL.

Knows processes and HTTP clients. Must not know what is said over the streams.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
from anyio import to_thread
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

# of messages: those that come, those that go; the SDK has no public name for their types
Streams: TypeAlias = tuple[Any, Any]

_log = logging.getLogger("agentkit.mcp")
_CONNECT = 30.0  # seconds to reach a server; answers may take their time
_REMEMBERED = 5  # last lines of stderr that an error repeats
_LAST_WORDS = 0.5  # seconds that an error waits for them


class _Stderr:
    """What one process says on its standard error: logged, and its last lines remembered."""

    def __init__(self, program: str, reading: int) -> None:
        self._program, self._reading = program, reading
        self._said = deque[str](maxlen=_REMEMBERED)
        self._reader = threading.Thread(target=self._read, name="agentkit mcp stderr", daemon=True)
        self._reader.start()

    async def last_words(self) -> str:
        """The last lines, once all is read: the end of a process is known before what it said."""
        await to_thread.run_sync(self._reader.join, _LAST_WORDS, abandon_on_cancel=True)
        return " | ".join(self._said)

    def _read(self) -> None:
        with os.fdopen(self._reading, errors="replace") as lines, suppress(ValueError):
            for line in lines:
                if text := line.rstrip():
                    self._said.append(text)
                    _log.info("%s: %s", self._program, text)


@dataclass(slots=True)
class Process:
    """A server that is started for us, and spoken to over its standard streams.

    env: on top of the few harmless variables that it gets anyway (PATH, HOME and their like).
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None
    _stderr: _Stderr | None = field(default=None, init=False, repr=False)

    def __str__(self) -> str:
        return shlex.join(self.command)

    async def hint(self) -> str:
        """What the process that was started last said on stderr, for an error."""
        said = await self._stderr.last_words() if self._stderr is not None else ""
        return f"; it said: {said}" if said else ""

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Streams]:
        """Start the process; it is gone when the block ends."""
        command, *given = self.command
        asked = StdioServerParameters(command=command, args=given, env=dict(self.env), cwd=self.cwd)
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as stderr:
            self._stderr = _Stderr(command, reading)
            async with stdio_client(asked, errlog=stderr) as streams:
                stderr.close()  # the process holds the other copy: its end is the end of the log
                yield streams


@dataclass(slots=True)
class Url:
    """A server that is reached by streamable HTTP.

    headers: of every request; they may hold keys, so nothing prints them.
    status: that of the last answer that was none, 0 without one.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    auth: httpx2.Auth | None = field(repr=False)
    status: int = 0

    def __str__(self) -> str:
        return self.url

    async def hint(self) -> str:
        """What the server's refusal was, for an error."""
        if self.status not in {401, 403} and self.status < 500:
            return ""  # others also answer what is asked to find out how old the server is
        mend = "; give `headers=` or `auth=`" if self.status in {401, 403} else ""
        return f"; it answered with status {self.status}{mend}"

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Streams]:
        """Open an HTTP client for as long as the block lasts."""
        self.status = 0
        timeout = httpx2.Timeout(_CONNECT, read=None)  # the limit of a call is the tool's
        async with (
            httpx2.AsyncClient(
                headers=dict(self.headers),
                auth=self.auth,
                timeout=timeout,
                event_hooks={"response": [self._noted]},
            ) as client,
            streamable_http_client(self.url, http_client=client) as streams,
        ):
            yield streams

    async def _noted(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self.status = response.status_code


Endpoint: TypeAlias = Process | Url
