"""The engine's part of the one exception tree, and its root.

Knows nothing but how an error reads; imports nothing of the project. The loop re-exports all of it
and hangs its own errors under the same root.

AgentKitError
└── EngineError
    ├── TemplateError            a template, grammar or canvas can't do what was asked
    │   ├── UnsupportedSchema    a schema keyword that can't be guaranteed  .keyword .pointer .why
    │   ├── UnsatisfiableSchema  no valid value exists                      .pointer .why
    │   ├── SchemaTooLarge       a bigger automaton than the budget allows   .needed .budget
    │   └── CanvasTooShort       fewer tokens than any valid filling needs  .needed .available
    ├── InvalidLogProbs          NaN, +inf or a wrong shape (also a ValueError)
    ├── CheckpointError          missing folder, wrong architecture, broken file
    ├── LayoutError              the checkpoint does not know the layout asked for
    ├── ContextTooLong           more tokens than the model can attend to   .needed .available
    ├── EngineBusy               too many requests at once                  .waiting .limit
    └── DeadlineExceeded         no result in time (also a TimeoutError)    .forwards

An exception keeps its arguments in `args` and words them in `__str__`, so that it survives pickling
between processes with its attributes.
"""

__all__ = [
    "AgentKitError",
    "CanvasTooShort",
    "CheckpointError",
    "ContextTooLong",
    "DeadlineExceeded",
    "EngineBusy",
    "EngineError",
    "InvalidLogProbs",
    "LayoutError",
    "SchemaTooLarge",
    "TemplateError",
    "UnsatisfiableSchema",
    "UnsupportedSchema",
]


class AgentKitError(Exception):
    """Root of every error this project raises on purpose."""


class EngineError(AgentKitError):
    """Something the engine can't do."""


class TemplateError(EngineError):
    """A template, its grammar or its canvas can't do what was asked."""


class UnsupportedSchema(TemplateError):
    """The schema says something that can't be guaranteed at every emitted value."""

    def __init__(self, keyword: str, pointer: str, why: str = "") -> None:
        super().__init__(keyword, pointer, why)
        self.keyword = keyword
        self.pointer = pointer
        self.why = why

    def __str__(self) -> str:
        reason = f": {self.why}" if self.why else ""
        return (
            f"schema keyword {self.keyword!r} at {self.pointer!r} can't be guaranteed{reason}. "
            "Remove it, or say the same with supported keywords."
        )


class UnsatisfiableSchema(TemplateError):
    """No valid value exists, so there is nothing to fill in."""

    def __init__(self, pointer: str, why: str = "") -> None:
        super().__init__(pointer, why)
        self.pointer = pointer
        self.why = why

    def __str__(self) -> str:
        reason = f": {self.why}" if self.why else ""
        return (
            f"no valid value exists for the schema at {self.pointer!r}{reason}. "
            "Loosen the keywords that contradict each other."
        )


class SchemaTooLarge(TemplateError):
    """The automaton would need more states (or other parts) than the budget allows."""

    def __init__(self, needed: int, budget: int, parts: str = "states") -> None:
        super().__init__(needed, budget, parts)
        self.needed = needed
        self.budget = budget
        self.parts = parts

    def __str__(self) -> str:
        return (
            f"the automaton needs over {self.budget} {self.parts} (at least {self.needed}). "
            "Lower maxLength, minItems or maxItems, or nest less."
        )


class CanvasTooShort(TemplateError):
    """The canvas or slot holds fewer tokens than the shortest valid filling."""

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(needed, available)
        self.needed = needed
        self.available = available

    def __str__(self) -> str:
        return (
            f"the shortest valid filling needs {self.needed} tokens and there is room for "
            f"{self.available}. Give it at least {self.needed}."
        )


class InvalidLogProbs(EngineError, ValueError):
    """Log-probabilities that no model should produce: NaN, +inf, or a wrong shape."""


class CheckpointError(EngineError):
    """A checkpoint is missing, broken, or of another architecture."""


class LayoutError(EngineError):
    """The checkpoint does not know the layout asked for."""


class ContextTooLong(EngineError):
    """The prompt and the canvas together exceed what the model can attend to."""

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(needed, available)
        self.needed = needed
        self.available = available

    def __str__(self) -> str:
        return (
            f"{self.needed} tokens of context are needed and the model attends to "
            f"{self.available}. Shorten the conversation, or offer fewer tools."
        )


class EngineBusy(EngineError):
    """As many requests wait for the model as are let to; this one was not begun."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(waiting, limit)
        self.waiting = waiting
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.waiting} requests are waiting or under way and the queue holds {self.limit}. "
            "Try again when some are done, or give the scheduler a longer queue."
        )


class DeadlineExceeded(EngineError, TimeoutError):
    """The deadline of a request passed before its result was there."""

    def __init__(self, forwards: int) -> None:
        super().__init__(forwards)
        self.forwards = forwards

    def __str__(self) -> str:
        return (
            f"the deadline passed after {self.forwards} forwards of the model. "
            "Give it more time, or take fewer steps."
        )
