"""Agents measured on cases: the files of cases, and how a run is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from restaurant import agent_of, case, written

from agentkit import AnswerMessage, UserMessage
from agentkit.evaluation import Case, CaseFileError, ExpectedCall, Judgement, evaluate, read_cases
from agentkit.evaluation.judging import holds, same_json
from agentkit.policies.condition import named
from agentkit.policies.doubt import approve_when
from agentkit.testing import ScriptItem, answer, call
from agentkit_engine.training.evaluation import casefile


def book(**arguments: Any) -> ExpectedCall:
    return ExpectedCall(name="book", arguments=arguments)


BOOK = call("book", city="Rome", people=2)
BOOKED = book(city="Rome", people=2)


async def judgement(case: Case, *script: ScriptItem, **options: Any) -> Judgement:
    report = await evaluate(agent_of(*script, **options), [case])
    return report.judgements[0]


# --- case files


def test_a_row_says_what_is_asked_and_what_should_come_of_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "id": 7,
            "question": "A table in Rome for two?",
            "calls": [{"name": "book", "arguments": {"city": "Rome", "people": 2}}],
            "answer": "Done.",
            "contains": ["Rome"],
            "output": {"city": "Rome"},
            "status": "answered",
            "tags": ["food", "rome"],
        },
        "",
        {"question": "Hi", "calls": [], "category": "small talk", "note": "not read"},
    )
    first, second = read_cases(path)
    assert first == case(
        id="7",
        calls=(BOOKED,),
        answer="Done.",
        contains=("Rome",),
        output={"city": "Rome"},
        status="answered",
        tags=("food", "rome"),
    )
    assert second == Case(id="cases.jsonl:3", question="Hi", calls=(), tags=("small talk",))


def test_a_file_for_the_evaluation_of_models_serves_too(tmp_path: Path) -> None:
    """Its tools aside: an agent has its own."""
    tools = [{"type": "function", "function": {"name": "book", "parameters": {"type": "object"}}}]
    asked = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "later"}]]
    row = {"id": "m_1", "question": asked, "tools": tools, "calls": [], "category": "simple"}
    path = written(tmp_path, row)
    [found] = read_cases(path)
    assert found == Case(id="m_1", question="Hi", calls=(), tags=("simple",))
    [of_a_model] = casefile.read_cases(path)
    assert (of_a_model.id, of_a_model.category) == ("m_1", "simple")


def test_a_question_may_be_the_end_of_a_conversation(tmp_path: Path) -> None:
    asked = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "A table?"},
    ]
    [found] = read_cases(written(tmp_path, {"question": asked, "calls": []}))
    assert found.question == "A table?"
    assert found.history == (UserMessage("Hi"), AnswerMessage("Hello!"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "this is no JSON"),
        ("[]", "valid dictionary"),
        ({"calls": []}, "question: Field required"),
        ({"question": " ", "calls": []}, "question: .* is no message"),
        ({"question": [], "calls": []}, "question: should be a text, or a list of messages"),
        (
            {"question": [{"role": "tool", "content": ""}], "calls": []},
            "question: .* is no message",
        ),
        ({"question": [{"role": "system", "content": ""}], "calls": []}, "question: the system's"),
        ({"question": [{"role": "assistant", "content": ""}], "calls": []}, "ends with the user's"),
        ({"question": "Hi", "calls": [{"arguments": {}}]}, r"calls\.0\.name: Field required"),
        ({"question": "Hi", "calls": [{"name": "a", "arguments": 1}]}, r"calls\.0\.arguments: "),
        ({"question": "Hi", "contains": [""]}, r"contains\.0: "),
        ({"question": "Hi", "status": "done"}, "status: Input should be 'answered'"),
        ({"question": "Hi"}, "nothing is expected; say one of calls, answer"),
        ({"question": "Hi", "calls": [], "contain": ["a"]}, "no field 'contain'; 'contains' is"),
    ],
)
def test_a_bad_row_names_line_and_field(row: object, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"question": "Hi", "calls": []}, row)
    with pytest.raises(CaseFileError, match=rf"cases\.jsonl, line 2: .*{why}"):
        read_cases(path)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CaseFileError) as caught:
        read_cases(written(tmp_path, "{", {"question": "Hi"}))
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_no_case_files(tmp_path: Path) -> None:
    with pytest.raises(CaseFileError, match="can't be read"):
        read_cases(tmp_path / "none.jsonl")
    with pytest.raises(CaseFileError, match="has no cases"):
        read_cases(written(tmp_path))
    row = {"id": "a", "question": "Hi", "calls": []}
    with pytest.raises(CaseFileError, match="two cases are called 'a'"):
        read_cases(written(tmp_path, row, row, row))


# --- judging


@pytest.mark.parametrize(
    ("one", "other", "same", "inside"),
    [
        (1, 1.0, True, True),
        (1, True, False, False),
        ({"a": 1}, {"a": 1, "b": 2}, False, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False, True),
        ([{"a": 1}], [{"a": 1, "b": 2}], False, True),
        ([1], [1, 2], False, False),
        ({"a": 1}, [1], False, False),
        ({"a": None}, {}, False, False),
        (["a"], ["a"], True, True),
    ],
)
def test_json_values_are_compared(one: Any, other: Any, same: bool, inside: bool) -> None:
    assert same_json(one, other) is same
    assert holds(one, other) is inside


async def test_a_run_that_is_right() -> None:
    told = await judgement(case(calls=(BOOKED,), contains=("ROME",)), BOOK, answer("In Rome."))
    assert (told.tools, told.calls, told.answer, told.error) == (True, True, True, "")
    assert told.right
    assert told.forwards == 2
    assert len(told.turns) == 2


async def test_what_was_not_expected_is_not_judged() -> None:
    told = await judgement(case(status="answered"), BOOK, answer("Done."))
    assert (told.tools, told.calls, told.answer, told.right) == (None, None, None, True)


@pytest.mark.parametrize(
    ("script", "tools", "why"),
    [
        ([], False, 'missing book(city="Rome", people=2)'),
        ([call("find", city="Rome"), BOOK], False, 'came find(city="Rome")'),
        (
            [call("book", city="Oslo", people=2)],
            True,
            'missing book(city="Rome", people=2); came book(city="Oslo", people=2)',
        ),
        ([BOOK, BOOK], False, 'came book(city="Rome", people=2)'),
    ],
)
async def test_other_calls_are_told(script: list[ScriptItem], tools: bool, why: str) -> None:
    told = await judgement(case(calls=(BOOKED,)), *script, answer("Done."))
    assert (told.tools, told.calls, told.right) == (tools, False, False)
    assert told.faults == (f"calls: {why}",)


async def test_calls_are_right_in_any_order_over_all_turns() -> None:
    calls = (
        BOOKED,
        book(city="Oslo", people=1),
        ExpectedCall(name="find", arguments={"city": "A"}),
    )
    script: list[ScriptItem] = [
        call("find", city="A"),
        [call("book", city="Oslo", people=1), BOOK],
        answer("Done."),
    ]
    assert (await judgement(case(calls=calls), *script)).right


async def test_what_failed_and_was_mended_does_not_count() -> None:
    many = call("book", city="Rome", people=9)
    told = await judgement(case(calls=(BOOKED,)), many, BOOK, answer("Done."))
    assert (told.tools, told.calls) == (True, True)
    expected = (book(city="Rome", people=9),)
    assert (await judgement(case(calls=expected), many, answer("Too many."))).right


async def test_where_no_call_is_expected_none_is_made() -> None:
    assert (await judgement(case(calls=()), answer("Hello."))).right
    assert not (await judgement(case(calls=()), BOOK, answer("Hello."))).right


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({"answer": " Hi. "}, ""),
        ({"answer": "Hi"}, "answer: expected 'Hi', came 'Hi.'"),
        ({"answer": [None]}, "answer: expected [null], came 'Hi.'"),
        ({"contains": ("h", ".")}, ""),
        ({"contains": ("h", "ho", "hu")}, "answer: 'ho', 'hu' is not in it, came 'Hi.'"),
        ({"output": {"a": 1}}, "output: expected {\"a\": 1}, came 'Hi.'"),
    ],
)
async def test_answers_in_words(expected: dict[str, Any], why: str) -> None:
    told = await judgement(case(**expected), answer("Hi."))
    assert told.answer is (not why)
    assert told.faults == ((why,) if why else ())


class Table(BaseModel):
    city: str
    people: int = 2


@pytest.mark.parametrize(
    ("expected", "right"),
    [
        ({"answer": {"people": 2, "city": "Rome"}}, True),
        ({"answer": {"city": "Rome"}}, False),
        ({"output": {"city": "Rome"}}, True),
        ({"output": {"city": "Oslo"}}, False),
    ],
)
async def test_answers_with_a_type(expected: dict[str, Any], right: bool) -> None:
    told = await judgement(case(**expected), answer(Table(city="Rome")), output=Table)
    assert told.answer is right


async def test_a_long_answer_is_cut() -> None:
    told = await judgement(case(answer="short"), answer("long " * 1000))
    assert len(told.faults[0]) < 400


async def test_how_a_run_ends_is_judged_where_it_is_said() -> None:
    asking = {"policies": [approve_when(named("book"), "it costs")]}
    assert (await judgement(case(status="paused", calls=(BOOKED,)), BOOK, **asking)).right
    told = await judgement(case(status="answered", contains=("Rome",)), BOOK, **asking)
    assert told.faults[0] == "answer: 'Rome' is not in it, there was none: the run is paused"
    assert told.faults[1].startswith("status: expected 'answered', came 'paused'")


async def test_an_error_is_told_and_all_that_was_expected_is_wrong() -> None:
    told = await judgement(case(calls=(), contains=("Rome",)), OSError("unplugged"))
    assert (told.tools, told.calls, told.answer, told.right) == (False, False, False, False)
    assert told.error == "BackendError: the backend failed: OSError: unplugged"
    other = await judgement(case(status="answered"), OSError("unplugged"))
    assert (other.tools, other.calls, other.answer, other.right) == (None, None, None, False)
