"""`@tool`: makes a tool of a typed function and its docstring.

Knows functions and their parameters; must not know agents, runs or models. How a tool is run,
timed out and reported is for `agentkit.running`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeAlias, TypedDict, TypeVar, Unpack, overload

from pydantic_core import to_json

from agentkit.backend import ToolSpec
from agentkit.defining.docstring import parse_docstring
from agentkit.defining.schema import JsonSchema
from agentkit.defining.signature import Parameters, context_parameter, where
from agentkit.errors import DefinitionError
from agentkit.policies.condition import Condition
from agentkit.policies.transient import RetryPolicy, Transient, transient

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0
DEFAULT_MAX_RESULT = 100_000
Around: TypeAlias = Callable[[Mapping[str, Any], Callable[[], Awaitable[str]]], Awaitable[str]]
"""Stands around the calls of a tool: given the arguments, as JSON, and what makes the call."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class CallOptions(TypedDict, total=False):
    """How the calls of a tool are made.

    timeout: seconds a call may take, None for no limit; 30 by default.
    approval: each call waits for a human.
    deferred: each call is finished elsewhere; the function itself is never called.
    pure: a call has no effects: it may be started on a draft, and thrown away.
    sequential: a call never runs beside others.
    retry: when to give up on failures that pass, as `stop_after_attempt(3)` of tenacity; None: they
        are failures like any other.
    max_result: characters of a result that a model gets to read, None for no limit; 100,000 by
        default. What is longer is cut, with a note that says so.
    """

    timeout: float | None
    approval: bool
    deferred: bool
    pure: bool
    sequential: bool
    retry: RetryPolicy | Transient | None
    max_result: int | None


class ToolOptions(CallOptions, total=False):
    """What `tool` may be told.

    name: defaults to the function's.
    description: defaults to the docstring up to its first section.
    """

    name: str | None
    description: str | None


class ToolChanges(TypedDict, total=False):
    """In what a tool may differ from the one it was derived from; see `Tool`."""

    name: str
    timeout: float | None
    approval: bool
    approval_when: Condition | None
    around: tuple[Around, ...]


class Tool(Generic[P, R]):
    """A function that a model may call. Calling the tool calls the function.

    Made by `tool`; everything a model is told is compiled here, once.

    context: the parameter that is given the run's context, if there is one; no model sees it.
    is_async: whether the function is an `async def`.
    defaults: JSON values of the function's arguments where they are left out.
    approval_when: the calls that wait for a human; see `Toolset.needing_approval`.
    around: what stands around its calls in a run, the innermost first.
    The other attributes are the options of the same name.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        approval: bool = False,
        deferred: bool = False,
        pure: bool = False,
        sequential: bool = False,
        retry: RetryPolicy | Transient | None = None,
        max_result: int | None = DEFAULT_MAX_RESULT,
    ) -> None:
        """Compile the function's parameters, or the JSON Schema that takes their place.

        Raises:
            DefinitionError: the function can't be offered to a model; says why and the mend.
        """
        self.function: Callable[P, R] = function
        _check_function(function)
        doc = parse_docstring(function.__doc__)
        self.name = _checked_name(function, name)
        self.description = doc.description if description is None else description
        self.timeout = _checked_timeout(function, timeout)
        self.approval, self.deferred = approval, deferred
        self.approval_when: Condition | None = None
        self.around: tuple[Around, ...] = ()
        self.pure, self.sequential = pure, sequential
        _check_purity(function, pure=pure, approval=approval, deferred=deferred)
        self.retry = None if retry is None else transient(retry, where(function))
        self.max_result = _checked_max_result(function, max_result)
        self.is_async = inspect.iscoroutinefunction(function)
        self.context = context_parameter(function)
        read = (
            Parameters(function, doc.parameters)
            if parameters is None
            else _declared(function, parameters)
        )
        self.parameters: dict[str, Any] = read.schema
        self.defaults = _defaults(read.schema) if isinstance(read, Parameters) else {}
        self._read: Callable[[bytes], dict[str, Any]] = read.read
        update_wrapper(self, function, updated=())

    @staticmethod
    def from_schema(
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        function: Callable[..., T],
        **options: Unpack[CallOptions],
    ) -> Tool[..., T]:
        """A tool whose arguments are described by a JSON Schema and not by a signature.

        function: is given the arguments by name, as JSON values, so write `def f(**arguments)`;
            a parameter annotated `RunContext[...]` is given the context.

        Raises:
            DefinitionError: the schema is none of an object, or `jsonschema` is not installed.
        """
        return Tool[..., T](
            function, name=name, description=description, parameters=parameters, **options
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no validation, no thread, no timeout."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    def changed(self, **changes: Unpack[ToolChanges]) -> Tool[P, R]:
        """Another tool that differs in these; its function and what was compiled are the same.

        Raises:
            DefinitionError: it would be no tool any more; names the function.
        """
        other = copy(self)
        vars(other).update(changes)
        _checked_name(self.function, other.name)
        _checked_timeout(self.function, other.timeout)
        return other

    @property
    def held(self) -> bool:
        """Whether calls of it may have to wait for a human."""
        return self.approval or self.approval_when is not None

    @property
    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        return ToolSpec(self.name, self.description, self.parameters)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON arguments -> validated keyword arguments of the function, the context left out.

        What validators of the user's own raise comes through, `Retry` for one.

        Raises:
            pydantic.ValidationError: the arguments do not fit.
            pydantic_core.PydanticSerializationError: the arguments are not JSON values.
        """
        # By way of JSON: that is what the arguments are, pydantic reads dates and dataclasses
        # from it even in strict mode, and the function gets a copy, so history can't change.
        return self._read(to_json(arguments))


