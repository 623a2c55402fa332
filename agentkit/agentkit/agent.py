"""An agent: instructions, tools, an output type and a backend, checked once; it runs any number of
requests.

Knows what a run needs; must not know how it goes on. An agent holds no state of any run, so runs
may overlap.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import anyio

from agentkit.backend import Backend, ModelSettings
from agentkit.context import Deps, RunContext
from agentkit.defining.output import OutputSpec, output_type
from agentkit.defining.tool import AnyTool, Tool, ToolOptions, tool
from agentkit.defining.toolset import Toolset, as_tools
from agentkit.errors import DefinitionError, RunError
from agentkit.hooks import Hooks
from agentkit.message import Message
from agentkit.observing.watcher import Watcher
from agentkit.policies.doubt import Policy
from agentkit.policies.stop import Stop, max_turns
from agentkit.policies.transient import RetryPolicy, Transient, transient
from agentkit.result import Output, Resume, RunResult
from agentkit.running.options import OnEvent, RunOptions
from agentkit.running.plan import (
    CallGuard,
    Handoff,
    InputGuard,
    OutputGuard,
    Plan,
)
from agentkit.running.threads import loop_here
from agentkit.selecting.selection import Selection, Selector
from agentkit.stores.store import Store

# What runs an agent is loaded with its first run: a process that only defines one need not wait.
if TYPE_CHECKING:
    from agentkit.errors import AgentKitError
    from agentkit.running.branching import Branch
    from agentkit.running.iteration import Turns
    from agentkit.running.run import Run
    from agentkit.running.stream import EventStream

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Agent(Generic[Deps, Output]):
    """Answers requests by calling tools, in words or as its output type says.

    instructions: what the model is told before anything else; a function of the context is asked
        once a run.
    tools: tools, toolsets, plain typed functions and hand-offs.
    output: what an answer makes: `str` for words; a pydantic model, a dataclass or any other type;
        a sequence of types, of which the model chooses one; or a JSON Schema, whose value it is.
    deps_type: of the dependencies that runs are given; for type checkers only.
    backend: a backend, or the name of one that the process shares. An agent closes neither.
    policies: what is done about doubtful decisions, see `agentkit.policies.doubt`.
    stop: when a run ends without an answer; a decision that would go past it is not made.
    settings: of every decision.
    hooks: hear of each turn, call and answer from within.
    retries: how often one call may be refilled, and the answers of a run be rejected.
    retry: a tenacity policy for failures of tools that pass, for tools that have none of their own.
    same_failures: a run ends where the same call has failed so often.
    store: where conversations are kept, for runs that name one.
    telemetry: sees runs as spans and metrics, see `agentkit.observing.telemetry`.
    select: chooses the tools that the model sees, for each run: `best_tools(8)`, say; it sees all
        of them without.
    name, description: how the agent is called, and what it is for, in what people and models read.
    """

    def __init__(
        self,
        *,
        instructions: str | Callable[[RunContext[Deps]], str | Awaitable[str]] = "",
        tools: Sequence[AnyTool | Toolset | Callable[..., Any] | Handoff] = (),
        output: OutputSpec[Output] = str,  # type: ignore[assignment]
        deps_type: type[Deps] | None = None,
        backend: Backend | str = "embedded",
        policies: Sequence[Policy] = (),
        stop: Stop | None = None,
        settings: ModelSettings = ModelSettings(),
        hooks: Sequence[Hooks[Any]] = (),
        input_guards: Sequence[InputGuard] = (),
        call_guards: Sequence[CallGuard] = (),
        output_guards: Sequence[OutputGuard] = (),
        retries: int = 2,
        retry: RetryPolicy | Transient | None = None,
        same_failures: int = 3,
        store: Store | None = None,
        telemetry: Watcher | None = None,
        select: Selection | None = None,
        name: str = "agent",
        description: str = "",
    ) -> None:
        """Check the definition; the backend is resolved by the first run.

        Raises:
            DefinitionError: a function can't be a tool, two tools have the same name, the output is
                no type, a number is too small, or a part is of the wrong kind.
        """
        self.name, self.description = name, description
        offered = _several("tools", tools)
        for item in cast(tuple[object, ...], offered):
            if isinstance(item, Agent):
                raise DefinitionError(f"{item!r} is no tool; give its `as_tool()`, or a `handoff`")
        handoffs = [item for item in offered if isinstance(item, Handoff)]
        listed = [item.tool if isinstance(item, Handoff) else item for item in offered]
        self._listed: list[AnyTool | Toolset] = [
            item if isinstance(item, Toolset | Tool) else tool(item) for item in listed
        ]
        self._select = select
        self._plan = Plan(
            name=name,
            description=description,
            instructions=instructions,
            **self._offered(self._listed),
            handoffs={item.tool.name: item.plan for item in handoffs},
            output=output_type(output),
            backend=_checked_backend(backend),
            policies=_several("policies", policies),
            stop=max_turns(8) if stop is None else stop,
            settings=settings,
            hooks=_several("hooks", hooks),
            input_guards=_several("input_guards", input_guards),
            call_guards=_several("call_guards", call_guards),
            output_guards=_several("output_guards", output_guards),
            retries=_at_least("retries", retries, 0),
            retry=None if retry is None else transient(retry, f"agent {name!r}"),
            same_failures=_at_least("same_failures", same_failures, 1),
            store=store,
            telemetry=telemetry,
        )

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self._plan.tools)!r})"

    @property
    def tools(self) -> tuple[AnyTool, ...]:
        """What the agent may call."""
        return tuple(self._plan.tools.values())

    def with_backend(self, backend: Backend | str) -> Agent[Deps, Output]:
        """This agent on another backend: a scripted one in a test, say.

        Raises:
            DefinitionError: it is no backend.
        """
        other = copy(self)
        other._plan = self._plan.changed(backend=_checked_backend(backend))
        return other

    async def run(
        self,
        request: str | Resume,
        *,
        deps: Deps = None,  # type: ignore[assignment]
        on_event: OnEvent | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Output]:
        """Answer a request, or go on with one that is paused.

        Args:
            deps: what tools, guards and instructions find as `context.deps`.
            on_event: called with every event, and waited for where it is asynchronous.

        Raises:
            RunError: the run can't start or go on (see its subclasses).
            BackendError: the backend failed.
            EngineError: the engine can't do what was asked.
            StoreError: the conversation can't be read or kept.

        Each carries the messages so far as `.history`.
        """
        if on_event is None:
            return await self._run(request, deps, options).go()
        async with self.stream(request, deps=deps, **options) as events:
            async for event in events:
                heard = on_event(event)
                if inspect.isawaitable(heard):
                    await heard
        return events.result

    def run_sync(
        self,
        request: str | Resume,
        *,
        deps: Deps = None,  # type: ignore[assignment]
        on_event: OnEvent | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Output]:
        """`run`, where no event loop runs.

        Raises:
            RunError: also when called inside a running event loop.
        """
        if loop_here() is not None:
            raise RunError(
                "run_sync can't be called inside a running event loop; write "
                "`await agent.run(...)` instead"
            )
        return anyio.run(partial(self.run, request, deps=deps, on_event=on_event, **options))

    def stream(
        self,
        request: str | Resume,
        *,
        deps: Deps = None,  # type: ignore[assignment]
        **options: Unpack[RunOptions],
    ) -> EventStream[Output]:
        """Answer a request and tell what happens: `async with agent.stream(...) as events`.

        Raises the errors of `run`, from the iteration.
        """
        from agentkit.running.stream import EventStream

        return EventStream(self._run(request, deps, options))

    def iterate(
        self,
        request: str | Resume,
        *,
        deps: Deps = None,  # type: ignore[assignment]
        **options: Unpack[RunOptions],
    ) -> Turns[Output]:
        """Answer a request turn by turn: `async with agent.iterate(...) as turns`.

        Raises the errors of `run`, from the iteration.
        """
        from agentkit.running.iteration import Turns

        return Turns(self._run(request, deps, options))

    async def branch(
        self,
        branches: Sequence[str | Branch],
        *,
        deps: Deps = None,  # type: ignore[assignment]
        history: Sequence[Message] = (),
    ) -> list[RunResult[Output] | AgentKitError]:
        """Several continuations of one conversation, side by side, to keep one of them.

        What they have in common is encoded once, where the backend can fork. The outcomes stand in
        the order of the branches; the error that ended a branch stands in its place.
        """
        from agentkit.running.branching import Branch, run_branches

        asked = [Branch(one) if isinstance(one, str) else one for one in branches]

        def start(one: Branch) -> Run:
            return self._run(one.request, deps, {"history": history, "settings": one.settings})

        return await run_branches(asked, start)

    def _run(self, request: str | Resume, deps: Any, options: RunOptions) -> Run:
        from agentkit.running.run import Run

        return Run(self.plan(), request, deps=deps, **options)

    def plan(self) -> Plan:
        """What the agent is, as a run needs it, with the tools that its toolsets have now."""
        if as_tools(self._listed) != self.tools:  # mostly the very same
            self._plan = self._plan.changed(**self._offered(self._listed))
        return self._plan

    def as_tool(self, name: str | None = None, description: str | None = None) -> AnyTool:
        """This agent as a tool of another, which asks it in words and reads its output.

        It is given the other's dependencies, asks the same human for approval, and what it spends
        counts for the other's limits. What it asks back is what the call gives; a run of it that
        would have to wait is a call that failed.

        Raises:
            DefinitionError: the agent's name is no tool name.
        """

        async def ask(context: RunContext[Any], request: str) -> Any:
            inside = context.run
            approve = None if inside is None else inside.approve
            run = self._run(request, context.deps, {"approve": approve})
            try:
                result = await run.go()
            finally:
                spent = run.spent
                context.spent.add(spent.forwards, spent.passes, spent.tokens)
            return result.answer if result.status == "asked" else result.output

        return tool(
            ask,
            name=name or self.name,
            description=description or self.description or f"Ask {self.name}.",
            timeout=None,
        )

    @overload
    def tool(self, function: Callable[P, R], /) -> Tool[P, R]: ...

    @overload
    def tool(self, /, **options: Unpack[ToolOptions]) -> Callable[[Callable[P, R]], Tool[P, R]]: ...

    def tool(self, function: Any = None, /, **options: Unpack[ToolOptions]) -> Any:
        """Give the agent a tool: `@agent.tool`, or `@agent.tool(timeout=5)`.

        Raises:
            DefinitionError: the function can't be a tool, or one of that name is there already.
        """
        if function is None:
            return partial(self.tool, **options)
        made = tool(function, **options)
        listed = [*self._listed, made]
        self._plan = self._plan.changed(**self._offered(listed))
        self._listed = listed
        return made

    def guard_input(self, guard: F) -> F:
        """Have a function see each request first; it raises `Blocked` to refuse one."""
        self._plan = self._plan.changed(input_guards=(*self._plan.input_guards, guard))
        return guard

    def guard_call(self, guard: F) -> F:
        """Have a function see each call first; it raises `Retry` or `Blocked`."""
        self._plan = self._plan.changed(call_guards=(*self._plan.call_guards, guard))
        return guard

    def guard_output(self, guard: F) -> F:
        """Have a function see each output; it raises `Retry` or `Blocked`, or gives another."""
        self._plan = self._plan.changed(output_guards=(*self._plan.output_guards, guard))
        return guard

    def _offered(self, items: Sequence[AnyTool | Toolset | Callable[..., Any]]) -> dict[str, Any]:
        """The parts of a plan that depend on the tools."""
        tools = {one.name: one for one in as_tools(items)}
        selector = None if self._select is None else Selector(self._select, tools)
        return {"tools": tools, "selector": selector}


def handoff(
    agent: Agent[Any, Any], *, name: str | None = None, description: str | None = None
) -> Handoff:
    """Among the tools of another agent: lets that one give the floor to `agent`, for good.

    `agent` goes on with the whole conversation, under its own instructions, tools and output type.

    Raises:
        DefinitionError: the agent's name is no tool name.
    """

    async def hand_off() -> str:
        return f"{agent.name} goes on with the conversation."

    said = description or f"Hand the conversation over to {agent.name}. {agent.description}".strip()
    offered = tool(hand_off, name=name or f"hand_off_to_{agent.name}", description=said)
    return Handoff(offered, agent.plan)


def _checked_backend(backend: Backend | str) -> Backend | str:
    if not isinstance(backend, str) and not callable(getattr(backend, "open", None)):
        raise DefinitionError(
            f"backend={backend!r} is no backend; give a name such as 'embedded', or an object "
            "with `capabilities`, `open` and `aclose`"
        )
    return backend


def _several(name: str, items: Sequence[T]) -> tuple[T, ...]:
    try:
        return tuple(items)
    except TypeError as error:
        raise DefinitionError(f"{name}={items!r} is one; give a list: {name}=[...]") from error


def _at_least(name: str, value: int, least: int) -> int:
    if value < least:
        raise DefinitionError(f"{name}={value!r} is too small; give {least} or more")
    return value
