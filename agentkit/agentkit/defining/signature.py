"""Turns a function's signature into a JSON Schema and a validator, once, when it is defined.

Knows functions, annotations and pydantic; must not know agents or models.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from agentkit.context import RunContext
from agentkit.defining.schema import schema_of
from agentkit.errors import DefinitionError

_EMPTY = inspect.Parameter.empty
_CONTEXT = re.compile(r"(\w+\.)*RunContext(\[.*\])?", re.DOTALL)

USE_JSON_LIKE = (
    "use JSON-like types (str, int, float, bool, list, dict, Literal, Enum, dataclass, TypedDict, "
    "pydantic model)"
)


class Parameters:
    """The parameters of one function: `schema` for a model, `read` for what it filled in.

    context: the parameter that takes the run's context, which no model sees.
    read: JSON text -> keyword arguments. Raises pydantic.ValidationError where it does not fit.
    """

    def __init__(self, function: Callable[..., Any], descriptions: Mapping[str, str]) -> None:
        """Compile the parameters; `descriptions` are those of the docstring.

        Raises:
            DefinitionError: a parameter that can't be filled by name from JSON.
        """
        self._where = where(function)
        self.context = context_parameter(function)
        fields: dict[str, Any] = {}
        for parameter in self._parameters(function):
            self._check_annotation(parameter)
            fields[parameter.name] = _as_field(parameter, descriptions.get(parameter.name))
        # A dict of its own type, and no model: any name may be a key of it, and reading it gives
        # the keyword arguments themselves.
        name = getattr(function, "__name__", "arguments")
        record = cast(Any, TypedDict)(name, fields)
        record.__doc__ = None
        record.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(record)
        self.schema = schema_of(adapter)
        self.read = cast(Callable[[bytes], dict[str, Any]], adapter.validator.validate_json)

    def _parameters(self, function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
        for parameter in _signature(function):
            if parameter.name == self.context:
                continue
            self._check_kind(parameter)
            if parameter.annotation is _EMPTY:
                raise DefinitionError(self._unannotated(parameter.name))
            yield parameter.replace(annotation=self._resolve(parameter, function))

    def _resolve(self, parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
        try:
            return _hint(parameter, function)
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: the annotation "
                f"{parameter.annotation!r} can't be resolved: {first_line(error)}; define or "
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
            schema_of(adapter)
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: no JSON Schema can be made of "
                f"{inspect.formatannotation(parameter.annotation)}: {first_line(error)}; "
                f"{USE_JSON_LIKE}"
            ) from error
        if parameter.default is _EMPTY or isinstance(parameter.default, FieldInfo):
            return
        try:
            default = adapter.dump_python(parameter.default, mode="json", warnings=False)
            json.dumps(default, allow_nan=False)
        except Exception as error:
            raise DefinitionError(
                f"{self._where}: parameter {parameter.name!r}: the default "
                f"{parameter.default!r} can't be written as JSON: {first_line(error)}; use None "
                "and set it inside"
            ) from error


def context_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the parameter that is annotated `RunContext[...]`, if there is one.

    Raises:
        DefinitionError: there are two, one has a default, or the context is part of another type.
    """
    found = [one for one in _signature(function) if _takes_context(one, function)]
    if len(found) > 1:
        names = " and ".join(repr(parameter.name) for parameter in found)
        raise DefinitionError(
            f"{where(function)}: parameters {names} are all annotated RunContext; a call has one "
            "context, so keep one of them"
        )
    for parameter in found:
        if parameter.default is not _EMPTY:
            raise DefinitionError(
                f"{where(function)}: parameter {parameter.name!r} takes the run's context and is "
                "always given; remove its default"
            )
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise DefinitionError(
                f"{where(function)}: parameter {str(parameter).split(':')[0]!r} takes the run's "
                "context, which is given by name; write it as a plain parameter"
            )
    return found[0].name if found else None


def _takes_context(parameter: inspect.Parameter, function: Callable[..., Any]) -> bool:
    if isinstance(parameter.annotation, str) and _CONTEXT.fullmatch(parameter.annotation):
        # By its name: `Deps` is often imported for type checkers alone, or local to a function.
        return True
    try:
        annotation = _hint(parameter, function)
    except Exception:  # told, with the mend, where the parameter's own turn comes
        return False
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_context(annotation):
        return True
    if any(_is_context(part) for part in get_args(annotation)):
        raise DefinitionError(
            f"{where(function)}: parameter {parameter.name!r}: the run's context is always given, "
            f"and alone; annotate it `{parameter.name}: RunContext[...]`"
        )
    return False


def _is_context(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) is RunContext


def _signature(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{where(function)}: its signature can't be read: {error}; wrap it in a `def`"
        ) from error


def _hint(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    # One annotation at a time: the error names its parameter, and a return annotation that only
    # a type checker can resolve does no harm.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]


def where(function: Callable[..., Any]) -> str:
    """How an error names a function."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"tool function {name!r} ({getattr(function, '__module__', None)})"


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its own advice is left out, ours follows."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return line.split(". ")[0].rstrip(".")


def _as_field(parameter: inspect.Parameter, description: str | None) -> Any:
    annotation, default = parameter.annotation, parameter.default
    if isinstance(default, FieldInfo):  # def f(x: int = Field(ge=0)), as pydantic allows
        annotation, default = Annotated[annotation, default], _EMPTY
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    told = [item for item in metadata if isinstance(item, FieldInfo) and item.description]
    texts = [item for item in metadata if isinstance(item, str)]
    options: dict[str, Any] = {"alias": parameter.name}  # arguments go by the parameter's name
    if not told and (texts or description):
        options["description"] = texts[0] if texts else description
    if default is not _EMPTY:
        options["default"] = default
    return Annotated[annotation, Field(**options)]
