"""What an agent is, as its runs need it: shared by all of them, and never changed.

Knows definitions and policies. Must not know how a run goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from agentkit.backend import Backend, ModelSettings, ToolSpec
from agentkit.context import RunContext
from agentkit.defining.output import OutputType
from agentkit.defining.tool import AnyTool
from agentkit.errors import DefinitionError
from agentkit.hooks import Hooks
from agentkit.message import Call
from agentkit.observing.watcher import Watcher
from agentkit.policies.doubt import ApprovePolicy, AskPolicy, EscalatePolicy, Policy
from agentkit.policies.stop import Stop
from agentkit.policies.transient import Transient
from agentkit.result import Pending, Verdict
from agentkit.selecting.selection import Selector
from agentkit.stores.store import Store

Instructions: TypeAlias = str | Callable[[RunContext[Any]], str | Awaitable[str]]
InputGuard: TypeAlias = Callable[[RunContext[Any], str], Awaitable[None] | None]
CallGuard: TypeAlias = Callable[[RunContext[Any], Call], Awaitable[None] | None]
OutputGuard: TypeAlias = Callable[[RunContext[Any], Any], Any]
_Test: TypeAlias = Callable[[object], bool]
Approver: TypeAlias = Callable[[RunContext[Any], Pending], Awaitable[Verdict] | Verdict]


@dataclass(frozen=True, slots=True)
class Handoff:
    """A tool that gives the floor to another agent, whose plan it finds when it is called."""

    tool: AnyTool
    plan: Callable[[], Plan]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An agent's definition; see `Agent` for what each part means.

    handoffs: name of the tool that hands off -> the plan that goes on.
    selector: chooses the tools that a run's model sees; None: it sees all.
    """

    name: str
    description: str
    instructions: Instructions
    tools: Mapping[str, AnyTool]
    handoffs: Mapping[str, Callable[[], Plan]]
    output: OutputType[Any]
    backend: Backend | str
    policies: tuple[Policy, ...]
    stop: Stop
    settings: ModelSettings
    hooks: tuple[Hooks[Any], ...]
    input_guards: tuple[InputGuard, ...]
    call_guards: tuple[CallGuard, ...]
    output_guards: tuple[OutputGuard, ...]
    retries: int
    retry: Transient | None
    same_failures: int
    store: Store | None
    telemetry: Watcher | None
    selector: Selector | None

    def __post_init__(self) -> None:
        """
        Raises:
            DefinitionError: a part is not what it should be; says what to give.
        """
        for name, fits, mend in _PARTS:
            self._check(name, getattr(self, name), fits, mend)
        for name, fits, mend in _LISTS:
            for one in getattr(self, name):
                self._check(name, one, fits, mend)

    def _check(self, name: str, one: object, fits: _Test, mend: str) -> None:
        if not fits(one):
            raise DefinitionError(f"agent {self.name!r}: {name}={one!r} won't do; give {mend}")

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model sees them."""
        return tuple(tool.spec for tool in self.tools.values())

    @cached_property
    def asks(self) -> tuple[AskPolicy, ...]:
        return tuple(one for one in self.policies if isinstance(one, AskPolicy))

    @cached_property
    def escalations(self) -> tuple[EscalatePolicy, ...]:
        return tuple(one for one in self.policies if isinstance(one, EscalatePolicy))

    @cached_property
    def approvals(self) -> tuple[ApprovePolicy, ...]:
        return tuple(one for one in self.policies if isinstance(one, ApprovePolicy))

    @cached_property
    def pure(self) -> frozenset[str]:
        """Tools without effects, which may be started on a draft."""
        return frozenset(tool.name for tool in self.tools.values() if tool.pure)

    @cached_property
    def whole_decisions(self) -> bool:
        """Whether a policy looks at a decision before any call of it may be made."""
        return bool(self.asks or self.escalations)

    def changed(self, **changes: Any) -> Plan:
        """Another plan that differs in these; what was worked out of this one is not taken over."""
        return replace(self, **changes)


def _store_fits(store: object) -> bool:
    return store is None or all(callable(getattr(store, name, None)) for name in ("load", "append"))


# Name of a part -> whether it is what it should be, and what to give instead. Type checkers say the
# same; most people meet the mistake first by running.
_PARTS: tuple[tuple[str, _Test, str], ...] = (
    (
        "instructions",
        lambda one: isinstance(one, str) or callable(one),
        "text, or a function of the context",
    ),
    ("stop", lambda one: isinstance(one, Stop), "a stop policy, such as `max_turns(8)`"),
    ("settings", lambda one: isinstance(one, ModelSettings), "`ModelSettings(...)`"),
    ("store", _store_fits, "a store, such as `SQLiteStore(path)`"),
    (
        "telemetry",
        lambda one: one is None or callable(getattr(one, "run", None)),
        "`Telemetry()` of agentkit.observing.telemetry",
    ),
)
# The same of parts that are several: each of them.
_LISTS: tuple[tuple[str, _Test, str], ...] = (
    (
        "policies",
        lambda one: isinstance(one, AskPolicy | EscalatePolicy | ApprovePolicy),
        "`ask_when(...)`, `escalate_to(...)` or `approve_when(...)`",
    ),
    ("hooks", lambda one: isinstance(one, Hooks), "an object of a subclass of `Hooks`"),
    ("input_guards", callable, "a function of the context and the request"),
    ("call_guards", callable, "a function of the context and the call"),
    ("output_guards", callable, "a function of the context and the output"),
)
