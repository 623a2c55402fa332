"""What is counted, for Prometheus.

Knows what requests and fillings take and what the engine holds. Must not know routes, nor HTTP.
Each server has a registry of its own, so that several can be in one process. Whatever the engine
counts itself is read from it when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentkit_engine.engine import Engine
from agentkit_engine.filling.outcome import Effort
from agentkit_engine.server.transport.account import Account, current_account

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_PHASES = ("encode", "denoise", "verify", "lattice")


class Meter:
    """Counts what one server does."""

    def __init__(self, engine: Engine, *, model: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "agentkit_requests",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "agentkit_request_seconds",
            "From a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._gone = Counter(
            "agentkit_clients_gone",
            "Clients that left before their answer was whole.",
            ("route",),
            registry=registry,
        )
        phases = Histogram(
            "agentkit_phase_seconds",
            "Of a request, waiting for its place (queue); of a filling, each phase that it has.",
            ("phase",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._phases = {phase: phases.labels(phase) for phase in (*_PHASES, "queue")}
        self._forwards = Histogram(
            "agentkit_filling_forwards",
            "Decoder forwards of a filling or a decision.",
            buckets=_COUNTS,
            registry=registry,
        )
        self._passes = Histogram(
            "agentkit_filling_passes",
            "Passes of the causal encoder over a filling or a decision.",
            buckets=_COUNTS,
            registry=registry,
        )
        tokens = Counter(
            "agentkit_tokens",
            "Tokens of contexts that were filled in behind (prompt), and those filled in (filled).",
            ("kind",),
            registry=registry,
        )
        self._prompt, self._filled = tokens.labels("prompt"), tokens.labels("filled")
        named = Gauge("agentkit_model", "The model that is served.", ("model",), registry=registry)
        named.labels(model).set(1)
        registry.register(_Held(engine))
        ProcessCollector(namespace="agentkit", registry=registry)

    def filled(self, effort: Effort) -> None:
        """A filling or a decision is done."""
        timings = effort.timings
        for phase in _PHASES:
            seconds: float = getattr(timings, phase)
            if seconds:
                self._phases[phase].observe(seconds)
        self._forwards.observe(effort.forwards)
        self._passes.observe(effort.passes)
        self._prompt.inc(effort.prompt_tokens)
        self._filled.inc(effort.tokens)
        account = current_account()
        if account is not None:
            account.add(effort)

    def queued(self, seconds: float) -> None:
        """A request has its place, after so long."""
        self._phases["queue"].observe(seconds)
        account = current_account()
        if account is not None:
            account.queued += seconds

    def answered(self, account: Account, *, route: str) -> None:
        """A request is over.

        Args:
            route: the pattern that its path matched, so that there are as many as routes.
        """
        self._requests.labels(route, account.method, str(account.status)).inc()
        self._seconds.labels(route).observe(account.elapsed)
        if account.gone:
            self._gone.labels(route).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Tells one more number, asked for whenever somebody reads them all."""
        Gauge(f"agentkit_{name}", text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Held(Collector):
    """What the engine counts itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        found = self._engine.statistics
        works, prefixes = found.works, found.prefixes
        ended = CounterMetricFamily("agentkit_works", "Works that ended.", labels=["end"])
        for end in ("done", "failed", "cancelled"):
            ended.add_metric([end], getattr(works, end))
        yield ended
        for name, text, number in (
            ("model_forwards", "Forwards of the model, of every kind.", works.forwards),
            ("model_denoises", "Forwards that denoised.", works.denoises),
            ("model_rows", "Canvases that were denoised.", works.rows),
            ("prefix_hits", "Look-ups that found a prefix.", prefixes.hits),
            ("prefix_misses", "Look-ups that found none.", prefixes.misses),
            ("prefix_evictions", "Prefixes let go for want of room.", prefixes.evictions),
        ):
            yield CounterMetricFamily(f"agentkit_{name}", text, value=number)
        for name, text, number in (
            ("works_queued", "Works that wait or are under way.", works.queue),
            ("prefixes", "Prefixes stored.", prefixes.entries),
            ("prefix_bytes", "Memory that stored prefixes hold.", prefixes.bytes),
        ):
            yield GaugeMetricFamily(f"agentkit_{name}", text, value=number)
