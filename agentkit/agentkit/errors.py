"""Every error that agentkit raises, in one tree.

AgentKitError
├── EngineError                the engine can't do what was asked
│   ├── TemplateError          a schema, a choice or a pattern that can't become a canvas
│   │   ├── UnsupportedSchema      a keyword that can't be honoured; names it and its pointer
│   │   ├── UnsatisfiableSchema    no value satisfies the schema
│   │   ├── SchemaTooLarge         more automaton states than the budget
│   │   └── CanvasTooShort         no valid filling fits; says how many tokens one needs
│   ├── InvalidLogProbs        a model produced NaN, +inf or a wrong shape
│   ├── CheckpointError        a missing folder, a wrong architecture, a broken file
│   ├── LayoutError            the checkpoint does not know the layout asked for
│   ├── ContextTooLong         the conversation no longer fits the model
│   ├── EngineBusy             too many requests are waiting for the model
│   └── DeadlineExceeded       the deadline passed before the work was done
├── DefinitionError            a tool or an agent defined wrongly
├── PluginError                a tool plugin that can't be loaded or configured
├── BackendError               a backend failed, or can't do what was asked
└── RunError                   a run that can't start or go on
    ├── EmptyRequest           nothing was asked
    ├── TurnLimitReached       the turns ran out before an answer
    ├── EmptyTurn              a turn that produced neither call nor answer
    └── RepeatedFailure        the same call failed again and again

A tool that fails is none of these: its error goes back to the model as a result. An error that
ends a run carries the messages so far as `.history`, ready for `history=` of the next run.
The engine's branch lives in `agentkit_engine.errors`, which imports nothing.
"""

from __future__ import annotations

from agentkit.message import Call, History, ResultMessage
from agentkit_engine.errors import (
    AgentKitError,
    CanvasTooShort,
    CheckpointError,
    ContextTooLong,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    InvalidLogProbs,
    LayoutError,
    SchemaTooLarge,
    TemplateError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)

__all__ = [
    "AgentKitError",
    "BackendError",
    "CanvasTooShort",
    "CheckpointError",
    "ContextTooLong",
    "DeadlineExceeded",
    "DefinitionError",
    "EmptyRequest",
    "EmptyTurn",
    "EngineBusy",
    "EngineError",
    "InvalidLogProbs",
    "LayoutError",
    "PluginError",
    "RepeatedFailure",
    "RunError",
    "SchemaTooLarge",
    "TemplateError",
    "TurnLimitReached",
    "UnsatisfiableSchema",
    "UnsupportedSchema",
]


class DefinitionError(AgentKitError):
    """A tool or an agent is defined wrongly; names the function, the parameter and the mend."""


class PluginError(AgentKitError):
    """A tool plugin can't be loaded or configured."""


class BackendError(AgentKitError):
    """A backend failed, or can't do what was asked.

    history: the messages so far, where it ended a run.
    """

    def __init__(self, message: str, *, history: History = ()) -> None:
        super().__init__(message)
        self.history = history


class RunError(AgentKitError):
    """A run can't start or go on. history: the messages so far, so nothing is lost."""

    def __init__(self, message: str, *, history: History = ()) -> None:
        super().__init__(message)
        self.history = history


class EmptyRequest(RunError):
    """The request holds nothing but whitespace."""


class EmptyTurn(RunError):
    """A turn produced neither call nor answer."""


class TurnLimitReached(RunError):
    """The turns ran out before an answer. results: what the last turn's calls gave back."""

    def __init__(
        self,
        message: str,
        *,
        history: History = (),
        results: tuple[ResultMessage, ...] = (),
    ) -> None:
        super().__init__(message, history=history)
        self.results = results


class RepeatedFailure(RunError):
    """The same call failed again and again. call: the last try; times: how many there were."""

    def __init__(
        self,
        message: str,
        *,
        history: History = (),
        call: Call | None = None,
        times: int = 0,
    ) -> None:
        super().__init__(message, history=history)
        self.call = call
        self.times = times
