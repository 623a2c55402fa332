"""Logs: one record an event, its fields, and lines of JSON that anything can read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from agentkit.backend import Decision, Draft, ProposedCall
from agentkit.event import (
    AnswerDraft,
    Answered,
    AnswerRejected,
    CallFilled,
    CallFinished,
    CallPending,
    CallProgress,
    DraftCanvas,
    Escalated,
    Event,
    HandedOff,
    RunFinished,
    TurnFinished,
    TurnStarted,
)
from agentkit.message import AnswerMessage, Call, CallMessage, ResultMessage, UserMessage
from agentkit.observing.logs import JSONFormatter, log_events
from agentkit.result import Pending, RunResult, Span

SECRET = "sécret"
CALL = Call("call_1", "add", {"a": SECRET})
DECISION = Decision(
    (ProposedCall("add", CALL.arguments, {"/a": 0.4}),),
    forwards=3,
    passes=1,
    tokens=9,
    model="tiny",
)
OK = ResultMessage("call_1", "add", SECRET)
FAILED = ResultMessage("call_1", "add", SECRET, is_error=True)
RESULT: RunResult = RunResult(
    status="answered",
    answer=SECRET,
    reason=SECRET,
    messages=(UserMessage(SECRET), CallMessage((CALL,)), OK, AnswerMessage(SECRET)),
    given=0,
    turns=2,
    decisions=(DECISION, Decision(answer=SECRET, tokens=1)),
    spans=(Span("turn", "turn 1", 1, 0.0, 1.5),),
    timings={},
)
EVENTS: list[Event] = [
    TurnStarted(1),
    DraftCanvas(1, Draft(2, 8, ())),
    CallFilled(1, CALL, {"/a": 0.4, "/b": 0.9}, DECISION),
    CallFilled(1, CALL, {}, None, refills="call_0", early=True),
    CallProgress(1, CALL, SECRET, 1.0, None),
    CallPending(1, Pending(CALL, "approval", SECRET)),
    CallFinished(1, CALL, FAILED, 0.25),
    CallFinished(1, CALL, OK, 0.5),
    TurnFinished(1),
    TurnStarted(2),
    Escalated(2, DECISION, "confidence < 0.6"),
    HandedOff(2, "clerk"),
    AnswerDraft(2, SECRET, SECRET),
    AnswerRejected(2, SECRET, SECRET),
    Answered(2, SECRET, DECISION),
    TurnFinished(2),
    RunFinished(RESULT),
]


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(JSONFormatter().format(record)) for record in self.records]


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger, handler = logging.getLogger("tests.logs"), Kept()
    logger.propagate, level = False, logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def facts(line: dict[str, object]) -> dict[str, object]:
    return {
        key: value
        for key, value in line.items()
        if key not in ("time", "level", "logger", "message", "run")
    }


def test_each_event_is_one_record_with_its_fields(kept: Kept) -> None:
    log = log_events("tests.logs")
    for event in EVENTS:
        log(event)
    call = {"turn": 1, "tool": "add", "call_id": "call_1"}
    assert [facts(line) for line in kept.lines] == [
        {"event": "turn_started", "turn": 1},
        {"event": "draft_canvas", "turn": 1, "step": 2, "steps": 8},
        {"event": "call_filled", **call, "confidence": 0.4},
        {"event": "call_filled", **call, "refills": "call_0", "early": True},
        {"event": "call_progress", **call, "done": 1.0},
        {"event": "call_pending", **call, "status": "approval"},
        {"event": "call_finished", **call, "seconds": 0.25, "status": "failed"},
        {"event": "call_finished", **call, "seconds": 0.5, "status": "ok"},
        {"event": "turn_finished", "turn": 1},
        {"event": "turn_started", "turn": 2},
        {"event": "escalated", "turn": 2, "why": "confidence < 0.6"},
        {"event": "handed_off", "turn": 2, "agent": "clerk"},
        {"event": "answer_draft", "turn": 2},
        {"event": "answer_rejected", "turn": 2},
        {"event": "answered", "turn": 2, "model": "tiny", "tokens": 9},
        {"event": "turn_finished", "turn": 2},
        {
            "event": "run_finished",
            "status": "answered",
            "agent": "agent",
            "seconds": 1.5,
            "turns": 2,
            "calls": 1,
            "forwards": 3,
            "passes": 1,
            "tokens": 10,
        },
    ]


def test_content_is_left_out_unless_asked_for(kept: Kept) -> None:
    for event in EVENTS:
        log_events("tests.logs")(event)
    assert SECRET not in repr([vars(record) for record in kept.records])
    kept.records.clear()
    for event in EVENTS:
        log_events(logging.getLogger("tests.logs"), content=True)(event)
    told = {str(line["event"]): line for line in kept.lines}
    assert told["call_filled"]["arguments"] == {"a": SECRET}
    assert told["call_progress"]["note"] == SECRET
    assert told["call_pending"]["why"] == told["call_finished"]["result"] == SECRET
    assert told["answer_rejected"]["why"] == told["answer_rejected"]["text"] == SECRET
    assert told["answered"]["text"] == told["run_finished"]["answer"] == SECRET
    assert not any(SECRET in record.getMessage() for record in kept.records)


def test_the_message_says_it_in_words(kept: Kept) -> None:
    log = log_events("tests.logs")
    log(CallFinished(1, Call("call_1", 'odd "name"\n', {}), OK, 0.25))
    log(EVENTS[6])
    assert [record.getMessage() for record in kept.records] == [
        r'call finished turn=1 tool="odd \"name\"\n" call_id=call_1 seconds=0.250 status=ok',
        "call finished turn=1 tool=add call_id=call_1 seconds=0.250 status=failed",
    ]


def test_levels_tell_failures_from_the_rest(kept: Kept) -> None:
    for event in EVENTS:
        log_events("tests.logs", level=15)(event)
    levels = {record.levelname: 0 for record in kept.records}
    for record in kept.records:
        levels[record.levelname] += 1
    assert levels == {"Level 15": 13, "DEBUG": 2, "WARNING": 2}


def test_nothing_is_logged_below_the_loggers_level(kept: Kept) -> None:
    logging.getLogger("tests.logs").setLevel(logging.WARNING)
    for event in EVENTS:
        log_events("tests.logs")(event)
    assert [line["event"] for line in kept.lines] == ["call_finished", "answer_rejected"]


# --- which run


async def test_runs_side_by_side_keep_their_ids_apart(kept: Kept) -> None:
    log = log_events("tests.logs")

    async def follow(tool: str) -> None:
        for _ in range(2):  # one run after the other
            for event in (TurnStarted(1), CallFinished(1, Call("1", tool, {}), OK, 0.0)):
                log(event)
                await anyio.lowlevel.checkpoint()
            log(RunFinished(RESULT))

    async with anyio.create_task_group() as group:
        group.start_soon(follow, "one")
        group.start_soon(follow, "two")
    runs: dict[str, set[str]] = {}
    for record in kept.records:
        fields = vars(record)
        runs.setdefault(fields["run"], set()).update({fields["tool"]} if "tool" in fields else ())
    assert sorted(map(sorted, runs.values())) == [["one"], ["one"], ["two"], ["two"]]


def test_a_run_may_be_given_its_id(kept: Kept) -> None:
    log = log_events("tests.logs", run="request-7")
    log(TurnStarted(1))
    log(TurnStarted(2))
    assert [line["run"] for line in kept.lines] == ["request-7", "request-7"]


# --- JSON lines


def test_a_line_tells_time_level_and_logger(kept: Kept) -> None:
    logging.getLogger("tests.logs").warning("two\nlines %s", "ü")
    kept.records[0].created = 0.5
    line = JSONFormatter().format(kept.records[0])
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "WARNING",
        "logger": "tests.logs",
        "message": "two\nlines ü",
    }


def test_an_error_is_told_with_its_traceback(kept: Kept) -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        logging.getLogger("tests.logs").exception("failed")
    error = kept.lines[0]["error"]
    assert isinstance(error, str)
    assert error.startswith("Traceback")
    assert error.endswith("KeyError: 'gone'")


def test_what_json_cannot_say_is_said_all_the_same(kept: Kept) -> None:
    circle: list[object] = []
    circle.append(circle)
    odd = {"object": {1, 2}, "half": "\ud800"}
    logging.getLogger("tests.logs").info("x", extra=odd)
    logging.getLogger("tests.logs").info("x", extra={"share": float("nan"), "circle": circle})
    first, second = (JSONFormatter().format(record) for record in kept.records)
    first.encode()
    assert json.loads(first)["object"] == "{1, 2}"
    assert json.loads(second)["share"] == "nan"
    assert json.loads(second)["circle"] == "[[...]]"
