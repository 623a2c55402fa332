"""Takes a place to listen at. Knows sockets; must not know what is served."""

from __future__ import annotations

import os
import socket

from agentkit_engine.errors import AgentKitError


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet, so that a port that is taken is told before all else.

    Raises:
        AgentKitError: there is no such place, or it is taken.
    """
    if not 0 <= port <= 65535:  # which would be taken modulo 65536
        raise AgentKitError(f"can't listen at {host}:{port}: a port is at most 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        if os.name != "nt":  # where it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        raise AgentKitError(
            f"can't listen at {host}:{port}: {error}; choose another host or port"
        ) from error
    return bound
