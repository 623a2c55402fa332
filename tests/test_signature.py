"""A signature becomes a JSON Schema, and JSON arguments become what the annotations say."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from agentkit import Tool, tool


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Point:
    """A place on the map."""

    x: int
    y: int = 0


class Item(BaseModel):
    title: str
    place: Point
    colour: Colour = Colour.RED


class Tree(BaseModel):
    name: str
    children: list[Tree] = Field(default_factory=list["Tree"])
    colour: Colour = Colour.RED


class Size(TypedDict):
    width: int


def taking(annotation: object) -> Tool[..., Any]:
    """A tool whose only parameter is annotated so."""

    def function(value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    return tool(function)


def schema_of(annotation: object) -> dict[str, Any]:
    """The schema of the only parameter of a function annotated so."""
    schema: dict[str, Any] = taking(annotation).parameters["properties"]["value"]
    return schema


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"type": "string", "const": "a"}),
        (Colour, {"type": "string", "enum": ["red", "green"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (dt.date, {"type": "string", "format": "date"}),
        (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Annotated[str, "a city"], {"type": "string", "description": "a city"}),
        (
            Size,
            {
                "type": "object",
                "properties": {"width": {"type": "integer"}},
                "required": ["width"],
                "additionalProperties": False,
            },
        ),
        (
            Point,
            {
                "type": "object",
                "description": "A place on the map.",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
    ],
    ids=repr,
)
def test_schema_of_an_annotation(annotation: object, schema: dict[str, Any]) -> None:
    assert schema_of(annotation) == schema


def test_definitions_are_inlined_and_titles_dropped_but_not_a_property_called_title() -> None:
    found = schema_of(list[Item])["items"]
    assert found["properties"]["title"] == {"type": "string"}
    assert found["properties"]["place"]["properties"]["x"] == {"type": "integer"}
    assert found["properties"]["colour"]["default"] == "red"
    assert "$ref" not in repr(found)
    assert "'title': '" not in repr(found)


def test_a_recursive_type_keeps_only_the_definitions_it_needs() -> None:
    @tool
    def plant(tree: Tree, place: Point) -> None: ...

    assert plant.parameters["$defs"].keys() == {"Tree", "Colour"}
    leaf = {"name": "leaf"}
    arguments = {"tree": {"name": "root", "children": [leaf]}, "place": {"x": 1}}
    jsonschema.validate(arguments, plant.parameters)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments | {"tree": {"children": [leaf]}}, plant.parameters)
    assert plant.bind(arguments)["tree"].children[0].name == "leaf"


def test_a_description_in_the_annotation_wins_over_the_docstring() -> None:
    @tool
    def f(
        a: Annotated[int, Field(description="from the field")],
        b: Annotated[int, "from the text"],
        c: int,
        d: int = Field(4, description="from the default", ge=0),
    ) -> None:
        """Do.

        Args:
            a: no
            b: no
            c: from the docstring
            d: no
        """

    properties = f.parameters["properties"]
    assert [properties[name]["description"] for name in "abcd"] == [
        "from the field",
        "from the text",
        "from the docstring",
        "from the default",
    ]
    assert f.bind({"a": 1, "b": 2, "c": 3})["d"] == 4


def test_parameters_may_have_the_names_that_pydantic_keeps() -> None:
    @tool
    def odd(json: int, copy: int, model_config: int, _x: int, p0: int, title: int = 1) -> None: ...

    names = ["json", "copy", "model_config", "_x", "p0", "title"]
    assert list(odd.parameters["properties"]) == names
    arguments = {name: number for number, name in enumerate(names)}
    assert odd.bind(arguments) == arguments


def test_bind_converts_to_what_the_annotations_say() -> None:
    @tool
    def f(
        item: Item,
        when: dt.datetime,
        pair: tuple[int, str],
        tags: set[str],
        points: list[Point] = [],  # noqa: B006  a default as people write it
    ) -> None: ...

    bound = f.bind(
        {
            "item": {"title": "t", "place": {"x": 1}},
            "when": "2026-11-21T10:00:00Z",
            "pair": [1, "a"],
            "tags": ["a", "a"],
        }
    )
    assert bound["item"] == Item(title="t", place=Point(1))
    assert bound["when"] == dt.datetime(2026, 11, 21, 10, tzinfo=dt.UTC)
    assert (bound["pair"], bound["tags"], bound["points"]) == ((1, "a"), {"a"}, [])


def test_bind_gives_the_function_a_copy() -> None:
    @tool
    def f(items: list[Any]) -> None: ...

    arguments: dict[str, Any] = {"items": [[1]]}
    f.bind(arguments)["items"][0].append(2)
    assert arguments == {"items": [[1]]}


@pytest.mark.parametrize(
    "arguments", [{}, {"a": "x"}, {"a": 1, "c": 1}, {"a": 1, "p1": 1}, {"a": None}, [1], None]
)
def test_bind_refuses_what_does_not_fit(arguments: Any) -> None:
    @tool
    def f(a: int, b: int = 1) -> None: ...

    with pytest.raises(ValidationError):
        f.bind(arguments)


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(0, 1)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), json_values))
def test_what_the_schema_accepts_binds(arguments: dict[str, Any]) -> None:
    @tool
    def f(
        a: int, b: str | None = None, c: Literal["x", 3] = "x", d: Colour | bool = True
    ) -> None: ...

    validator = jsonschema.Draft202012Validator(f.parameters)
    if not list(validator.iter_errors(arguments)):
        f.bind(arguments)


def google(day: dt.date, seats: int = 2) -> None:
    """Book.

    Args:
        day: when
        seats (int): how many,
            children too
    """


def numpy(day: dt.date, seats: int = 2) -> None:
    """Book.

    Parameters
    ----------
    day : date
        when
    seats : int, optional
        how many,
        children too
    """


def sphinx(day: dt.date, seats: int = 2) -> None:
    """Book.

    :param day: when
    :param int seats: how many,
        children too
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_of_three_styles_describe_the_parameters(function: Any) -> None:
    made = tool(function)
    assert made.description == "Book."
    assert made.parameters["properties"] == {
        "day": {"type": "string", "format": "date", "description": "when"},
        "seats": {"type": "integer", "default": 2, "description": "how many, children too"},
    }
