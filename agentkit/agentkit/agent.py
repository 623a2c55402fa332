"""An agent: instructions, tools and a backend, checked once; it runs any number of requests.

Knows what a run needs; must not know how it goes on. An agent holds no state of any run, so runs
may overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from agentkit.backend import Backend
from agentkit.errors import DefinitionError, RunError
from agentkit.message import Message
from agentkit.result import RunResult
from agentkit.run import Plan, Run
from agentkit.stream import EventStream
from agentkit.tool import AnyTool
from agentkit.toolset import Toolset, as_tools


class Agent:
    """Answers requests by calling tools.

    instructions: what the model is told before anything else.
    tools: tools, toolsets and plain typed functions.
    backend: a backend, or the name of one that the process shares. An agent closes neither.
    max_turns: decisions a run may take, the answer included.
    steps: denoise steps a decision may take.
    name: how the agent is called in what people read.
    """

    def __init__(
        self,
        *,
        instructions: str = "",
        tools: Sequence[AnyTool | Toolset | Callable[..., Any]] = (),
        backend: Backend | str = "embedded",
        max_turns: int = 8,
        steps: int = 1,
        name: str = "agent",
    ) -> None:
        """Check the definition; the backend is resolved by the first run.

        Raises:
            DefinitionError: a function can't be a tool, two tools have the same name, or a
                number is below 1.
        """
        self.name = name
        self.tools = as_tools(tools)
        self._steps = _at_least_one("steps", steps)
        if not isinstance(backend, str) and not callable(getattr(backend, "open", None)):
            raise DefinitionError(
                f"backend={backend!r} is no backend; give a name such as 'embedded', or an "
                "object with `capabilities`, `open` and `aclose`"
            )
        self._plan = Plan(
            instructions=instructions,
            tools={tool.name: tool for tool in self.tools},
            specs=tuple(tool.spec for tool in self.tools),
            backend=backend,
            max_turns=_at_least_one("max_turns", max_turns),
        )

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self._plan.tools)!r})"

    async def run(
        self, request: str, *, history: Sequence[Message] = (), steps: int | None = None
    ) -> RunResult:
        """Answer a request; `history` is that of an earlier result.

        Raises:
            RunError: the run can't start or go on (see its subclasses).
            BackendError: the backend failed.
            EngineError: the engine can't do what was asked.

        Each carries the messages so far as `.history`.
        """
        return await self._run(request, history, steps).go()

    def run_sync(
        self, request: str, *, history: Sequence[Message] = (), steps: int | None = None
    ) -> RunResult:
        """`run`, where no event loop runs.

        Raises:
            RunError: also when called inside a running event loop.
        """
        if _in_event_loop():
            raise RunError(
                "run_sync can't be called inside a running event loop; write "
                "`await agent.run(...)` instead"
            )
        return anyio.run(partial(self.run, request, history=history, steps=steps))

    def stream(
        self, request: str, *, history: Sequence[Message] = (), steps: int | None = None
    ) -> EventStream:
        """Answer a request and tell what happens: `async with agent.stream(...) as events`.

        Raises the errors of `run`, from the iteration.
        """
        return EventStream(self._run(request, history, steps))

    def _run(self, request: str, history: Sequence[Message], steps: int | None) -> Run:
        chosen = self._steps if steps is None else _at_least_one("steps", steps)
        return Run(self._plan, request, history=history, steps=chosen)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise DefinitionError(f"{name}={value!r} is too small; give 1 or more")
    return value


def _in_event_loop() -> bool:
    try:
        anyio.lowlevel.current_token()
    except RuntimeError:
        return False
    return True
