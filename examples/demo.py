"""Three requests of different kinds, each answered by the embedded model: `make demo`.

One call; two different tools in turn; and a request that no tool is for.
"""

import os
import tempfile
import time
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from agentkit import Agent, load_toolsets
from agentkit.terminal.screen import Screen

REQUESTS = (
    "Add buy milk to my to-do list",
    "What is 17 * 23? Then tell me the time in Tokyo",
    "Book me a flight to Rome",
)


async def answer(agent: Agent, request: str, screen: Screen) -> None:
    """Run one request and draw what happens."""
    screen.console.print(Text(f"\n> {request}", style="bold"))
    with screen.drawing():
        async with agent.stream(request) as run:
            async for event in run:
                screen.show(event)


async def main() -> None:
    started = time.perf_counter()
    screen = Screen(Console())
    agent = Agent(tools=load_toolsets(["calculator", "clock", "todo"]))
    for request in REQUESTS:
        await answer(agent, request, screen)
    screen.console.print(f"\nAll of it took {time.perf_counter() - started:.1f} s.", style="dim")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # the demo leaves your own list alone
        os.environ["AGENTKIT_TODO_PATH"] = str(Path(folder) / "todo.sqlite3")
        anyio.run(main)
