"""Whether what came of a case is what should have.

Calls are compared as JSON, in any order. One that failed and that nobody expected does not count:
the model was told, and did better. Knows cases and results; must not know how agents are run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agentkit.evaluation.cases import Case, ExpectedCall
from agentkit.message import Call
from agentkit.result import RunResult, Span

_SHOWN = 300  # characters of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What came of a case, once.

    tools, calls, answer: whether the tools that were called are right, the whole calls, and what
        was answered; None where nothing of it was expected.
    error: what ended the run, else empty. faults: what came instead, in words.
    turns: seconds of each turn. forwards: of the whole run.
    """

    case: Case
    repetition: int = 1
    tools: bool | None = None
    calls: bool | None = None
    answer: bool | None = None
    error: str = ""
    faults: tuple[str, ...] = ()
    turns: tuple[float, ...] = ()
    forwards: int = 0

    @property
    def right(self) -> bool:
        """Whether all is as expected."""
        return not self.error and not self.faults


def judged(case: Case, result: RunResult[Any], *, repetition: int = 1) -> Judgement:
    """What is to be said of a result."""
    wrong_calls = _calls_fault(case, result)
    wrong_answer = _answer_faults(case, result)
    faults = [*([wrong_calls] if wrong_calls else []), *wrong_answer]
    if case.status is not None and result.status != case.status:
        why = f" ({result.reason})" if result.reason else ""
        faults.append(f"status: expected {case.status!r}, came {result.status!r}{why}")
    expects_answer = any(one is not None for one in (case.answer, case.contains, case.output))
    return Judgement(
        case=case,
        repetition=repetition,
        tools=None if case.calls is None else _tools_right(case.calls, result),
        calls=None if case.calls is None else not wrong_calls,
        answer=not wrong_answer if expects_answer else None,
        faults=tuple(faults),
        turns=_turns(result.spans),
        forwards=result.forwards,
    )


def failed(case: Case, error: BaseException, *, repetition: int = 1) -> Judgement:
    """What is to be said of a run that an error ended: all that was expected is wrong."""
    expects_answer = any(one is not None for one in (case.answer, case.contains, case.output))
    return Judgement(
        case=case,
        repetition=repetition,
        tools=None if case.calls is None else False,
        calls=None if case.calls is None else False,
        answer=False if expects_answer else None,
        error=f"{type(error).__name__}: {error}",
    )


def same_json(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, but not true, as it is to Python."""
    return _within(one, other, whole=True)


def holds(part: Any, whole: Any) -> bool:
    """Whether a JSON value has another in it: objects may hold more, all else is equal."""
    return _within(part, whole, whole=False)


def _within(one: Any, other: Any, *, whole: bool) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        mine, theirs = cast(Mapping[str, Any], one), cast(Mapping[str, Any], other)
        keys = mine.keys() == theirs.keys() if whole else mine.keys() <= theirs.keys()
        return keys and all(_within(mine[key], theirs[key], whole=whole) for key in mine)
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast(Sequence[Any], one), cast(Sequence[Any], other)
        return len(items) == len(others) and all(
            _within(*pair, whole=whole) for pair in zip(items, others, strict=True)
        )
    return bool(one == other)


def _turns(spans: Sequence[Span]) -> tuple[float, ...]:
    """How long each turn took, from the first that was done in it to the last."""
    found: dict[int, tuple[float, float]] = {}
    for span in spans:
        if span.kind == "open":  # a model being loaded is no part of a turn
            continue
        began, ended = found.get(span.turn, (span.started, 0.0))
        found[span.turn] = min(began, span.started), max(ended, span.started + span.seconds)
    return tuple(ended - began for began, ended in found.values())


def _tools_right(expected: Sequence[ExpectedCall], result: RunResult[Any]) -> bool:
    missing, extra = _compared([ExpectedCall(name=call.name) for call in expected], [
        (Call(call.id, call.tool, {}), failed) for call, failed in _made(result)
    ])  # fmt: skip
    return not missing and not extra


def _calls_fault(case: Case, result: RunResult[Any]) -> str:
    if case.calls is None:
        return ""
    missing, extra = _compared(case.calls, _made(result))
    told = [
        *(f"missing {_said(call.name, call.arguments)}" for call in missing),
        *(f"came {_said(call.tool, call.arguments)}" for call in extra),
    ]
    return f"calls: {'; '.join(told)}" if told else ""


def _made(result: RunResult[Any]) -> list[tuple[Call, bool]]:
    """The calls, and whether each failed; those that did not stand first."""
    failed = {outcome.call_id for outcome in result.results if outcome.is_error}
    made = [(call, call.id in failed) for call in result.calls]
    return sorted(made, key=lambda pair: pair[1])


def _compared(
    expected: Sequence[ExpectedCall], made: Sequence[tuple[Call, bool]]
) -> tuple[list[ExpectedCall], list[Call]]:
    """The calls that are missing, and those that nobody expected and that did not fail."""
    left = list(made)
    missing: list[ExpectedCall] = []
    for wanted in expected:
        found = next((pair for pair in left if _same_call(wanted, pair[0])), None)
        if found is None:
            missing.append(wanted)
        else:
            left.remove(found)
    return missing, [call for call, failed in left if not failed]


def _same_call(expected: ExpectedCall, call: Call) -> bool:
    return expected.name == call.tool and same_json(expected.arguments, call.arguments)


def _answer_faults(case: Case, result: RunResult[Any]) -> list[str]:
    """What is wrong with the answer, by what was expected of it."""
    text = result.answer.strip()
    came = f"came {_cut(text)!r}" if text else f"there was none: the run is {result.status}"
    faults: list[str] = []
    if case.answer is not None and not _is_answer(case.answer, text):
        wanted = repr(case.answer) if isinstance(case.answer, str) else _json(case.answer)
        faults.append(f"answer: expected {wanted}, {came}")
    absent = [part for part in case.contains or () if part.casefold() not in text.casefold()]
    if absent:
        faults.append(f"answer: {', '.join(map(repr, absent))} is not in it, {came}")
    if case.output is not None:
        value = _as_json(text)
        if value is None or not holds(case.output, value):
            faults.append(f"output: expected {_json(case.output)}, {came}")
    return faults


def _is_answer(expected: Any, text: str) -> bool:
    if isinstance(expected, str):
        return text == expected.strip() or _as_json(text) == expected
    return same_json(expected, _as_json(text))


def _as_json(text: str) -> Any:
    """The value that a text is, None where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _said(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={_json(value)}' for key, value in arguments.items())})"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
