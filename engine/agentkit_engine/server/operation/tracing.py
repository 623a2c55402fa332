"""Requests as OpenTelemetry spans, where the process that serves has set up OpenTelemetry.

Knows accounts and OpenTelemetry's API, which is imported when it is there. Must not know routes.
Names are those of the semantic conventions for HTTP and for GenAI; what has no name there begins
with `agentkit.`.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agentkit_engine.server.transport.account import Account

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

_NAME = "agentkit_engine.server"
_CONTEXT = ("traceparent", "tracestate")
# What is asked at a path, by what its pattern begins with; the first that fits.
_OPERATIONS = (
    ("/v1/completions", "text_completion"),
    ("/v1/fim", "text_completion"),
    ("/v1/edit", "text_completion"),
    ("/v1/infill", "text_completion"),
    ("/infill", "text_completion"),
    ("", "chat"),
)


def tracing(model: str, provider: TracerProvider | None = None) -> Tracing | None:
    """What traces the requests of a server; None where nobody has set up OpenTelemetry.

    Args:
        provider: by default that of the process.
    """
    if provider is None and "opentelemetry.trace" not in sys.modules:
        return None  # whoever sets one up has imported it
    from opentelemetry import trace

    provider = provider or trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return Tracing(provider.get_tracer(_NAME), model)


class Tracing:
    """Traces requests."""

    def __init__(self, tracer: Tracer, model: str) -> None:
        self._tracer, self._model = tracer, model

    @contextmanager
    def span(self, account: Account, headers: Iterable[tuple[bytes, bytes]]) -> Generator[Any]:
        """A request's span, which goes on the trace that its client tells of; current inside."""
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in headers
            if name.decode("latin-1") in _CONTEXT
        }
        parent = TraceContextTextMapPropagator().extract(carrier, context.Context())
        attributes = {"http.request.method": account.method, "agentkit.request.id": account.id}
        kind = trace.SpanKind.SERVER
        span = self._tracer.start_span(account.method, parent, kind, attributes)
        account.trace = trace.format_trace_id(span.get_span_context().trace_id)
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield span
        finally:
            context.detach(token)
            span.end()

    def answered(self, span: Span, account: Account, *, route: str) -> None:
        """Says what came of a request."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(f"{account.method} {route}")
        about: dict[str, Any] = {
            "http.route": route,
            "http.response.status_code": account.status,
            "agentkit.queued.seconds": account.queued,
        }
        if account.fillings:
            about |= self._filled(account, route)
        if account.error:
            about["error.type"] = account.error
        if account.gone:
            about["agentkit.client.gone"] = True
        span.set_attributes(about)
        if account.status >= 500 or not account.status:  # a client's mistake is no failure here
            span.set_status(Status(StatusCode.ERROR))

    def _filled(self, account: Account, route: str) -> dict[str, Any]:
        operation = next(name for begins, name in _OPERATIONS if route.startswith(begins))
        timings = account.timings
        return {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "agentkit",
            "gen_ai.request.model": self._model,
            "gen_ai.response.model": self._model,
            "gen_ai.usage.input_tokens": account.prompt_tokens,
            "gen_ai.usage.output_tokens": account.tokens,
            "agentkit.forwards": account.forwards,
            "agentkit.passes": account.passes,
            "agentkit.encode.seconds": timings.encode,
            "agentkit.denoise.seconds": timings.denoise,
            "agentkit.verify.seconds": timings.verify,
            "agentkit.lattice.seconds": timings.lattice,
        }
