"""Backends by name. Each is imported when it is first asked for, and made once a process.

Knows where backends live; must not know what they need.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from threading import Lock
from typing import cast

from agentkit.backend import Backend
from agentkit.errors import AgentKitError, BackendError

_FACTORIES = {"embedded": "agentkit.backends.embedded:EmbeddedBackend"}
_made: dict[str, Backend] = {}
_lock = Lock()


def resolve_backend(name: str) -> Backend:
    """The process's backend of that name. Blocks while it is made; thread-safe.

    The backend is shared: nobody who got it from here closes it.

    Raises:
        BackendError: no backend has that name, or what it needs is not installed.
        EngineError: the engine can't be loaded.
    """
    if name not in _FACTORIES:
        known = ", ".join(map(repr, sorted(_FACTORIES)))
        raise BackendError(f"no backend is named {name!r}; known: {known}")
    with _lock:  # so that two first runs at once load one engine
        if name not in _made:
            _made[name] = _make(name)
        return _made[name]


def _make(name: str) -> Backend:
    try:
        factory = cast(Callable[[], Backend], pkgutil.resolve_name(_FACTORIES[name]))
        return factory()
    except AgentKitError:
        raise
    except ImportError as error:
        raise BackendError(
            f"backend {name!r} needs what is not installed: {error}; "
            "install it with `pip install 'agentkit-diffusion[engine]'`"
        ) from error
    except Exception as error:
        raise BackendError(
            f"backend {name!r} can't be made: {type(error).__name__}: {error}"
        ) from error
