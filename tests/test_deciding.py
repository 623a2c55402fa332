"""Deciding: one forward for the whole turn, two where told, several calls, or an answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import torch
from choosing import Choosing, decided
from fillings import counted

from agentkit_engine import (
    Engine,
    EngineError,
    TemplateError,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.contexts.context import Context
from agentkit_engine.filling.deciding import decide
from agentkit_engine.filling.outcome import Decision
from agentkit_engine.filling.settings import Batch, Settings
from agentkit_engine.filling.turn import Turn
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.scheduling.work import run_alone
from agentkit_engine.template import Schema

LAYOUTS: tuple[Layout, ...] = ("slots", "float")
NUMBER = {"type": "integer", "minimum": 1, "maximum": 9}
CALLS: dict[str, Schema] = {
    "rain": {"type": "object", "properties": {"in": NUMBER, "on": NUMBER}, "required": ["in"]},
    "list": {"type": "object", "properties": {}},
    "done": {"type": "object", "properties": {"id": NUMBER}, "required": ["id"]},
}
WIDE: dict[str, Schema] = {
    "note": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "tag": {"type": "string", "maxLength": 6}},
        "required": ["text", "tag"],
    },
    "done": CALLS["done"],
}


def shown(decision: Decision) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in decision.calls]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("number", range(4))
def test_whole_is_one_forward_and_choice_first_two_for_the_same(
    engine: Engine, layout: Layout, number: int
) -> None:
    found: list[Decision] = []
    batches: dict[Batch, int] = {"whole": 1, "choice-first": 2}
    for batch, forwards in batches.items():
        with counted(engine) as seen:
            decision = decided(engine, CALLS, [[number]], batch=batch, layout=layout, verify="off")
        # a call without arguments is filled as soon as it is chosen
        bare = layout == "slots" and bool(decision.calls) and not decision.calls[0].arguments
        assert len(seen) == decision.forwards == (1 if bare else forwards)
        assert decision.passes == 0
        assert decision.batch == batch
        assert set(decision.choice) == {*CALLS, ""}
        assert sum(decision.choice.values()) == pytest.approx(1)
        assert decision.choice[[*CALLS, ""][number]] > 0.99
        found.append(decision)
    whole, apart = found
    assert shown(whole) == shown(apart)
    assert whole.answer == apart.answer
    if number < len(CALLS):
        name = [*CALLS][number]
        ((chosen, arguments),) = shown(whole)
        assert chosen == name
        jsonschema.validate(arguments, CALLS[name])
        assert whole.answer is None
    else:
        assert whole.answer is not None
        assert whole.answer.strip()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_session_decides_in_one_forward(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    with counted(engine) as seen:
        decision = session.decide_sync(CALLS, batch="whole", verify="off", layout=layout)
    assert len(seen) == decision.forwards == 1
    rows = engine.runtime.turn_forms(CALLS, layout=layout)
    assert seen[0] >= sum(form.width for form in rows if form.regions)


def test_what_is_cheaper_is_told_by_what_forwards_took(tiny_checkpoint: Checkpoint) -> None:
    engine = Engine(tiny_checkpoint)
    try:
        assert decided(engine, CALLS, [[0]], verify="off").batch == "whole"  # nothing is known
        for _ in range(200):  # a position costs much, a forward nothing
            engine.runtime.costs.observe(10, 10.0)
            engine.runtime.costs.observe(100, 100.0)
        assert decided(engine, CALLS, [[0]], verify="off").batch == "choice-first"
        for _ in range(200):  # a forward costs the same however wide
            engine.runtime.costs.observe(10, 10.0)
            engine.runtime.costs.observe(100, 10.0)
        assert decided(engine, CALLS, [[0]], verify="off").batch == "whole"
    finally:
        engine.close()


@pytest.mark.parametrize("batch", ["whole", "choice-first"])
@pytest.mark.parametrize("verify", ["off", "rerank", "exact"])
def test_several_calls_are_chosen_at_once_and_filled_in_one_canvas(
    engine: Engine, batch: Batch, verify: Any
) -> None:
    with counted(engine) as seen:
        decision = decided(
            engine, CALLS, [[0, 2, 3]], most=3, batch=batch, verify=verify, rounds=100
        )
    assert [call.name for call in decision.calls] == ["rain", "done"]
    if verify == "off":
        assert len(seen) == decision.forwards == 2  # the choice, and both calls together
    for call in decision.calls:
        jsonschema.validate(call.arguments, CALLS[call.name])
    assert decision.answer is None
    assert decision.batch == batch
    assert decision.agreed is (True if verify == "exact" else None)
    rain, done = decision.calls
    assert set(rain.confidence) == {"/in", "/on"}
    assert set(done.confidence) == {"/id"}
    session = engine.session()
    session.extend_sync("hello")
    for call, pointer in ((rain, "/in"), (done, "/id")):
        again = session.refill_sync(call, [pointer])
        assert again.forwards == 1
        assert again.value[pointer[1:]] != call.arguments[pointer[1:]]
        jsonschema.validate(again.value, CALLS[call.name])


def test_the_same_call_may_be_made_twice(engine: Engine) -> None:
    decision = decided(engine, CALLS, [[2, 2]], most=2, verify="off")
    assert [call.name for call in decision.calls] == ["done", "done"]


def test_calls_without_arguments_go_along(engine: Engine) -> None:
    decision = decided(engine, CALLS, [[1, 0, 1]], most=3, verify="exact", rounds=100)
    assert [call.name for call in decision.calls] == ["list", "rain", "list"]
    jsonschema.validate(decision.calls[1].arguments, CALLS["rain"])


def test_no_more_calls_than_asked_for(engine: Engine) -> None:
    for most in (1, 2):
        decision = decided(engine, CALLS, [[0, 2, 1]], most=most, verify="off")
        assert [call.name for call in decision.calls] == ["rain", "done"][:most]
    session = engine.session()
    session.extend_sync("hello")
    with pytest.raises(EngineError, match="max_calls is 0"):
        session.decide_sync(CALLS, max_calls=0)


@pytest.mark.parametrize("verify", ["off", "rerank", "exact"])
def test_where_text_floats_calls_are_decided_on_in_turn(engine: Engine, verify: Any) -> None:
    with counted(engine) as seen:
        decision = decided(
            engine,
            CALLS,
            [[2], [0], [3]],
            most=3,
            batch="whole",
            layout="float",
            verify=verify,
            rounds=100,
        )
    assert [call.name for call in decision.calls] == ["done", "rain"]
    assert decision.answer is None  # calls were made, so nothing is said
    for call in decision.calls:
        jsonschema.validate(call.arguments, CALLS[call.name])
    if verify == "off":
        assert len(seen) == decision.forwards == 3
    else:
        assert decision.passes >= 2
    assert set(decision.choice) == {*CALLS, ""}
    assert decision.choice["done"] > 0.99  # of the first call


def test_calls_in_turn_stand_behind_each_other(engine: Engine) -> None:
    """What the second is filled behind is just what the first one said."""
    runtime = engine.runtime
    context = Context(runtime.checkpoint.tokenizer, runtime.prefixes)
    run_alone(context.extend("hello"), runtime.denoiser)
    turn = Turn(runtime, context, Settings(layout="float", verify="exact", rounds=100))
    before = run_alone(turn.prefix(), runtime.denoiser).tokens
    seen: list[tuple[int, ...]] = []

    class Watching(Choosing):
        def denoise(self, prefix: Any, canvas: torch.Tensor, **more: Any) -> torch.Tensor:
            seen.append(prefix.tokens)
            return super().denoise(prefix, canvas, **more)

    choice = runtime.turn_forms(CALLS, layout="float")[0]
    choosing: Any = Watching(engine, (choice, [2]), (choice, [0]))
    decision = run_alone(decide(turn, CALLS, most=2, batch=None), choosing)
    first, second = decision.calls
    behind = seen[-1][len(before) :]
    assert seen[0] == before
    said = f"<|tool_call>call:done{{id:{first.arguments['id']}}}<tool_call|>"
    assert runtime.said_text(behind) == said
    assert second.name == "rain"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_answer_ends_it(engine: Engine, layout: Layout) -> None:
    decision = decided(
        engine, CALLS, [[3, 0, 2]], most=3, batch="whole", layout=layout, verify="off"
    )
    assert decision.calls == ()
    assert decision.answer is not None
    assert decision.answer.strip()
    assert decision.forwards == 1


@pytest.mark.parametrize("batch", ["whole", "choice-first"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_something_must_be_called_it_is_never_answered(
    engine: Engine, layout: Layout, batch: Batch
) -> None:
    with counted(engine) as seen:
        decision = decided(
            engine,
            CALLS,
            [[3]],  # the model is sure that it wants to answer
            must_call=True,
            batch=batch,
            layout=layout,
            verify="off",
        )
    assert decision.calls
    assert decision.answer is None
    assert decision.choice[""] == 0.0
    assert list(decision.choice) == [*CALLS, ""]
    assert sum(decision.choice.values()) == pytest.approx(1.0)
    with counted(engine) as free:
        decided(engine, CALLS, [[3]], batch=batch, layout=layout, verify="off")
    assert batch == "choice-first" or seen[0] < free[0]  # no row for an answer
    with pytest.raises(TemplateError, match="no call is on offer"):
        engine.session().decide_sync({}, must_call=True)


@pytest.mark.parametrize("batch", ["whole", "choice-first"])
@pytest.mark.parametrize("verify", ["off", "exact"])
def test_calls_too_wide_for_one_canvas_are_made_one_after_the_other(
    engine: Engine, batch: Batch, verify: Any
) -> None:
    decision = decided(
        engine, WIDE, [[0, 0], [0, 1]], most=2, batch=batch, verify=verify, rounds=100
    )
    assert len(decision.calls) == 2
    assert decision.calls[0].name == "note"
    for call in decision.calls:
        jsonschema.validate(call.arguments, WIDE[call.name])


def test_several_steps_denoise_what_was_chosen(engine: Engine) -> None:
    for chosen in ([0], [0, 2]):
        decision = decided(
            engine, CALLS, [chosen], most=len(chosen), steps=3, verify="off", batch="whole"
        )
        for call in decision.calls:
            jsonschema.validate(call.arguments, CALLS[call.name])
        assert decision.forwards <= 3 * len(chosen)


PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Lagos", "Oslo"]}, "days": NUMBER},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWERS: list[Schema] = [
    PLACE,
    {"enum": ["yes", "no", None]},
    {"type": "array", "items": NUMBER, "minItems": 1, "maxItems": 3},
    {"anyOf": [PLACE, {"type": "string", "maxLength": 4}]},
    {"const": {"done": True}},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_an_answer_by_a_schema_is_a_row_of_the_same_forward(
    engine: Engine, layout: Layout, answer: dict[str, Any]
) -> None:
    with counted(engine) as seen:
        decision = decided(
            engine, CALLS, [[3]], answer=answer, batch="whole", layout=layout, verify="off"
        )
    assert len(seen) == decision.forwards == 1
    assert decision.calls == ()
    assert decision.answer is not None
    assert json.loads(decision.answer) == decision.value
    jsonschema.validate(decision.value, answer)
    assert decision.choice[""] > 0.99


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("verify", ["off", "rerank", "exact"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_structured_answer_is_valid_however_it_is_made(
    engine: Engine, layout: Layout, verify: Any, steps: int
) -> None:
    for number, answer in enumerate(ANSWERS):
        options: Any = {"verify": verify, "steps": steps, "seed": number, "layout": layout}
        for calls in ({}, CALLS):
            chosen = [[len(CALLS)]] if calls else []
            decision = decided(engine, calls, chosen, answer=answer, rounds=3, **options)
            jsonschema.validate(decision.value, answer)
            assert json.loads(decision.answer or "") == decision.value


def test_calls_beside_a_structured_answer_stay_what_they_are(engine: Engine) -> None:
    plain = decided(engine, CALLS, [[0]], verify="off", batch="whole")
    beside = decided(engine, CALLS, [[0]], verify="off", batch="whole", answer=PLACE)
    assert shown(plain) == shown(beside)
    assert beside.answer is beside.value is None
    assert beside.confidence == {}
    session = engine.session()
    session.extend_sync("hello")
    with pytest.raises(TemplateError, match="refill one of its calls"):
        session.refill_sync(beside, ["/city"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("answer", [PLACE, None], ids=["schema", "words"])
def test_without_calls_nothing_is_chosen(engine: Engine, layout: Layout, answer: Any) -> None:
    session = engine.session()
    session.extend_sync("hello")
    rows = engine.runtime.turn_forms({}, answer=answer, layout=layout)
    with counted(engine) as seen:
        decision = session.decide_sync({}, answer=answer, layout=layout, verify="off")
    assert seen == [rows[-1].width]
    assert decision.choice == {"": 1.0}
    assert decision.answer
    assert decision.prompt_tokens > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_structured_answer_is_refilled_like_a_call(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    decision = session.decide_sync({}, answer=PLACE, layout=layout)
    assert set(decision.confidence) == ({"/city", "/days"} if layout == "slots" else {""})
    with counted(engine) as seen:
        again = session.refill_sync(decision, ["/city"])
    assert (len(seen), again.forwards) == (1, 1)
    jsonschema.validate(again.value, PLACE)
    assert again.value["city"] != decision.value["city"]
    assert again.value.get("days") == decision.value.get("days")
    with pytest.raises(UnsatisfiableSchema, match="rejected"):
        session.refill_sync(again, ["/city"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_answer_in_words_has_as_many_tokens_as_told(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("hello")
    for most in (1, 4):
        decision = session.decide_sync({}, answer_tokens=most, layout=layout, verify="off")
        assert decision.answer
        assert decision.tokens <= most + 1  # its end, where text floats
    taught = engine.runtime.forms.answer(layout=layout)
    assert engine.runtime.forms.answer(layout=layout, most_tokens=500).free == taught.free
    with pytest.raises(TemplateError, match="answer_tokens is 0"):
        session.decide_sync({}, answer_tokens=0)


def test_an_answer_that_cannot_be_guaranteed_is_named(engine: Engine) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        engine.prepare(CALLS, answer={"type": "string", "pattern": "a(?=b)"})
    assert caught.value.__notes__ == ["This is about the answer."]
    engine.prepare(CALLS, answer=PLACE)
