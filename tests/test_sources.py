"""What a schema may be given as: JSON Schema itself, or a Python type."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar.sources import schema_of


class Person(BaseModel):
    name: str
    age: int = Field(ge=0)


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


@dataclass
class Booking:
    guest: Person
    day: date
    nights: int = 1


class Point(TypedDict):
    x: float
    y: float


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Opaque:
    pass


@pytest.mark.parametrize("schema", [True, False, {}, {"type": "string"}])
def test_a_schema_is_itself(schema: Any) -> None:
    assert schema_of(schema) is schema


@pytest.mark.parametrize(
    ("source", "valid", "invalid"),
    [
        (Person, {"name": "Ada", "age": 36}, {"name": "Ada", "age": -1}),
        (Tree, {"label": "a", "children": [{"label": "b"}]}, {"label": "a", "children": [1]}),
        (Booking, {"guest": {"name": "Ada", "age": 36}, "day": "2026-12-01"}, {"nights": 2}),
        (Point, {"x": 1, "y": 0.5}, {"x": 1}),
        (Colour, "red", "blue"),
        (Literal["a", 1], 1, 2),
        (Annotated[int, Field(ge=1, le=5)], 5, 6),
        (int | None, None, "1"),
        (list[Person], [], [{}]),
        (dict[str, bool], {"a": True}, {"a": "yes"}),
        (tuple[int, str], [1, "a"], [1]),
        (str, "a", 1),
        (type(None), None, 0),
    ],
    ids=str,
)
def test_a_type_stands_for_a_schema(source: Any, valid: Any, invalid: Any) -> None:
    validator = Draft202012Validator(schema_of(source))
    assert validator.is_valid(valid)
    assert not validator.is_valid(invalid)


@pytest.mark.parametrize(
    ("source", "mend"),
    [
        ('{"type": "string"}', "json.loads"),
        (b"{}", "json.loads"),
        (None, "{'type': 'null'}"),
        (["a", "b"], "{'enum': [...]}"),
        (3, "{'const': ...}"),
        (Person(name="Ada", age=36), "pass its class, Person"),
        (test_a_schema_is_itself, "`@tool`"),
        (Opaque, "use JSON-like types"),
        (Opaque(), "use JSON-like types"),
        (Callable[[int], str], "use JSON-like types"),
        (list["Nowhere"], "use JSON-like types"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_anything_else_is_named_with_the_mend(source: Any, mend: str) -> None:
    with pytest.raises(TemplateError) as info:
        schema_of(source)
    assert mend in str(info.value)
    assert "\n" not in str(info.value)


def test_a_type_that_can_not_be_written_is_named() -> None:
    with pytest.raises(TemplateError, match="'Opaque'"):
        schema_of(Opaque)


def test_a_schema_needs_no_pydantic() -> None:
    program = (
        "import sys; from agentkit_engine.grammar.sources import schema_of\n"
        "schema_of({}); print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
