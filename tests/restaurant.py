"""What the tests of measuring agents share: an agent that books tables, and cases for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentkit import Agent
from agentkit.evaluation import Case
from agentkit.testing import ScriptedBackend, ScriptItem


def agent_of(*script: ScriptItem, **options: Any) -> Agent[Any, Any]:
    agent = Agent(backend=ScriptedBackend(script), **options)

    @agent.tool
    def book(city: str, people: int) -> str:
        """Book a table."""
        if people > 8:
            raise ValueError("too many")
        return f"booked in {city}"

    @agent.tool
    def find(city: str) -> str:
        """Find a place."""
        return city

    return agent


def case(**told: Any) -> Case:
    return Case(id=told.pop("id", "one"), question="A table in Rome for two?", **told)


def written(folder: Path, *rows: object) -> Path:
    path = folder / "cases.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
