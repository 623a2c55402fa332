"""Runs as log records: a callback for events, and a formatter that writes JSON lines.

    logging.basicConfig(level=logging.INFO)
    logging.getLogger().handlers[0].setFormatter(JSONFormatter())
    await agent.run("What is 2 + 3?", on_event=log_events())

Knows events and the standard library's logging; must not know how a run is driven. What was asked,
called with and answered is logged only where it is asked for.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

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
    TurnStarted,
)
from agentkit.message import Call
from agentkit.result import RunResult

# A task follows one run at a time, so what a callback is told within it is about that run.
_run: ContextVar[str | None] = ContextVar("agentkit.run", default=None)


def log_events(
    logger: logging.Logger | str = "agentkit.events",
    *,
    level: int = logging.INFO,
    content: bool = False,
    run: str | None = None,
) -> Callable[[Event], None]:
    """A callback for `on_event=` that logs each event as one record.

    What is known of an event stands in fields of the record (`event`, `run`, `turn`, `tool`,
    `call_id`, `seconds`, `status` and others), and in its message. Drafts are logged as DEBUG,
    failed calls and rejected answers as WARNING.

    Args:
        logger: where to, or its name.
        level: of all other events.
        content: whether the fields tell arguments, results, answers and reasons, which may be
            private; the message never does.
        run: the run's id in the records, a request's id say; by default a new one for each run.
    """
    if isinstance(logger, str):
        logger = logging.getLogger(logger)

    def log(event: Event) -> None:
        name = run or _run_of(event)
        severity = _severity(event, level)
        if not logger.isEnabledFor(severity):
            return
        kind = _words(type(event).__name__)
        facts = {key: value for key, value in _facts(event).items() if value is not None}
        told = " ".join(f"{key}={_said(value)}" for key, value in facts.items())
        fields = {"event": kind.replace(" ", "_"), "run": name, **facts}
        if content:
            fields |= _content(event)
        logger.log(severity, "%s %s", kind, told, extra=fields)

    return log


class JSONFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line, with the fields it carries.

    `time` (UTC), `level`, `logger` and `message` come first; `error` is a traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # what is private was put there by others who write logs, and told by nobody
        extra = {
            key: value
            for key, value in vars(record).items()
            if key not in _STANDARD and not key.startswith("_")
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            text = json.dumps(line | extra, ensure_ascii=False, default=repr, allow_nan=False)
        except (ValueError, TypeError):  # NaN, a circle, a key that is no text
            plain = {key: repr(value) for key, value in extra.items()}
            text = json.dumps(line | plain, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode()


_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def _run_of(event: Event) -> str:
    known = _run.get()
    if known is None or (isinstance(event, TurnStarted) and event.turn == 1):
        known = uuid4().hex[:12]
        _run.set(known)
    if isinstance(event, RunFinished):
        _run.set(None)
    return known


def _severity(event: Event, level: int) -> int:
    match event:
        case DraftCanvas() | AnswerDraft():
            return logging.DEBUG
        case AnswerRejected():
            return max(level, logging.WARNING)
        case CallFinished(result=result) if result.is_error:
            return max(level, logging.WARNING)
        case _:
            return level


def _facts(event: Event) -> Mapping[str, Any]:
    """What is said of an event anywhere; None of what there isn't."""
    match event:
        case RunFinished(result):
            return _figures(result)
        case DraftCanvas(turn, draft):
            return {"turn": turn, "step": draft.step, "steps": draft.steps}
        case CallFilled(turn, call, confidence, _, refills, early):
            return {
                "turn": turn,
                **_named(call),
                "confidence": min(confidence.values(), default=None),
                "refills": refills or None,
                "early": early or None,
            }
        case CallProgress(turn, call, _, done, total):
            return {"turn": turn, **_named(call), "done": done, "total": total}
        case CallFinished(turn, call, result, seconds):
            status = "failed" if result.is_error else "ok"
            return {"turn": turn, **_named(call), "seconds": seconds, "status": status}
        case CallPending(turn, pending):
            return {"turn": turn, **_named(pending.call), "status": pending.kind}
        case Escalated(turn, _, why):
            return {"turn": turn, "why": why}
        case HandedOff(turn, agent):
            return {"turn": turn, "agent": agent}
        case Answered(turn, _, decision):
            model = decision.model or None
            return {"turn": turn, "model": model, "tokens": decision.tokens}
        case _:
            return {"turn": event.turn}


def _figures(result: RunResult[Any]) -> Mapping[str, Any]:
    return {
        "status": result.status,
        "agent": result.agent,
        "seconds": max((span.started + span.seconds for span in result.spans), default=None),
        "turns": result.turns,
        "calls": len(result.calls),
        "forwards": result.forwards,
        "passes": result.passes,
        "tokens": result.tokens,
    }


def _named(call: Call) -> dict[str, Any]:
    return {"tool": call.tool, "call_id": call.id}


def _content(event: Event) -> Mapping[str, Any]:
    """What may be private."""
    match event:
        case CallFilled(call=call):
            return {"arguments": call.arguments}
        case CallProgress(message=message):
            return {"note": message}
        case CallFinished(result=result):
            return {"result": result.content}
        case CallPending(pending=pending):
            return {"arguments": pending.call.arguments, "why": pending.why}
        case AnswerRejected(text=text, why=why):
            return {"text": text, "why": why}
        case Answered(text=text) | AnswerDraft(text=text):
            return {"text": text}
        case RunFinished(result):
            return {"answer": result.answer, "reason": result.reason}
        case _:
            return {}


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _said(value: object) -> str:
    """A value in a message: a text that is not one plain word in quotes."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if re.fullmatch(r"[\w.:/-]+", text) else json.dumps(text)
