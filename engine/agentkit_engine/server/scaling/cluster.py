"""A cluster: replicas, a router to them, and a ledger of their sessions, on Ray.

Knows Ray and Ray Serve. Must not know routes or HTTP.

It is of this process: where that ends, so does the cluster. Ray itself is started here, on this
machine, unless RAY_ADDRESS names one that runs, on as many machines as it may have.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import Message

from agentkit_engine.errors import AgentKitError
from agentkit_engine.server.limits import Limits
from agentkit_engine.server.scaling.affinity import Bond
from agentkit_engine.server.scaling.front import Call, ReplicaLost
from agentkit_engine.server.scaling.ledger import Ledger
from agentkit_engine.server.scaling.replica import EngineReplica, Load, Make

_NAME = "agentkit"
_ROUTER = "agentkit_engine.server.scaling.router.HomeRouter"
_OBJECTS = 128 * 2**20  # bytes that Ray keeps on this machine of what is on its way
_PARTING = 10.0  # seconds that what is under way is given when a replica is told to end
_HEALTH = 2.0  # seconds between two questions to a replica whether it is well
_STARTS = 3  # tries to start Ray, which gives up soon on a busy machine, and to start a replica
_BUSY = 4  # of the requests that a replica may have at work, one part is what it should have
_KEPT = 4  # sessions that the ledger has room for, for each that a replica holds
_ENTRY = 256 * 2**10  # bytes that an entry of the ledger may have, on the average


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas there are, and what each takes.

    Attributes:
        least, most: as many as there is work for, between these.
        gpus: of each; None: one, where there are any.
        logs: whether what replicas write is written here, too.
    """

    least: int = 1
    most: int = 1
    gpus: float | None = None
    logs: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise AgentKitError(
                f"replicas from {self.least} to {self.most} can't be had; ask for at least 1, and "
                "for no fewer at most than at least"
            )


class Cluster:
    """Replicas that run, and how to ask them.

    Attributes:
        call: asks a replica, which the router chooses.
    """

    def __init__(
        self, load: Load, make: Make, ledger: Any, *, limits: Limits, scale: Scale
    ) -> None:
        self._load, self._make, self._ledger, self._limits = load, make, ledger, limits
        self.call = _call(self.resize(scale).options(stream=True))

    def resize(self, scale: Scale) -> Any:
        """Has as many replicas; those that go end what is under way first.

        Raises:
            AgentKitError: one does not start.
        """
        from ray import serve

        replicas = _deployment(scale, self._limits).bind(self._load, self._make, self._ledger)
        try:
            return serve.run(replicas, name=_NAME, route_prefix=None)
        except RuntimeError as error:
            raise AgentKitError(
                f"the replicas do not start: {error} What they wrote tells why; try the same "
                "without --replicas"
            ) from error


@contextmanager
def cluster(load: Load, make: Make, *, scale: Scale, limits: Limits) -> Generator[Cluster]:
    """Starts one, which ends with the block.

    Args:
        load, make: see `EngineReplica`; they are sent to other processes.

    Raises:
        AgentKitError: Ray is not installed, or a replica does not start.
    """
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise AgentKitError(
            f"several replicas need what is not installed: {error}; "
            "install it with `pip install 'agentkit-diffusion[scale]'`"
        ) from error
    began = not ray.is_initialized()
    if began:
        _start(scale)
    try:
        ledger = _ledger(limits, scale)
        serve.start(proxy_location="Disabled", logging_config=_QUIET)
        try:
            yield Cluster(load, make, ledger, limits=limits, scale=scale)
        finally:
            serve.shutdown() if began else serve.delete(_NAME)
            ray.kill(ledger)
    finally:
        if began:
            ray.shutdown()


_QUIET: dict[str, Any] = {"log_level": "WARNING", "enable_access_log": False}


def _start(scale: Scale) -> None:
    """Starts Ray on this machine, or joins one that runs."""
    import ray

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    options: dict[str, Any] = {"log_to_driver": scale.logs, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**options)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    options |= {
        "address": "local",
        "include_dashboard": False,
        "num_cpus": max(os.cpu_count() or 1, scale.most),  # no replica waits for want of a core
        "object_store_memory": _OBJECTS,
    }
    for tries in range(1, _STARTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray's own are not of one kind
            ray.shutdown()
            if tries == _STARTS:
                raise AgentKitError(f"Ray does not start: {error}") from error


def _ledger(limits: Limits, scale: Scale) -> Any:
    import ray

    sessions = _KEPT * limits.sessions * scale.most
    kept = ray.remote(num_cpus=0, max_restarts=-1)(Ledger)
    return kept.remote(
        sessions=sessions, size=sessions * _ENTRY, idle_seconds=_KEPT * limits.idle_seconds
    )


def _deployment(scale: Scale, limits: Limits) -> Any:
    import ray
    from ray import serve

    gpus = scale.gpus
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
    counted: dict[str, Any] = {"num_replicas": scale.least}
    if scale.most > scale.least:
        counted = {
            "autoscaling_config": {
                "min_replicas": scale.least,
                "max_replicas": scale.most,
                "target_ongoing_requests": max(1, limits.requests // _BUSY),
            }
        }
    return serve.deployment(
        EngineReplica,
        name="engine",
        # a replica has its own queue, and refuses in the dialect of who asks
        max_ongoing_requests=limits.requests + limits.queue + 1,
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
        request_router_config={"request_router_class": _ROUTER},
        graceful_shutdown_timeout_s=_PARTING,
        health_check_period_s=_HEALTH,
        max_constructor_retry_count=_STARTS,
        logging_config=_QUIET,
        **counted,
    )


def _call(handle: Any) -> Call:
    """What asks a replica, which the router chooses."""
    from ray.exceptions import RayError, RayTaskError
    from ray.serve.exceptions import RayServeException

    async def call(asked: dict[str, Any], bond: Bond) -> AsyncGenerator[tuple[Message, ...]]:
        answer = handle.options(session_id=_key(bond)).handle.remote(asked, bond.body)
        ended = False
        try:
            async for messages in answer:
                yield messages
            ended = True
        except RayTaskError:  # raised by the replica, which lives
            raise
        except (RayError, RayServeException) as error:
            raise ReplicaLost from error
        finally:
            if not ended:  # the client has gone
                answer.cancel()

    return call


def _key(bond: Bond) -> str:
    """As the router reads it."""
    from agentkit_engine.server.scaling.router import MAKES, STRICT

    key = f"{STRICT if bond.strict else ''}{bond.key}" if bond.key else ""
    return f"{key}{MAKES}{STRICT}{bond.makes}" if bond.makes else key
