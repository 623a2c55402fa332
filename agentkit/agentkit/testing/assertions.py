"""What a test says of a run: which tools were called, and that its history holds together.

    assert_called(result, "book", city="Rome", people=2)
    assert_calls(result, [call("find", city=Matching("Rom.*")), call("book", offer=ANY)])

Values are compared with `==`, so that `unittest.mock.ANY`, `pytest.approx` and what other libraries
offer of the kind work anywhere in them. Knows messages and results; must not know how runs go.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentkit.message import Call, CallMessage, Message, ResultMessage, UserMessage
from agentkit.result import RunResult
from agentkit.testing.script import ScriptedCall

Ran: TypeAlias = RunResult[Any] | Sequence[Message]


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Equals every text that the pattern matches as a whole."""

    pattern: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other) is not None


def assert_called(ran: Ran, tool: str, /, **arguments: Any) -> Call:
    """The first call of a tool with these arguments among its own; there is one.

    ran: a result, of which this run's calls count, or a history.
    """
    __tracebackhide__ = True
    calls = _calls(ran)
    for call in calls:
        if call.tool == tool and _holds(arguments, call):
            return call
    wanted = _said(tool, arguments)
    raise AssertionError(f"there was no call {wanted}\n{_made(calls, tool, arguments)}")


def assert_not_called(ran: Ran, *tools: str) -> None:
    """None of these tools was called; without a name, none at all."""
    __tracebackhide__ = True
    calls = [call for call in _calls(ran) if not tools or call.tool in tools]
    if calls:
        raise AssertionError(f"no call was expected\n{_made(calls)}")


def assert_calls(ran: Ran, expected: Sequence[ScriptedCall], *, ordered: bool = True) -> None:
    """These calls were made and no others, with these arguments and no others."""
    __tracebackhide__ = True
    calls = _calls(ran)
    fits = _in_order(expected, calls) if ordered else _paired(expected, calls)
    if not fits:
        wanted = "".join(f"\n  {_said(one.tool, one.arguments)}" for one in expected) or " none"
        order = "" if ordered else ", in any order"
        raise AssertionError(f"expected calls{order}:{wanted}\n{_made(calls)}")


def assert_well_formed(ran: Ran, *, waiting: Collection[str] = ()) -> None:
    """The history is one that a run can have led to.

    Every call has one result, behind it and before anything else; ids are unique; nothing stands
    where it can't. waiting: ids of calls that have no result yet; of a result, those pending.
    """
    __tracebackhide__ = True
    if isinstance(ran, RunResult):
        waiting = {*waiting, *(item.call.id for item in ran.pending)}
        ran = ran.messages
    taken: set[str] = set()
    expected: list[Call] = []
    before: Message | None = None
    for place, message in enumerate(ran):
        why = _result_fault(message, expected) or _place_fault(message, before)
        if isinstance(message, CallMessage):
            twice = [call.id for call in message.calls if call.id in taken]
            why = why or (f"id {twice[0]!r} is taken" if twice else "")
            taken.update(call.id for call in message.calls)
            expected = [call for call in message.calls if call.id not in waiting]
        if why:
            raise AssertionError(f"message {place} can't stand there: {why}\n{message!r}")
        before = message
    if expected:
        raise AssertionError(f"call {expected[0].id!r} has no result\n{expected[0]!r}")


def _result_fault(message: Message, expected: list[Call]) -> str:
    """Takes the call that a result answers off those expected."""
    if not isinstance(message, ResultMessage):
        return f"call {expected[0].id!r} has no result yet" if expected else ""
    for place, call in enumerate(expected):
        if (message.call_id, message.tool) == (call.id, call.tool):
            del expected[place]
            return ""
    if not expected:
        return "no call is left that it could be the result of"
    left = " or ".join(f"{call.id!r}, a call of {call.tool!r}" for call in expected)
    return f"it should be the result of {left}"


def _place_fault(message: Message, before: Message | None) -> str:
    if before is None:
        return "" if isinstance(message, UserMessage) else "a history begins with a user's message"
    if before.role == "answer" and message.role not in ("user", "feedback"):
        return f"an answer ends a run, and no {message.role} message follows it"
    if message.role == "feedback" and before.role != "answer":
        return "feedback is on an answer, right before it"
    return "a call of nothing" if isinstance(message, CallMessage) and not message.calls else ""


def _calls(ran: Ran) -> tuple[Call, ...]:
    if isinstance(ran, RunResult):
        return ran.calls
    return tuple(call for item in ran if isinstance(item, CallMessage) for call in item.calls)


def _holds(arguments: dict[str, Any], call: Call) -> bool:
    # what is expected stands left: it may know better than a plain value what it equals
    return all(
        key in call.arguments and bool(value == call.arguments[key])
        for key, value in arguments.items()
    )


def _fits(expected: ScriptedCall, call: Call) -> bool:
    same = expected.tool == call.tool and expected.arguments.keys() == call.arguments.keys()
    return same and _holds(expected.arguments, call)


def _in_order(expected: Sequence[ScriptedCall], calls: Sequence[Call]) -> bool:
    return len(expected) == len(calls) and all(map(_fits, expected, calls))


def _paired(expected: Sequence[ScriptedCall], calls: Sequence[Call]) -> bool:
    """Whether they pair off; a matcher may fit several calls, so every pairing is tried."""
    if len(expected) != len(calls):
        return False
    if not expected:
        return True
    first, *others = expected
    return any(
        _fits(first, call) and _paired(others, [*calls[:place], *calls[place + 1 :]])
        for place, call in enumerate(calls)
    )


def _made(calls: Sequence[Call], tool: str = "", arguments: dict[str, Any] | None = None) -> str:
    """The calls that were made; behind those of `tool`, what is not as in `arguments`."""
    if not calls:
        return "and none was made"
    lines = [f"  {_said(call.tool, call.arguments)}{_unlike(call, tool, arguments or {})}"
             for call in calls]  # fmt: skip
    return "\n".join([f"{len(calls)} made:", *lines])


def _unlike(call: Call, tool: str, arguments: dict[str, Any]) -> str:
    wrong = [key for key in arguments if not _holds({key: arguments[key]}, call)]
    return f"    <- {', '.join(wrong)}" if call.tool == tool and wrong else ""


def _said(tool: str, arguments: dict[str, Any]) -> str:
    return f"{tool}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
