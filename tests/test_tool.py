"""`@tool`: from a typed function to a tool, or to an error that names the mend."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, assert_type

import pytest
from pydantic import AfterValidator, ValidationError
from tenacity import stop_after_attempt

import agentkit.context
from agentkit import DefinitionError, Tool, tool
from agentkit.context import RunContext
from agentkit.policies.transient import Transient
from agentkit.signals import Retry

if TYPE_CHECKING:
    from decimal import Decimal


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


def positional(a: int, /) -> None: ...


def variadic(*numbers: int) -> None: ...


def keywords(**options: int) -> None: ...


def unannotated(a, b: int = 1) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  # pyright: ignore


def unresolved(a: Decimal) -> None: ...


def callback(a: Callable[[], int]) -> None: ...


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
        (dict, "pass a `def`"),
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


def test_options_say_how_calls_are_made() -> None:
    plain = tool(len_of)
    assert not any([plain.approval, plain.deferred, plain.pure, plain.sequential])
    assert (plain.retry, plain.is_async, plain.context) == (None, False, None)

    @tool(approval=True, deferred=True, sequential=True, retry=stop_after_attempt(3))
    async def wire(amount: int) -> None: ...

    assert wire.approval
    assert wire.deferred
    assert wire.sequential
    assert isinstance(wire.retry, Transient)
    assert wire.is_async
    assert tool(len_of, pure=True).pure


@pytest.mark.parametrize("other", ["approval", "deferred"])
def test_a_pure_tool_does_not_wait(other: str) -> None:
    options: Any = {"pure": True, other: True}
    with pytest.raises(DefinitionError, match=rf"'len_of'.*`{other}=True` waits; leave one"):
        tool(len_of, **options)


def plain_context(key: str, context: RunContext) -> str:
    return f"{key}{context.turn}"


def typed_context(context: RunContext[int], key: str) -> int:
    return context.deps


def dotted_context(key: str, *, c: agentkit.context.RunContext[int]) -> int:
    return c.deps


def annotated_context(context: Annotated[RunContext[int], "not told"], key: str) -> int:
    return context.deps


def context_of_what_only_checkers_know(context: RunContext[Decimal], key: str) -> Decimal:
    return context.deps


def resolved_context(context: Any, key: str) -> int:
    return int(context.deps)


resolved_context.__annotations__["context"] = RunContext[int]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain_context, "context"),
        (typed_context, "context"),
        (dotted_context, "c"),
        (annotated_context, "context"),
        (context_of_what_only_checkers_know, "context"),
        (resolved_context, "context"),
        (len_of, None),
    ],
)
def test_the_context_is_given_by_the_run_and_seen_by_no_model(
    function: Callable[..., Any], name: str | None
) -> None:
    made = tool(function)
    assert made.context == name
    assert list(made.parameters["properties"]) == ["key" if name else "text"]
    assert made.bind({"key" if name else "text": "x"}) == {"key" if name else "text": "x"}
    if name is not None:
        with pytest.raises(ValidationError):
            made.bind({"key": "x", name: {"deps": 1}})


def test_a_tool_with_a_context_is_called_like_its_function() -> None:
    context = RunContext(deps=3)
    made = tool(typed_context)
    assert made(context, "a") == 3
    given: dict[str, Any] = {str(made.context): context}
    assert made.function(**made.bind({"key": "a"}), **given) == 3


def two_contexts(a: RunContext[int], b: RunContext[int]) -> None: ...


def default_context(a: int, context: RunContext[int] = RunContext(deps=1)) -> None: ...  # noqa: B008


def optional_context(context: RunContext[int] | None = None) -> None: ...


def many_contexts(contexts: list[RunContext[int]]) -> None: ...


def positional_context(context: RunContext[int], /) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter", "mend"),
    [
        (two_contexts, "a", "keep one"),
        (default_context, "context", "remove its default"),
        (optional_context, "context", "annotate it `context: RunContext[...]`"),
        (many_contexts, "contexts", "annotate it `contexts: RunContext[...]`"),
        (positional_context, "context", "write it as a plain parameter"),
    ],
)
def test_a_context_that_can_not_be_given_is_refused(
    function: Callable[..., Any], parameter: str, mend: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        tool(function)
    for part in (repr(function.__qualname__), repr(parameter), mend):
        assert part in str(caught.value)


def even(number: int) -> int:
    if number % 2:
        raise ValueError("is odd")
    return number


def rather_not(number: int) -> int:
    raise Retry("take another", value="number")


def test_validators_of_the_users_own_run_in_bind() -> None:
    def halve(number: Annotated[int, AfterValidator(even)]) -> float:
        return number / 2

    def refuse(number: Annotated[int, AfterValidator(rather_not)]) -> None: ...

    halve.__annotations__["number"] = Annotated[int, AfterValidator(even)]
    refuse.__annotations__["number"] = Annotated[int, AfterValidator(rather_not)]
    assert tool(halve).bind({"number": 4}) == {"number": 4}
    with pytest.raises(ValidationError) as caught:
        tool(halve).bind({"number": 3})
    assert caught.value.errors()[0]["loc"] == ("number",)
    with pytest.raises(Retry, match="take another"):
        tool(refuse).bind({"number": 3})
