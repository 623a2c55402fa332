"""What a run is asked: a request in words, or to go on with calls that wait.

Knows messages and the state of a run. Must not know what comes of it.
"""

from __future__ import annotations

from typing import cast

from agentkit.errors import EmptyRequest, RunError
from agentkit.message import Call, History, UserMessage
from agentkit.result import Approve, Deny, Finish, Resume, Verdict
from agentkit.running.journal import Journal
from agentkit.running.state import State


def checked_request(request: object, history: History) -> str:
    """The request, if a model can be asked it.

    Raises:
        EmptyRequest: it holds nothing but whitespace.
        RunError: it is no text.
    """
    if not isinstance(request, str):
        raise RunError(
            f"the request is of type {type(request).__name__!r}; ask in text", history=history
        )
    if not request.strip():
        raise EmptyRequest("the request is empty; ask for something", history=history)
    try:
        request.encode()
    except UnicodeEncodeError as error:
        raise RunError(
            f"the request {request!r} is no Unicode text: {error}; decode it as UTF-8 first",
            history=history,
        ) from error
    return request


def ask(journal: Journal, request: str) -> None:
    """Put a request into the history.

    Raises:
        RunError: calls of the history wait, which have to be decided on first.
    """
    if waiting := journal.waiting():
        ids = ", ".join(call.id for call in waiting)
        raise RunError(
            f"calls of the history wait ({ids}); go on with `Resume({{id: Approve() | "
            "Deny(why) | Finish(value)})` as the request",
            history=journal.history,
        )
    journal.add(UserMessage(request))


def checked_verdicts(state: State, resume: Resume) -> tuple[tuple[Call, ...], dict[str, Verdict]]:
    """The calls that wait, and what was decided on them.

    Raises:
        RunError: a verdict is on no call that waits, or can't be carried out.
    """
    waiting, verdicts = state.journal.waiting(), dict(resume.verdicts)
    known = {call.id for call in waiting}
    if not waiting or not verdicts.keys() <= known:
        raise RunError(
            f"the calls that wait are {sorted(known) or 'none'}, not {sorted(verdicts)}; give "
            "the history of the paused run, and verdicts on its pending calls"
        )
    for call in waiting:
        verdict = cast(object, verdicts.get(call.id))  # whatever its annotation says
        if not isinstance(verdict, Approve | Deny | Finish | None):
            raise no_verdict(call, verdict)
        tool = state.plan.tools.get(call.tool)
        if tool is not None and tool.deferred and isinstance(verdict, Approve):
            raise RunError(
                f"{call.id!r} calls {call.tool!r}, which is finished elsewhere; say what came "
                "of it with `Finish(value)`, or `Deny(why)`"
            )
    return waiting, verdicts


def no_verdict(call: Call, said: object) -> RunError:
    """What is raised where something else was said of a call that waits."""
    return RunError(
        f"{said!r} is no verdict on {call.id!r}; give `Approve()`, `Deny(why)` or `Finish(value)`"
    )
