"""Draws the pictures of README and docs from real runs of the embedded model: `make docs`."""

import os
import tempfile
from pathlib import Path

import anyio
from rich.console import RenderableType
from rich.text import Text

from agentkit import Agent, DraftCanvas, load_toolsets
from agentkit.drawing import draw_event, export_svg

HERE = Path(__file__).parent
REQUEST = "Add buy milk to my to-do list"


async def canvas() -> None:
    """docs/canvas.svg: the first turn of a run, every denoise step drawn below the last."""
    agent = Agent(tools=load_toolsets(["calculator", "clock", "todo"]))
    parts: list[RenderableType] = [Text(f'$ agentkit run "{REQUEST}"\n')]
    async with agent.stream(REQUEST) as run:
        async for event in run:
            if isinstance(event, DraftCanvas) and event.turn > 1:
                continue  # the answer's canvas looks the same
            drawn = draw_event(event)
            if drawn is not None:
                parts.append(drawn)
    export_svg(HERE / "canvas.svg", parts, title="agentkit: a call denoises")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGENTKIT_TODO_PATH"] = str(Path(folder) / "todo.sqlite3")
        anyio.run(canvas)
