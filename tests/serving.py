"""The real server, in a thread on a loopback port, and forwards that a test can hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette

from agentkit_engine import Engine
from agentkit_engine.server.app import make_app
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.listening import bound_socket
from agentkit_engine.server.native.sessions import Sessions
from agentkit_engine.server.operation.draining import Server


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    app: Starlette
    server: Server

    @property
    def sessions(self) -> Sessions:
        found = self.app.state.sessions
        assert isinstance(found, Sessions)
        return found

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving(
    engine: Engine,
    *,
    limits: Limits | None = None,
    port: int = 0,
    drain: float = 30.0,
    **options: Any,
) -> Generator[Served]:
    """The engine behind HTTP, until the end of the block.

    Args:
        drain: seconds that what is under way then is given.
        options: of `make_app`.
    """
    app = make_app(engine, limits=limits, **options)
    with _running(app, limits or Limits(), port, drain) as (url, server):
        yield Served(url, app, server)


@contextmanager
def listening(app: Starlette, *, limits: Limits | None = None, port: int = 0) -> Generator[str]:
    """An application behind HTTP, at that URL, until the end of the block."""
    with _running(app, limits or Limits(), port, 30.0) as (url, _):
        yield url


@contextmanager
def _running(
    app: Starlette, limits: Limits, port: int, drain: float
) -> Generator[tuple[str, Server]]:
    bound = bound_socket("127.0.0.1", port)
    server = Server(app, limits=limits, drain=drain)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join()


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread is about to do."""
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("nothing came")


class Holding:
    """Forwards of a denoiser, which wait in the first until the gate is opened."""

    def __init__(self) -> None:
        self.forwards = 0
        self.reached, self.gate = threading.Event(), threading.Event()

    def denoise(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any, **options: Any) -> Any:
            self.forwards += 1
            self.reached.set()
            assert self.gate.wait(60)
            return original(*arguments, **options)

        return held


@contextmanager
def held_forwards(engine: Engine) -> Generator[Holding]:
    """Holds the engine's denoise steps; the gate is open again behind the block."""
    holding, denoiser = Holding(), engine.runtime.denoiser
    original = denoiser.denoise
    denoiser.denoise = holding.denoise(original)  # type: ignore[method-assign]
    try:
        yield holding
    finally:
        holding.gate.set()
        denoiser.denoise = original  # type: ignore[method-assign]
