"""Measures a checkpoint on turns that it never saw, through the engine as users run it.

A case's prompt is encoded once; each way of deciding then starts from a fork of that session, so
that all are compared on the same cases. Must not know how the checkpoint was trained, nor how
figures are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias, Unpack, cast

from agentkit_engine.engine import Engine
from agentkit_engine.errors import CheckpointError, ContextTooLong, EngineError, TemplateError
from agentkit_engine.filling.outcome import Decision, Filling
from agentkit_engine.filling.settings import Batch, DecidingOptions, FillingOptions, Steps, Verify
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.session import Session
from agentkit_engine.template import Template
from agentkit_engine.training.corpus.conversations import NO_TOOL
from agentkit_engine.training.evaluation.cases import SEED, SETS, Asked, Case, cases
from agentkit_engine.training.evaluation.matching import Called, alike_calls, same_calls, same_json

MOST_CALLS = 8  # of a turn in which several are expected
# what is wrong with a case, not with the way it is decided in
_TROUBLES = (TemplateError, ContextTooLong, CheckpointError)
_COUNTS = ((1, "1"), (2, "2"), (4, "3 or 4"), (8, "5 to 8"))

Outcome: TypeAlias = Decision | Filling | EngineError
Modes: TypeAlias = Mapping[str, DecidingOptions]


@dataclass(slots=True)
class Count:
    """How many of how many were right, and what those that ran took in all."""

    right: int = 0
    total: int = 0
    ran: int = 0
    forwards: int = 0
    passes: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome, *, right: bool) -> None:
        """Counts one case."""
        self.total += 1
        self.right += right
        if not isinstance(outcome, EngineError):
            self.ran += 1
            self.forwards += outcome.forwards
            self.passes += outcome.passes
            self.seconds += outcome.elapsed


@dataclass(slots=True)
class Tally:
    """What one way of deciding came to, by what was asked.

    Attributes:
        troubles: of cases that could not be run, which count as wrong: the id, and why.
    """

    counts: dict[str, Count] = field(default_factory=dict[str, Count])
    troubles: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def add(self, case: Case, outcome: Outcome) -> None:
        """Judges and counts one case."""
        for what, right in judge(case, outcome).items():
            self.counts.setdefault(what, Count()).add(outcome, right=right)
        if isinstance(outcome, EngineError):
            self.troubles.append((case.id, f"{type(outcome).__name__}: {outcome}"))

    def share(self, what: str) -> float:
        """Right ones among all, 0 to 1; NaN where nothing was asked."""
        count = self.counts.get(what)
        return count.right / count.total if count else float("nan")


def opened(engine: Engine, case: Case) -> Session:
    """A session where it is the model's turn."""
    first, *rest = case.messages
    if first["role"] == "system" and isinstance(first["content"], str):
        session = engine.session(instructions=first["content"], tools=case.tools)
        session.extend_sync(*rest)
        return session
    session = engine.session(tools=case.tools)
    session.extend_sync(*case.messages)
    return session


def decide(engine: Engine, case: Case, **options: Unpack[DecidingOptions]) -> Decision:
    """What the engine does at a case's turn."""
    return opened(engine, case).decide_sync(case.schemas, **options)


def outcomes(engine: Engine, case: Case, modes: Modes) -> Iterator[tuple[str, Outcome]]:
    """What comes of a case in each mode; an error where the case itself can't be run."""
    try:
        session = opened(engine, case)
    except _TROUBLES as error:
        yield from ((mode, error) for mode in modes)
        return
    for mode, options in modes.items():
        fork = session.fork()
        try:
            yield mode, _outcome(fork, case, options)
        except _TROUBLES as error:
            yield mode, error
        finally:
            fork.close()
    session.close()


def _outcome(session: Session, case: Case, options: DecidingOptions) -> Outcome:
    if case.schema is None:
        return session.decide_sync(case.schemas, **options)
    filling = {name: value for name, value in options.items() if name not in ("max_calls", "batch")}
    template = Template.json_schema(case.schema)
    return session.infill_sync(template, **cast(FillingOptions, filling))


