"""Of every kind of type: its schema is one the engine fills, and all of it binds to that type."""

from __future__ import annotations

import datetime as dt
import enum
import functools
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter
from test_signature import Colour, Item, Point, Tree, schema_of, taking
from typing_extensions import TypedDict

from agentkit import Tool
from agentkit_engine.grammar import sample_values, schema_automaton


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Person(TypedDict):
    """Somebody.

    Attributes:
        name: as they call themselves
        age: in full years,
            rounded down
    """

    name: str
    age: NotRequired[int]
    mail: NotRequired[Annotated[str, Field(description="where to write", pattern="^[a-z]+@b$")]]


@dataclass
class Parcel:
    """A parcel.

    Parameters
    ----------
    weight : Decimal
        in kilograms
    """

    weight: Annotated[Decimal, Field(ge=0, lt=50, decimal_places=2)]
    items: list[str] = field(default_factory=list[str])
    fragile: bool = False


class Cat(BaseModel):
    """A cat.

    :param lives: how many are left
    """

    kind: Literal["cat"]
    lives: int = Field(9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: set[str]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Household(BaseModel):
    people: list[Person] = Field(min_length=1)
    pet: Pet | None = Field(None, description="if there is one")
    home: Point = Point(0, 0)


def test_what_a_docstring_says_of_a_types_attributes_goes_to_them() -> None:
    person = schema_of(Person)
    assert person["description"] == "Somebody."
    assert person["properties"]["name"] == {
        "type": "string",
        "description": "as they call themselves",
    }
    assert person["properties"]["age"]["description"] == "in full years, rounded down"
    assert person["properties"]["mail"]["description"] == "where to write"
    parcel = schema_of(Parcel)
    assert parcel["description"] == "A parcel."
    assert parcel["properties"]["weight"]["description"] == "in kilograms"
    cat = schema_of(list[Cat])["items"]
    assert (cat["description"], cat["properties"]["lives"]["description"]) == (
        "A cat.",
        "how many are left",
    )
    assert schema_of(Household)["properties"]["pet"]["description"] == "if there is one"


KINDS: dict[str, tuple[Any, type | tuple[type, ...]]] = {
    "str": (str, str),
    "int": (int, int),
    "float": (float, float),
    "bool": (bool, bool),
    "bytes": (bytes, bytes),
    "complex": (complex, complex),
    "Decimal": (Decimal, Decimal),
    "Decimal of four digits": (
        Annotated[Decimal, Field(max_digits=4, decimal_places=1, gt=0)],
        Decimal,
    ),
    "Decimal in steps": (Annotated[Decimal, Field(multiple_of=0.25, le=9)], Decimal),
    "UUID": (UUID, UUID),
    "Path": (Path, Path),
    "date": (dt.date, dt.date),
    "time": (dt.time, dt.time),
    "datetime": (dt.datetime, dt.datetime),
    "timedelta": (dt.timedelta, dt.timedelta),
    "strict date": (Annotated[dt.date, Field(strict=True)], dt.date),
    "Literal": (Literal["a", 2, True, None], (str, int, bool, type(None))),
    "Enum": (Colour, Colour),
    "IntEnum": (Level, Level),
    "Optional": (Optional[dt.date], (dt.date, type(None))),  # noqa: UP045
    "union": (int | str | list[bool], (int, str, list)),
    "list": (list[Colour], list),
    "bare list": (list, list),
    "bare dict": (dict, dict),
    "set": (set[int], set),
    "frozenset": (frozenset[str], frozenset),
    "tuple": (tuple[int, str], tuple),
    "long tuple": (tuple[int, ...], tuple),
    "dict": (dict[str, float], dict),
    "dict by number": (dict[int, str], dict),
    "dict by enum": (dict[Literal["a", "b"], int], dict),
    "dict by date": (dict[dt.date, int], dict),
    "bounded": (Annotated[int, Field(gt=3, multiple_of=5)], int),
    "patterned": (Annotated[str, Field(pattern="^[a-c]+$", max_length=4)], str),
    "NamedTuple": (Pair, Pair),
    "dataclass": (Point, Point),
    "dataclass with a factory": (Parcel, Parcel),
    "TypedDict": (Person, dict),
    "model": (Item, Item),
    "nested models": (Household, Household),
    "recursive model": (Tree, Tree),
    "tagged union": (Pet, (Cat, Dog)),
    "list of a union": (list[Cat | Dog | None], list),
}


@functools.cache
def compiled(kind: str) -> Tool[..., Any]:
    return taking(KINDS[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_schema_is_one_that_the_engine_can_fill(kind: str) -> None:
    schema_automaton(compiled(kind).parameters)


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**16))
def test_all_that_the_engine_may_fill_in_binds_to_the_right_type(kind: str, seed: int) -> None:
    made = compiled(kind)
    [filled] = sample_values(made.parameters, 1, seed=seed)
    bound = made.bind(filled)
    assert isinstance(bound["value"], KINDS[kind][1])
    # Told again as JSON it is read as the same: nothing was lost on the way.
    adapter: TypeAdapter[Any] = TypeAdapter(KINDS[kind][0])
    again = made.bind({"value": adapter.dump_python(bound["value"], mode="json")})
    assert again == bound
