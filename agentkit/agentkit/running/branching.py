"""Several continuations of one conversation, side by side, to keep one of them.

Knows runs. Where the backend can fork, what they share is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentkit.backend import ModelSettings
from agentkit.errors import AgentKitError
from agentkit.result import RunResult
from agentkit.running.groups import owned_group
from agentkit.running.run import Run


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation: what is asked, and with what settings."""

    request: str
    settings: ModelSettings | None = None


async def run_branches(
    branches: Sequence[Branch], start: Callable[[Branch], Run]
) -> list[RunResult[Any] | AgentKitError]:
    """The outcome of each branch, in their order; an error stands in the place of a result."""
    runs = [start(branch) for branch in branches]
    found: dict[int, RunResult[Any] | AgentKitError] = {}
    if len(runs) > 1:
        await runs[0].share(runs[1:])
    async with owned_group() as group:
        for number, run in enumerate(runs):
            group.start_soon(_kept, run, partial(found.__setitem__, number))
    return [found[number] for number in range(len(runs))]


async def _kept(run: Run, keep: Callable[[RunResult[Any] | AgentKitError], None]) -> None:
    try:
        keep(await run.go())
    except AgentKitError as error:
        keep(error)
