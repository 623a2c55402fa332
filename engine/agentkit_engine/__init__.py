"""agentkit_engine: constrained block infilling with a diffusion language model.

    engine = Engine.load("embedded")
    session = engine.session()
    await session.extend("Book a table for four in Lisbon")
    filling = await session.infill(Template.json_schema(schema))

Names are loaded when they are first used: importing the package loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit_engine.constraint import SchemaConstraint
    from agentkit_engine.engine import Engine
    from agentkit_engine.errors import (
        AgentKitError,
        CanvasTooShort,
        CheckpointError,
        ContextTooLong,
        DeadlineExceeded,
        EngineBusy,
        EngineError,
        LayoutError,
        TemplateError,
        UnsatisfiableSchema,
        UnsupportedSchema,
    )
    from agentkit_engine.filling.outcome import (
        Alternative,
        Answer,
        Call,
        Decision,
        Draft,
        DraftCall,
        DraftRow,
        Filling,
        Timings,
        Token,
        Value,
    )
    from agentkit_engine.filling.settings import DecidingOptions, FillingOptions
    from agentkit_engine.lattice import Bias
    from agentkit_engine.session import Session
    from agentkit_engine.template import Template

_HOMES = {
    "constraint": ("SchemaConstraint",),
    "engine": ("Engine",),
    "errors": (
        "AgentKitError", "CanvasTooShort", "CheckpointError", "ContextTooLong", "DeadlineExceeded",
        "EngineBusy", "EngineError", "LayoutError", "TemplateError", "UnsatisfiableSchema",
        "UnsupportedSchema",
    ),
    "lattice": ("Bias",),
    "filling.outcome": (
        "Alternative", "Answer", "Call", "Decision", "Draft", "DraftCall", "DraftRow", "Filling",
        "Timings", "Token", "Value",
    ),
    "session": ("Session",),
    "filling.settings": ("DecidingOptions", "FillingOptions"),
    "template": ("Template",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AgentKitError",
    "Alternative",
    "Answer",
    "Bias",
    "Call",
    "CanvasTooShort",
    "CheckpointError",
    "ContextTooLong",
    "DeadlineExceeded",
    "DecidingOptions",
    "Decision",
    "Draft",
    "DraftCall",
    "DraftRow",
    "Engine",
    "EngineBusy",
    "EngineError",
    "Filling",
    "FillingOptions",
    "LayoutError",
    "SchemaConstraint",
    "Session",
    "Template",
    "TemplateError",
    "Timings",
    "Token",
    "UnsatisfiableSchema",
    "UnsupportedSchema",
    "Value",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
