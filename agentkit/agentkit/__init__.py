"""Agents whose tool calls a diffusion language model fills in one denoise, valid by construction.

    from agentkit import Agent, tool

    @tool
    def add(a: int, b: int) -> int:
        '''Add two numbers.'''
        return a + b

    print(Agent(tools=[add]).run_sync("What is 2 + 3?").answer)

Importing this package loads no torch: models live behind `agentkit.backend`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit.agent import Agent, handoff
    from agentkit.backend import (
        Backend,
        Capabilities,
        Cell,
        Conversation,
        Decision,
        Draft,
        ModelSettings,
        ProposedCall,
        Row,
        Timings,
        ToolSpec,
    )
    from agentkit.context import RunContext, Spent
    from agentkit.defining.opening import load_toolsets, open_tools
    from agentkit.defining.output import OutputType, output_type
    from agentkit.defining.plugin import InstalledPlugin, Plugin, discover
    from agentkit.defining.tool import Tool, tool
    from agentkit.defining.toolset import Toolset
    from agentkit.errors import (
        AgentKitError,
        BackendError,
        Blocked,
        CanvasTooShort,
        CheckpointError,
        ContextTooLong,
        ConversationChanged,
        DeadlineExceeded,
        DefinitionError,
        EmptyRequest,
        EmptyTurn,
        EngineBusy,
        EngineError,
        InvalidLogProbs,
        InvalidOutput,
        LayoutError,
        LimitReached,
        NotAnswered,
        PluginError,
        RepeatedFailure,
        RunError,
        SchemaTooLarge,
        StoreError,
        TemplateError,
        UnsatisfiableSchema,
        UnsupportedSchema,
    )
    from agentkit.event import (
        AnswerDraft,
        Answered,
        AnswerRejected,
        CallFilled,
        CallFinished,
        CallPending,
        CallProgress,
        DraftCanvas,
        Escalated,
        Event,
        HandedOff,
        RunFinished,
        TurnFinished,
        TurnStarted,
    )
    from agentkit.hooks import Hooks
    from agentkit.message import (
        AnswerMessage,
        Call,
        CallMessage,
        FeedbackMessage,
        History,
        Message,
        ResultMessage,
        UserMessage,
        dump_messages,
        load_messages,
    )
    from agentkit.policies.condition import (
        Condition,
        always,
        argument,
        choice,
        confidence,
        named,
        where,
    )
    from agentkit.policies.doubt import Policy, approve_when, ask_when, escalate_to
    from agentkit.policies.stop import (
        Stop,
        max_calls,
        max_failures,
        max_forwards,
        max_seconds,
        max_tokens,
        max_turns,
    )
    from agentkit.result import Approve, Deny, Finish, Pending, Resume, RunResult, Span, Verdict
    from agentkit.running.branching import Branch
    from agentkit.running.cancellation import Cancellation
    from agentkit.running.iteration import Turn, Turns
    from agentkit.running.options import RunOptions
    from agentkit.running.stream import EventStream
    from agentkit.selecting.best import best_tools
    from agentkit.selecting.selection import Selection
    from agentkit.signals import Deferred, Retry
    from agentkit.stores.memory import MemoryStore
    from agentkit.stores.sqlite import SQLiteStore
    from agentkit.stores.store import Store

_HOMES = {
    "agent": ("Agent", "handoff"),
    "backend": (
        "Backend", "Capabilities", "Cell", "Conversation", "Decision", "Draft", "ModelSettings",
        "ProposedCall", "Row", "Timings", "ToolSpec",
    ),
    "context": ("RunContext", "Spent"),
    "defining.opening": ("load_toolsets", "open_tools"),
    "defining.output": ("OutputType", "output_type"),
    "defining.plugin": ("InstalledPlugin", "Plugin", "discover"),
    "defining.tool": ("Tool", "tool"),
    "defining.toolset": ("Toolset",),
    "errors": (
        "AgentKitError", "BackendError", "Blocked", "CanvasTooShort", "CheckpointError",
        "ContextTooLong", "ConversationChanged", "DeadlineExceeded", "DefinitionError",
        "EmptyRequest", "EmptyTurn", "EngineBusy", "EngineError", "InvalidLogProbs",
        "InvalidOutput", "LayoutError", "LimitReached", "NotAnswered", "PluginError",
        "RepeatedFailure", "RunError", "SchemaTooLarge", "StoreError", "TemplateError",
        "UnsatisfiableSchema", "UnsupportedSchema",
    ),
    "event": (
        "AnswerDraft", "AnswerRejected", "Answered", "CallFilled", "CallFinished",
        "CallPending", "CallProgress", "DraftCanvas", "Escalated", "Event", "HandedOff",
        "RunFinished", "TurnFinished", "TurnStarted",
    ),
    "hooks": ("Hooks",),
    "message": (
        "AnswerMessage", "Call", "CallMessage", "FeedbackMessage", "History", "Message",
        "ResultMessage", "UserMessage", "dump_messages", "load_messages",
    ),
    "policies.condition": (
        "Condition", "always", "argument", "choice", "confidence", "named", "where",
    ),
    "policies.doubt": ("Policy", "approve_when", "ask_when", "escalate_to"),
    "policies.stop": (
        "Stop", "max_calls", "max_failures", "max_forwards", "max_seconds", "max_tokens",
        "max_turns",
    ),
    "result": (
        "Approve", "Deny", "Finish", "Pending", "Resume", "RunResult", "Span", "Verdict",
    ),
    "running.branching": ("Branch",),
    "running.cancellation": ("Cancellation",),
    "running.iteration": ("Turn", "Turns"),
    "running.options": ("RunOptions",),
    "running.stream": ("EventStream",),
    "selecting.best": ("best_tools",),
    "selecting.selection": ("Selection",),
    "signals": ("Deferred", "Retry"),
    "stores.memory": ("MemoryStore",),
    "stores.sqlite": ("SQLiteStore",),
    "stores.store": ("Store",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AgentKitError",
    "AnswerDraft",
    "AnswerMessage",
    "AnswerRejected",
    "Answered",
    "Approve",
    "Backend",
    "BackendError",
    "Blocked",
    "Branch",
    "Call",
    "CallFilled",
    "CallFinished",
    "CallMessage",
    "CallPending",
    "CallProgress",
    "Cancellation",
    "CanvasTooShort",
    "Capabilities",
    "Cell",
    "CheckpointError",
    "Condition",
    "ContextTooLong",
    "Conversation",
    "ConversationChanged",
    "DeadlineExceeded",
    "Decision",
    "Deferred",
    "DefinitionError",
    "Deny",
    "Draft",
    "DraftCanvas",
    "EmptyRequest",
    "EmptyTurn",
    "EngineBusy",
    "EngineError",
    "Escalated",
    "Event",
    "EventStream",
    "FeedbackMessage",
    "Finish",
    "HandedOff",
    "History",
    "Hooks",
    "InstalledPlugin",
    "InvalidLogProbs",
    "InvalidOutput",
    "LayoutError",
    "LimitReached",
    "MemoryStore",
    "Message",
    "ModelSettings",
    "NotAnswered",
    "OutputType",
    "Pending",
    "Plugin",
    "PluginError",
    "Policy",
    "ProposedCall",
    "RepeatedFailure",
    "ResultMessage",
    "Resume",
    "Retry",
    "Row",
    "RunContext",
    "RunError",
    "RunFinished",
    "RunOptions",
    "RunResult",
    "SQLiteStore",
    "SchemaTooLarge",
    "Selection",
    "Span",
    "Spent",
    "Stop",
    "Store",
    "StoreError",
    "TemplateError",
    "Timings",
    "Tool",
    "ToolSpec",
    "Toolset",
    "Turn",
    "TurnFinished",
    "TurnStarted",
    "Turns",
    "UnsatisfiableSchema",
    "UnsupportedSchema",
    "UserMessage",
    "Verdict",
    "__version__",
    "always",
    "approve_when",
    "argument",
    "ask_when",
    "best_tools",
    "choice",
    "confidence",
    "discover",
    "dump_messages",
    "escalate_to",
    "handoff",
    "load_messages",
    "load_toolsets",
    "max_calls",
    "max_failures",
    "max_forwards",
    "max_seconds",
    "max_tokens",
    "max_turns",
    "named",
    "open_tools",
    "output_type",
    "tool",
    "where",
]

__version__: str


def __getattr__(name: str) -> Any:
    # Names are loaded when they are first used: an agent of two tools needs neither stores nor MCP.
    if name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if name == "__version__":  # reading the installed one takes longer than it is worth to all
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("agentkit-diffusion")
        except PackageNotFoundError:
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
