"""Drafts: what a turn reads as on its way, valid at any time, and which calls have settled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
from choosing import decided
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_engine import Call, Decision, Draft, DraftCall, Engine, Template
from agentkit_engine.filling import drafts as drawing
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.template import Schema

LAYOUTS: tuple[Layout, ...] = ("slots", "float")
NUMBER = {"type": "integer", "minimum": 1, "maximum": 99}
CALLS: dict[str, Schema] = {
    "rain": {
        "type": "object",
        "properties": {"in": {"type": "string", "maxLength": 2}, "on": NUMBER},
        "required": ["in"],
    },
    "list": {"type": "object", "properties": {}},
    "done": {"type": "object", "properties": {"id": NUMBER}, "required": ["id"]},
    "tag": {
        "type": "object",
        "properties": {"as": {"type": "object", "additionalProperties": {"enum": [0, 1]}}},
        "required": ["as"],
    },
}
ANSWER: Schema = {"type": "array", "items": NUMBER, "minItems": 1, "maxItems": 3}
NAMES = [*CALLS]


def told(calls: Sequence[Call | DraftCall]) -> list[tuple[str, str]]:
    return [(call.name, json.dumps(call.arguments)) for call in calls]


def check(drafts: Sequence[Draft], decision: Decision) -> int:
    """What holds of all drafts of a decision; how many calls have settled before its end."""
    settled = 0
    for draft in drafts:
        for call in draft.calls:
            jsonschema.validate(call.arguments, CALLS[call.name])
        assert settled <= draft.settled <= len(draft.calls)  # what has settled stays so
        settled = draft.settled
        assert told(draft.calls[:settled]) == told(decision.calls[:settled])
        assert all(isinstance(call, Call) for call in draft.calls[:settled])
        if draft.answer is not None:
            assert draft.calls == ()
            jsonschema.validate(json.loads(draft.answer), ANSWER)
    return settled


def watched(engine: Engine, chosen: Sequence[Sequence[int]], **more: Any) -> tuple[int, Decision]:
    """A decision whose drafts are checked, and which is the same as without them."""
    drafts: list[Draft] = []
    decision = decided(engine, CALLS, chosen, answer=ANSWER, on_draft=drafts.append, **more)
    alone = decided(engine, CALLS, chosen, answer=ANSWER, **more)
    assert told(alone.calls) == told(decision.calls)
    assert (alone.answer, alone.forwards, alone.passes) == (
        decision.answer,
        decision.forwards,
        decision.passes,
    )
    last = drafts[-1]
    if more.get("verify") == "off" and last.calls:
        assert told(last.calls) == told(decision.calls)[: len(last.calls)]
    if more.get("verify") == "off" and last.answer is not None:
        assert last.answer == decision.answer
    return check(drafts, decision), decision


@given(
    chosen=st.lists(st.integers(0, len(NAMES)), min_size=1, max_size=4),
    layout=st.sampled_from(LAYOUTS),
    verify=st.sampled_from(["off", "rerank", "exact", "exact"]),
    batch=st.sampled_from(["whole", "choice-first"]),
    steps=st.integers(1, 3),
    rounds=st.sampled_from([1, 2, 4, 9, 40]),
    seed=st.integers(0, 2**31),
    prompt=st.sampled_from(["hello", "9 9 9", "is it warm?", "call weather"]),
)
@settings(max_examples=25, deadline=None)
def test_whatever_has_settled_is_what_the_decision_gives(
    engine: Engine, chosen: list[int], layout: Layout, **options: Any
) -> None:
    most = len(chosen)
    turns = [chosen] if layout == "slots" else [[number] for number in chosen]
    watched(engine, turns, most=most, layout=layout, **options)


def test_calls_of_one_canvas_settle_one_after_the_other(engine: Engine) -> None:
    """On random weights "exact" works for every token, so that the first call is early."""
    drafts: list[Draft] = []
    decision = decided(
        engine, CALLS, [[2, 2, 2]], most=3, verify="exact", rounds=100, on_draft=drafts.append
    )
    assert decision.agreed
    counts = [draft.settled for draft in drafts]
    assert sorted(set(counts)) == [0, 1, 2]
    for count in (1, 2):
        first = drafts[counts.index(count)]
        assert "noise" in first.rows[0].states  # before the rest is denoised
        assert first.step < decision.forwards
        for early, late in zip(first.calls[:count], decision.calls, strict=False):
            assert isinstance(early, Call)
            assert early.confidence == pytest.approx(late.confidence)
            assert set(early.runners_up) == set(late.runners_up)


def test_nothing_settles_that_might_be_said_anew_without_repeating_a_key(engine: Engine) -> None:
    settled, decision = watched(engine, [[2, 3]], most=2, verify="exact", rounds=100)
    assert [call.name for call in decision.calls] == ["done", "tag"]
    assert settled in (0, 1)  # 1 where greedy decoding had repeated a key, and was begun anew


@pytest.mark.parametrize("verify", ["off", "exact"])
def test_calls_decided_on_in_turn_settle_as_they_are_made(engine: Engine, verify: Any) -> None:
    drafts: list[Draft] = []
    decision = decided(
        engine,
        CALLS,
        [[2], [0], [4]],
        most=3,
        layout="float",
        verify=verify,
        rounds=100,
        on_draft=drafts.append,
    )
    assert [call.name for call in decision.calls] == ["done", "rain"]
    assert check(drafts, decision) == 2
    counts = [draft.settled for draft in drafts]
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2}
    assert drafts[counts.index(1)].calls == decision.calls[:1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_answer_reads_as_text_at_any_step(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    for answer in (ANSWER, None):
        drafts: list[Draft] = []
        options: Any = {"steps": 3, "verify": "off", "layout": layout}
        decision = session.decide_sync({}, answer=answer, on_draft=drafts.append, **options)
        assert drafts[0].answer is None
        assert all(draft.answer and draft.answer.strip() for draft in drafts[1:])
        assert drafts[-1].answer == decision.answer
        filled: list[Draft] = []
        template = Template.json_schema(ANSWER)
        filling = session.infill_sync(template, on_draft=filled.append, **options)
        assert filled[-1].answer == filling.text


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("several", [False, True])  # canvases
def test_what_a_text_is_certain_to_begin_with_stays(
    engine: Engine, layout: Layout, several: bool
) -> None:
    told = 0
    for seed in range(4):
        session = engine.session()
        session.extend_sync(f"hello {seed}")
        drafts: list[Draft] = []
        options: Any = {"on_draft": drafts.append, "layout": layout, "seed": seed, "rounds": 100}
        if several:
            text = session.infill_sync(Template.text(150), verify="off", **options).text
        else:
            decision = session.decide_sync({}, answer_tokens=12, verify="exact", **options)
            assert decision.answer is not None
            text = decision.answer
        said = [draft.said for draft in drafts]
        assert all(after.startswith(before) for before, after in pairwise(said))
        assert text.startswith(said[-1])
        told += len(said[-1])
    assert told > 0  # something was certain before the end


def test_nothing_is_read_where_nobody_listens(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise AssertionError("a draft was made for nobody")

    monkeypatch.setattr("agentkit_engine.filling.turn.drawn", broken)
    monkeypatch.setattr(drawing, "Reads", broken)
    monkeypatch.setattr("agentkit_engine.filling.deciding.Reads", broken)
    monkeypatch.setattr("agentkit_engine.filling.turn.Reads", broken)
    cases: list[tuple[Layout, list[list[int]]]] = [("slots", [[2, 0]]), ("float", [[2], [0]])]
    for layout, turns in cases:
        decision = decided(engine, CALLS, turns, most=2, layout=layout, verify="exact", rounds=20)
        assert len(decision.calls) == 2
