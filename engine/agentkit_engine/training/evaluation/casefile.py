"""Case files: requests of one's own, with the calls that they should lead to.

One JSON object a line: `{"question", "tools": [{"name", "description", "parameters"}], "calls":
[{"name", "arguments"}]}`; where `calls` is empty, no tool suits. `Row` tells of the fields. Must
not know engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from agentkit_engine.errors import EngineError
from agentkit_engine.training.evaluation.cases import Case
from agentkit_engine.training.evaluation.matching import Called

Messages: TypeAlias = list[dict[str, Any]]
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


class CaseFileError(EngineError):
    """A case file can't be read; the message names file, line and field."""


def _messages(told: Any) -> Any:
    """A question as a list of messages: of several turns (lists of messages) the first."""
    if isinstance(told, str):
        told = [{"role": "user", "content": told}]
    if isinstance(told, list) and told and isinstance(told[0], list):
        told = told[0]
    if not isinstance(told, list) or not told:
        raise ValueError("should be a text, a list of messages, or a list of such lists")
    for message in told:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError(f"{message!r} is no message; it should have a role and a content")
        if "content" not in message and "tool_calls" not in message:
            raise ValueError(f"the message of {message['role']!r} has no content")
    return told


def _function(told: Any) -> Any:
    """A tool by itself, also where it comes as OpenAI writes it."""
    return told["function"] if isinstance(told, dict) and "function" in told else told


class Function(BaseModel):
    """A tool."""

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: dict(_NO_PARAMETERS))


class Expected(BaseModel):
    """A call."""

    name: str
    arguments: dict[str, Any]


class Row(BaseModel):
    """A line of a case file; what else it says is not read.

    Attributes:
        question: a text, or messages, or a list of lists of messages, of which the first counts.
        tools: by themselves, or `{"type": "function", "function": {...}}`.
        calls: in any order.
        category: each gets a line of the table.
        id: what the row is called where something is told of it.
    """

    question: Annotated[Messages, BeforeValidator(_messages)]
    tools: list[Annotated[Function, BeforeValidator(_function)]]
    calls: list[Expected]
    category: str = ""
    id: str | int = ""

    @model_validator(mode="after")
    def _of_one_piece(self) -> Row:
        names = [tool.name for tool in self.tools]
        if len(names) != len(set(names)):
            raise ValueError("tools: two of them have the same name")
        for place, call in enumerate(self.calls):
            if call.name not in names:
                raise ValueError(f"calls.{place}.name: no tool of the row is called {call.name!r}")
        return self


def read_cases(path: Path) -> list[Case]:
    """The cases of a file.

    Raises:
        CaseFileError: there is no such file, or a row is not as it should be.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise CaseFileError(f"{path} can't be read: {error}") from error
    lines = enumerate(text.split("\n"), 1)
    return list(_rows(path, ((number, line) for number, line in lines if line.strip())))


def case_of(row: Any, where: str) -> Case:
    """The case of a row.

    Args:
        where: what to call the row in an error; also its id, if it has none.

    Raises:
        CaseFileError: the row is not as it should be.
    """
    try:
        found = Row.model_validate(row)
    except ValidationError as error:
        faults = "; ".join(map(_fault, error.errors()))
        raise CaseFileError(f"{where}: {faults}") from error
    tools = [{"type": "function", "function": tool.model_dump()} for tool in found.tools]
    calls = tuple(Called(call.name, call.arguments) for call in found.calls)
    name = str(found.id) if found.id != "" else where
    return Case(
        kind="row", tools=tools, messages=found.question, calls=calls,
        id=name, category=found.category,
    )  # fmt: skip


def _rows(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Case]:
    for number, line in lines:
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CaseFileError(f"{where}: this is no JSON: {error}") from error
        yield case_of(row, where)


def _fault(fault: Any) -> str:
    """What is wrong, behind the field that it is wrong with."""
    field = ".".join(map(str, fault["loc"]))
    told = str(fault["msg"]).removeprefix("Value error, ")
    return f"{field}: {told}" if field else told
