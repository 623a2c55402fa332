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
    """The outcome of each branch, in their order; an error stands in the place of a result.

    An error of another kind, a hook's say, comes out once every branch has ended.
    """
    runs = [start(branch) for branch in branches]
    found: dict[int, RunResult[Any] | Exception] = {}
    if len(runs) > 1:
        await runs[0].share(runs[1:])
    async with owned_group() as group:
        for number, run in enumerate(runs):
            group.start_soon(_kept, run, partial(found.__setitem__, number))
    return [_ours(found[number]) for number in range(len(runs))]


async def _kept(run: Run, keep: Callable[[RunResult[Any] | Exception], None]) -> None:
    try:
        keep(await run.go())
    except Exception as error:
        keep(error)


def _ours(outcome: RunResult[Any] | Exception) -> RunResult[Any] | AgentKitError:
    if isinstance(outcome, RunResult | AgentKitError):
        return outcome
    raise outcome
