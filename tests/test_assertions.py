"""Assertions on runs: what they hold of, and what they say where they don't."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest

from agentkit import (
    AnswerMessage,
    Call,
    CallMessage,
    History,
    Message,
    ResultMessage,
    RunResult,
    UserMessage,
)
from agentkit.message import FeedbackMessage
from agentkit.result import Pending
from agentkit.testing import (
    Matching,
    ScriptedCall,
    assert_called,
    assert_calls,
    assert_not_called,
    assert_well_formed,
    call,
)

FIND = Call("call_1", "find", {"city": "Rome", "offers": [{"price": 80.04}]})
BOOK = Call("call_2", "book", {"city": "Rome", "people": 2})
ASKED = UserMessage("to Rome, please")
HISTORY: History = (
    ASKED,
    CallMessage((FIND, BOOK)),
    ResultMessage("call_1", "find", "80"),
    ResultMessage("call_2", "book", "full", is_error=True),
    AnswerMessage("Sorry."),
)


def ran(*messages: Message, given: int = 0, pending: tuple[Pending, ...] = ()) -> RunResult:
    return RunResult(
        status="answered",
        answer="",
        pending=pending,
        messages=messages,
        given=given,
        turns=1,
        decisions=(),
        timings={},
    )


def told_by(assertion: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value)


# --- which calls there were


@pytest.mark.parametrize("arguments", [{}, {"people": 2}, {"people": 2, "city": "Rome"}])
def test_a_call_is_found_by_some_of_its_arguments(arguments: dict[str, Any]) -> None:
    assert assert_called(HISTORY, "book", **arguments) is BOOK


def test_values_may_be_anything_that_knows_what_it_equals() -> None:
    assert_called(HISTORY, "book", city=Matching("R.m."), people=ANY)
    assert_called(HISTORY, "find", offers=[{"price": pytest.approx(80, abs=0.1)}])


def test_a_pattern_matches_whole_texts_alone() -> None:
    assert Matching(r"\d+") == "12"
    assert Matching(r"\d+") != "12 or so"
    assert Matching(r"\d+") != 12
    assert repr(Matching("a+")) == "Matching(pattern='a+')"


def test_an_argument_may_be_called_anything() -> None:
    made = (ASKED, CallMessage((Call("1", "a", {"tool": 1, "ran": 2}),)))
    assert_called(made, "a", tool=1, ran=2)


def test_of_a_result_the_calls_of_its_own_run_count() -> None:
    assert_called(ran(*HISTORY), "book")
    later = ran(*HISTORY, UserMessage("thanks"), AnswerMessage("!"), given=len(HISTORY))
    assert_not_called(later)
    assert told_by(assert_called, later, "book") == "there was no call book()\nand none was made"


def test_a_call_that_is_missing_is_shown_beside_those_that_were_made() -> None:
    assert told_by(assert_called, HISTORY, "book", city="Oslo", people=2, day=ANY).splitlines() == [
        "there was no call book(city='Oslo', people=2, day=<ANY>)",
        "2 made:",
        "  find(city='Rome', offers=[{'price': 80.04}])",
        "  book(city='Rome', people=2)    <- city, day",
    ]


def test_calls_that_were_not_to_be() -> None:
    assert_not_called(HISTORY, "pay")
    assert_not_called((ASKED,))
    assert told_by(assert_not_called, HISTORY, "pay", "book").splitlines() == [
        "no call was expected",
        "1 made:",
        "  book(city='Rome', people=2)",
    ]
    assert "2 made" in told_by(assert_not_called, HISTORY)


FOUND = call("find", city="Rome", offers=ANY)
BOOKED = call("book", city="Rome", people=2)


def test_all_calls_in_order() -> None:
    assert_calls(HISTORY, [FOUND, BOOKED])
    assert_calls((ASKED,), [])


@pytest.mark.parametrize(
    "expected",
    [
        [BOOKED, FOUND],
        [FOUND],
        [FOUND, BOOKED, BOOKED],
        [FOUND, call("book", city="Rome")],
        [FOUND, call("book", city="Rome", people=2, day=1)],
        [FOUND, call("book", city="Rome", people=3)],
        [FOUND, call("pay", city="Rome", people=2)],
        [],
    ],
)
def test_other_calls_are_told(expected: list[ScriptedCall]) -> None:
    assert "2 made:\n  find" in told_by(assert_calls, HISTORY, expected)


def test_a_list_of_calls_is_told_as_a_list() -> None:
    assert told_by(assert_calls, (ASKED,), [BOOKED]) == (
        "expected calls:\n  book(city='Rome', people=2)\nand none was made"
    )
    assert told_by(assert_calls, HISTORY, [], ordered=False).startswith(
        "expected calls, in any order: none\n2 made:"
    )


def test_all_calls_in_any_order() -> None:
    assert_calls(HISTORY, [BOOKED, FOUND], ordered=False)
    assert_calls((ASKED,), [], ordered=False)
    told_by(assert_calls, HISTORY, [BOOKED, BOOKED], ordered=False)
    told_by(assert_calls, HISTORY, [BOOKED], ordered=False)


def test_what_fits_several_calls_takes_the_one_that_is_left() -> None:
    calls = tuple(Call(f"call_{day}", "book", {"day": day}) for day in (1, 2))
    history = (ASKED, CallMessage(calls))
    assert_calls(history, [call("book", day=ANY), call("book", day=1)], ordered=False)


# --- whether a history holds together


@pytest.mark.parametrize(
    "history",
    [
        (),
        (ASKED,),
        (ASKED, ASKED, AnswerMessage("!")),
        HISTORY,
        HISTORY[:-1],
        (*HISTORY[:-1], CallMessage((Call("c", "a", {}),)), ResultMessage("c", "a", "")),
        (ASKED, AnswerMessage("1"), FeedbackMessage("no"), AnswerMessage("2"), ASKED),
        (ASKED, AnswerMessage("1"), FeedbackMessage("no"), *HISTORY[1:]),
    ],
)
def test_histories_that_can_be(history: History) -> None:
    assert_well_formed(history)
    assert_well_formed(ran(*history))


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (HISTORY[1:], "message 0 .* begins with a user's message"),
        (HISTORY[:3], "call 'call_2' has no result\n"),
        ((*HISTORY[:3], HISTORY[4]), "message 3 .* call 'call_2' has no result yet"),
        ((*HISTORY[:2], ResultMessage("x", "find", "80")), "message 2 .* result of 'call_1', a"),
        ((*HISTORY[:4], HISTORY[3]), "message 4 .* no call is left"),
        ((ASKED, HISTORY[2]), "message 1 .* no call is left"),
        ((*HISTORY[:4], *HISTORY[1:4]), "message 4 .* id 'call_1' is taken"),
        ((*HISTORY[:2], ResultMessage("call_1", "book", "80")), "message 2 .* a call of 'find'"),
        ((*HISTORY, *HISTORY[1:]), "message 5 .* an answer ends a run, and no call message"),
        ((*HISTORY, AnswerMessage("1")), "message 5 .* no answer message follows"),
        ((ASKED, FeedbackMessage("no")), "message 1 .* feedback is on an answer"),
        ((ASKED, CallMessage(())), "message 1 .* a call of nothing"),
    ],
)
def test_histories_that_can_not_be(history: History, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        assert_well_formed(history)


def test_calls_that_wait_have_no_result_yet() -> None:
    assert_well_formed(HISTORY[:3], waiting={"call_2"})
    assert_well_formed(HISTORY[:2], waiting={"call_1", "call_2"})
    assert_well_formed(ran(*HISTORY[:3], pending=(Pending(BOOK, "approval"),)))
    with pytest.raises(AssertionError, match="call 'call_1' has no result"):
        assert_well_formed(HISTORY[:2], waiting={"call_2"})
