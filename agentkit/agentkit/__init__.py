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

from agentkit.agent import Agent
from agentkit.backend import (
    Backend,
    Capabilities,
    Cell,
    Conversation,
    Decision,
    Draft,
    ProposedCall,
    Row,
    Timings,
    ToolSpec,
)
from agentkit.errors import (
    AgentKitError,
    BackendError,
    CanvasTooShort,
    CheckpointError,
    ContextTooLong,
    DeadlineExceeded,
    DefinitionError,
    EmptyRequest,
    EmptyTurn,
    EngineBusy,
    EngineError,
    InvalidLogProbs,
    LayoutError,
    PluginError,
    RepeatedFailure,
    RunError,
    SchemaTooLarge,
    TemplateError,
    TurnLimitReached,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit.event import (
    Answered,
    CallFilled,
    CallFinished,
    DraftCanvas,
    Event,
    RunFinished,
    TurnStarted,
)
from agentkit.message import (
    AnswerMessage,
    Call,
    CallMessage,
    History,
    Message,
    ResultMessage,
    UserMessage,
    dump_messages,
    load_messages,
)
from agentkit.result import RunResult
from agentkit.stream import EventStream
from agentkit.tool import Tool, tool
from agentkit.toolset import Plugin, Toolset, discover, load_toolsets

__all__ = [
    "Agent",
    "AgentKitError",
    "AnswerMessage",
    "Answered",
    "Backend",
    "BackendError",
    "Call",
    "CallFilled",
    "CallFinished",
    "CallMessage",
    "CanvasTooShort",
    "Capabilities",
    "Cell",
    "CheckpointError",
    "ContextTooLong",
    "Conversation",
    "DeadlineExceeded",
    "Decision",
    "DefinitionError",
    "Draft",
    "DraftCanvas",
    "EmptyRequest",
    "EmptyTurn",
    "EngineBusy",
    "EngineError",
    "Event",
    "EventStream",
    "History",
    "InvalidLogProbs",
    "LayoutError",
    "Message",
    "Plugin",
    "PluginError",
    "ProposedCall",
    "RepeatedFailure",
    "ResultMessage",
    "Row",
    "RunError",
    "RunFinished",
    "RunResult",
    "SchemaTooLarge",
    "TemplateError",
    "Timings",
    "Tool",
    "ToolSpec",
    "Toolset",
    "TurnLimitReached",
    "TurnStarted",
    "UnsatisfiableSchema",
    "UnsupportedSchema",
    "UserMessage",
    "__version__",
    "discover",
    "dump_messages",
    "load_messages",
    "load_toolsets",
    "tool",
]

__version__: str


def __getattr__(name: str) -> str:
    # Reading the installed version takes longer than it is worth to everyone else.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("agentkit-diffusion")
        except PackageNotFoundError:
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
