"""The cases of each set: turns that training never saw, and what the model should do there."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from agentkit_engine.training.corpus.scenes import Part, corpus
from agentkit_engine.training.evaluation.cases import SETS, Case, cases, turns


@pytest.mark.parametrize("name", SETS)
def test_a_set_asks_what_its_name_says(name: str) -> None:
    asked = SETS[name]
    drawn = list(islice(cases(name), 40))
    assert drawn == list(islice(cases(name), 40))
    assert drawn != list(islice(cases(name, seed=1), 40))
    assert {case.kind for case in drawn} == ({asked.judged} if asked.judged else set(asked.kinds))
    for case in drawn:
        assert case.messages[-1]["role"] in ("user", "tool")
        assert {call.name for call in case.calls} <= case.schemas.keys()
        assert (name == "several") == (len(case.calls) > 1)
        assert (name == "schemas") == (case.schema is not None) == (not case.tools)
        if name in ("choice", "opaque", "calls"):
            assert 1 <= len(case.tools) <= 8
        if name == "errors":
            assert case.messages[-1]["role"] == "tool"
            assert case.calls[0].arguments != _last_call(case)
        if name in ("answers", "missing"):
            assert case.facts


def _last_call(case: Case) -> Any:
    return case.messages[-2]["tool_calls"][0]["function"]["arguments"]


def test_every_number_of_tools_is_as_common() -> None:
    counts = Counter(len(case.tools) for case in islice(cases("choice"), 400))
    assert set(counts) == set(range(1, 9))
    assert min(counts.values()) >= 40  # but where two tools came by the same name


def test_every_turn_of_the_model_is_a_case() -> None:
    kinds: set[str] = set()
    for scene in islice(corpus(5, Part(branches=2)), 200):
        for conversation in scene:
            found = list(turns(conversation))
            said = [m for m in conversation.messages if m["role"] == "assistant"]
            assert len(found) == len(said) + (conversation.extraction is not None)
            kinds |= {case.kind for case in found}
    assert kinds == {
        "call", "calls", "mended", "next call", "answer", "question", "no tool", "small talk",
        "schema",
    }  # fmt: skip
