"""What an agent answers with: words, or JSON of a declared type, read back as a value of it.

Knows types and JSON Schemas; must not know agents, runs or models.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypeVar

from agentkit.defining.schema import JsonSchema, problems_of, schema_of
from agentkit.defining.signature import USE_JSON_LIKE, first_line
from agentkit.errors import DefinitionError
from agentkit.signals import Retry

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T", default=Any)

OutputSpec: TypeAlias = "TypeForm[T] | OutputType[T] | Sequence[TypeForm[T]]"
"""What `output=` may be; of a JSON Schema, which has no Python type, `output_type` makes one."""

_MAX_PROBLEMS = 5  # told in one text; `problems` has them all
_JSON_BEGINS = ("{", "[", '"')
_SAY_NOTHING = {
    *("$comment", "$defs", "$id", "$schema"),
    *("default", "description", "examples", "title"),
}


class OutputProblem(ValueError):
    """An answer that won't do; the text says why, for the model to read.

    problems: JSON pointer of a value -> why it won't do; empty where no single value is to blame.
    """

    def __init__(self, why: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.problems: dict[str, str] = dict(problems or {})


class OutputType(Generic[T]):
    """A declared output, compiled once.

    name: how people call it.
    schema: what an answer's JSON satisfies; None where the answer is words.
    """

    def __init__(self, declared: Any) -> None:
        """Compile; see `output_type`."""
        self.name = _name(declared)
        self.schema: dict[str, Any] | None
        self._read: Callable[[str], Any]
        self._or_words = False
        if declared is str:
            self.schema, self._read = None, str
            return
        if isinstance(declared, Mapping):
            plain = JsonSchema(cast(Mapping[str, Any], declared), f"output {self.name!r}")
            self.schema, self._read = plain.schema, plain.read
        else:
            members = _members(declared)
            self._or_words = str in members
            self.schema, self._read = _compiled(members, self.name)
        _check_says_something(self.schema, self.name)

    def __repr__(self) -> str:
        return f"OutputType({self.name})"

    def read(self, text: str) -> T:
        """The value that an answer holds.

        Raises:
            OutputProblem: the answer is none of the type; says why.
            Retry: raised by a validator of the user's own.
        """
        try:
            return cast(T, self._read(text))
        except Retry:
            raise
        except Exception as error:
            return self._mended(text, error)

    def partial(self, text: str) -> T | None:
        """The value that an answer in the making holds; None where it holds none yet."""
        try:
            return self.read(text)
        except (OutputProblem, Retry):
            return None

    def _mended(self, text: str, error: Exception) -> T:
        try:
            value = from_json(text, allow_inf_nan=False)
        except (ValueError, TypeError) as no_json:  # TypeError: text that UTF-8 has no bytes for
            if self._or_words and not text.lstrip().startswith(_JSON_BEGINS):
                return cast(T, text)  # words without the quotes of JSON, and no broken JSON
            raise OutputProblem(
                f"The answer is to be JSON of {self.name}, and is no JSON: {no_json}. Answer with "
                "the JSON alone."
            ) from error
        if not isinstance(error, ValidationError):  # a validator of the user's that broke
            raise OutputProblem(
                f"The answer is no valid {self.name}: {type(error).__name__}: {error}."
            ) from error
        problems = problems_of(error, value)
        told = [
            f"{pointer or 'the whole'}: {why}"
            for pointer, why in list(problems.items())[:_MAX_PROBLEMS]
        ]
        if len(problems) > _MAX_PROBLEMS:
            told.append(f"and {len(problems) - _MAX_PROBLEMS} more")
        raise OutputProblem(
            f"The answer is no valid {self.name}: {'; '.join(told)}.", problems
        ) from error


@overload
def output_type(declared: Mapping[str, Any]) -> OutputType[Any]: ...


@overload
def output_type(declared: OutputSpec[T]) -> OutputType[T]: ...


def output_type(declared: Any) -> OutputType[Any]:
    """Compile what `output=` declares.

    `str` alone answers in words. Anything else answers in JSON, read back as a value: a pydantic
    model, a dataclass, a TypedDict, `list[int]`, `Literal["yes", "no"]`; a union, as `A | B` or
    `[A, B]`; a JSON Schema as a dict, which gives the JSON value. In a union with others `str` is
    a JSON string; words without quotes are taken for one.

    Raises:
        DefinitionError: no JSON Schema says what is meant; says why and the mend.
    """
    return cast(Any, declared) if isinstance(declared, OutputType) else OutputType(declared)


def _members(declared: Any) -> list[Any]:
    """The types that an answer may have: those of a sequence or a union, or the one declared."""
    if get_origin(declared) in {Union, UnionType}:
        members = list(get_args(declared))
    else:
        listed = isinstance(declared, list | tuple)
        members = list(cast(Sequence[Any], declared)) if listed else [declared]
    if not members:
        raise DefinitionError(f"output={declared!r} names no type; leave it out to answer in words")
    for member in members:
        if isinstance(member, str | Mapping) or member is None or inspect.isroutine(member):
            raise DefinitionError(
                f"output: {member!r} is no type; give the type itself: str, a dataclass, a "
                "pydantic model, list[int], or several as [A, B]"
            )
    return members


def _compiled(members: Sequence[Any], name: str) -> tuple[dict[str, Any], Callable[[str], Any]]:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, Union)[tuple(members)])
        return schema_of(adapter), cast(Callable[[str], Any], adapter.validator.validate_json)
    except Exception as error:
        raise DefinitionError(
            f"output {name!r}: no JSON Schema can be made of it: {first_line(error)}; "
            f"{USE_JSON_LIKE}"
        ) from error


def _check_says_something(schema: Mapping[str, Any], name: str) -> None:
    said = schema.keys() - _SAY_NOTHING
    empty = said <= {"type", "properties", "additionalProperties", "required"} and not any(
        schema.get(key) for key in ("properties", "additionalProperties", "required")
    )
    if not said or (schema.get("type") == "object" and empty):
        raise DefinitionError(
            f"output {name!r}: its schema says nothing of what an answer holds; give a type with "
            "fields, or `str` to answer in words"
        )


def _name(declared: Any) -> str:
    if declared is str:
        return "text"
    if isinstance(declared, Mapping):
        return str(cast(Mapping[str, Any], declared).get("title", "JSON"))
    if isinstance(declared, list | tuple):
        return " or ".join(_name(member) for member in cast(Sequence[Any], declared))
    if get_origin(declared) in {Union, UnionType}:
        return " or ".join(_name(member) for member in get_args(declared))
    return "null" if declared is type(None) else inspect.formatannotation(declared).split(".")[-1]
