"""Runs an agent on cases, several at once, and has each run judged.

Knows agents, cases and judgements. Must not know files, nor who looks at the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio

from agentkit.agent import Agent
from agentkit.backend import ModelSettings
from agentkit.evaluation.cases import Case
from agentkit.evaluation.judging import Judgement, failed, judged
from agentkit.evaluation.report import Report
from agentkit.policies.condition import always
from agentkit.policies.doubt import approve_when
from agentkit.result import RunResult
from agentkit.running.run import Run

_DRY = approve_when(always, "nothing is called in a dry run")


async def evaluate(
    agent: Agent[Any, Any],
    cases: Sequence[Case],
    *,
    deps: Callable[[], Any] | None = None,
    settings: ModelSettings | None = None,
    concurrency: int = 4,
    repeat: int = 1,
    dry: bool = False,
    on_judged: Callable[[Judgement], None] | None = None,
) -> Report:
    """Ask an agent all cases and judge what comes of them.

    A run that an error ends is judged too, and ends nothing else. Tools are really called, unless
    `dry`: then a run ends with the first calls it would make, and these alone are judged, of the
    cases that expect any or none.

    Args:
        deps: makes what a run is given; called once a run, so that no run sees what another did.
        concurrency: runs at once, at most.
        repeat: how often each case is run.
        on_judged: hears of each run as it ends, in any order.

    Returns:
        The judgements in the order of the cases.
    """
    todo = _todo(cases, repeat, dry=dry)
    done: dict[int, Judgement] = {}
    numbered: Iterator[tuple[int, tuple[Case, int]]] = iter(enumerate(todo))

    async def work() -> None:
        for number, (case, repetition) in numbered:
            try:
                result = await _ran(agent, case, deps, settings, dry=dry)
                done[number] = judged(_asked(case, dry=dry), result, repetition=repetition)
            except Exception as error:
                done[number] = failed(_asked(case, dry=dry), error, repetition=repetition)
            if on_judged is not None:
                on_judged(done[number])

    async with anyio.create_task_group() as group:
        for _ in range(min(concurrency, len(todo))):
            group.start_soon(work)
    return Report(tuple(done[number] for number in range(len(todo))), len(todo))


def planned(cases: Sequence[Case], *, repeat: int = 1, dry: bool = False) -> int:
    """How many runs that makes."""
    return len(_todo(cases, repeat, dry=dry))


def _todo(cases: Sequence[Case], repeat: int, *, dry: bool) -> list[tuple[Case, int]]:
    asked = [case for case in cases if case.calls is not None or not dry]
    return [(case, number) for case in asked for number in range(1, repeat + 1)]


def _asked(case: Case, *, dry: bool) -> Case:
    """What is judged of a case: of a dry run its calls."""
    if not dry:
        return case
    return Case(id=case.id, question=case.question, calls=case.calls, tags=case.tags)


async def _ran(
    agent: Agent[Any, Any],
    case: Case,
    deps: Callable[[], Any] | None,
    settings: ModelSettings | None,
    *,
    dry: bool,
) -> RunResult[Any]:
    given = None if deps is None else deps()
    plan = agent.plan()
    if dry:
        plan = plan.changed(policies=(*plan.policies, _DRY))
    run = Run(plan, case.question, deps=given, history=case.history, settings=settings)
    return await run.go()
