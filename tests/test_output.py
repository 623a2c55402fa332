"""Declared outputs: what an answer's schema says, and how an answer is read back."""

from __future__ import annotations

import datetime as dt
import enum
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import AfterValidator, BaseModel, Field, model_validator
from typing_extensions import TypedDict

from agentkit import DefinitionError
from agentkit.defining.output import OutputProblem, output_type
from agentkit.signals import Retry


class Booking(BaseModel):
    """A table that was booked."""

    city: str = Field(description="where to eat")
    people: int = Field(ge=1)
    day: dt.date | None = None


@dataclass
class Refusal:
    """Why nothing was booked.

    Attributes:
        why: in one sentence
    """

    why: str
    hints: list[str] = field(default_factory=list[str])


class Size(TypedDict):
    width: int


class Answer(enum.Enum):
    YES = "yes"
    NO = "no"


class Tree(BaseModel):
    name: str
    children: list[Tree] = Field(default_factory=list["Tree"])


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
PLAIN: dict[str, Any] = {
    "title": "Route",
    "type": "object",
    "properties": {
        "from": {"type": "string", "minLength": 1},
        "stops": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["from"],
    "additionalProperties": False,
}


def test_text_answers_in_words() -> None:
    words = output_type(str)
    assert (words.schema, words.name) == (None, "text")
    assert words.read('{"a": 1}') == '{"a": 1}'
    assert words.partial("Hel") == "Hel"


def test_a_model_is_read_from_json() -> None:
    booking = output_type(Booking)
    assert booking.name == "Booking"
    assert booking.schema == {
        "type": "object",
        "description": "A table that was booked.",
        "properties": {
            "city": {"type": "string", "description": "where to eat"},
            "people": {"type": "integer", "minimum": 1},
            "day": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["city", "people"],
    }
    text = '{"city": "Paris", "people": 2, "day": "2026-11-21"}'
    assert booking.read(text) == Booking(city="Paris", people=2, day=dt.date(2026, 11, 21))


def test_what_a_docstring_says_of_attributes_goes_to_them() -> None:
    schema = output_type(Refusal).schema
    assert schema is not None
    assert schema["description"] == "Why nothing was booked."
    assert schema["properties"]["why"] == {"type": "string", "description": "in one sentence"}


@pytest.mark.parametrize(
    ("declared", "name", "text", "value"),
    [
        (Refusal, "Refusal", '{"why": "full"}', Refusal("full")),
        (Size, "Size", '{"width": 3}', {"width": 3}),
        (bool, "bool", "true", True),
        (list[int], "list[int]", "[1, 2]", [1, 2]),
        (Literal["a", "b"], "Literal['a', 'b']", '"b"', "b"),
        (Answer, "Answer", '"no"', Answer.NO),
        (Optional[int], "int or null", "null", None),  # noqa: UP045
        (Tree, "Tree", '{"name": "a", "children": [{"name": "b"}]}', None),
        (Booking | Refusal, "Booking or Refusal", '{"why": "full"}', Refusal("full")),
        ([Booking, Refusal], "Booking or Refusal", '{"why": "full"}', Refusal("full")),
        ((Cat, Dog), "Cat or Dog", '{"kind": "cat", "lives": 9}', Cat(kind="cat", lives=9)),
        ([Refusal], "Refusal", '{"why": "full"}', Refusal("full")),
        (PLAIN, "Route", '{"from": "Rome", "stops": [1]}', {"from": "Rome", "stops": [1]}),
        ({"enum": [1, 2]}, "JSON", "2", 2),
    ],
    ids=repr,
)
def test_what_may_be_declared(declared: Any, name: str, text: str, value: Any) -> None:
    output = output_type(declared)
    assert (output.name, repr(output)) == (name, f"OutputType({name})")
    read = output.read(text)
    assert read == (Tree(name="a", children=[Tree(name="b")]) if declared is Tree else value)


def test_a_tagged_union_is_one_by_its_tag() -> None:
    output = output_type(Pet)
    assert output.schema is not None
    assert len(output.schema["oneOf"]) == 2
    assert "discriminator" not in output.schema
    assert output.read('{"kind": "dog", "tricks": []}') == Dog(kind="dog", tricks=[])
    with pytest.raises(OutputProblem) as caught:
        output.read('{"kind": "dog", "tricks": [1]}')
    assert caught.value.problems.keys() == {"/tricks/0"}


def test_a_recursive_type_keeps_the_definitions_it_needs() -> None:
    schema = output_type(list[Tree]).schema
    assert schema is not None
    assert schema["$defs"].keys() == {"Tree"}
    assert schema["items"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_text_among_others_is_a_json_string_or_plain_words() -> None:
    output = output_type([str, Booking])
    assert output.schema is not None
    assert output.schema["anyOf"][0] == {"type": "string"}
    assert output.read('"no table"') == "no table"
    assert output.read("no table") == "no table"
    assert output.read('{"city": "Rome", "people": 1}') == Booking(city="Rome", people=1)
    with pytest.raises(OutputProblem, match="/people: is required"):
        output.read('{"city": "Rome"}')
    for begun in ('{"city": "Ro', '"no ta'):
        assert output.partial(begun) is None
        with pytest.raises(OutputProblem, match="is no JSON"):
            output.read(begun)


def test_what_is_compiled_is_not_compiled_again() -> None:
    output = output_type(Booking)
    assert output_type(output) is output


def test_a_plain_schema_is_not_the_one_given_but_a_copy() -> None:
    given = json.loads(json.dumps(PLAIN))
    output = output_type(given)
    given["required"].append("stops")
    assert output.schema == PLAIN
    assert output.read('{"from": "Rome"}') == {"from": "Rome"}


@pytest.mark.parametrize(
    ("declared", "text", "problems"),
    [
        (Booking, '{"people": 2}', {"/city": "is required"}),
        (
            Booking,
            '{"city": "Rome", "people": 0}',
            {"/people": "Input should be greater than or equal to 1 (got 0)"},
        ),
        (Booking, "[]", {"": "Input should be an object (got [])"}),
        (
            dict[str, list[int]],
            '{"a/b~": [1, "x"]}',
            {
                "/a~1b~0/1": "Input should be a valid integer, unable to parse string as an "
                "integer (got 'x')"
            },
        ),
        (
            list[int | bool],
            '["x"]',
            {
                "/0": "Input should be a valid integer, unable to parse string as an integer (got "
                "'x'); or Input should be a valid boolean, unable to interpret input (got 'x')"
            },
        ),
        (dict[dt.date, int], '{"today": 1}', None),
        (PLAIN, '{"from": ""}', {"/from": "'' should be non-empty"}),
        (PLAIN, '{"stops": ["x"], "via": 1}', None),
    ],
    ids=repr,
)
def test_an_answer_that_does_not_fit_says_where_and_why(
    declared: Any, text: str, problems: dict[str, str] | None
) -> None:
    output = output_type(declared)
    with pytest.raises(OutputProblem) as caught:
        output.read(text)
    assert str(caught.value).startswith(f"The answer is no valid {output.name}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.problems
    if problems is not None:
        assert caught.value.problems == problems
    for pointer, why in caught.value.problems.items():
        assert f"{pointer or 'the whole'}: {why}" in str(caught.value)
    assert output.partial(text) is None


def test_a_plain_schema_says_what_is_missing_and_what_is_too_much() -> None:
    with pytest.raises(OutputProblem) as caught:
        output_type(PLAIN).read('{"stops": ["x"], "via": 1}')
    assert caught.value.problems == {
        "/from": "is required",
        "/stops/0": "'x' is not of type 'integer'",
        "/via": "is not known here; leave it out",
    }


def test_many_problems_are_told_in_part_and_kept_whole() -> None:
    with pytest.raises(OutputProblem, match="; and 3 more") as caught:
        output_type(list[int]).read(json.dumps(["x"] * 8))
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize("text", ["", "Paris", '{"city": "Par', "{} and more", "NaN", "\ud800"])
@pytest.mark.parametrize("declared", [Booking, PLAIN], ids=["model", "plain"])
def test_what_is_no_json_is_told_as_that(declared: Any, text: str) -> None:
    with pytest.raises(OutputProblem, match="is no JSON") as caught:
        output_type(declared).read(text)
    assert caught.value.problems == {}


def upper(text: str) -> str:
    if not text.isupper():
        raise ValueError("write it in capitals")
    return text


def impatient(text: str) -> str:
    raise Retry("another one", value="/0")


def broken(text: str) -> str:
    raise KeyError(text)


class Trip(BaseModel):
    start: int
    end: int

    @model_validator(mode="after")
    def in_order(self) -> Trip:
        if self.end < self.start:
            raise ValueError("the end is before the start")
        return self


def test_validators_of_the_users_own_are_heard() -> None:
    with pytest.raises(OutputProblem) as caught:
        output_type(list[Annotated[str, AfterValidator(upper)]]).read('["A", "b"]')
    assert caught.value.problems == {"/1": "write it in capitals (got 'b')"}
    with pytest.raises(OutputProblem) as caught:
        output_type(list[Trip]).read('[{"start": 2, "end": 1}]')
    assert caught.value.problems.keys() == {"/0"}
    assert "the end is before the start" in caught.value.problems["/0"]


def test_a_retry_comes_through_and_a_crash_is_a_problem() -> None:
    wanting = output_type(list[Annotated[str, AfterValidator(impatient)]])
    with pytest.raises(Retry, match="another one"):
        wanting.read('["a"]')
    assert wanting.partial('["a"]') is None
    crashing = output_type(list[Annotated[str, AfterValidator(broken)]])
    with pytest.raises(OutputProblem, match="KeyError: 'a'"):
        crashing.read('["a"]')
    assert crashing.partial('["a"]') is None


def test_a_partial_answer_is_a_value_as_soon_as_it_is_valid() -> None:
    output = output_type(Booking)
    assert output.partial('{"city": "Paris", "peo') is None
    assert output.partial('{"city": "Paris", "people": 0}') is None
    assert output.partial('{"city": "Pa", "people": 2}') == Booking(city="Pa", people=2)


def function() -> int:
    return 1


class Empty(BaseModel):
    pass


class Opaque:
    pass


@pytest.mark.parametrize(
    ("declared", "named", "mend"),
    [
        (None, "None", "give the type itself"),
        ("Booking", "'Booking'", "give the type itself"),
        (function, "function", "give the type itself"),
        ([Booking, {"type": "string"}], "{'type': 'string'}", "give the type itself"),
        ([], "[]", "leave it out"),
        (3, "'3'", "use JSON-like types"),
        (Opaque, "'Opaque'", "use JSON-like types"),
        (Callable[[], int], "Callable[[], int]", "use JSON-like types"),
        (Booking(city="Rome", people=1), "Booking", "use JSON-like types"),
        (Any, "'Any'", "give a type with fields"),
        (object, "'object'", "give a type with fields"),
        (Empty, "'Empty'", "give a type with fields"),
        ({}, "'JSON'", "give a type with fields"),
        ({"description": "anything"}, "'JSON'", "give a type with fields"),
        ({"type": "object"}, "'JSON'", "give a type with fields"),
        ({"type": "text"}, "'/type'", "mend that keyword"),
        ({"properties": {"a": {"minimum": "1"}}}, "'/properties/a/minimum'", "mend that keyword"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_what_can_not_be_declared_is_named_with_the_mend(
    declared: Any, named: str, mend: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        output_type(declared)
    assert named in str(caught.value)
    assert mend in str(caught.value)


def test_a_plain_schema_without_jsonschema_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(DefinitionError, match=r"agentkit-diffusion\[engine\]"):
        output_type(PLAIN)
