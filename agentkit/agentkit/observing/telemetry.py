"""Runs as OpenTelemetry spans and metrics, named as the GenAI semantic conventions name them.

    agent = Agent(telemetry=Telemetry())

A run is `invoke_agent`; below it stand a `chat` for each decision and an `execute_tool` for each
call; what a tool opens nests below its call. Knows the watcher's protocol and opentelemetry's API,
which it imports when it is made; must not know runs. Names are those of version 1.41 of the
conventions, but for the durations of runs and calls, which came later; what has no name there
begins with `agentkit.`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from agentkit.backend import Decision, ModelSettings
from agentkit.errors import DefinitionError
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    Message,
    ResultMessage,
    UserMessage,
)
from agentkit.observing.watcher import DecisionKind
from agentkit.result import RunResult

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

_SCHEMA = "https://opentelemetry.io/schemas/1.41.0"
_OPERATION_SECONDS = tuple(0.01 * 2**power for power in range(14))
_RUN_SECONDS = tuple(0.1 * 2**power for power in range(13))
_TOKENS = tuple(4**power for power in range(14))
_COUNTS = tuple(2**power for power in range(9))


class Telemetry:
    """A watcher (see `agentkit.observing.watcher`) that reports to OpenTelemetry.

    tracer_provider, meter_provider: by default those of the process.
    content: whether requests, answers, arguments, results and the texts of errors are reported,
        which may be private.
    provider: `gen_ai.provider.name`, where something else than this package's engine decides.

    Raises:
        DefinitionError: opentelemetry-api is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        content: bool = False,
        provider: str = "agentkit",
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise DefinitionError(
                "Telemetry needs opentelemetry-api, which is not installed; install "
                "`agentkit-diffusion[otel]`"
            ) from error
        from agentkit import __version__

        meter = metrics.get_meter("agentkit", __version__, meter_provider, schema_url=_SCHEMA)
        self._source = _Source(
            tracer=trace.get_tracer("agentkit", __version__, tracer_provider, schema_url=_SCHEMA),
            instruments=_instruments(meter),
            content=content,
            provider=provider,
        )

    @contextmanager
    def run(
        self,
        agent: str,
        *,
        description: str = "",
        conversation: str | None = None,
        messages: Sequence[Message] = (),
    ) -> Generator[_Run]:
        """See `Watcher.run`."""
        source = self._source
        measured = {"gen_ai.agent.name": agent}
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": source.provider,
            **measured,
            **_given("gen_ai.agent.description", description),
            **_given("gen_ai.conversation.id", conversation),
        }
        seconds = source.instruments.run_seconds
        with source.watched(f"invoke_agent {agent}", attributes, measured, seconds) as watched:
            if watched.reports_content:
                watched.set("gen_ai.input.messages", _json([_input(item) for item in messages]))
            yield _Run(source, watched, conversation)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where spans and measures come from."""

    tracer: Tracer
    instruments: _Instruments
    content: bool
    provider: str

    @contextmanager
    def watched(
        self,
        name: str,
        attributes: Mapping[str, Any],
        measured: dict[str, Any],
        seconds: Histogram,
        *,
        parent: Context | None = None,
        kind: Literal["INTERNAL", "CLIENT"] = "INTERNAL",
    ) -> Generator[_Watched]:
        """A span that is current inside, and how long it takes."""
        from opentelemetry.context import attach, detach
        from opentelemetry.trace import SpanKind, set_span_in_context

        started = perf_counter()
        span = self.tracer.start_span(name, parent, SpanKind[kind], attributes)
        watched = _Watched(span, self.content and span.is_recording(), measured)
        token = attach(set_span_in_context(span))
        try:
            yield watched
        except BaseException as error:
            watched.failed(_error_type(error), str(error))
            raise
        finally:
            detach(token)
            seconds.record(perf_counter() - started, watched.measured)
            span.end()


@dataclass(slots=True)
class _Watched:
    """One span. measured: the attributes of the metrics that belong to it."""

    span: Span
    reports_content: bool
    measured: dict[str, Any]

    def set(self, name: str, value: Any) -> None:
        self.span.set_attribute(name, value)

    def failed(self, error_type: str, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        # Errors quote what was asked and answered: their texts are content too.
        said = _text(why) if self.reports_content else None
        self.span.set_status(Status(StatusCode.ERROR, said))
        self.set("error.type", error_type)
        self.measured["error.type"] = error_type


@dataclass(slots=True)
class _Run:
    """See `WatchedRun`."""

    source: _Source
    watched: _Watched
    conversation: str | None

    @contextmanager
    def decide(
        self,
        turn: int,
        *,
        kind: DecisionKind = "decide",
        settings: ModelSettings = ModelSettings(),
    ) -> Generator[_Decision]:
        """See `WatchedRun.decide`."""
        source = self.source
        measured = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": source.provider}
        attributes = {
            **measured,
            "agentkit.turn": turn,
            "agentkit.decision.kind": kind,
            **_given("gen_ai.conversation.id", self.conversation),
            **_given("gen_ai.request.temperature", settings.temperature),
            **_given("gen_ai.request.max_tokens", settings.max_tokens),
            **_given("gen_ai.request.seed", settings.seed),
        }
        seconds = source.instruments.decision_seconds
        with source.watched(
            "chat", attributes, measured, seconds, parent=self._context(), kind="CLIENT"
        ) as watched:
            yield _Decision(source.instruments, watched)

    @contextmanager
    def call(self, call: Call, *, turn: int = 0, description: str = "") -> Generator[_Call]:
        """See `WatchedRun.call`."""
        measured = {"gen_ai.tool.name": call.tool, "gen_ai.tool.type": "function"}
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.call.id": call.id,
            **measured,
            **_given("gen_ai.tool.description", description),
            **_given("agentkit.turn", turn or None),
        }
        name, seconds = f"execute_tool {call.tool}", self.source.instruments.call_seconds
        with self.source.watched(
            name, attributes, measured, seconds, parent=self._context()
        ) as watched:
            if watched.reports_content:
                watched.set("gen_ai.tool.call.arguments", _json(call.arguments))
            yield _Call(watched)

    def _context(self) -> Context:
        from opentelemetry.trace import set_span_in_context

        # Not the current span's: a call that starts early does so while a decision is being made.
        return set_span_in_context(self.watched.span)

    def ended(self, result: RunResult[Any]) -> None:
        """See `WatchedRun.ended`."""
        watched = self.watched
        prompt_tokens = sum(decision.prompt_tokens for decision in result.decisions)
        for name, value in {
            **({"gen_ai.usage.input_tokens": prompt_tokens} if prompt_tokens else {}),
            "gen_ai.usage.output_tokens": result.tokens,
            "agentkit.status": result.status,
            "agentkit.agent": result.agent,
            "agentkit.turns": result.turns,
            "agentkit.calls": len(result.calls),
            "agentkit.forwards": result.forwards,
            "agentkit.passes": result.passes,
        }.items():
            watched.set(name, value)
        if watched.reports_content and result.answer:
            part = {"type": "text", "content": result.answer}
            watched.set("gen_ai.output.messages", _output([part], "stop"))
        if result.status == "cancelled":
            watched.failed("cancelled", result.reason)


@dataclass(slots=True)
class _Decision:
    """See `WatchedDecision`."""

    instruments: _Instruments
    watched: _Watched

    def decided(self, decision: Decision) -> None:
        """See `WatchedDecision.decided`."""
        reason = "tool_call" if decision.calls else "stop"
        confidence = [share for call in decision.calls for share in call.confidence.values()]
        timings = decision.timings
        for name, value in {
            "gen_ai.response.finish_reasons": [reason],
            "gen_ai.usage.output_tokens": decision.tokens,
            **_given("gen_ai.usage.input_tokens", decision.prompt_tokens or None),
            **_given("agentkit.confidence.lowest", min(confidence, default=None)),
            "agentkit.forwards": decision.forwards,
            "agentkit.passes": decision.passes,
            "agentkit.encode.seconds": timings.encode,
            "agentkit.denoise.seconds": timings.denoise,
            "agentkit.lattice.seconds": timings.lattice,
            "agentkit.verify.seconds": timings.verify,
        }.items():
            self.watched.set(name, value)
        if decision.model:
            self._name(decision.model)
        if self.watched.reports_content:
            self.watched.set("gen_ai.output.messages", _output(_parts(decision), reason))
        self._measure(decision)

    def _name(self, model: str) -> None:
        self.watched.span.update_name(f"chat {model}")
        for name in ("gen_ai.request.model", "gen_ai.response.model"):
            self.watched.set(name, model)
            self.watched.measured[name] = model

    def _measure(self, decision: Decision) -> None:
        attributes = self.watched.measured
        self.instruments.forwards.record(decision.forwards, attributes)
        self.instruments.passes.record(decision.passes, attributes)
        counts = {"input": decision.prompt_tokens, "output": decision.tokens}
        for kind, tokens in counts.items():
            if tokens:  # a backend that does not say how many there were says none
                self.instruments.tokens.record(tokens, {**attributes, "gen_ai.token.type": kind})


@dataclass(slots=True)
class _Call:
    """See `WatchedCall`."""

    watched: _Watched

    def finished(self, result: ResultMessage) -> None:
        """See `WatchedCall.finished`."""
        if result.is_error:
            self.watched.failed("tool_error", result.content)
        elif self.watched.reports_content:
            self.watched.set("gen_ai.tool.call.result", _text(result.content))


@dataclass(frozen=True, slots=True)
class _Instruments:
    run_seconds: Histogram
    decision_seconds: Histogram
    call_seconds: Histogram
    tokens: Histogram
    forwards: Histogram
    passes: Histogram


def _instruments(meter: Meter) -> _Instruments:
    def histogram(name: str, unit: str, text: str, bounds: Sequence[float]) -> Histogram:
        return meter.create_histogram(
            name, unit, text, explicit_bucket_boundaries_advisory=list(bounds)
        )

    return _Instruments(
        histogram("gen_ai.invoke_agent.duration", "s", "How long runs take.", _RUN_SECONDS),
        histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long decisions take.",
            _OPERATION_SECONDS,
        ),
        histogram("gen_ai.execute_tool.duration", "s", "How long calls take.", _OPERATION_SECONDS),
        histogram("gen_ai.client.token.usage", "{token}", "Tokens of a decision.", _TOKENS),
        histogram("agentkit.forwards", "{forward}", "Forwards of a decision.", _COUNTS),
        histogram("agentkit.passes", "{pass}", "Causal passes of a decision.", _COUNTS),
    )


def _given(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None or value == "" else {name: value}


def _error_type(error: BaseException) -> str:
    kind = type(error)
    # asyncio's and trio's; asking anyio which one it is takes a loop that runs
    if kind.__name__ in ("CancelledError", "Cancelled"):
        return "cancelled"
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _input(message: Message) -> dict[str, Any]:
    """A message as the conventions' schema of input messages has it."""
    match message:
        case UserMessage(text) | FeedbackMessage(text):
            return {"role": "user", "parts": [{"type": "text", "content": text}]}
        case AnswerMessage(text):
            return {"role": "assistant", "parts": [{"type": "text", "content": text}]}
        case CallMessage(calls):
            parts = [_call_part(call.tool, call.arguments, call.id) for call in calls]
            return {"role": "assistant", "parts": parts}
        case ResultMessage(call_id, _, content):
            part = {"type": "tool_call_response", "id": call_id, "response": content}
            return {"role": "tool", "parts": [part]}


def _parts(decision: Decision) -> list[dict[str, Any]]:
    if decision.calls:
        return [_call_part(call.tool, call.arguments) for call in decision.calls]
    return [{"type": "text", "content": decision.answer or ""}]


def _call_part(
    tool: str, arguments: Mapping[str, Any], call_id: str | None = None
) -> dict[str, Any]:
    return {"type": "tool_call", **_given("id", call_id), "name": tool, "arguments": arguments}


def _output(parts: list[dict[str, Any]], reason: str) -> str:
    return _json([{"role": "assistant", "parts": parts, "finish_reason": reason}])


def _json(value: object) -> str:
    return _text(json.dumps(value, ensure_ascii=False, default=repr))


def _text(text: str) -> str:
    """The text without the half characters that no exporter can write."""
    return text.encode("utf-8", "replace").decode()
