"""A tool of a plain JSON Schema: its arguments come by name, and are checked against the schema."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agentkit import DefinitionError, Tool
from agentkit.context import RunContext

SEARCH: dict[str, Any] = {
    "properties": {
        "query": {"type": "string", "minLength": 1},
        "page-size": {"type": "integer"},
        "filters": {"type": "object", "properties": {"year": {"type": "integer"}}},
    },
    "required": ["query"],
    "additionalProperties": False,
}


def search(**arguments: Any) -> list[str]:
    """Not told."""
    return sorted(arguments)


def test_a_tool_of_a_schema_takes_its_arguments_by_name() -> None:
    found = Tool.from_schema("search", "Searches.", SEARCH, search, timeout=1, sequential=True)
    assert (found.name, found.description) == ("search", "Searches.")
    assert (found.timeout, found.sequential, found.context) == (1, True, None)
    assert found.parameters == {"type": "object", **SEARCH}
    arguments = {"query": "x", "page-size": 3, "filters": {"year": 2026}}
    bound = found.bind(arguments)
    assert bound == arguments
    assert found(**bound) == ["filters", "page-size", "query"]
    bound["filters"]["year"] = 1
    assert arguments["filters"] == {"year": 2026}


def test_arguments_that_break_the_schema_are_told_with_their_place() -> None:
    found = Tool.from_schema("search", "", SEARCH, search)
    with pytest.raises(ValidationError) as caught:
        found.bind({"page-size": "three", "filters": {"year": "x"}, "sort": 1})
    told = {error["loc"]: error["type"] for error in caught.value.errors()}
    assert told == {
        ("query",): "missing",
        ("sort",): "extra_forbidden",
        ("page-size",): "json_schema",
        ("filters", "year"): "json_schema",
    }
    with pytest.raises(ValidationError):
        found.bind([])  # type: ignore[arg-type]


def test_a_tool_of_a_schema_may_take_the_context() -> None:
    async def ask(context: RunContext[int], **arguments: Any) -> int:
        return context.deps + len(arguments)

    made = Tool.from_schema("ask", "", SEARCH, ask)
    assert made.context == "context"
    assert made.is_async
    with pytest.raises(DefinitionError, match="rename the parameter"):
        Tool.from_schema("ask", "", {"properties": {"context": {}}}, ask)


@pytest.mark.parametrize(
    ("schema", "mend"),
    [
        ({"type": "array"}, "give one of type 'object'"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "'/properties/a/type'"),
    ],
)
def test_a_schema_that_is_none_of_arguments_is_refused(schema: dict[str, Any], mend: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Tool.from_schema("search", "", schema, search)
    assert "'search'" in str(caught.value)
    assert mend in str(caught.value)