def judge(case: Case, outcome: Outcome) -> dict[str, bool]:
    """What was asked of a case, and whether it is right; a case that can't be run is wrong."""
    if case.kind == "schema":
        return {
            "value exact": isinstance(outcome, Filling) and same_json(outcome.value, case.value)
        }
    decision = outcome if isinstance(outcome, Decision) else None
    made = [Called(call.name, call.arguments) for call in decision.calls] if decision else []
    answer = decision.answer if decision else None
    if case.kind == "row":
        return _judged_row(case, made, ran=decision is not None)
    if case.calls:
        return _judged_calls(case, made)
    if case.kind == "no tool":
        return {
            "no tool: recognised": decision is not None and not made,
            "no tool: said": answer == NO_TOOL,
        }
    if case.kind == "small talk":
        return {"small talk: recognised": decision is not None and not made}
    label = {"question": "question names the argument"}.get(case.kind, "answer says the values")
    return {label: answer is not None and all(_says(answer, fact) for fact in case.facts)}


def _judged_calls(case: Case, made: Sequence[Called]) -> dict[str, bool]:
    chosen = sorted(one.name for one in made) == sorted(one.name for one in case.calls)
    exact = same_calls(made, case.calls)
    if case.kind == "choice":
        declared = len(case.tools)
        among = next((name for most, name in _COUNTS if declared <= most), "more than 8")
        return {"tool chosen": chosen, f"tool chosen, of {among}": chosen}
    if case.kind == "calls":
        return {"tools chosen": chosen, "every call exact": exact}
    found = {"tool chosen": chosen, "whole call exact": exact}
    return found | {"arguments exact, tool right": exact} if chosen else found


def _judged_row(case: Case, made: Sequence[Called], *, ran: bool) -> dict[str, bool]:
    names = sorted(one.name for one in made) == sorted(one.name for one in case.calls)
    return {
        "tools chosen": ran and names,
        "exact": ran and same_calls(made, case.calls),
        "AST match": ran and alike_calls(made, case.calls, case.schemas),
    }


def _says(answer: str, fact: str) -> bool:
    """Whether the answer contains the fact, and not only as a part of another word or number."""
    pattern = rf"(?<!\w){re.escape(fact.casefold())}(?!\w)"
    return re.search(pattern, answer.casefold()) is not None


def compare(engine: Engine, asked: Iterable[Case], modes: Modes) -> dict[str, Tally]:
    """Runs all cases in each mode."""
    tallies = {mode: Tally() for mode in modes}
    for case in asked:
        for mode, outcome in outcomes(engine, case, modes):
            tallies[mode].add(case, outcome)
    return tallies


def evaluate(engine: Engine, name: str, *, count: int, **options: Unpack[DecidingOptions]) -> Tally:
    """Runs `count` cases of one of `SETS`, all in the same way."""
    modes: Modes = {"": {"max_calls": SETS[name].max_calls, **options}}
    return compare(engine, islice(cases(name), count), modes)[""]


def ways(
    engine: Engine,
    *,
    verify: Sequence[Verify],
    layouts: Sequence[Layout],
    steps: Steps = 1,
    max_calls: int = 1,
    batch: Batch | None = None,
) -> dict[str, DecidingOptions]:
    """Ways of deciding, of those asked for that the checkpoint can do."""
    runtime = engine.runtime
    able: list[Verify] = [mode for mode in verify if mode == "off" or runtime.denoiser.causal]
    known: list[Layout] = [
        layout for layout in layouts if layout in runtime.checkpoint.dialect.layouts
    ]
    found: dict[str, DecidingOptions] = {}
    for layout in known:
        for mode in able:
            found[f"{layout} {mode}"] = {
                "layout": layout, "verify": mode, "steps": steps, "max_calls": max_calls,
                "batch": batch,
            }  # fmt: skip
    return found


def most_calls(asked: Iterable[Case]) -> int:
    """How many calls a turn may make: several where some case of the kind makes several."""
    return MOST_CALLS if any(len(case.calls) > 1 for case in asked) else 1


__all__ = [
    "SEED", "SETS", "Asked", "Case", "Count", "Modes", "Outcome", "Tally", "cases", "compare",
    "decide", "evaluate", "judge", "most_calls", "opened", "outcomes",
    "ways",
]  # fmt: skip
