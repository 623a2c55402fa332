"""The command `agentkit run`: one request, answered in drawings or as one JSON object.

Knows agents and results; every drawing is another's. What is slow to import (rich) is imported
where something is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any

from agentkit.result import RunResult
from agentkit.terminal.event_loop import EventLoop
from agentkit.terminal.options import add_agent_options, agent_of, deps_of, settings_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `agentkit run` takes."""
    add_agent_options(parser)
    parser.add_argument("request", metavar="REQUEST", help="what is asked, in plain words")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no drawing")


def run(arguments: argparse.Namespace) -> int:
    """Answer the request; 1 where calls wait in the end, and there is no answer."""
    with EventLoop() as loop:
        return _answer(arguments, loop)


def _answer(arguments: argparse.Namespace, loop: EventLoop) -> int:
    agent, deps = agent_of(arguments, loop), deps_of(arguments)
    settings = settings_of(arguments)
    if arguments.json:
        work = partial(agent.run, arguments.request, deps=deps, settings=settings)
        result = loop.run(work)
        print(json.dumps(describe(result), ensure_ascii=False))
        return _status(result)
    from rich.console import Console

    from agentkit.terminal.reading import Reader
    from agentkit.terminal.session import Session

    console = Console()
    reader = Reader(console)
    session = Session(
        agent,
        loop=loop,
        reader=reader,
        console=console,
        deps=deps,
        settings=settings,
        approves=reader.interactive,
    )
    asked = session.ask(arguments.request)
    if asked is not None and asked.status == "paused":
        print(f"agentkit: calls wait, so there is no answer: {asked.reason}", file=sys.stderr)
    return _status(asked)


def describe(result: RunResult[Any]) -> dict[str, Any]:
    """A run as a JSON object: what `agentkit run --json` prints."""
    outcomes = {outcome.call_id: outcome for outcome in result.results}
    calls: list[dict[str, Any]] = []
    for call in result.calls:
        outcome = outcomes.get(call.id)
        calls.append(
            {
                "tool": call.tool,
                "arguments": call.arguments,
                "confidence": dict(result.confidence.get(call.id, {})),
                "result": None if outcome is None else outcome.content,
                "is_error": outcome is not None and outcome.is_error,
            }
        )
    return {
        "status": result.status,
        "answer": result.answer,
        "reason": result.reason,
        "calls": calls,
        "turns": result.turns,
        "forwards": result.forwards,
        "passes": result.passes,
        "tokens": result.tokens,
        "timings_ms": {phase: round(took * 1000, 3) for phase, took in result.timings.items()},
    }


def _status(result: RunResult[Any] | None) -> int:
    return 0 if result is not None and result.status in ("answered", "asked") else 1
