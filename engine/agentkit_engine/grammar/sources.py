"""What a schema may be given as: JSON Schema itself, or a Python type that says the same.

Knows pydantic, which turns types into JSON Schema. Must not know what schemas mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from agentkit_engine.errors import TemplateError

__all__ = ["Schema", "schema_of"]

Schema: TypeAlias = Mapping[str, Any] | bool
"""A JSON Schema."""


def schema_of(source: Any) -> Schema:
    """The JSON Schema that `source` is, or that a Python type stands for.

    Args:
        source: a mapping or a boolean; or a pydantic model class, a dataclass, a `TypedDict`, an
            `Enum`, or any other type that pydantic knows: `Annotated`, `Literal`, `list[int]`, ...

    Raises:
        TemplateError: it is none of these; says what it is and the mend.
    """
    if isinstance(source, bool):
        return source
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source)
    if (mend := _mend(source)) is not None:
        raise TemplateError(f"{source!r} is no schema and no type; {mend}")
    return _schema_of_type(source)


def _mend(source: Any) -> str | None:
    """What to pass instead of something that is surely no type, though pydantic may take it."""
    if isinstance(source, str | bytes | bytearray):
        return "pass the parsed JSON, as in `json.loads(text)`"
    if source is None:
        return "for the value null pass {'type': 'null'}"
    if isinstance(source, list | tuple | set | frozenset):
        return "for a choice of values pass {'enum': [...]}, for an array {'type': 'array'}"
    if isinstance(source, int | float):
        return "for one value pass {'const': ...}"
    if callable(getattr(type(source), "model_json_schema", None)):
        return f"pass its class, {type(source).__name__}"
    if hasattr(source, "__code__") or hasattr(source, "__func__"):
        return "for the arguments of a function make a tool of it, with `@tool`"
    return None


def _schema_of_type(source: Any) -> Schema:
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(source)
        return adapter.json_schema()
    except (
        PydanticSchemaGenerationError,
        PydanticUndefinedAnnotation,
        PydanticUserError,
        NameError,
        TypeError,
    ) as error:
        name = getattr(source, "__qualname__", None) or repr(source)
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise TemplateError(
            f"no JSON Schema can be made of {name!r}: {why}; use JSON-like types (str, int, float, "
            "bool, list, dict, Literal, Enum, TypedDict, dataclass, pydantic model), or pass a "
            "mapping"
        ) from error
