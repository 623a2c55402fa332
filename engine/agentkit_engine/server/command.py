"""`agentkit serve`: reads the command line, loads the engine and listens.

Knows the command's options. Must not know routes or sessions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agentkit_engine.errors import AgentKitError
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.listening import bound_socket

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from agentkit_engine.engine import Engine
    from agentkit_engine.server.operation.logs import Logs

KEY_VARIABLE = "AGENTKIT_API_KEY"
_MOST_WORKS = 256  # that an engine takes where nothing else is said


Number = TypeVar("Number", int, float)


class _Group(Protocol):
    """Options that are shown together."""

    def add_argument(self, *names: str, **about: Any) -> object: ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `serve` reads."""
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
    _add_access(parser.add_argument_group("who may ask"))
    _add_limits(parser.add_argument_group("limits"))
    _add_operation(parser.add_argument_group("operation"))
    _add_scale(parser.add_argument_group("scale"))


def _add_access(group: _Group) -> None:
    group.add_argument(
        "--api-key",
        metavar="KEY",
        action="append",
        help="of which every request must bear one; may be given several times (default: "
        f"${KEY_VARIABLE}, with commas between several, which no list of processes shows; none "
        "where it is not set)",
    )
    group.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        help="a name of this machine that requests may be for, beside those of loopback; may be "
        "given several times (default: any, but on loopback without a key none)",
    )
    group.add_argument(
        "--cors",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="an origin whose web pages may ask, as https://example.com, or '*'; may be given "
        "several times (default: none)",
    )


def _add_limits(group: _Group) -> None:
    limits = Limits()

    def add(name: str, metavar: str, default: float, text: str) -> None:
        kind = count if isinstance(default, int) else seconds
        told = f"{text} (default: {default:{'' if isinstance(default, int) else 'g'}})"
        group.add_argument(name, metavar=metavar, type=kind, default=default, help=told)

    add("--max-sessions", "N", limits.sessions, "sessions held at once")
    add("--max-requests", "N", limits.requests, "requests at work at once")
    add("--queue", "N", limits.queue, "requests that wait beside those; others are answered 429")
    add("--timeout", "SECONDS", limits.seconds, "that a request may take, waiting included")
    add("--max-body", "BYTES", limits.body_bytes, "of a request")
    add("--max-tokens", "N", limits.tokens, "of one answer")
    group.add_argument(
        "--memory",
        metavar="MB",
        type=count,
        help="that encoded contexts may hold, those least recently used going first (default: "
        "1024; on a GPU half of what is free)",
    )


def _add_operation(group: _Group) -> None:
    group.add_argument(
        "--log",
        choices=("json", "text", "off"),
        default="text",
        help="a line a request, on standard error (default: text)",
    )
    group.add_argument(
        "--log-prompts", action="store_true", help="the lines hold what was asked, too"
    )
    group.add_argument(
        "--drain",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="that what is under way is given when the server is told to end (default: 30)",
    )
    group.add_argument(
        "--notice",
        metavar="SECONDS",
        type=seconds,
        default=0.0,
        help="that /readyz says so before connections are refused (default: 0)",
    )


def _add_scale(group: _Group) -> None:
    group.add_argument(
        "--replicas",
        metavar="N",
        type=count,
        default=1,
        help="engines, each in a process and on a GPU of its own, on Ray Serve; limits are those "
        "of each (default: 1, in this process)",
    )
    group.add_argument(
        "--max-replicas",
        metavar="N",
        type=count,
        help="as many as there is work for, up to this (default: --replicas)",
    )
    group.add_argument(
        "--min-replicas",
        metavar="N",
        type=count,
        help="that are there in any case, with --max-replicas (default: 1)",
    )


def serve(arguments: argparse.Namespace) -> int:
    """Serve until told to end (Ctrl-C, SIGTERM); returns the exit status.

    Raises:
        AgentKitError: the server's packages are not installed, or nobody can listen there.
        CheckpointError: there is no such model.
    """
    try:
        from agentkit_engine.server.operation.draining import Server
        from agentkit_engine.server.operation.keys import is_loopback
        from agentkit_engine.server.operation.logs import start_logging
    except ImportError as error:
        raise AgentKitError(
            f"`agentkit serve` needs what is not installed: {error}; "
            "install it with `pip install 'agentkit-diffusion[server]'`"
        ) from error
    keys, limits, hosts = _keys(arguments.api_key), _limits(arguments), arguments.allow_host
    with bound_socket(arguments.host, arguments.port) as bound:
        host, port = bound.getsockname()[:2]
        if not keys and not is_loopback(host):
            print("agentkit: no --api-key: whoever reaches this port may use it", file=sys.stderr)
        if not keys and is_loopback(host):
            hosts = hosts or []
        start_logging(arguments.log)
        with _application(arguments, keys, limits, hosts) as app:
            shown = f"[{host}]" if ":" in host else host
            print(f"agentkit: {arguments.model!r} at http://{shown}:{port}", file=sys.stderr)
            drain, notice = arguments.drain, arguments.notice
            Server(app, limits=limits, drain=drain, notice=notice).run(sockets=[bound])
    return 0


@contextmanager
def _application(
    arguments: argparse.Namespace, keys: list[str], limits: Limits, hosts: list[str] | None
) -> Generator[Starlette]:
    """What is served: an engine in this process, or a front before replicas."""
    from agentkit_engine.server.app import make_app

    queue = max(_MOST_WORKS, 4 * limits.requests)
    memory = arguments.memory and arguments.memory * 2**20
    load = partial(_load, arguments.model, memory=memory, queue=queue, log=arguments.log)
    make = partial(make_app, api_key=keys, limits=limits, log_prompts=arguments.log_prompts)
    most = arguments.max_replicas or arguments.replicas
    if most == 1:
        engine = load()
        try:
            yield make(engine, hosts=hosts, cors=arguments.cors)
        finally:
            engine.close()
        return
    from agentkit_engine.server.scaling.cluster import Scale, cluster
    from agentkit_engine.server.scaling.front import make_front

    least = arguments.min_replicas or (1 if arguments.max_replicas else most)
    with cluster(load, make, scale=Scale(least=least, most=most), limits=limits) as replicas:
        cors = arguments.cors
        yield make_front(replicas.call, api_key=keys, limits=limits, hosts=hosts, cors=cors)


def _load(model: str, *, memory: int | None, queue: int, log: Logs) -> Engine:
    """The engine, in whichever process."""
    from agentkit_engine.engine import Engine
    from agentkit_engine.server.operation.logs import start_logging

    start_logging(log)
    return Engine.load(model, memory=memory, queue=queue)


def _keys(given: list[str] | None) -> list[str]:
    """The keys of the command line, or else of the environment."""
    said = given or os.environ.get(KEY_VARIABLE, "").split(",")
    return [key.strip() for key in said if key.strip()]


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(
        sessions=arguments.max_sessions,
        requests=arguments.max_requests,
        queue=arguments.queue,
        seconds=arguments.timeout,
        body_bytes=arguments.max_body,
        tokens=arguments.max_tokens,
    )


def count(text: str) -> int:
    """A number of things, one at least."""
    return _at_least(1, int, text)


def seconds(text: str) -> float:
    return _at_least(0, float, text)


def _at_least(least: float, kind: Callable[[str], Number], text: str) -> Number:
    number = kind(text)
    if not least <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not {least} or more")
    return number
