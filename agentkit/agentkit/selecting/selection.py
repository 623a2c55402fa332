"""What chooses tools for a request, and the choice of one agent: indexed once, asked by each run.

Knows tools and messages; must not know how a choice is made, or how a run goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from agentkit.backend import ToolSpec
from agentkit.defining.tool import AnyTool
from agentkit.errors import DefinitionError
from agentkit.message import CallMessage, Message

Choose: TypeAlias = Callable[[str], Awaitable[Collection[str]]]
"""A request -> the names of the tools that fit it."""


class Selection(Protocol):
    """Decides which tools a model sees. `best_tools` gives one."""

    def index(self, tools: Sequence[ToolSpec]) -> Choose:
        """Look through the tools of an agent; what comes back chooses among them for a request.

        Raises:
            DefinitionError: the tools are none that it can choose among.
        """
        ...


class Selector:
    """A selection over the tools of one agent; any number of runs may ask it at once."""

    def __init__(self, selection: Selection, tools: Mapping[str, AnyTool]) -> None:
        """The tools are indexed by the first run that asks.

        Raises:
            DefinitionError: it is no selection.
        """
        if not callable(getattr(selection, "index", None)):
            raise DefinitionError(
                f"select={selection!r} is no selection; give one such as `best_tools(8)`, or an "
                "object with a method `index`"
            )
        self._selection = selection
        self._tools = tools
        self._choose: Choose | None = None
        self._lock = threading.Lock()  # the first runs may be those of several event loops

    async def choose(
        self, requests: Sequence[str], history: Sequence[Message]
    ) -> dict[str, AnyTool]:
        """The tools for requests that share a conversation, in the agent's order.

        Those that the history calls are among them: a model that sees the call knows the tool.

        Raises:
            DefinitionError: the selection can't choose among these tools.
        """
        with self._lock:
            if self._choose is None:
                specs = [tool.spec for tool in self._tools.values()]
                self._choose = self._selection.index(specs)
        wanted = {
            call.tool
            for message in history
            if isinstance(message, CallMessage)
            for call in message.calls
        }
        for request in requests:
            chosen = await self._choose(request)
            if strangers := set(chosen) - self._tools.keys():
                raise DefinitionError(
                    f"select={self._selection!r} chose {min(strangers)!r}, which is no tool of the "
                    "agent; give names of those that `index` was given"
                )
            wanted.update(chosen)
        return {name: tool for name, tool in self._tools.items() if name in wanted}
