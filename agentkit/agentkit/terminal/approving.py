"""Asks a human about the calls that wait: to make them, to change them, or not.

Knows pending calls and who reads; must not know how a run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from rich.console import Console
from rich.text import Text

from agentkit.result import Approve, Deny, Finish, Pending, RunResult, Verdict
from agentkit.terminal.drawing import draw_arguments
from agentkit.terminal.reading import Reader

APPROVAL = "make this call? y, n, e to edit, or why not: "
ARGUMENTS = "arguments: "
OUTCOME = "its outcome, or nothing to wait: "


def ask_verdicts(
    result: RunResult[Any],
    confidence: Mapping[str, Mapping[str, float]],
    reader: Reader,
    console: Console,
) -> dict[str, Verdict] | None:
    """What the user says of each call that waits; None where they leave.

    A call that nothing is said of is not in it. confidence: a call's id -> pointer -> probability.
    """
    verdicts: dict[str, Verdict] = {}
    for pending in result.pending:
        if len(result.pending) > 1:
            console.print(Text(pending.call.tool, style="bold cyan"))
        console.print(draw_arguments(pending.call, confidence.get(pending.call.id, {})))
        ask = _ask_approval if pending.kind == "approval" else _ask_outcome
        try:
            verdict = ask(pending, reader, console)
        except EOFError:
            return None
        if verdict is not None:
            verdicts[pending.call.id] = verdict
    return verdicts


def _ask_approval(pending: Pending, reader: Reader, console: Console) -> Verdict:
    while True:
        said = _line(reader, APPROVAL)
        match said.lower():
            case "y" | "yes":
                return Approve()
            case "n" | "no":
                return Deny()
            case "e" | "edit":
                arguments = _edited(pending.call.arguments, reader, console)
                if arguments is not None:
                    return Approve(arguments)
            case "":
                continue
            case _:
                return Deny(said)


def _ask_outcome(pending: Pending, reader: Reader, console: Console) -> Verdict | None:
    said = _line(reader, OUTCOME)
    return Finish(said) if said else None


def _edited(
    arguments: Mapping[str, Any], reader: Reader, console: Console
) -> dict[str, Any] | None:
    """The arguments as the user wants them; None where they leave them as they are."""
    text = json.dumps(arguments, ensure_ascii=False, default=repr)
    while True:
        said = reader.edited(ARGUMENTS, text, suffix=".json")
        if said is None or not said.strip():
            return None
        try:
            value = json.loads(said)
        except ValueError as error:
            console.print(Text(f"this is no JSON: {error}", style="red"))
        else:
            if isinstance(value, dict):
                return cast(dict[str, Any], value)
            console.print(Text("give a JSON object, a value for each argument", style="red"))
        if not reader.interactive:
            raise EOFError
        text = said


def _line(reader: Reader, prompt: str) -> str:
    said = reader.line(prompt)
    if said is None:
        raise EOFError
    return said.strip()
