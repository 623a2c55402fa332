"""Case files: what an agent is asked, and what should come of it.

One JSON object a line: `{"question": "A table in Rome", "calls": [{"name": "book", "arguments":
{"city": "Rome"}}], "contains": ["Rome"]}`; `Row` tells of the fields. A file for the evaluation of
models serves here too, its tools aside: an agent has its own. Must not know agents.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from agentkit.errors import AgentKitError
from agentkit.message import AnswerMessage, History, UserMessage
from agentkit.result import Status

EXPECTATIONS = ("calls", "answer", "contains", "output", "status")


class CaseFileError(AgentKitError):
    """A case file can't be read; names the file, the line and the field."""


class ExpectedCall(BaseModel, frozen=True):
    """A call that should be made, with just these arguments."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question to an agent and what should come of it; None is not judged.

    history: what was said before. calls: in any order. answer: a text, or a JSON value. contains:
    texts that the answer has in it, whatever their case. output: what the answer has in it as JSON;
    objects may hold more.
    """

    id: str
    question: str
    history: History = ()
    calls: tuple[ExpectedCall, ...] | None = None
    answer: Any = None
    contains: tuple[str, ...] | None = None
    output: Any = None
    status: Status | None = None
    tags: tuple[str, ...] = ()


def _messages(told: Any) -> Any:
    """A question as messages: of several turns (lists of messages) the first."""
    if isinstance(told, str):
        told = [{"role": "user", "content": told}]
    items = cast(Sequence[Any], told) if isinstance(told, list) else ()
    if items and isinstance(items[0], list):
        items = cast(Sequence[Any], items[0])
    said = [_message(item) for item in items]
    if not said or not isinstance(said[-1], UserMessage):
        raise ValueError("should be a text, or a list of messages that ends with the user's")
    return said


def _message(told: Any) -> UserMessage | AnswerMessage:
    match told:
        case {"role": "user", "content": str(text)} if text.strip():
            return UserMessage(text)
        case {"role": "assistant", "content": str(text)}:
            return AnswerMessage(text)
        case {"role": "system"}:
            raise ValueError("the system's message is the agent's own; leave it out")
        case _:
            raise ValueError(f"{told!r} is no message of a user or an assistant in words")


class Row(BaseModel, extra="allow"):
    """A line of a case file; a field it doesn't know is not read.

    Attributes:
        id: what the case is called; by default its line.
        question: a text, or messages, or a list of lists of messages, of which the first counts.
        calls: that should be made, in any order; none where it is empty.
        answer: that should be given, word for word or as a JSON value.
        contains: texts that the answer should have in it.
        output: members that the answer should have as JSON.
        status: how the run should end.
        tags: each gets a line of the report; so does a `category`.
    """

    id: str | int = ""
    question: Annotated[list[UserMessage | AnswerMessage], BeforeValidator(_messages)]
    calls: tuple[ExpectedCall, ...] | None = None
    answer: Any = None
    contains: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    output: Any = None
    status: Status | None = None
    tags: tuple[str, ...] = ()
    category: str = ""

    @model_validator(mode="after")
    def _expects(self) -> Row:
        for name in self.model_extra or {}:
            if meant := get_close_matches(name, type(self).model_fields, n=1, cutoff=0.8):
                raise ValueError(f"there is no field {name!r}; {meant[0]!r} is meant")
        if all(getattr(self, name) is None for name in EXPECTATIONS):
            raise ValueError(f"nothing is expected; say one of {', '.join(EXPECTATIONS)}")
        return self


def read_cases(path: str | Path) -> list[Case]:
    """The cases of a file.

    Raises:
        CaseFileError: there is no such file, or rows are not as they should be; all are named.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        raise CaseFileError(f"{path} can't be read: {error}") from error
    cases: list[Case] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                cases.append(_case(line, f"{path.name}:{number}"))
            except ValueError as error:
                faults += [f"{path}, line {number}: {why}" for why in _faults(error)]
    faults += _twice(path, cases)
    if faults or not cases:
        raise CaseFileError("\n".join(faults) or f"{path} has no cases")
    return cases


def _case(line: str, where: str) -> Case:
    row = Row.model_validate(json.loads(line))
    *before, last = row.question
    return Case(
        id=where if row.id == "" else str(row.id),
        question=last.text,
        history=tuple(before),
        calls=row.calls,
        answer=row.answer,
        contains=row.contains,
        output=row.output,
        status=row.status,
        tags=tuple(dict.fromkeys([*row.tags, *filter(None, [row.category])])),
    )


def _faults(error: ValueError) -> Iterable[str]:
    """What is wrong, behind the field that it is wrong with."""
    if not isinstance(error, ValidationError):
        yield f"this is no JSON: {error}"
        return
    for fault in error.errors():
        field = ".".join(map(str, fault["loc"]))
        told = fault["msg"].removeprefix("Value error, ")
        yield f"{field}: {told}" if field else told


def _twice(path: Path, cases: Iterable[Case]) -> list[str]:
    times = Counter(case.id for case in cases)
    return [f"{path}: two cases are called {name!r}" for name in times if times[name] > 1]
