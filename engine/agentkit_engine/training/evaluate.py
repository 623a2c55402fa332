"""Measures a checkpoint on conversations it never saw, through the engine as users run it.

Every turn of the model in a corpus conversation is a case: the engine decides, and the decision is
compared with what the corpus says. Held-out conversations call tools whose nouns training never
draws. Must not know how the checkpoint was trained.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Unpack

from agentkit_engine.engine import Engine
from agentkit_engine.filling.outcome import Decision
from agentkit_engine.filling.settings import FillingOptions
from agentkit_engine.training.corpus.conversations import NO_TOOL, Conversation, corpus

_SEED = 987_654_321  # far from every seed that training uses
SETS: dict[str, dict[str, Any]] = {
    "shipped tools": {"shipped_share": 1.0},
    "made-up tools, seen words": {"shipped_share": 0.0, "most_tools": 4},
    "made-up tools, held-out words": {"shipped_share": 0.0, "most_tools": 4, "held": True},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One turn: the messages before it, the declared tools, and what the model should do."""

    conversation: Conversation
    before: int
    expected: dict[str, Any]


@dataclass(slots=True)
class Tally:
    """How many of how many were right, by what was asked."""

    right: dict[str, int] = field(default_factory=dict[str, int])
    total: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, what: str, *, right: bool) -> None:
        """Counts one case."""
        self.total[what] = self.total.get(what, 0) + 1
        self.right[what] = self.right.get(what, 0) + right

    def share(self, what: str) -> float:
        """Right ones among all, 0 to 1; NaN where nothing was asked."""
        return self.right[what] / self.total[what] if self.total.get(what) else float("nan")


def cases(name: str, *, seed: int = _SEED) -> Iterator[Case]:
    """The turns of one of `SETS`, without end."""
    for conversation in corpus(seed, **SETS[name]):
        if conversation.extraction is not None:
            continue
        for index, message in enumerate(conversation.messages):
            if message["role"] == "assistant":
                yield Case(conversation, index, message)


def decide(engine: Engine, case: Case, **options: Unpack[FillingOptions]) -> Decision:
    """What the engine does at a case's turn."""
    tools = case.conversation.tools
    session = engine.session(tools=tools)
    session.extend_sync(*case.conversation.messages[: case.before])
    calls = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    return session.decide_sync(calls, **options)


def judge(case: Case, decision: Decision, tally: Tally) -> None:
    """Compares a decision with what was expected."""
    calls = case.expected.get("tool_calls")
    if calls is None:
        kind = "no tool" if case.expected["content"] == NO_TOOL else "answer after results"
        if case.conversation.messages[case.before - 1]["role"] == "user" and kind != "no tool":
            kind = "small talk"
        tally.add(f"{kind}: recognised", right=not decision.calls)
        tally.add(f"{kind}: words exact", right=decision.answer == case.expected["content"])
        return
    expected = calls[0]["function"]
    found = next(iter(decision.calls), None)
    chosen = found is not None and found.name == expected["name"]
    exact = found is not None and chosen and found.arguments == expected["arguments"]
    tally.add("tool chosen", right=chosen)
    tally.add("whole call exact", right=exact)
    if chosen:
        tally.add("arguments exact, tool right", right=exact)


def evaluate(engine: Engine, name: str, *, count: int, **options: Unpack[FillingOptions]) -> Tally:
    """Runs `count` cases of one set; shows progress on a terminal."""
    tally = Tally()
    for number, case in enumerate(cases(name), 1):
        judge(case, decide(engine, case, **options), tally)
        if sys.stderr.isatty():
            print(f"\r{name}: {number}/{count}", end="", file=sys.stderr, flush=True)
        if number >= count:
            break
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return tally
