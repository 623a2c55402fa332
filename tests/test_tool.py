"""`@tool`: from a typed function and its docstring to a schema and validated arguments."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, assert_type

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from agentkit import DefinitionError, Tool, tool

if TYPE_CHECKING:
    from decimal import Decimal


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


def schema_of(annotation: object) -> dict[str, Any]:
    """The schema of the only parameter of a function annotated so."""

    def function(value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    schema: dict[str, Any] = tool(function).parameters["properties"]["value"]
    return schema


def test_name_description_and_parameters_come_from_the_function() -> None:
    @tool
    def add(a: int, b: int = 1) -> int:
        """Add two numbers.

        Args:
            a: the first
            b: the second,
                one by default
        """
        return a + b

    assert add.name == "add"
    assert add.description == "Add two numbers."
    assert add.timeout == 30
    assert add.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the first"},
            "b": {"type": "integer", "default": 1, "description": "the second, one by default"},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert (add.spec.name, add.spec.description) == ("add", "Add two numbers.")
    assert add.spec.parameters == add.parameters


def test_options_win_over_the_function() -> None:
    @tool(name="plus-1", description="Adds one.", timeout=None)
    async def increment(a: int) -> int:
        """Not told."""
        return a + 1

    assert (increment.name, increment.description, increment.timeout) == (
        "plus-1",
        "Adds one.",
        None,
    )
    assert tool(len_of, timeout=2).timeout == 2


def len_of(text: str) -> int:
    return len(text)


def test_a_missing_docstring_is_an_empty_description() -> None:
    assert tool(len_of).description == ""


def test_a_tool_is_called_like_its_function() -> None:
    decorated = tool(len_of)
    assert isinstance(decorated, Tool)
    assert_type(decorated("four"), int)
    assert decorated("four") == 4
    assert inspect.signature(decorated) == inspect.signature(len_of)
    assert repr(decorated) == "Tool('len_of')"


async def test_an_async_tool_is_awaited_like_its_function() -> None:
    @tool(name="double")
    async def twice(a: int) -> int:
        return 2 * a

    assert await twice(2) == 4


def test_a_function_without_parameters() -> None:
    decorated = tool(lambda: "now", name="now")
    assert decorated.parameters["properties"] == {}
    assert decorated.bind({}) == {}
    with pytest.raises(ValidationError):
        decorated.bind({"x": 1})


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


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), json_values))
def test_what_the_schema_accepts_binds(arguments: dict[str, Any]) -> None:
    @tool
    def f(
        a: int, b: str | None = None, c: Literal["x", 3] = "x", d: Colour | bool = True
    ) -> None: ...

    validator = jsonschema.Draft202012Validator(f.parameters)
    if not list(validator.iter_errors(arguments)):
        f.bind(arguments)


def positional(a: int, /) -> None: ...


def variadic(*numbers: int) -> None: ...


def keywords(**options: int) -> None: ...


def unannotated(a, b: int = 1) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  # pyright: ignore


def unresolved(a: Decimal) -> None: ...


def callback(a: Callable[[], int]) -> None: ...


def foreign(a: math.inf) -> None: ...  # type: ignore[valid-type]  # pyright: ignore


def bad_default(a: object = object()) -> None: ...


def infinite_default(a: float = math.nan) -> None: ...


def bytes_default(a: bytes = b"\xff") -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter", "mend"),
    [
        (positional, "a", "remove the '/'"),
        (variadic, "*numbers", "write the parameters out"),
        (keywords, "**options", "write the parameters out"),
        (unannotated, "a", "write its type, as in `a: str`"),
        (unresolved, "a", "import the type at module level"),
        (callback, "a", "use JSON-like types"),
        (bad_default, "a", "use None"),
        (infinite_default, "a", "use None"),
        (bytes_default, "a", "use None"),
    ],
)
def test_a_bad_parameter_is_named_with_its_function_and_the_mend(
    function: Callable[..., Any], parameter: str, mend: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        tool(function)
    message = str(caught.value)
    assert repr(function.__qualname__) in message
    assert repr(parameter) in message
    assert mend in message


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "mend"),
    [
        (generator, "return a list instead"),
        (async_generator, "return a list instead"),
        (lambda: 1, "give one with `name=`"),
        (Point, "pass a `def`"),
        (3, "pass a `def`"),
        (min, "wrap it in a `def`"),
    ],
)
def test_what_is_no_typed_function_is_refused(function: Any, mend: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(mend)):
        tool(function)


@pytest.mark.parametrize("name", ["", "a b", "1a", "-a", "a.b", "ä", "a\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="is no tool name"):
        tool(len_of, name=name)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf])
def test_a_bad_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(DefinitionError, match="give seconds above 0, or None"):
        tool(len_of, timeout=timeout)


@dataclass
class Shelf:
    books: list[str] = field(default_factory=list[str])

    def add(self, title: str) -> int:
        """Put a book on the shelf."""
        self.books.append(title)
        return len(self.books)


def test_a_bound_method_is_a_tool_and_an_unbound_one_is_told_how() -> None:
    shelf = Shelf()
    add = tool(shelf.add)
    assert (add.name, add.description) == ("add", "Put a book on the shelf.")
    assert add(**add.bind({"title": "Emma"})) == 1
    assert shelf.books == ["Emma"]
    with pytest.raises(DefinitionError, match=r"as in `tools=\[thing.method\]`"):
        tool(Shelf.add)


def test_a_return_annotation_that_can_not_be_resolved_does_no_harm() -> None:
    def price(a: int) -> Decimal: ...  # type: ignore[empty-body]

    assert tool(price).name == "price"
