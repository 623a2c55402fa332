"""The real server, in a thread on a loopback port, and forwards that a test can hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette

from agentkit_engine import Engine
from agentkit_engine.server.app import make_app
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.native.sessions import Sessions


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    app: Starlette

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
    engine: Engine, *, api_key: str | None = None, limits: Limits | None = None, port: int = 0
) -> Generator[Served]:
    """The engine behind HTTP, until the end of the block."""
    app = make_app(engine, api_key=api_key, limits=limits)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        [listening] = server.servers[0].sockets
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
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
