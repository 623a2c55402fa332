"""Forms: templates, calls and choices compiled for a checkpoint, filled with the worst of logits.

The denoiser gives random logits, so whatever comes out is the work of pins, automata and lattice.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from fillings import RandomDenoiser, fill

from agentkit_engine import (
    CanvasTooShort,
    Engine,
    LayoutError,
    Template,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.denoise import Clock, Denoising, run_steps
from agentkit_engine.denoisers import Prefix
from agentkit_engine.layouts import Layout

TEXT = {"type": "string"}
DIGIT = {"type": "integer", "minimum": -5, "maximum": 5}
POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
    "required": ["name"],
}


def record(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


SCHEMAS: dict[str, dict[str, Any]] = {
    "weather": record("city", city=TEXT, days={"type": "integer", "minimum": 1, "maximum": 14}),
    "flags": record("on", "mode", on={"type": "boolean"}, mode={"enum": ["fast", "slow", 3, None]}),
    "nested": record("who", who=PERSON),
    "optional nested": record(at=POINT),
    "list": {"type": "array", "items": {**TEXT, "minLength": 1}, "minItems": 1, "maxItems": 3},
    "numbers": {"type": "array", "items": DIGIT, "maxItems": 4},
    "union": {"anyOf": [{**TEXT, "maxLength": 4}, {"type": "integer"}, {"type": "null"}]},
    "date": record("on", on={**TEXT, "format": "date"}),
    "constant": record("kind", "text", kind={"const": "note"}, text={**TEXT, "minLength": 2}),
    "range": {"type": "integer", "minimum": -120, "maximum": 7},
    "nullable": {"type": ["number", "null"]},
    "reference": {
        "$defs": {"unit": {"type": "string", "enum": ["C", "F"]}},
        **record("unit", unit={"$ref": "#/$defs/unit"}, deep={"$ref": "#/$defs/unit"}),
    },
}


@pytest.fixture(scope="module")
def engine(tiny_checkpoint: Checkpoint) -> Engine:
    return Engine(tiny_checkpoint)


@pytest.mark.parametrize("layout", ["slots", "float"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_thousand_random_fillings_are_all_valid(
    engine: Engine, name: str, layout: Layout
) -> None:
    """12 schemas x 2 layouts x 45 seeds = 1,080 fillings, checked apart from the form's gate."""
    schema = SCHEMAS[name]
    form = engine.runtime.forms.template(Template.json_schema(schema), layout=layout, width=None)
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for seed in range(45):
        value, _, _ = fill(engine, form, seed=seed)
        validator.validate(value)
        assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_calls_read_back_as_their_arguments(engine: Engine, layout: Layout) -> None:
    form = engine.runtime.forms.call("weather", SCHEMAS["weather"], layout=layout)
    for seed in range(20):
        value, denoising, _ = fill(engine, form, seed=seed)
        jsonschema.validate(value, SCHEMAS["weather"])
        row = denoising.filled(0).tokens
        opening = engine.runtime.checkpoint.tokens.call_open
        assert row[: len(opening)] == opening


def test_pins_hold_at_every_input_and_in_what_comes_out(engine: Engine) -> None:
    form = engine.runtime.forms.call("weather", SCHEMAS["weather"], layout="slots")
    pinned = [(place, token) for place, token in enumerate(form.tokens) if token is not None]
    for seed in range(10):
        _, denoising, noise = fill(engine, form, seed=seed, steps=4)
        assert 1 <= len(noise.seen) == denoising.forwards <= 4
        for row in [*(canvas[0].tolist() for canvas in noise.seen), denoising.filled(0).tokens]:
            assert all(row[place] == token for place, token in pinned)


def test_every_draft_is_valid(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["nested"]), layout="slots", width=None
    )
    noise = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=3.0, seed=1)
    denoising = Denoising(noise, Prefix((1,), None), [form], start=5, pad=0, seed=1, clock=Clock())
    drafts: list[Any] = []

    def on_step(done: int) -> None:
        if done:
            drafts.append(form.read(denoising.filled(0).tokens))

    run_steps(denoising, 5, wanted=lambda: (0,), on_step=on_step, stop=lambda: None)
    assert len(drafts) == 5
    for draft in drafts:
        jsonschema.validate(draft, SCHEMAS["nested"])


def test_what_is_sure_is_accepted_and_pins_do_not_count(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["weather"]), layout="slots", width=None
    )
    noise = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=0.5, seed=0)
    denoising = Denoising(noise, Prefix((1,), None), [form], start=5, pad=0, seed=0, clock=Clock())
    denoising.step()
    assert denoising.renoise([0])
    states = denoising.states(0, last=False)
    assert states.count("settled") == 1  # of logits that say nothing, the one nearest to sure
    assert states.count("pinned") == sum(token is not None for token in form.tokens)


