"""Forms: templates, calls and choices compiled for a checkpoint, filled with the worst of logits.

The denoiser gives random logits, so whatever comes out is the work of pins, automata and lattice.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import torch
from fillings import RandomDenoiser, denoising_of, fill, random_denoiser, run

from agentkit_engine import (
    CanvasTooShort,
    Engine,
    LayoutError,
    Template,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.filling.course import Held
from agentkit_engine.layouts.maker import Layout
from agentkit_engine.scheduling.work import run_alone

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
        assert 1 <= len(noise.seen) == denoising.steps <= 4
        for row in [*(canvas[0].tolist() for canvas in noise.seen), denoising.filled(0).tokens]:
            assert all(row[place] == token for place, token in pinned)


def test_every_draft_is_valid(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["nested"]), layout="slots", width=None
    )
    denoising = denoising_of(engine, [form], steps=5)
    drafts: list[Any] = []

    def on_step(done: int) -> None:
        if done:
            drafts.append(form.read(denoising.filled(0).tokens))

    run(denoising, random_denoiser(engine, 1), on_step=on_step)
    assert len(drafts) == 5
    for draft in drafts:
        jsonschema.validate(draft, SCHEMAS["nested"])


def test_what_is_sure_is_accepted_and_pins_do_not_count(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["weather"]), layout="slots", width=None
    )
    denoising = denoising_of(engine, [form], steps=2)
    noise = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=0.5, seed=0)
    run_alone(denoising.step(), noise)
    entropies = denoising.filled(0).entropies
    free = [place for place, token in enumerate(form.tokens) if token is None]
    assert all(entropies[place] == 0 for place in range(form.width) if place not in free)
    assert denoising.renoise([0])
    settled = [k for k, state in enumerate(denoising.states(0, last=False)) if state == "settled"]
    spent = sorted(entropies[place] for place in settled)
    assert 1 <= len(settled) < len(free)
    assert sum(spent[:-1]) <= 0.1  # by rising entropy, those before the last within the bound
    assert max(spent) <= min(entropies[place] for place in free if place not in settled)
    shown = denoising.canvas(0)
    assert all(shown[place] == denoising.filled(0).tokens[place] for place in settled)


def test_denoising_stops_as_soon_as_all_is_sure(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["weather"]), layout="slots", width=None
    )
    sure = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=1e4, seed=0)
    for steps in (9, "auto"):
        denoising = denoising_of(engine, [form], steps=steps)
        seen: list[int] = []
        run(denoising, sure, on_step=seen.append)
        assert (denoising.steps, seen) == (1, [0, 1])


def test_a_draft_that_stays_the_same_and_is_nearly_certain_is_final(engine: Engine) -> None:
    """Many positions, each nearly certain: together they pass the bound, and yet nothing moves."""
    form = engine.runtime.forms.template(Template.text(40), layout="slots", width=None)
    size = engine.runtime.denoiser.vocab_size
    letter = engine.runtime.checkpoint.tokenizer.encode("a", add_special_tokens=False)[0]

    class Certain(RandomDenoiser):
        def denoise(self, prefix: Any, canvas: torch.Tensor, **rest: Any) -> torch.Tensor:
            super().denoise(prefix, canvas, **rest)
            logits = torch.zeros(*canvas.shape, size)
            logits[..., letter] = 13.7  # about 0.004 nats a position
            return logits

    denoising = denoising_of(engine, [form], steps="auto")
    run(denoising, Certain(size, spread=0.0, seed=0))
    assert denoising.steps == 2


def test_drafts_at_a_temperature_are_samples(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.choice(["red", "green", "blue"]), layout="slots", width=None
    )
    flat = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=0.0, seed=0)

    def drawn(seed: int, temperature: float | tuple[float, float]) -> str:
        denoising = denoising_of(engine, [form], seed=seed, temperature=temperature)
        run(denoising, flat)
        return str(form.read(denoising.filled(0).tokens))

    assert len({drawn(seed, 1.0) for seed in range(20)}) == 3
    assert len({drawn(seed, 0.0) for seed in range(5)}) == 1
    assert drawn(7, (0.8, 0.4)) == drawn(7, (0.8, 0.4))


def test_pins_hold_against_the_argmax(engine: Engine) -> None:
    """Canvas [10, 11, 12], pinned, and a model that wants 40 at the first position."""

    class Stubborn(RandomDenoiser):
        def denoise(self, prefix: Any, canvas: torch.Tensor, **rest: Any) -> torch.Tensor:
            logits = super().denoise(prefix, canvas, **rest)
            logits[:, 0, 40] = 1e4
            return logits

    form = engine.runtime.forms.template(Template.text(4), layout="slots", width=None)
    form = replace(form, tokens=(10, 11, 12, *form.tokens[3:]))
    region = replace(form.regions[0], start=3)
    form = replace(form, regions=(region,))
    denoising = denoising_of(engine, [form], steps=3)
    stubborn = Stubborn(engine.runtime.denoiser.vocab_size, spread=1.0, seed=0)
    run(denoising, stubborn)
    assert denoising.filled(0).tokens[:3] == (10, 11, 12)
    assert all(canvas[0, :3].tolist() == [10, 11, 12] for canvas in stubborn.seen)


def test_held_tokens_hold_as_pins_do(engine: Engine) -> None:
    form = engine.runtime.forms.template(Template.text(6), layout="slots", width=None)
    letters = engine.runtime.checkpoint.tokenizer.encode("abc", add_special_tokens=False)
    pins = dict(enumerate(letters))
    for seed in range(5):
        denoising = denoising_of(engine, [form], steps=4, seed=seed)
        assert denoising.hold(0, (Held(pins),))
        noise = random_denoiser(engine, seed)
        run(denoising, noise)
        for row in [*(canvas[0].tolist() for canvas in noise.seen), denoising.filled(0).tokens]:
            assert list(row[: len(letters)]) == letters


def test_the_same_seed_gives_the_same_filling(engine: Engine) -> None:
    form = engine.runtime.forms.template(
        Template.json_schema(SCHEMAS["list"]), layout="slots", width=None
    )
    assert fill(engine, form, seed=4, steps=3)[0] == fill(engine, form, seed=4, steps=3)[0]


def test_any_whole_number_is_a_seed(engine: Engine) -> None:
    form = engine.runtime.forms.template(Template.text(6), layout="slots", width=None)
    noise = random_denoiser(engine, 0)
    for seed in (-(2**70), -1, 2**63, 10**30):
        run(denoising_of(engine, [form], seed=seed), noise)


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_patterns_that_only_the_grammar_reads_pass_the_gate(engine: Engine, layout: Layout) -> None:
    schema = {"type": "string", "pattern": "^\\p{Lu}{2}$"}
    form = engine.runtime.forms.template(Template.json_schema(schema), layout=layout, width=None)
    for seed in range(5):
        found = fill(engine, form, seed=seed)[0]
        assert len(found) == 2
        assert found.isupper()


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_a_reference_that_decides_on_nothing_passes_the_gate(
    engine: Engine, layout: Layout
) -> None:
    template = Template.json_schema({"type": "integer", "if": {"$ref": "#"}})
    form = engine.runtime.forms.template(template, layout=layout, width=None)
    assert isinstance(fill(engine, form, seed=0)[0], int)


@pytest.mark.parametrize("layout", ["slots", "float"])
@pytest.mark.parametrize("most", [1, 4, 20, 100])
def test_text_is_as_long_as_it_may_get(engine: Engine, layout: Layout, most: int) -> None:
    for template in (Template.text(most), Template.regex("[a-z ]*", max_tokens=most)):
        form = engine.runtime.forms.template(template, layout=layout, width=None)
        (region,) = form.values
        assert region.room == most


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
        (shares,) = denoising.filled(0).shares
        assert len(shares) == 4  # and none of them
        assert sum(shares) == pytest.approx(1)


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
    stock = Engine(
        replace(tiny_checkpoint, dialect=replace(tiny_checkpoint.dialect, layouts=("float",)))
    )
    with pytest.raises(LayoutError, match="'float'"):
        stock.runtime.forms.template(Template.text(3), layout="slots", width=None)
    assert stock.runtime.forms.template(Template.text(3), layout=None, width=None).width == 16
