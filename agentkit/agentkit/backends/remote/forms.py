"""Between the loop's types and the wire's JSON.

Knows both shapes. Must not know HTTP or sessions.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeAlias

from agentkit.backend import (
    Capabilities,
    Cell,
    Decision,
    Draft,
    ModelSettings,
    ProposedCall,
    Row,
    Timings,
    ToolSpec,
)

JSON: TypeAlias = dict[str, Any]


def write_tool(tool: ToolSpec) -> JSON:
    """A tool on offer."""
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def write_settings(settings: ModelSettings) -> JSON:
    """What is asked of a decision; what is left to the server is left out."""
    return {name: value for name, value in asdict(settings).items() if value is not None}


def read_capabilities(told: JSON) -> Capabilities:
    """What the server can do; what this version knows nothing of is passed over."""
    known = Capabilities.__dataclass_fields__
    return Capabilities(**{name: bool(value) for name, value in told.items() if name in known})


def read_draft(told: JSON) -> Draft:
    """A draft."""
    return Draft(
        step=told["step"],
        steps=told["steps"],
        rows=tuple(
            Row(row["name"], tuple(Cell(text, state) for text, state in row["cells"]))
            for row in told["rows"]
        ),
        calls=tuple(map(_read_call, told["calls"])),
        settled=told["settled"],
        answer=told["answer"],
    )


def read_decision(told: JSON) -> Decision:
    """A decision; its origins are names that the server knows."""
    return Decision(
        calls=tuple(map(_read_call, told["calls"])),
        answer=told["answer"],
        choice=told["choice"],
        forwards=told["forwards"],
        tokens=told["tokens"],
        timings=Timings(**told["timings"]),
        passes=told["passes"],
        prompt_tokens=told["prompt_tokens"],
        model=told["model"],
        origin=told["origin"],
    )


def _read_call(told: JSON) -> ProposedCall:
    return ProposedCall(
        tool=told["tool"],
        arguments=told["arguments"],
        confidence=told.get("confidence", {}),
        origin=told.get("origin"),
    )
