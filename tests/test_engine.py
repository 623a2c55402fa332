"""Engine and sessions on the real class at tiny size: forwards, prefixes, cancelling, errors."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import anyio
import jsonschema
import pytest
import torch
from fillings import counted

from agentkit_engine import (
    Bias,
    CanvasTooShort,
    ContextTooLong,
    Decision,
    Draft,
    Engine,
    EngineError,
    Template,
    TemplateError,
    UnsupportedSchema,
)
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.filling.settings import Verify

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city"],
}
CALLS: dict[str, Any] = {
    "weather": SCHEMA,
    "done": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    "list": {"type": "object", "properties": {}},
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "description": f"does {name}", "parameters": schema},
    }
    for name, schema in CALLS.items()
]


def values_of(decision: Decision) -> Any:
    """What was decided, without how sure it was."""
    return [(call.name, call.arguments) for call in decision.calls], decision.answer


async def test_one_step_is_one_decoder_forward(engine: Engine) -> None:
    session = engine.session()
    await session.extend("weather in Paris, please")
    for steps in (1, 3):
        with counted(engine) as rows:
            filling = await session.infill(Template.json_schema(SCHEMA), steps=steps, verify="off")
        assert filling.forwards == len(rows)
        assert 1 <= filling.forwards <= steps
        jsonschema.validate(filling.value, SCHEMA)
        assert json.loads(filling.text) == filling.value


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_what_can_not_be_filled_is_told_before_a_forward(engine: Engine, layout: Any) -> None:
    session = engine.session()
    session.extend_sync("weather in Paris, please")
    every = Bias(banned=frozenset(range(engine.runtime.denoiser.vocab_size)))
    hole = Template.infill("in ", " now", max_tokens=4)
    for template in (Template.json_schema(SCHEMA), Template.choice(["a", "b"]), hole):
        with counted(engine) as rows, pytest.raises(TemplateError, match="banned"):
            session.infill_sync(template, bias=every, layout=layout)
        assert rows == []


async def test_a_whole_turn_is_one_forward_over_all_rows(engine: Engine) -> None:
    session = engine.session(instructions="Be brief.", tools=TOOLS)
    await session.extend("weather in Paris, please")
    with counted(engine) as rows:
        decision = await session.decide(CALLS, verify="off", batch="whole")
    forms = engine.runtime.turn_forms(CALLS)
    assert len(forms) == 5  # the choice, three calls, the answer
    # what has no arguments is no row: nothing in it is free
    assert rows == [sum(form.width for form in forms if form.regions)]
    assert (decision.forwards, decision.passes, decision.batch) == (1, 0, "whole")
    assert sum(decision.choice.values()) == pytest.approx(1)
    assert set(decision.choice) == {*CALLS, ""}
    assert (decision.answer is None) == bool(decision.calls)
    for call in decision.calls:
        jsonschema.validate(call.arguments, CALLS[call.name])


@pytest.mark.parametrize("verify", ["exact", "rerank"])
def test_pins_hold_on_the_canvas_in_the_call_and_in_the_context(
    tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, verify: Verify
) -> None:
    """A model that wants another token at each pinned position of each row: none gets it."""
    engine = Engine(tiny_checkpoint)
    runtime, denoiser = engine.runtime, engine.runtime.denoiser
    head = runtime.checkpoint.tokens.call_open
    other = next(token for token in range(40, 400) if token not in head)
    name = runtime.checkpoint.tokenizer.encode("weather", add_special_tokens=False)
    canvases: list[torch.Tensor] = []
    read: list[tuple[int, ...]] = []
    denoise, reading = denoiser.denoise, denoiser.read

    def stubborn(prefix: Any, canvas: torch.Tensor, **rest: Any) -> torch.Tensor:
        canvases.append(canvas)
        logits = denoise(prefix, canvas, **rest).clone()
        logits[:, : len(head), other] = 1e4
        for place, token in enumerate(name, len(head)):  # of the choice, the first row
            logits[0, place, token] = 1e5 if len(canvas) > 1 else 0.0
        return logits

    def noted(prefix: Any, rows: Any) -> Any:
        read.extend(rows)
        return reading(prefix, rows)

    monkeypatch.setattr(denoiser, "denoise", stubborn)
    monkeypatch.setattr(denoiser, "read", noted)
    session = engine.session(tools=TOOLS[:1])
    session.extend_sync("weather in Paris, please")
    decision = session.decide_sync(
        {"weather": SCHEMA}, layout="slots", batch="whole", verify=verify, rounds=40
    )
    (call,) = decision.calls
    assert canvases
    assert read
    assert all(tuple(canvas[0, : len(head)].tolist()) == head for canvas in canvases)
    assert call.origin.tokens[: len(head)] == head
    jsonschema.validate(call.arguments, SCHEMA)
    assert read[0][: len(head)] == head  # later rounds go on from what is agreed
    assert all(other not in row[: len(head)] for row in read if row[:1] == head[:1])


def test_confidence_is_a_probability_for_each_value(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    filling = session.infill_sync(Template.json_schema(SCHEMA))
    assert set(filling.confidence) == {"/city", "/days"}
    assert all(0 <= p <= 1 for p in filling.confidence.values())
    assert filling.elapsed > 0
    assert filling.timings.denoise > 0


async def test_the_synchronous_twins_do_the_same(engine: Engine) -> None:
    slow, quick = engine.session(tools=TOOLS), engine.session(tools=TOOLS)
    await slow.extend("add milk to the list")
    quick.extend_sync("add milk to the list")
    for template in (Template.json_schema(SCHEMA), Template.choice(["a", "b"]), Template.text(5)):
        assert (await slow.infill(template)).value == quick.infill_sync(template).value
    assert values_of(await slow.decide(CALLS)) == values_of(quick.decide_sync(CALLS))


def test_extending_gives_what_encoding_from_scratch_gives(engine: Engine) -> None:
    grown, fresh = engine.session(tools=TOOLS), engine.session(tools=TOOLS)
    messages: list[Any] = [
        "weather in Paris",
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "weather", "arguments": {"city": "Paris"}},
                }
            ],
        },
        {"role": "tool", "name": "weather", "content": "18 degrees"},
    ]
    for message in messages:
        grown.extend_sync(message)
    fresh.extend_sync(*messages)
    one, other = grown.decide_sync(CALLS), fresh.decide_sync(CALLS)
    assert values_of(one) == values_of(other)
    assert one.choice == pytest.approx(other.choice, abs=1e-4)


def test_only_new_tokens_are_encoded(tiny_checkpoint: Checkpoint) -> None:
    engine = Engine(tiny_checkpoint)
    lengths: list[int] = []
    encoder = engine.runtime.checkpoint.model.model.encoder

    def note(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        lengths.append(kwargs["input_ids"].shape[1])

    hook = encoder.register_forward_pre_hook(note, with_kwargs=True)
    try:
        session = engine.session(tools=TOOLS)
        session.extend_sync("weather in Paris")
        session.extend_sync({"role": "tool", "name": "weather", "content": "18"})
        session.decide_sync(CALLS, verify="off")
        engine.session(tools=TOOLS).extend_sync("weather in Rome")
    finally:
        hook.remove()
    # the system turn and its tools, which the second session shares; then the messages
    assert len(lengths) == 4
    assert max(lengths[1:]) < lengths[0] / 3


def test_a_fork_goes_its_own_way(engine: Engine) -> None:
    trunk = engine.session(tools=TOOLS)
    trunk.extend_sync("weather in Paris")
    before = trunk.decide_sync(CALLS)
    branch = trunk.fork()
    branch.extend_sync({"role": "assistant", "content": "no"}, "then list it all")
    branch.decide_sync(CALLS)
    again = trunk.decide_sync(CALLS)
    assert again.choice == pytest.approx(before.choice, abs=1e-6)
    assert len(branch.messages) == len(trunk.messages) + 2


def test_drafts_show_noise_then_settled_text(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    drafts: list[Draft] = []
    template = Template.json_schema(SCHEMA)
    session.infill_sync(template, steps=2, verify="off", on_draft=drafts.append)
    assert [(draft.step, draft.steps) for draft in drafts] == [(0, 2), (1, 2), (2, 2)]
    states = [set(draft.rows[0].states) for draft in drafts]
    assert states[0] == {"pinned", "noise"}
    assert "settled" in states[1]
    assert "draft" in states[1]
    assert states[2] == {"pinned", "settled"}


async def test_cancelling_ends_within_one_step(engine: Engine) -> None:
    session = engine.session()
    await session.extend("hello")
    with counted(engine) as rows:
        with anyio.move_on_after(0.05) as scope:
            await session.infill(Template.json_schema(SCHEMA), steps=100_000)
        assert scope.cancelled_caught
        # what is asked for next begins when the forward under way is over
        assert (await session.infill(Template.choice(["a", "b"]))).value in {"a", "b"}
        done = len(rows)
        await anyio.sleep(0.05)
        assert len(rows) == done < 100_000


async def test_many_sessions_at_once_get_what_they_would_get_alone(engine: Engine) -> None:
    async def work(request: str, into: dict[str, Any]) -> None:
        session = engine.session(tools=TOOLS)
        await session.extend(request)
        into[request] = values_of(await session.decide(CALLS))

    requests = [f"weather in town {n}" for n in range(8)]
    together: dict[str, Any] = {}
    async with anyio.create_task_group() as group:
        for request in requests:
            group.start_soon(work, request, together)
    for request in requests:
        alone: dict[str, Any] = {}
        await work(request, alone)
        assert together[request] == alone[request]


def test_a_context_too_long_leaves_the_session_as_it_was(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    with pytest.raises(ContextTooLong):
        session.extend_sync("word " * 600)
    assert len(session.messages) == 1
    assert session.infill_sync(Template.choice(["a"])).value == "a"


def test_bad_requests_are_named(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    with pytest.raises(TemplateError, match="steps is 0"):
        session.infill_sync(Template.text(3), steps=0)
    for heat in (math.nan, math.inf, -1.0, (0.5, math.nan)):
        with pytest.raises(TemplateError, match="temperature is"):
            session.infill_sync(Template.text(3), temperature=heat)
    misspelt: Any = "Exact"
    with pytest.raises(TemplateError, match="take one of off, rerank, exact"):
        session.infill_sync(Template.text(3), verify=misspelt)
    with pytest.raises(TemplateError, match="no name"):
        session.decide_sync({"": SCHEMA})
    with pytest.raises(CanvasTooShort):
        session.infill_sync(Template.json_schema(SCHEMA), width=3)
    with pytest.raises(EngineError, match="no role"):
        session.extend_sync({"content": "hello"})
    with pytest.raises(EngineError, match="no declaration"):
        engine.session(tools=[{"name": "weather"}])


def test_a_call_that_cannot_be_guaranteed_is_named(engine: Engine) -> None:
    schema = {"type": "string", "pattern": "a(?=b)"}
    with pytest.raises(UnsupportedSchema) as caught:
        engine.prepare({"fine": SCHEMA, "pick": {"type": "object", "properties": {"a": schema}}})
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/properties/a")
    assert "'pick'" in caught.value.__notes__[0]


def test_without_calls_the_only_decision_is_an_answer(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    for layout in ("slots", "float"):
        decision = session.decide_sync({}, layout=layout)
        assert (decision.calls, decision.choice) == ((), {"": 1.0})
        assert decision.answer is not None
        assert decision.answer.strip()


def test_a_template_that_is_all_literal_costs_no_forward(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    filling = session.infill_sync(Template.json_schema({"const": {"a": [1, None]}}), layout="slots")
    assert (filling.value, filling.forwards) == ({"a": [1, None]}, 0)


def test_references_in_a_tools_parameters_are_shown_and_filled(engine: Engine) -> None:
    tree = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 4},
                    "child": {"$ref": "#/$defs/node"},
                },
                "required": ["name"],
            }
        },
        "type": "object",
        "properties": {"top": {"$ref": "#/$defs/node"}},
        "required": ["top"],
    }
    function = {"name": "plant", "description": "plants a tree", "parameters": tree}
    session = engine.session(tools=[{"type": "function", "function": function}])
    session.extend_sync("plant it")
    decision = session.decide_sync({"plant": tree})
    assert {call.name for call in decision.calls} <= {"plant"}
    jsonschema.validate(session.infill_sync(Template.json_schema(tree)).value, tree)


def test_control_tokens_in_a_schema_stay_text(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    for layout in ("slots", "float"):
        value = session.infill_sync(Template.choice(["<turn|>"]), layout=layout).value
        assert value == "<turn|>"


def test_a_stock_checkpoint_starts_from_random_tokens(tiny_checkpoint: Checkpoint) -> None:
    dialect = replace(tiny_checkpoint.dialect, layouts=("float",), start="uniform")
    engine = Engine(replace(tiny_checkpoint, dialect=dialect))
    seen: list[torch.Tensor] = []
    hook = engine.runtime.checkpoint.model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["decoder_input_ids"].clone()), with_kwargs=True
    )
    try:
        session = engine.session(tools=TOOLS)
        session.extend_sync("weather in Paris")
        decisions = [
            session.decide_sync(CALLS, seed=seed, batch="whole", verify="off") for seed in (1, 1, 2)
        ]
    finally:
        hook.remove()
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert values_of(decisions[0]) == values_of(decisions[1])
    for decision in decisions:
        for call in decision.calls:
            jsonschema.validate(call.arguments, CALLS[call.name])
