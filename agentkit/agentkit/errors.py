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
├── StoreError                 a store that can't keep or give back a conversation
│   └── ConversationChanged        another run has added to the conversation meanwhile
└── RunError                   a run that can't start or go on
    ├── EmptyRequest           nothing was asked
    ├── LimitReached           a stop policy ended the run before an answer
    ├── EmptyTurn              a turn that produced neither call nor answer
    ├── RepeatedFailure        the same call failed again and again
    ├── InvalidOutput          no answer passed the output's checks
    ├── Blocked                a guard refused the request, a call or the answer
    └── NotAnswered            a result was asked for its output and has none

A tool that fails is none of these: its error goes back to the model as a result. An error that
ends a run carries the messages so far as `.history`, ready for `history=` of the next run (with a
`Resume` as its request, where calls wait).
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
    "Blocked",
    "CanvasTooShort",
    "CheckpointError",
    "ContextTooLong",
    "ConversationChanged",
    "DeadlineExceeded",
    "DefinitionError",
    "EmptyRequest",
    "EmptyTurn",
    "EngineBusy",
    "EngineError",
    "InvalidLogProbs",
    "InvalidOutput",
    "LayoutError",
    "LimitReached",
    "NotAnswered",
    "PluginError",
    "RepeatedFailure",
    "RunError",
    "SchemaTooLarge",
    "StoreError",
    "TemplateError",
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


class StoreError(AgentKitError):
    """A store can't keep or give back a conversation."""


class ConversationChanged(StoreError):
    """Another run has added to the conversation since this one read it."""


class RunError(AgentKitError):
    """A run can't start or go on. history: the messages so far, so nothing is lost."""

    def __init__(self, message: str, *, history: History = ()) -> None:
        super().__init__(message)
        self.history = history


class EmptyRequest(RunError):
    """The request holds nothing but whitespace."""


class EmptyTurn(RunError):
    """A turn produced neither call nor answer."""


class LimitReached(RunError):
    """A stop policy ended the run before an answer.

    results: what the last turn's calls gave back. turn: the one that was not begun or not finished.
    """

    def __init__(
        self,
        message: str,
        *,
        history: History = (),
        results: tuple[ResultMessage, ...] = (),
        turn: int = 0,
    ) -> None:
        super().__init__(message, history=history)
        self.results = results
        self.turn = turn


class InvalidOutput(RunError):
    """No answer passed the output's checks; says what was wrong with the last one."""


class Blocked(RunError):
    """Raised by a guard to end the run: it refuses the request, a call or the answer."""


class NotAnswered(RunError):
    """A result was asked for its output, but its run was paused, cancelled or asks back."""


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
