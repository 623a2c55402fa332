"""Turns a function's signature into a JSON Schema and a validator, once, when it is defined.

Knows functions, annotations and pydantic; must not know agents or models.
"""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from agentkit.errors import DefinitionError

_EMPTY = inspect.Parameter.empty
_VERBATIM = {"default", "const", "enum", "examples"}  # values, not schemas
_ANNOTATIONS = {"title", "discriminator"}  # dropped: they say nothing that a model needs
_REFERENCE = re.compile(r'"\$ref": "#/\$defs/([^"]+)"')
_NAMED = {"properties", "patternProperties", "$defs"}  # maps of name to schema


class Parameters:
    """The parameters of one function: `schema` for a model, `bind` for what it filled in."""

    def __init__(self, function: Callable[..., Any], descriptions: Mapping[str, str]) -> None:
        """Compile the parameters; `descriptions` are those of the docstring.

        Raises:
            DefinitionError: a parameter that can't be filled by name from JSON.
        """
        self._where = where(function)
        self._names: dict[str, str] = {}
        fields: dict[str, Any] = {}
        for number, parameter in enumerate(self._parameters(function)):
            # Fields are numbered and aliased, so that a parameter may be called `copy`, `json`
            # or `_x`, names that pydantic keeps for itself.
            self._names[f"p{number}"] = parameter.name
            fields[f"p{number}"] = _as_field(parameter, descriptions.get(parameter.name))
            self._check_annotation(parameter)
        self._model: type[BaseModel] = create_model(
            getattr(function, "__name__", "Arguments"),
            __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False),
            **fields,
        )
        self.schema = self._schema()

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Validate JSON arguments and convert them to what the annotations say.

        Raises:
            pydantic.ValidationError: the arguments do not fit.
            pydantic_core.PydanticSerializationError: the arguments are not JSON values.
        """
        # By way of JSON: that is what the arguments are, pydantic reads dates and dataclasses
        # from it even in strict mode, and the function gets a copy, so history can't change.
        model = self._model.model_validate_json(to_json(arguments))
        return {name: getattr(model, attribute) for attribute, name in self._names.items()}

    def _parameters(self, function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"{self._where}: its signature can't be read: {error}; wrap it in a `def`"
            ) from error
        for parameter in parameters:
            self._check_kind(parameter)
            if parameter.annotation is _EMPTY:
                raise DefinitionError(self._unannotated(parameter.name))
            yield parameter.replace(annotation=self._resolve(parameter, function))

    def _resolve(self, parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
        # One annotation at a time: the error names its parameter, and a return annotation that
        # only a type checker can resolve does no harm.
        holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        names = getattr(inspect.unwrap(function), "__globals__", {})
        try:
            return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: the annotation "
                f"{parameter.annotation!r} can't be resolved: {_first_line(error)}; define or "
                "import the type at module level"
            ) from error

    def _unannotated(self, name: str) -> str:
        if name in {"self", "cls"}:
            return (
                f"{self._where}: a method is no tool until it is bound; "
                "pass the bound one, as in `tools=[thing.method]`"
            )
        return (
            f"{self._where}: parameter {name!r} has no annotation; "
            f"write its type, as in `{name}: str`"
        )

    def _check_kind(self, parameter: inspect.Parameter) -> None:
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DefinitionError(
                f"{self._where}: parameter {str(parameter).split(':')[0]!r} takes any number of "
                "arguments, which no schema names; write the parameters out, or take one list"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r} is positional-only; arguments come "
                "by name, so remove the '/'"
            )

    def _check_annotation(self, parameter: inspect.Parameter) -> None:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                adapter.json_schema()
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: no JSON Schema can be made of "
                f"{inspect.formatannotation(parameter.annotation)}: {_first_line(error)}; use "
                "JSON-like types (str, int, float, bool, list, dict, Literal, Enum, dataclass, "
                "pydantic model)"
            ) from error
        if parameter.default is _EMPTY or isinstance(parameter.default, FieldInfo):
            return
        try:
            default = adapter.dump_python(parameter.default, mode="json", warnings=False)
            json.dumps(default, allow_nan=False)
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: the default "
                f"{parameter.default!r} can't be written as JSON: {_first_line(error)}; use None "
                "and set it inside"
            ) from error

    def _schema(self) -> dict[str, Any]:
        schema = self._model.model_json_schema()
        definitions: dict[str, Any] = schema.pop("$defs", {})
        # What the function does is said once, in the tool's description.
        schema.pop("description", None)
        plain = cast(dict[str, Any], _plain(schema, definitions))
        # Only recursive types are still referred to, and those they refer to in turn.
        needed: dict[str, Any] = {}
        while missing := _REFERENCE.findall(json.dumps([plain, needed])):
            if all(name in needed for name in missing):
                return plain | {"$defs": needed}
            needed |= {name: _plain(definitions[name], {}) for name in missing}
        return plain


def where(function: Callable[..., Any]) -> str:
    """How an error names a function."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"tool function {name!r} ({getattr(function, '__module__', None)})"


def _as_field(parameter: inspect.Parameter, description: str | None) -> tuple[Any, FieldInfo]:
    annotation, default = parameter.annotation, parameter.default
    if isinstance(default, FieldInfo):  # def f(x: int = Field(ge=0)), as pydantic allows
        annotation, default = Annotated[annotation, default], _EMPTY
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    told = [item for item in metadata if isinstance(item, FieldInfo) and item.description]
    texts = [item for item in metadata if isinstance(item, str)]
    options: dict[str, Any] = {"alias": parameter.name}
    if not told and (texts or description):
        options["description"] = texts[0] if texts else description
    if default is not _EMPTY:
        options["default"] = default
    return annotation, cast(FieldInfo, Field(**options))


def _plain(schema: Any, definitions: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    """Inline what "$ref" names and drop titles, so that prompts and pointers stay plain."""
    if isinstance(schema, list):
        return [_plain(item, definitions, inside) for item in cast(Sequence[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast(dict[str, Any], schema)
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions and name not in inside:
        target = _plain(definitions[name], definitions, (*inside, name))
        node = {key: value for key, value in node.items() if key != "$ref"}
        return target | _plain(node, definitions, inside)
    clean: dict[str, Any] = {}
    for key, value in node.items():
        if key in _NAMED:
            clean[key] = {n: _plain(item, definitions, inside) for n, item in value.items()}
        elif key in _VERBATIM:
            clean[key] = value
        elif key not in _ANNOTATIONS:
            clean[key] = _plain(value, definitions, inside)
    return clean


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
