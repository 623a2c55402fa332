"""Rows longer than the canvas: cut into pieces, their automata carried across, valid all the same.

The tiny checkpoint's canvas holds 48 tokens; its eight canvases hold 384.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
import torch
from fillings import RandomDenoiser, form_of, random_denoiser

from agentkit_engine import (
    CanvasTooShort,
    ContextTooLong,
    Draft,
    Engine,
    Template,
)
from agentkit_engine.contexts.context import Context
from agentkit_engine.denoisers import Denoiser, Prefix
from agentkit_engine.filling.beliefs import Solved
from agentkit_engine.filling.canvases import beginning, piece_of, spans
from agentkit_engine.filling.course import course_of
from agentkit_engine.filling.settings import Settings
from agentkit_engine.filling.solution import confidences
from agentkit_engine.filling.turn import Turn
from agentkit_engine.layouts.forms import Form
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.scheduling.work import run_alone

LAYOUTS: list[Layout] = ["slots", "float"]
CANVAS = 48


def strings(count: int, least: int) -> dict[str, Any]:
    return {f"key{k}": {"type": "string", "minLength": least} for k in range(count)}


SCHEMAS: dict[str, dict[str, Any]] = {
    "array": {
        "type": "array",
        "items": {"type": "integer", "minimum": -99, "maximum": 99},
        "minItems": 30,
        "maxItems": 60,
    },
    "array of records": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "on": {"type": "boolean"}},
            "required": ["x"],
        },
        "minItems": 12,
    },
    "free keys": {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 250},
        "minProperties": 2,
    },
    "record": {"type": "object", "properties": strings(9, 50), "required": [*strings(9, 50)]},
    "optional keys": {
        "type": "object",
        "properties": strings(12, 60),
        "required": [f"key{k}" for k in range(0, 12, 2)],
    },
    "longer than a canvas": {
        "type": "object",
        "properties": {
            "long": {"type": "string", "minLength": 600},
            "more": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 40},
        },
        "required": ["long"],
    },
    "long enum": {
        "type": "object",
        "properties": {
            "pick": {"enum": ["q" * 90, "q" * 89 + "u", "v" * 70]},
            "sure": {"type": "boolean"},
        },
        "required": ["pick", "sure"],
    },
    "long constant": {
        "type": "object",
        "properties": {"kind": {"const": "w" * 100}, "on": {"type": "boolean"}},
        "required": ["kind", "on"],
    },
    "text": {"type": "string", "minLength": 600},
}


class Listener(RandomDenoiser):
    """A denoiser that keeps what stood behind the context at each of its forwards."""

    def __init__(self, vocab_size: int, *, spread: float, seed: int) -> None:
        super().__init__(vocab_size, spread=spread, seed=seed)
        self.told: list[tuple[int, ...]] = []

    def encode(self, tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        return Prefix((*(prefix.tokens if prefix else ()), *tokens), None)

    def denoise(self, prefix: Any, canvas: torch.Tensor, **options: Any) -> torch.Tensor:
        assert canvas.shape[1] <= CANVAS
        self.told.append(prefix.tokens[1:])
        return super().denoise(prefix, canvas, **options)


def filled(engine: Engine, form: Form, denoiser: Denoiser, **options: Any) -> Solved:
    """A form, filled behind a context of one token."""
    context = Context(engine.runtime.checkpoint.tokenizer, engine.runtime.prefixes)
    turn = Turn(engine.runtime, context, Settings(**options))
    return run_alone(turn.filled(form, Prefix((2,), None)), denoiser)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_the_model_says_the_whole_is_valid(
    engine: Engine, name: str, layout: Layout
) -> None:
    schema = SCHEMAS[name]
    form = form_of(engine, Template.json_schema(schema), layout)
    assert CANVAS < form.width <= 8 * CANVAS
    for seed in range(6):
        solved = filled(engine, form, random_denoiser(engine, seed), seed=seed, steps=1 + seed % 3)
        row = solved.verified.tokens
        assert len(row) == form.width
        jsonschema.validate(form.read(row), schema)
        assert solved.verified.agreed is None
        for region in form.values:
            said = region.said(row)
            assert said is None or region.value.accepts(said)  # which no repeated key is


def test_slots_leave_each_of_several_listed_values_possible(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {
            "pick": {"enum": ["q" * 60, 3]},
            "sure": {"type": "boolean"},
            "text": {"type": "string"},
        },
        "required": ["pick", "sure", "text"],
    }
    form = form_of(engine, Template.json_schema(schema), "slots")
    widths = {region.pointer: region.room for region in form.values}
    encode = engine.runtime.forms.writing.encode
    assert widths["/pick"] >= len(encode(b"q" * 60))
    assert widths["/sure"] >= max(len(encode(b"true")), len(encode(b"false")))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_are_valid_as_well(engine: Engine, layout: Layout) -> None:
    for name in ("array", "free keys", "optional keys"):
        form = form_of(engine, Template.json_schema(SCHEMAS[name]), layout)
        options = {"temperature": (2.0, 0.5), "steps": 2}
        solved = filled(engine, form, random_denoiser(engine, 1), **options)
        jsonschema.validate(form.read(solved.verified.tokens), SCHEMAS[name])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["array", "record", "free keys", "text"])
def test_each_canvas_stands_behind_what_was_said(engine: Engine, name: str, layout: Layout) -> None:
    form = form_of(engine, Template.json_schema(SCHEMAS[name]), layout)
    course = course_of(form)
    assert course is not None
    for seed in range(3):
        listener = Listener(engine.runtime.denoiser.vocab_size, spread=3.0, seed=seed)
        solved = filled(engine, form, listener)
        said = solved.verified.said
        assert said == course.said(solved.verified.tokens)
        assert len(listener.told) == len(solved.free) > 1
        for told, more in itertools.pairwise(listener.told):
            assert more[: len(told)] == told
            assert len(more) > len(told)
        assert all(said[: len(told)] == told for told in listener.told)
        assert listener.told[0] == ()


def test_absent_keys_are_not_spoken_of(engine: Engine) -> None:
    form = form_of(engine, Template.json_schema(SCHEMAS["optional keys"]), "slots")
    course = course_of(form)
    assert course is not None
    for seed in range(5):
        listener = Listener(engine.runtime.denoiser.vocab_size, spread=3.0, seed=seed)
        said = filled(engine, form, listener).verified.said
        for told in listener.told:
            assert said[: len(told)] == told


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_cuts_come_between_values_where_that_costs_little(
    engine: Engine, name: str, layout: Layout
) -> None:
    form = form_of(engine, Template.json_schema(SCHEMAS[name]), layout)
    found = spans(form, CANVAS)
    assert [place for span in found for place in span] == list(range(form.width))
    ends = {region.stop for region in form.values}
    for span in found[:-1]:
        assert 3 * CANVAS // 4 <= len(span) <= CANVAS
        near = [end for end in ends if span.start + 36 <= end <= span.start + CANVAS]
        assert span.stop == max(near, default=span.start + CANVAS)


def test_a_value_that_has_ended_costs_no_further_canvas(engine: Engine) -> None:
    known = engine.runtime.checkpoint.tokens

    class Silent(RandomDenoiser):
        def denoise(self, *args: Any, **options: Any) -> torch.Tensor:
            logits = super().denoise(*args, **options)
            logits[..., [known.end, known.pad, known.filler or 0]] += 99.0
            return logits

    for layout in LAYOUTS:
        form = form_of(engine, Template.text(130), layout)
        denoiser = Silent(engine.runtime.denoiser.vocab_size, spread=1.0, seed=0)
        solved = filled(engine, form, denoiser)
        assert len(denoiser.seen) == 1
        assert len(form.read(solved.verified.tokens)) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_confidence_is_a_product_over_the_parts_of_a_value(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("write a lot")
    schema = SCHEMAS["long enum"]
    filling = session.infill_sync(Template.json_schema(schema), layout=layout)
    assert all(0 < share <= 1 for share in filling.posterior.values())
    assert set(filling.posterior) == ({"/pick", "/sure"} if layout == "slots" else {""})

    form = form_of(engine, Template.json_schema(schema), layout)
    solved = filled(engine, form, random_denoiser(engine, 0))
    about = Turn(
        engine.runtime,
        Context(engine.runtime.checkpoint.tokenizer, engine.runtime.prefixes),
        Settings(),
    ).values(solved, [form])[0][1]
    row = solved.verified.tokens
    parts = [
        confidences(
            piece.filled,
            piece.filled.form,
            row[piece.start : piece.stop],
            engine.runtime.vocabulary,
        )
        for piece in solved.free
    ]
    for pointer, share in about["beliefs"].posterior.items():
        product = math.prod(part.get(pointer, 1.0) for part in parts)
        assert share == pytest.approx(product)
    runners = about["beliefs"].runners_up
    assert set(runners) == ({"/sure"} if layout == "slots" else set())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_draft_can_be_carried_on(engine: Engine, layout: Layout) -> None:
    form = form_of(engine, Template.json_schema(SCHEMAS["array"]), layout)
    drafts: list[Draft] = []
    session = engine.session()
    session.extend_sync("count")
    template = Template.json_schema(SCHEMAS["array"])
    filling = session.infill_sync(template, layout=layout, steps=3, on_draft=drafts.append)
    assert filling.forwards <= 3 * len(spans(form, CANVAS))
    names = list(dict.fromkeys(row.name for draft in drafts for row in draft.rows))
    count = len(spans(form, CANVAS))
    assert names == [f"value {k}/{count}" for k in range(1, count + 1)]

    row = form_of(engine, template, layout)
    tokens: list[int] = []
    for span in spans(row, CANVAS):
        piece = piece_of(row, span, tokens, "")
        noise = random_denoiser(engine, len(tokens))
        solved = filled(engine, piece, noise, steps=4)
        (region,) = piece.values
        assert region.parted
        assert region.automaton.accepts(solved.verified.tokens[region.start : region.stop])
        tokens += solved.verified.tokens
    jsonschema.validate(row.read(tokens), SCHEMAS["array"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_long_text_is_written_as_long_as_was_asked_for(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("tell a long story")
    filling = session.infill_sync(Template.text(140), layout=layout)
    assert form_of(engine, Template.text(140), layout).width == 141
    assert filling.value == filling.text
    assert filling.forwards >= 3
    assert (filling.passes, filling.agreed) == (0, None)
    assert session.infill_sync(Template.text(140), layout=layout).value == filling.value
    assert session.infill_sync(Template.text(20), layout=layout).forwards >= 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_call_may_be_longer_than_the_canvas(engine: Engine, layout: Layout) -> None:
    calls = {"note": SCHEMAS["record"], "done": {"type": "object", "properties": {}}}
    session = engine.session()
    session.extend_sync("note it all down")
    made: set[str] = set()
    for seed in range(2):
        for batch in (None, "whole"):
            decision = session.decide_sync(
                calls, layout=layout, batch=batch, seed=seed, max_calls=1 + seed
            )
            assert decision.batch == "choice-first"
            for call in decision.calls:
                made.add(call.name)
                jsonschema.validate(call.arguments, calls[call.name])
    forms = engine.runtime.turn_forms(calls, layout=layout)
    solved = filled(engine, forms[1], random_denoiser(engine, 2))
    jsonschema.validate(forms[1].read(solved.verified.tokens), SCHEMAS["record"])
    opening = engine.runtime.checkpoint.tokens.call_open
    assert solved.verified.said[: len(opening)] == opening


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_on_one_of_several_canvases_are_refilled(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("write a lot")
    schema = SCHEMAS["long enum"]
    filling = session.infill_sync(Template.json_schema(schema), layout=layout)
    other = session.refill_sync(filling, ["/sure"])
    assert other.value == {**filling.value, "sure": not filling.value["sure"]}
    picked = session.refill_sync(filling, ["/pick"])
    assert picked.value["pick"] != filling.value["pick"]
    jsonschema.validate(picked.value, schema)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_than_eight_canvases_are_refused_with_numbers(engine: Engine, layout: Layout) -> None:
    schema = {"type": "string", "minLength": 9000}
    with pytest.raises(CanvasTooShort) as caught:
        form_of(engine, Template.json_schema(schema), layout)
    assert caught.value.available == 8 * CANVAS < caught.value.needed
    with pytest.raises(CanvasTooShort) as caught:
        engine.runtime.turn_forms(
            {
                "tell": {
                    "type": "object",
                    "properties": strings(9, 500),
                    "required": [*strings(9, 500)],
                }
            },
            layout=layout,
        )
    assert caught.value.available == 8 * CANVAS < caught.value.needed


def test_a_width_that_was_asked_for_is_kept(engine: Engine) -> None:
    maker = engine.runtime.forms
    template = Template.json_schema(SCHEMAS["record"])
    for layout in LAYOUTS:
        narrow = maker.template(template, layout=layout, width=200)
        assert CANVAS < narrow.width <= 200
        with pytest.raises(CanvasTooShort) as caught:
            maker.template(template, layout=layout, width=60)
        assert caught.value.available == 60


def test_a_context_without_room_for_all_canvases_is_too_long(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("word " * 140)
    with pytest.raises(ContextTooLong):
        session.infill_sync(Template.json_schema(SCHEMAS["text"]))
    assert len(session.messages) == 1
    assert session.infill_sync(Template.choice(["a"])).value == "a"


def test_what_a_beginning_says_is_known_of_any_row(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"enum": [7]}}}
    form = form_of(engine, Template.json_schema(schema), "slots")
    known, writing = engine.runtime.checkpoint.tokens, engine.runtime.forms.writing
    a, b = form.values
    row = [token or 0 for token in form.tokens]
    row[a.start : a.stop] = [known.absent or 0, *[known.filler or 0] * (a.width - 1)]
    row[b.start : b.stop] = [*writing.encode(b"7"), *[known.filler or 0] * (b.width - 1)]
    silent = (known.filler, known.absent)
    assert writing.text(beginning(form, row[: b.stop], silent)) == "{b:7"
    assert writing.text(beginning(form, row[: a.stop], silent)) == ""
    raw = Form("", form.tokens, form.regions, form.read)
    assert set(silent).isdisjoint(beginning(raw, row, silent))
    assert json.dumps(form.read(row)) == '{"b": 7}'
