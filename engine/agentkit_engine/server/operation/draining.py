"""The process that serves: how it takes connections, and how it ends.

Knows uvicorn, signals and the service. Must not know routes.

The first SIGTERM or SIGINT turns `/readyz` to 503. After the notice that is given to those who send
requests here, no connection is taken any more; what is under way goes on as long as the drain lasts
and is then answered 503. A second signal ends the process at once.
"""

from __future__ import annotations

import math
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import anyio
import uvicorn
from starlette.applications import Starlette

from agentkit_engine.server.limits import Limits
from agentkit_engine.server.transport.protocol import protocol_of
from agentkit_engine.server.transport.service import Service

_IDLE = 60  # seconds that a connection is kept for the next turn, while tools are at work
_LAST = 5  # seconds for the answers of what was ended
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Serves an application of `make_app` until it is told to end."""

    def __init__(
        self, app: Starlette, *, limits: Limits, drain: float = 30.0, notice: float = 0.0
    ) -> None:
        """
        Args:
            drain: seconds that what is under way is given.
            notice: seconds between the signal and the last connection that is taken.
        """
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_of(limits),
                ws="none",
                lifespan="on",
                h11_max_incomplete_event_size=limits.header_bytes,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE,
                timeout_graceful_shutdown=math.ceil(drain) + _LAST,
            )
        )
        service: Service = app.state.service
        self._service, self._drain, self._notice = service, drain, notice

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends in good order."""
        self._service.draining = True
        await anyio.sleep(self._notice)
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_late)
            await super().shutdown(sockets)
            group.cancel_scope.cancel()

    async def _end_late(self) -> None:
        await anyio.sleep(self._drain)
        self._service.end()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first time: ends in good order; the second time: at once."""
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._service.draining = self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Unlike uvicorn's, it does not die of the signal in the end: the status is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