def test_denoising_stops_as_soon_as_all_is_sure(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["weather"]), layout="slots", width=None
    )
    sure = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=1e4, seed=0)
    denoising = Denoising(
        sure, Prefix((1,), None), [form], start=None, pad=0, seed=0, clock=Clock()
    )
    seen: list[int] = []
    run_steps(denoising, 9, wanted=lambda: (0,), on_step=seen.append, stop=lambda: None)
    assert (denoising.forwards, seen) == (1, [0, 1])


def test_the_same_seed_gives_the_same_filling(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["list"]), layout="slots", width=None
    )
    assert fill(engine, form, seed=4, steps=3)[0] == fill(engine, form, seed=4, steps=3)[0]


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_choices_patterns_and_text(engine: Engine, layout: Layout) -> None:
    options = engine.runtime.forms.template(
        Template.choice(["red", "dark green"]), layout=layout, width=None
    )
    pattern = engine.runtime.forms.template(
        Template.regex("[0-9]{3}-[a-z]+"), layout=layout, width=None
    )
    text = engine.runtime.forms.template(Template.text(6), layout=layout, width=None)
    for seed in range(10):
        assert fill(engine, options, seed=seed)[0] in {"red", "dark green"}
        found = fill(engine, pattern, seed=seed)[0]
        assert found[:3].isdigit()
        assert found[3] == "-"
        assert found[4:].islower()
        assert isinstance(fill(engine, text, seed=seed)[0], str)


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_an_answer_is_never_blank(engine: Engine, layout: Layout) -> None:
    form = engine.runtime.forms.answer(layout=layout)
    assert form.name == "answer"
    for seed in range(30):
        text = fill(engine, form, seed=seed)[0]
        assert text[0] == text.lstrip()[0]


def test_the_choice_between_calls_is_a_distribution(engine: Engine) -> None:
    for layout in ("slots", "float"):
        form = engine.runtime.forms.choice(("add", "add_item", "remove"), layout=layout)
        _, denoising, _ = fill(engine, form, seed=3)
        options = denoising.filled(0).options
        assert len(options) == 4  # and none of them
        assert sum(options) == pytest.approx(1)


def test_a_canvas_too_short_says_how_many_tokens_it_needs(engine: Engine) -> None:
    template = Template.json_schema({"type": "string", "minLength": 40, "maxLength": 40})
    with pytest.raises(CanvasTooShort) as caught:
        engine.runtime.forms.template(template, layout="slots", width=4)
    assert caught.value.available == 4
    assert caught.value.needed > 4
    assert str(caught.value.needed) in str(caught.value)


def test_slots_shrink_before_they_fail(engine: Engine) -> None:
    template = Template.json_schema(SCHEMAS["nested"])
    wide = engine.runtime.forms.template(template, layout="slots", width=None)
    narrow = engine.runtime.forms.template(template, layout="slots", width=wide.width - 6)
    assert narrow.width <= wide.width - 6
    jsonschema.validate(fill(engine, narrow, seed=0)[0], SCHEMAS["nested"])


def test_what_cannot_be_guaranteed_is_refused_by_keyword_and_pointer(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"a/b": {"type": "string", "pattern": "a(?=b)"}},
        "required": ["a/b"],
    }
    with pytest.raises(UnsupportedSchema) as caught:
        engine.runtime.forms.call("tool", schema, layout="slots")
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/properties/a~1b")


def test_a_schema_without_any_value_is_refused(engine: Engine) -> None:
    impossible = {"type": "integer", "minimum": 3, "maximum": 2}
    with pytest.raises(UnsatisfiableSchema):
        engine.runtime.forms.template(Template.json_schema(impossible), layout="slots", width=None)
    required = {"type": "object", "properties": {"a": impossible}, "required": ["a"]}
    with pytest.raises(UnsatisfiableSchema):
        engine.runtime.forms.template(Template.json_schema(required), layout="slots", width=None)


def test_an_optional_key_that_nothing_fits_is_always_absent(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}},
    }
    form = engine.runtime.forms.template(Template.json_schema(schema), layout="slots", width=None)
    assert form.read([token or 0 for token in form.tokens]) == {}


def test_a_layout_the_checkpoint_does_not_know_is_an_error(tiny_checkpoint: Checkpoint) -> None:
    from dataclasses import replace

    stock = Engine(
        replace(tiny_checkpoint, dialect=replace(tiny_checkpoint.dialect, layouts=("float",)))
    )
    with pytest.raises(LayoutError, match="'float'"):
        stock.runtime.forms.template(Template.text(3), layout="slots", width=None)
    assert stock.runtime.forms.template(Template.text(3), layout=None, width=None).width == 16
