"""What stands before everything else: each request has an account, which is told when it is over.

Knows ASGI, accounts and who is told of them. Must not know what any route does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentkit_engine.server.operation.logs import log_request
from agentkit_engine.server.operation.meter import Meter
from agentkit_engine.server.operation.tracing import Tracing
from agentkit_engine.server.transport.account import UNHEARD, Account, accounting
from agentkit_engine.server.transport.dialect import Dialect
from agentkit_engine.server.transport.problems import problem_of

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")  # nothing that a log or a header could stumble over
_UNMATCHED = "unmatched"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Watched:
    """Gives each request an account and an id, and tells the meter, the log and the trace of it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        meter: Meter,
        dialect: Callable[[str], Dialect],
        tracing: Tracing | None = None,
        log_prompts: bool = False,
    ) -> None:
        """
        Args:
            dialect: that of a path, in which a failure is told.
        """
        self._app, self._meter, self._dialect = app, meter, dialect
        self._tracing, self._log_prompts = tracing, log_prompts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        account = Account(
            id=_request_id(scope),
            method=method,
            path=scope["path"],
            keeps_body=self._log_prompts,
        )
        dialect = self._dialect(account.path)
        added = [(b"x-request-id", account.id.encode())]
        if dialect.id_header:
            added.append((dialect.id_header, account.id.encode()))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                account.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        with accounting(account), self._told(scope, account):
            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                problem = problem_of(error)
                if account.status:  # half an answer: it ends with the connection
                    account.gone = True
                    raise
                await dialect.response(problem)(scope, receive, answer)
        return None

    @contextmanager
    def _told(self, scope: Scope, account: Account) -> Generator[None]:
        """Tells of a request when it is over, however it ends."""
        if self._tracing is None:
            try:
                yield
            finally:
                self._tell(scope, account)
            return
        with self._tracing.span(account, scope["headers"]) as span:
            try:
                yield
            finally:
                self._tracing.answered(span, account, route=self._tell(scope, account))

    def _tell(self, scope: Scope, account: Account) -> str:
        if account.gone and not account.status:  # before there was anything to answer
            account.status = UNHEARD
        route: Any = scope.get("route")
        pattern: str = getattr(route, "path", _UNMATCHED)
        self._meter.answered(account, route=pattern)
        log_request(account, route=pattern)
        return pattern


def _request_id(scope: Scope) -> str:
    """The client's, if there is one and it is sane; else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return str(given[0].decode())
    return f"req_{secrets.token_hex(12)}"
