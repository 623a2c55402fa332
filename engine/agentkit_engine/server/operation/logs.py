"""Logs: one line a request, and whatever else is said, as JSON or as text.

Knows accounts and the standard library's loggers. Must not know routes. Nothing of what is asked or
answered is in them unless it is asked for.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Literal, TypeAlias, get_args

from agentkit_engine.server.transport.account import Account, current_account

Logs: TypeAlias = Literal["json", "text", "off"]
LOGS: tuple[Logs, ...] = get_args(Logs)

_requests = logging.getLogger("agentkit_engine.server.requests")
_LOGGERS = ("agentkit_engine", "uvicorn")
_LONGEST = 64 * 2**10  # bytes of a body in a line
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked for every few seconds


def start_logging(logs: Logs) -> None:
    """Has what the server says written to standard error."""
    handler: logging.Handler = logging.NullHandler()
    if logs != "off":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Lines() if logs == "json" else logging.Formatter(_TEXT))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    if logs != "off":
        _requests.setLevel(logging.INFO)


def log_request(account: Account, *, route: str) -> None:
    """Writes the line of a request that is over."""
    if not _requests.isEnabledFor(logging.INFO):
        return
    if route in _QUIET and account.status < 400:
        return
    told = _told(account, route)
    text = " ".join(f"{name}={value}" for name, value in told.items() if name != "body")
    _requests.info("%s", text, extra={"told": told})


def _told(account: Account, route: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "request": account.id,
        "method": account.method,
        "route": route,
        "status": account.status,
        "ms": round(account.elapsed * 1000, 2),
        "queued_ms": round(account.queued * 1000, 2),
        "forwards": account.forwards,
        "passes": account.passes,
        "prompt_tokens": account.prompt_tokens,
        "tokens": account.tokens,
        "gone": account.gone,
    }
    if account.error:
        told["error"] = account.error
    if account.trace:
        told["trace"] = account.trace
    if account.body:
        told["body"] = account.body[:_LONGEST].decode(errors="replace")
    return told


_TEXT = "%(asctime)s %(levelname)s %(message)s"


class _Lines(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        told: dict[str, Any] | None = getattr(record, "told", None)
        if told is not None:
            return json.dumps({**line, **told}, ensure_ascii=False)
        line |= {"logger": record.name, "message": record.getMessage()}
        account = current_account()
        if account is not None:
            line["request"] = account.id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
