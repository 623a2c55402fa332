"""A replica: an engine and its application, in a process that Ray Serve starts, watches and ends.

Knows ASGI and how Ray Serve calls a deployment. Must not know routes.

A request comes whole, since the front has read it to choose where it goes; the answer goes back as
the application sends it, message by message. Where the client goes, Ray Serve cancels the call, and
so all that the application does for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

import anyio
from starlette.types import ASGIApp, Message
from uvicorn import Config
from uvicorn.lifespan.on import LifespanOn

from agentkit_engine.engine import Engine
from agentkit_engine.server.native.ledger import SessionLedger
from agentkit_engine.server.scaling.ledger import RemoteLedger

_log = logging.getLogger(__name__)

Load: TypeAlias = Callable[[], Engine]
Make: TypeAlias = Callable[..., ASGIApp]  # as `make_app`, of which it is a partial


class EngineReplica:
    """What a deployment is made of."""

    def __init__(self, load: Load, make: Make, ledger: Any) -> None:
        """
        Args:
            load: gives the engine.
            make: given it and a ledger, gives the application.
            ledger: the actor.
        """
        self._engine = load()
        kept: SessionLedger = RemoteLedger(ledger)
        self._app = make(self._engine, ledger=kept)
        self._lifespan: LifespanOn | None = None

    async def handle(
        self, scope: dict[str, Any], body: bytes
    ) -> AsyncGenerator[tuple[Message, ...]]:
        """The messages of the answer to a request, several at once where they came together."""
        await self._begin()
        receiving = _Received(body)
        # As long as it needs be: Ray takes what is yielded at once.
        sender, receiver = anyio.create_memory_object_stream[Message](math.inf)

        async def work() -> None:
            with sender:
                try:
                    await self._app(dict(scope), receiving, sender.send)
                except Exception:  # the application has answered 500, as far as it could
                    _log.exception("a request failed")

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            with receiver:
                together: list[Message] = []
                async for message in receiver:
                    together.append(message)
                    if message["type"] != "http.response.start":  # which its body follows at once
                        yield tuple(together)
                        together = []

    async def check_health(self) -> None:
        """Asked now and then by Ray Serve, from the beginning on."""
        await self._begin()

    async def __del__(self) -> None:
        """Ray Serve calls it as the last."""
        if self._lifespan is not None:
            await self._lifespan.shutdown()
        self._engine.close()

    async def _begin(self) -> None:
        """Has the application begin: in the event loop of its requests, which Ray Serve owns."""
        if self._lifespan is None:
            self._lifespan = LifespanOn(Config(self._app, log_config=None))
            await self._lifespan.startup()


class _Received:
    """What an application receives: the whole body at once, and then nothing more.

    That the client goes is no message, see the module.
    """

    def __init__(self, body: bytes) -> None:
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        if message is None:
            await anyio.sleep_forever()
        assert message is not None
        return message
