"""Case files: what a row may say, and what is told of one that is not as it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit_engine import EngineError
from agentkit_engine.training.evaluation.casefile import CaseFileError, case_of, read_cases
from agentkit_engine.training.evaluation.matching import Called

TOOL: dict[str, Any] = {
    "name": "add",
    "description": "Add a thing.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
}
ROW: dict[str, Any] = {
    "question": "Add milk",
    "tools": [TOOL],
    "calls": [{"name": "add", "arguments": {"text": "milk"}}],
}
SAID = {"role": "user", "content": "Add milk"}


def test_a_row_is_a_case() -> None:
    case = case_of({**ROW, "id": 7, "category": "lists", "source": "not read"}, "here")
    assert case.messages == [SAID]
    assert case.tools == [{"type": "function", "function": TOOL}]
    assert case.schemas == {"add": TOOL["parameters"]}
    assert case.calls == (Called("add", {"text": "milk"}),)
    assert (case.kind, case.id, case.category) == ("row", "7", "lists")
    assert case_of(ROW, "here").id == "here"
    assert case_of({**ROW, "calls": []}, "here").calls == ()


@pytest.mark.parametrize("question", ["Add milk", [SAID], [[SAID], [{"role": "user"}]]])
def test_a_question_comes_in_three_forms(question: Any) -> None:
    assert case_of({**ROW, "question": question}, "here").messages == [SAID]


def test_tools_may_be_written_as_openai_does() -> None:
    wrapped = {**ROW, "tools": [{"type": "function", "function": TOOL}]}
    assert case_of(wrapped, "here") == case_of(ROW, "here")
    bare = case_of({**ROW, "tools": [{"name": "add"}]}, "here")
    assert bare.schemas == {"add": {"type": "object", "properties": {}}}


def test_a_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n\n{json.dumps({**ROW, 'id': 'b'})}\n", "utf-8")
    assert [case.id for case in read_cases(path)] == ["own.jsonl, line 1", "b"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"question": 5}, "question"),
        ({"question": []}, "question"),
        ({"question": [{"content": "hi"}]}, "question"),
        ({"question": [{"role": "user"}]}, "question"),
        ({"tools": None}, "tools"),
        ({"tools": [{"parameters": {}}]}, "tools.0.name"),
        ({"tools": [{"name": ""}]}, "tools.0.name"),
        ({"tools": [{"name": "add", "parameters": "none"}]}, "tools.0.parameters"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"calls": [{"name": "add"}]}, "calls.0.arguments"),
        ({"calls": [{"name": "other", "arguments": {}}]}, "calls.0.name"),
    ],
)
def test_a_bad_row_names_line_and_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | change)}\n", "utf-8")
    with pytest.raises(CaseFileError) as caught:
        read_cases(path)
    assert str(caught.value).startswith(f"own.jsonl, line 2: {field}: ")
    assert isinstance(caught.value, EngineError)


@pytest.mark.parametrize("missing", ["question", "tools", "calls"])
def test_a_field_that_is_not_there_is_named(missing: str) -> None:
    row = {name: value for name, value in ROW.items() if name != missing}
    with pytest.raises(CaseFileError, match=f"line 1: {missing}: "):
        case_of(row, "line 1")


def test_what_is_no_json_or_no_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{{oh\n", "utf-8")
    with pytest.raises(CaseFileError, match=r"own\.jsonl, line 2: this is no JSON"):
        read_cases(path)
    with pytest.raises(CaseFileError, match="absent"):
        read_cases(tmp_path / "absent.jsonl")
    path.write_text("[1]\n", "utf-8")
    with pytest.raises(CaseFileError, match="line 1: "):
        read_cases(path)
