"""Draws the pictures of README and docs from real runs of the embedded model: `make docs`."""

import json
import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
from rich.console import RenderableType
from rich.text import Text

from agentkit import (
    Agent,
    AnswerDraft,
    Approve,
    CallFinished,
    DraftCanvas,
    EventStream,
    Resume,
    load_toolsets,
)
from agentkit.terminal.approving import APPROVAL, ARGUMENTS
from agentkit.terminal.drawing import draw_arguments, draw_event, draw_result, export_svg
from agentkit.terminal.loading import load_agent, load_deps

HERE = Path(__file__).parent
DESK = HERE.parent / "examples" / "desk.py"
BOOKING = "Book a table for two in Oslo"
MEANT = {"city": "Oslo", "people": 3}  # somebody else is coming
TIMED = "What time is it in Lisbon, and what is 12 * 7?"
REQUEST = "Add buy milk to my to-do list"


async def canvas() -> None:
    """docs/canvas.svg: the first turn of a run, every denoise step drawn below the last."""
    agent = Agent(tools=load_toolsets(["calculator", "clock", "todo"]))
    parts: list[RenderableType] = [Text(f'$ agentkit run "{REQUEST}"\n')]
    async with agent.stream(REQUEST) as run:
        async for event in run:
            if isinstance(event, DraftCanvas) and event.turn > 1:
                continue  # the answer's canvas looks the same
            part = draw_event(event)
            if part is not None and not isinstance(event, AnswerDraft):
                parts.append(part)
    export_svg(HERE / "canvas.svg", parts, title="agentkit: a call denoises")


async def chat() -> None:
    """docs/chat.svg: a chat in which a call is put right, until that call is made."""
    agent = load_agent(f"{DESK}:agent")
    deps = load_deps(f"{DESK}:agent", "diary")
    parts: list[RenderableType] = [
        Text("$ agentkit chat examples/desk.py:agent --deps diary"),
        Text(f"> {BOOKING}", style="bold"),
    ]
    async with agent.stream(BOOKING, deps=deps) as run:
        parts += [part async for part in stays(run)]
    paused = run.result
    (pending,) = paused.pending
    parts.append(draw_arguments(pending.call, paused.confidence[pending.call.id]))
    parts.append(Text.assemble((APPROVAL, "bold"), "e"))
    parts.append(Text.assemble((ARGUMENTS, "bold"), json.dumps(MEANT)))
    verdicts = Resume({pending.call.id: Approve(MEANT)})
    async with agent.stream(verdicts, deps=deps, history=paused.history) as run:
        async for event in run:
            if isinstance(event, CallFinished):
                parts.append(draw_result(event.result, event.seconds))
    export_svg(HERE / "chat.svg", parts, title="agentkit: a call is put right")


async def trace() -> None:
    """docs/trace.svg: where the time of a run went that calls two tools."""
    agent = Agent(tools=load_toolsets(["calculator", "clock"]))
    await agent.run(TIMED)  # what is compiled by a first run is not what this shows
    result = await agent.run(TIMED)
    result.trace().save(HERE / "trace.svg")


async def stays(events: EventStream[Any]) -> AsyncGenerator[RenderableType]:
    """What of a run stays on a terminal: of the canvases of a turn, the last one."""
    canvas: RenderableType | None = None
    async for event in events:
        part = draw_event(event)
        if isinstance(event, DraftCanvas):
            canvas = part
        elif part is not None and not isinstance(event, AnswerDraft):
            if canvas is not None:
                yield canvas
                canvas = None
            yield part


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGENTKIT_TODO_PATH"] = str(Path(folder) / "todo.sqlite3")
        anyio.run(canvas)
        anyio.run(chat)
        anyio.run(trace)
