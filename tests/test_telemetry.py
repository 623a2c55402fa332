"""Telemetry: the tree of spans, what stands in them, and metrics, by OpenTelemetry's own SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from agentkit.backend import Decision, ModelSettings, ProposedCall, Timings
from agentkit.errors import BackendError
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    FeedbackMessage,
    ResultMessage,
    UserMessage,
)
from agentkit.observing.telemetry import Telemetry
from agentkit.observing.watcher import UNWATCHED, Unwatched, WatchedRun, Watcher
from agentkit.result import RunResult

CALL = Call("call_1", "add", {"a": 1, "b": "sécret"})
CALLED = Decision(
    (ProposedCall("add", CALL.arguments, {"/a": 0.9, "/b": 0.4}),),
    forwards=3,
    passes=2,
    tokens=7,
    prompt_tokens=50,
    model="tiny",
    timings=Timings(0.1, 0.2, 0.3, 0.4),
)
ANSWERED = Decision(answer="it is sécret", forwards=1, tokens=2)
MESSAGES = (
    UserMessage("the sécret request"),
    CallMessage((CALL,)),
    ResultMessage("call_1", "add", "the sécret sum"),
    AnswerMessage("it is sécret"),
)
RESULT: RunResult = RunResult(
    status="answered",
    answer="it is sécret",
    messages=MESSAGES,
    given=0,
    turns=2,
    decisions=(CALLED, ANSWERED),
    timings={},
)


@dataclass
class Seen:
    """What was reported."""

    traces: TracerProvider
    exporter: InMemorySpanExporter
    meters: MeterProvider
    reader: InMemoryMetricReader

    def telemetry(self, *, content: bool = False) -> Telemetry:
        return Telemetry(tracer_provider=self.traces, meter_provider=self.meters, content=content)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    @property
    def parents(self) -> dict[str, str | None]:
        """The name of each span -> the name of the one it stands below."""
        ids = {span.context.span_id: name for name, span in self.spans.items() if span.context}
        return {
            name: ids[span.parent.span_id] if span.parent else None
            for name, span in self.spans.items()
        }

    def points(self, metric: str) -> list[HistogramDataPoint]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for item in scope.metrics
            if item.name == metric
            for point in item.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]

    def everything(self) -> str:
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        data = self.reader.get_metrics_data()
        return "\n".join([*spans, data.to_json() if data else ""])


@pytest.fixture
def seen() -> Iterator[Seen]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    yield Seen(traces, exporter, meters, reader)
    traces.shutdown()
    meters.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def run_once(watcher: Watcher) -> None:
    """A run of two turns, as the loop tells it."""
    with watcher.run(
        "adder", description="Adds.", conversation="c7", messages=MESSAGES[:1]
    ) as watched:
        settings = ModelSettings(temperature=0.5, seed=3, max_tokens=100)
        with watched.decide(1, settings=settings) as record:
            record.decided(CALLED)
        with watched.call(CALL, turn=1, description="Add two.") as record:
            record.finished(MESSAGES[2])
        with watched.decide(2) as record:
            record.decided(ANSWERED)
        watched.ended(RESULT)


# --- the tree


def test_decisions_and_calls_stand_below_their_run(seen: Seen) -> None:
    run_once(seen.telemetry())
    assert seen.parents == {
        "chat tiny": "invoke_agent adder",
        "execute_tool add": "invoke_agent adder",
        "chat": "invoke_agent adder",
        "invoke_agent adder": None,
    }
    assert all(span.status.status_code is StatusCode.UNSET for span in seen.spans.values())
    kinds = {name: span.kind for name, span in seen.spans.items()}
    assert kinds["chat tiny"] is SpanKind.CLIENT
    assert kinds["invoke_agent adder"] is kinds["execute_tool add"] is SpanKind.INTERNAL


async def test_what_tools_open_nests_below_their_calls(seen: Seen) -> None:
    telemetry, tracer = seen.telemetry(), seen.traces.get_tracer("user")

    def work(name: str) -> None:
        with tracer.start_as_current_span(f"query {name}"):
            pass

    async def call(watched: WatchedRun, name: str) -> None:
        with watched.call(Call(name, name, {})) as record:
            await anyio.lowlevel.checkpoint()
            await anyio.to_thread.run_sync(work, name)
            record.finished(ResultMessage(name, name, "ok"))

    with tracer.start_as_current_span("request"), telemetry.run("agent") as watched:
        async with anyio.create_task_group() as group:
            with watched.decide(1):  # both start early, while the decision goes on
                group.start_soon(call, watched, "one")
                group.start_soon(call, watched, "two")
                await anyio.wait_all_tasks_blocked()
    assert seen.parents == {
        "query one": "execute_tool one",
        "query two": "execute_tool two",
        "execute_tool one": "invoke_agent agent",
        "execute_tool two": "invoke_agent agent",
        "chat": "invoke_agent agent",
        "invoke_agent agent": "request",
        "request": None,
    }


def test_an_agent_that_is_a_tool_nests_below_the_call(seen: Seen) -> None:
    telemetry = seen.telemetry()
    with (
        telemetry.run("outer") as outer,
        outer.call(Call("1", "ask", {})),
        telemetry.run("inner") as inner,
        inner.decide(1) as record,
    ):
        record.decided(CALLED)
    assert seen.parents["chat tiny"] == "invoke_agent inner"
    assert seen.parents["invoke_agent inner"] == "execute_tool ask"


# --- what stands in them


def test_a_run_says_what_it_was_and_what_it_cost(seen: Seen) -> None:
    run_once(seen.telemetry())
    assert attributes(seen.spans["invoke_agent adder"]) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.agent.name": "adder",
        "gen_ai.agent.description": "Adds.",
        "gen_ai.conversation.id": "c7",
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 9,
        "agentkit.status": "answered",
        "agentkit.agent": "agent",
        "agentkit.turns": 2,
        "agentkit.calls": 1,
        "agentkit.forwards": 4,
        "agentkit.passes": 2,
    }


def test_a_decision_says_how_it_was_made(seen: Seen) -> None:
    run_once(seen.telemetry())
    assert attributes(seen.spans["chat tiny"]) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.conversation.id": "c7",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 3,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 7,
        "agentkit.turn": 1,
        "agentkit.decision.kind": "decide",
        "agentkit.confidence.lowest": 0.4,
        "agentkit.forwards": 3,
        "agentkit.passes": 2,
        "agentkit.encode.seconds": 0.1,
        "agentkit.denoise.seconds": 0.2,
        "agentkit.lattice.seconds": 0.3,
        "agentkit.verify.seconds": 0.4,
    }
    answer = attributes(seen.spans["chat"])
    assert answer["gen_ai.response.finish_reasons"] == ("stop",)
    assert "gen_ai.usage.input_tokens" not in answer  # the backend did not say


def test_a_call_says_what_was_called(seen: Seen) -> None:
    run_once(seen.telemetry())
    assert attributes(seen.spans["execute_tool add"]) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.description": "Add two.",
        "agentkit.turn": 1,
    }


def test_spans_and_metrics_name_their_source_and_schema(seen: Seen) -> None:
    run_once(seen.telemetry())
    scopes = {span.instrumentation_scope for span in seen.spans.values()}
    data = seen.reader.get_metrics_data()
    assert data is not None
    scopes |= {item.scope for some in data.resource_metrics for item in some.scope_metrics}
    assert {(scope.name, scope.schema_url) for scope in scopes if scope} == {
        ("agentkit", "https://opentelemetry.io/schemas/1.41.0")
    }


# --- content


def test_content_stays_here_by_default(seen: Seen) -> None:
    telemetry = seen.telemetry()
    run_once(telemetry)
    with pytest.raises(ValueError, match="sécret"), telemetry.run("agent"):
        raise ValueError("no sécret")
    with telemetry.run("agent") as watched, watched.call(CALL) as record:
        record.finished(ResultMessage("call_1", "add", "a sécret failure", is_error=True))
    assert "cret" not in seen.everything()


def test_content_is_reported_where_asked_for(seen: Seen) -> None:
    telemetry = seen.telemetry(content=True)
    run_once(telemetry)
    run, chat, call = (
        attributes(seen.spans[name])
        for name in ("invoke_agent adder", "chat tiny", "execute_tool add")
    )
    assert json.loads(run["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "the sécret request"}]}
    ]
    (output,) = json.loads(run["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "text", "content": "it is sécret"}]
    assert json.loads(chat["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "add", "arguments": CALL.arguments}],
            "finish_reason": "tool_call",
        }
    ]
    assert json.loads(call["gen_ai.tool.call.arguments"]) == CALL.arguments
    assert call["gen_ai.tool.call.result"] == "the sécret sum"


def test_a_history_is_written_as_the_conventions_have_it(seen: Seen) -> None:
    history = (*MESSAGES, FeedbackMessage("shorter \ud800"))
    with seen.telemetry(content=True).run("agent", messages=history):
        pass
    written = attributes(seen.spans["invoke_agent agent"])["gen_ai.input.messages"]
    assert json.loads(written)[1:] == [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "call_1", "name": "add", "arguments": CALL.arguments}
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "call_1", "response": "the sécret sum"}],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "it is sécret"}]},
        {"role": "user", "parts": [{"type": "text", "content": "shorter ?"}]},
    ]


# --- failures


def test_an_error_is_told_by_every_span_it_passes_and_goes_on(seen: Seen) -> None:
    with (
        pytest.raises(BackendError),
        seen.telemetry(content=True).run("agent") as watched,
        watched.decide(1),
    ):
        raise BackendError("out of memory")
    for name in ("invoke_agent agent", "chat"):
        span = seen.spans[name]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "out of memory"
        assert attributes(span)["error.type"] == "agentkit.errors.BackendError"
    (point,) = seen.points("gen_ai.client.operation.duration")
    assert (point.attributes or {})["error.type"] == "agentkit.errors.BackendError"


def test_an_error_of_python_has_its_short_name(seen: Seen) -> None:
    with pytest.raises(ZeroDivisionError), seen.telemetry().run("agent"):
        raise ZeroDivisionError
    span = seen.spans["invoke_agent agent"]
    assert attributes(span)["error.type"] == "ZeroDivisionError"
    assert span.status.description is None


async def test_a_cancelled_call_is_told_and_the_cancelling_goes_on(seen: Seen) -> None:
    async def run(watched: WatchedRun) -> None:
        with watched.call(CALL):
            await anyio.sleep_forever()

    with seen.telemetry().run("agent") as watched:
        async with anyio.create_task_group() as group:
            group.start_soon(run, watched)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert group.cancel_scope.cancelled_caught
    call = seen.spans["execute_tool add"]
    assert attributes(call)["error.type"] == "cancelled"
    assert call.status.status_code is StatusCode.ERROR
    assert seen.spans["invoke_agent agent"].status.status_code is StatusCode.UNSET


def test_a_run_that_was_cancelled_says_so_in_its_result(seen: Seen) -> None:
    cancelled: RunResult = RunResult(
        status="cancelled",
        answer="",
        messages=MESSAGES[:1],
        given=0,
        turns=0,
        decisions=(),
        timings={},
    )
    with seen.telemetry().run("agent") as watched:
        watched.ended(cancelled)
    span = seen.spans["invoke_agent agent"]
    assert attributes(span)["error.type"] == "cancelled"
    assert attributes(span)["agentkit.status"] == "cancelled"


def test_a_failed_call_leaves_its_run_alone(seen: Seen) -> None:
    with seen.telemetry().run("agent") as watched, watched.call(CALL) as record:
        record.finished(ResultMessage("call_1", "add", "no", is_error=True))
    call = seen.spans["execute_tool add"]
    assert attributes(call)["error.type"] == "tool_error"
    assert call.status.status_code is StatusCode.ERROR
    assert seen.spans["invoke_agent agent"].status.status_code is StatusCode.UNSET


# --- metrics


def test_durations_are_measured_in_the_buckets_of_the_conventions(seen: Seen) -> None:
    run_once(seen.telemetry())
    operations = [
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ]  # fmt: skip
    decisions = seen.points("gen_ai.client.operation.duration")
    assert [point.count for point in decisions] == [1, 1]
    assert list(decisions[0].explicit_bounds) == operations
    assert dict(decisions[0].attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "agentkit",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
    }
    (call,) = seen.points("gen_ai.execute_tool.duration")
    assert list(call.explicit_bounds) == operations
    assert dict(call.attributes or {}) == {
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
    }
    (run,) = seen.points("gen_ai.invoke_agent.duration")
    assert list(run.explicit_bounds) == [
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6,
    ]  # fmt: skip
    assert dict(run.attributes or {}) == {"gen_ai.agent.name": "adder"}


def test_tokens_are_counted_by_kind(seen: Seen) -> None:
    run_once(seen.telemetry())
    points = seen.points("gen_ai.client.token.usage")
    assert [4**power for power in range(14)] == list(points[0].explicit_bounds)
    counts = {
        (
            (point.attributes or {})["gen_ai.token.type"],
            (point.attributes or {}).get("gen_ai.request.model"),
        ): point.sum
        for point in points
    }
    assert counts == {("input", "tiny"): 50, ("output", "tiny"): 7, ("output", None): 2}


def test_forwards_and_passes_are_measured(seen: Seen) -> None:
    run_once(seen.telemetry())
    assert sum(point.sum for point in seen.points("agentkit.forwards")) == 4
    assert sum(point.sum for point in seen.points("agentkit.passes")) == 2


# --- off, and missing


def test_what_nobody_watches_lets_errors_through() -> None:
    run_once(UNWATCHED)
    with pytest.raises(KeyError), UNWATCHED.run("agent") as watched, watched.decide(1):
        raise KeyError


def test_watchers_are_what_the_loop_takes() -> None:
    watchers: list[Watcher] = [Telemetry(), Unwatched()]
    for watcher in watchers:
        run_once(watcher)


def test_without_opentelemetry_the_extra_is_named() -> None:
    source = """
import sys
sys.modules["opentelemetry"] = None
import agentkit.observing.watcher
from agentkit.observing.telemetry import Telemetry
try:
    Telemetry()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("DefinitionError Telemetry needs opentelemetry-api")
    assert "`agentkit-diffusion[otel]`" in done.stdout