AnyTool: TypeAlias = Tool[..., Any]


@overload
def tool(function: Callable[P, R], /, **options: Unpack[ToolOptions]) -> Tool[P, R]: ...


@overload
def tool(
    **options: Unpack[ToolOptions],
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]
) -> AnyTool | Callable[[Callable[..., Any]], AnyTool]:
    """Make a tool of a typed function: `@tool`, `@tool(name=...)`, or `tool(function)`.

    The docstring's description is the tool's, its parameters describe the schema's; see
    `ToolOptions` for what may be said beside. A parameter annotated `RunContext[...]` is given the
    run's context.

    A plain function runs in a thread of its own. An async one runs in the event loop: it must not
    block it, and must let cancellation through, or its timeout can't end it.

    Raises:
        DefinitionError: the function can't be offered to a model; says why and the mend.
    """
    if function is None:
        return partial(Tool[..., Any], **options)
    return Tool(function, **options)


def _check_function(function: Callable[..., Any]) -> None:
    if not inspect.isroutine(function):
        raise DefinitionError(
            f"{function!r} is no function; pass a `def`, an `async def` or a bound method"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{where(function)} is a generator; return a list instead")


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return {name: one["default"] for name, one in properties.items() if "default" in one}


def _declared(function: Callable[..., Any], parameters: Mapping[str, Any]) -> JsonSchema:
    if parameters.get("type", "object") != "object":
        raise DefinitionError(
            f"{where(function)}: arguments come by name, but the schema is of type "
            f"{parameters['type']!r}; give one of type 'object'"
        )
    context = context_parameter(function)
    if context in parameters.get("properties", {}):
        raise DefinitionError(
            f"{where(function)}: parameter {context!r} takes the run's context, and the schema has "
            "an argument of that name; rename the parameter"
        )
    return JsonSchema({"type": "object", **parameters}, where(function))


def _check_purity(
    function: Callable[..., Any], *, pure: bool, approval: bool, deferred: bool
) -> None:
    if pure and (approval or deferred):
        raise DefinitionError(
            f"{where(function)}: a pure tool starts before its call is sure, one with "
            f"`{'approval' if approval else 'deferred'}=True` waits; leave one of them out"
        )


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


def _checked_max_result(function: Callable[..., Any], max_result: int | None) -> int | None:
    if max_result is not None and max_result < 1:
        raise DefinitionError(
            f"{where(function)}: max_result={max_result!r} leaves nothing to read; give 1 "
            "or more, or None for no limit"
        )
    return max_result
