"""Backends by name. Each is imported when it is first asked for, and made once a process.

    "embedded"                               the engine in this process
    "openai:MODEL"                           a hosted model, or one at OPENAI_BASE_URL
    "openai:MODEL@http://localhost:8000/v1"  one that an OpenAI-compatible server has
    "http://localhost:8000"                  a server of this project

Knows where backends live; must not know what they need.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import cast

from agentkit.backend import Backend
from agentkit.errors import AgentKitError, BackendError


@dataclass(frozen=True, slots=True)
class _Factory:
    """Where a backend is made. `extra`: of the package, which brings what the backend needs."""

    place: str
    extra: str

    def __call__(self, **arguments: str | None) -> Backend:
        return cast(Callable[..., Backend], pkgutil.resolve_name(self.place))(**arguments)


_NAMED = {"embedded": _Factory("agentkit.backends.embedded:EmbeddedBackend", "engine")}
_OPENAI = _Factory("agentkit.backends.openai:OpenAIBackend", "openai")
_REMOTE = _Factory("agentkit.backends.remote:RemoteBackend", "remote")
_OPENAI_NAME = re.compile(r"openai:(?P<model>.+?)(?:@(?P<base_url>https?://.+))?")
_URL = re.compile(r"https?://.+")
_made: dict[str, Backend] = {}
_lock = Lock()


def resolve_backend(name: str) -> Backend:
    """The process's backend of that name. Blocks while it is made; thread-safe.

    The backend is shared: nobody who got it from here closes it.

    Raises:
        BackendError: no backend has that name, or what it needs is not installed.
        EngineError: the engine can't be loaded.
    """
    factory, arguments = _read(name)
    with _lock:  # so that two first runs at once load one engine
        if name not in _made:
            _made[name] = _make(name, factory, arguments)
        return _made[name]


def _read(name: str) -> tuple[_Factory, dict[str, str | None]]:
    """What makes the backend of that name, and of what."""
    if name in _NAMED:
        return _NAMED[name], {}
    if found := _OPENAI_NAME.fullmatch(name):
        return _OPENAI, found.groupdict()
    if _URL.fullmatch(name):
        return _REMOTE, {"url": name}
    known = ", ".join(map(repr, sorted(_NAMED)))
    raise BackendError(
        f"no backend is named {name!r}; known: {known}, 'openai:MODEL', "
        "'openai:MODEL@http://HOST/v1', and the URL of an agentkit server"
    )


def _make(name: str, factory: _Factory, arguments: dict[str, str | None]) -> Backend:
    try:
        return factory(**arguments)
    except AgentKitError:
        raise
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} needs what is not installed: {error}; "
            f"install it with `pip install 'agentkit-diffusion[{factory.extra}]'`"
        ) from error
    except Exception as error:
        raise BackendError(
            f"backend {name!r} can't be made: {type(error).__name__}: {error}"
        ) from error
