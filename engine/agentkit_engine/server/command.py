"""`agentkit serve`: reads the command line, loads the engine and listens.

Knows the command's options. Must not know routes or sessions.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys

from agentkit_engine.errors import AgentKitError
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.listening import bound_socket

KEY_VARIABLE = "AGENTKIT_API_KEY"
_PARTING = 10  # seconds that what is under way is given when the server is told to end
_IDLE = 60  # seconds that a connection is kept for the next turn, while tools are at work


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `serve` reads."""
    defaults = Limits()
    parser.add_argument(
        "--model",
        metavar="ID",
        default="embedded",
        help="'embedded', a folder or a hub id (default: embedded)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="0 takes one that is free (default: 8000)"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"that every request must bear (default: ${KEY_VARIABLE}, which no list of processes "
        "shows; none where it is not set)",
    )
    parser.add_argument(
        "--max-sessions",
        metavar="N",
        type=int,
        default=defaults.sessions,
        help=f"sessions held at once (default: {defaults.sessions})",
    )


def serve(arguments: argparse.Namespace) -> int:
    """Serve until told to end (Ctrl-C, SIGTERM); returns the exit status.

    Raises:
        AgentKitError: the server's packages are not installed, or nobody can listen there.
        CheckpointError: there is no such model.
    """
    try:
        import uvicorn

        from agentkit_engine.server.app import make_app
    except ImportError as error:
        raise AgentKitError(
            f"`agentkit serve` needs what is not installed: {error}; "
            "install it with `pip install 'agentkit-diffusion[server]'`"
        ) from error
    from agentkit_engine.engine import Engine

    key = arguments.api_key or os.environ.get(KEY_VARIABLE)
    with bound_socket(arguments.host, arguments.port) as bound:
        engine = Engine.load(arguments.model)
        app = make_app(engine, api_key=key, limits=Limits(sessions=arguments.max_sessions))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_PARTING,
        )
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        if key is None and not ipaddress.ip_address(host).is_loopback:
            print("agentkit: no --api-key: whoever reaches this port may use it", file=sys.stderr)
        print(f"agentkit: {arguments.model!r} at http://{shown}:{port}", file=sys.stderr)
        try:
            uvicorn.Server(config).run(sockets=[bound])
        finally:
            engine.close()
    return 0
