"""`@tool`: makes a tool of a typed function and its docstring.

Knows functions and their parameters; must not know agents, runs or models. How a tool is run,
timed out and reported is `agentkit.call`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

from agentkit.backend import ToolSpec
from agentkit.docstring import parse_docstring
from agentkit.errors import DefinitionError
from agentkit.signature import Parameters, where

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = 30.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Tool(Generic[P, R]):
    """A function that a model may call. Calling the tool calls the function.

    Made by `tool`; everything a model is told is compiled here, once.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """Compile the function's parameters.

        Raises:
            DefinitionError: the function can't be offered to a model; says why and the mend.
        """
        self.function: Callable[P, R] = function
        if not inspect.isroutine(function):
            raise DefinitionError(
                f"{function!r} is no function; pass a `def`, an `async def` or a bound method"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise DefinitionError(f"{where(function)} is a generator; return a list instead")
        doc = parse_docstring(function.__doc__)
        self.name = _checked_name(function, name)
        self.description = doc.description if description is None else description
        self.timeout = _checked_timeout(function, timeout)
        self._parameters = Parameters(function, doc.parameters)
        update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no validation, no thread, no timeout."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self._parameters.schema

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        return ToolSpec(self.name, self.description, self.parameters)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON arguments -> validated keyword arguments of the function.

        Raises:
            pydantic.ValidationError: the arguments do not fit.
            pydantic_core.PydanticSerializationError: the arguments are not JSON values.
        """
        return self._parameters.bind(arguments)


AnyTool: TypeAlias = Tool[..., Any]


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> AnyTool | Callable[[Callable[..., Any]], AnyTool]:
    """Make a tool of a typed function: `@tool`, `@tool(name=...)`, or `tool(function)`.

    name: defaults to the function's. description: defaults to the docstring up to its first
    section; the docstring's parameters describe the schema's. timeout: seconds a call may take,
    None for no limit.

    A plain function runs in a thread of its own. An async one runs in the event loop: it must not
    block it, and must let cancellation through, or its timeout can't end it.

    Raises:
        DefinitionError: the function can't be offered to a model; says why and the mend.
    """
    options: dict[str, Any] = {"name": name, "description": description, "timeout": timeout}
    if function is None:
        return partial(Tool[..., Any], **options)
    return Tool(function, **options)


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    chosen = function.__name__ if name is None else name
    if not _NAME.fullmatch(chosen):
        raise DefinitionError(
            f"{where(function)}: {chosen!r} is no tool name; a name is letters, digits, '_' and "
            "'-', and starts with a letter or '_': give one with `name=`"
        )
    return chosen


def _checked_timeout(function: Callable[..., Any], timeout: float | None) -> float | None:
    if timeout is not None and not 0 < timeout < math.inf:
        raise DefinitionError(
            f"{where(function)}: timeout={timeout!r} is no limit; give seconds above 0, or None"
        )
    return timeout
