"""Named groups of tools. Knows tools; must not know agents, or where toolsets come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agentkit.defining.algebra import Algebra
from agentkit.defining.tool import AnyTool, Tool, tool
from agentkit.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Toolset(Algebra):
    """Tools that belong together, under a name. An agent takes it wherever it takes a tool.

    Other toolsets are made of it by `+`, `filtered`, `without`, `renamed`, `prefixed`,
    `needing_approval`, `timed`, `cached` and `limited`; it stays as it is.
    """

    name: str
    tools: tuple[AnyTool, ...]

    def __init__(self, name: str, tools: Sequence[AnyTool | Callable[..., Any]]) -> None:
        """Plain functions among `tools` are made into tools.

        Raises:
            DefinitionError: one of them can't be a tool, or two have the same name.
        """
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "tools", as_tools(tools))

    def __iter__(self) -> Iterator[AnyTool]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)

    def _with(self, tools: Iterable[AnyTool], name: str | None = None) -> Toolset:
        return Toolset(self.name if name is None else name, tuple(tools))


def as_tools(items: Sequence[AnyTool | Toolset | Callable[..., Any]]) -> tuple[AnyTool, ...]:
    """Flatten tools, toolsets and plain functions into tools.

    Raises:
        DefinitionError: a function can't be a tool, or two tools have the same name.
    """
    found: dict[str, AnyTool] = {}
    for item in items:
        for one in _tools_of(item):
            if one.name in found:
                raise DefinitionError(
                    f"two tools are named {one.name!r}: {found[one.name].function!r} and "
                    f"{one.function!r}; rename one with `tool(function, name=...)`, or those of a "
                    "toolset with `toolset.prefixed(...)`"
                )
            found[one.name] = one
    return tuple(found.values())


def _tools_of(item: AnyTool | Toolset | Callable[..., Any]) -> tuple[AnyTool, ...]:
    if isinstance(item, Toolset):
        return item.tools
    if isinstance(item, Tool):
        return (cast(AnyTool, item),)
    return (tool(item),)
