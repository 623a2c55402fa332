"""Toolsets: tools that belong together, under a name."""

from __future__ import annotations

import pytest

from agentkit import DefinitionError, Toolset, tool


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def sub(a: int, b: int) -> int:
    """Subtract."""
    return a - b


def names(toolset: Toolset) -> list[str]:
    return [one.name for one in toolset]


def test_a_toolset_is_its_tools_under_a_name() -> None:
    def plain(a: int) -> int:
        return a

    made = Toolset("mixed", [add, plain])
    assert (made.name, len(made), names(made)) == ("mixed", 2, ["add", "plain"])
    assert made.tools[0] is add


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two tools are named 'add'"):
        Toolset("twice", [add, add])
