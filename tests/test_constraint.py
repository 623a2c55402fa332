"""Whatever the weights, the stock `generate()` emits valid values. Against the real class of
transformers, at tiny size, with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, Literal

import jsonschema
import pytest
import torch
from pydantic import BaseModel
from tiny import VOCABULARY, tiny_model, tiny_tokenizer
from transformers import LogitsProcessor, LogitsProcessorList, TopKLogitsWarper

from agentkit_engine import SchemaConstraint
from agentkit_engine.errors import (
    CanvasTooShort,
    CheckpointError,
    EngineError,
    InvalidLogProbs,
    TemplateError,
    UnsupportedSchema,
)
from agentkit_engine.lattice import Bias, best

TOKENIZER = tiny_tokenizer()
PAD, END = 0, 1
PROMPT = 12

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["celsius", "kelvin"]},
    },
    "required": ["city"],
}
DATED = {
    "type": "object",
    "properties": {
        "on": {"type": "string", "format": "date"},
        "ok": {"type": "boolean"},
        "x": {"type": "number", "exclusiveMinimum": -2, "multipleOf": 0.5},
    },
    "required": ["on"],
}
LISTS = {
    "type": "array",
    "items": {"type": "object", "properties": {"k": {"type": ["string", "null"]}}},
    "minItems": 1,
    "maxItems": 4,
}
PATTERN = {"type": "string", "pattern": "^[a-f]{2}-[0-9]{3,9}$"}
FREE_KEYS = {"type": "object", "additionalProperties": {"enum": [1, 2]}, "minProperties": 2}
SCHEMAS: list[Any] = [WEATHER, DATED, LISTS, PATTERN, FREE_KEYS]


class Trip(BaseModel):
    to: Literal["Oslo", "Lima"]
    nights: int


@cache
def model(canvas_length: int) -> Any:
    made: Any = tiny_model()
    made.config.canvas_length = canvas_length
    return made


def prompt(rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(20, VOCABULARY, (rows, PROMPT), generator=generator)


def emitted(
    *processors: LogitsProcessor,
    rows: int = 4,
    length: int = 32,
    total: int | None = None,
    seed: int = 0,
    **options: Any,
) -> list[list[int]]:
    """What `generate()` writes behind a random prompt: a row of tokens for each in the batch."""
    torch.manual_seed(seed)
    output = model(length).generate(
        prompt(rows, seed),
        max_new_tokens=total or length,
        logits_processor=LogitsProcessorList(processors),
        **options,
    )
    found: list[list[int]] = output.sequences[:, PROMPT:].tolist()
    return found


def text(row: list[int]) -> str:
    tokenizer: Any = TOKENIZER
    return str(tokenizer.decode(row, skip_special_tokens=True))


def is_valid(row: list[int], schema: Any) -> bool:
    """Whether the row is JSON that fits the schema, then the end, then nothing but padding."""
    if END not in row or {*row[row.index(END) + 1 :]} - {PAD}:
        return False
    try:
        value = json.loads(text(row))
    except ValueError:
        return False
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    judge = jsonschema.Draft202012Validator(schema, format_checker=checker)
    return bool(judge.is_valid(value))


def random_logits(rows: int, length: int, seed: int = 0, levels: int = 0) -> torch.Tensor:
    """Normal ones, or whole numbers below `levels`, which leave many ties."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, length, VOCABULARY)
    if levels:
        return torch.randint(levels, shape, generator=generator).float()
    return 5 * torch.randn(shape, generator=generator)


def settings() -> Iterator[tuple[int, Any, int, int]]:
    """(seed, schema, canvas length, steps): 20 of them."""
    lengths, steps = (32, 40, 48, 64), (1, 2, 5, 8)
    for seed, (schema, (length, count)) in enumerate(
        product(SCHEMAS, zip(lengths, steps, strict=True))
    ):
        yield seed, schema, length, count


def test_200_of_200_where_the_bare_function_writes_none() -> None:
    valid = bare = total = 0
    for seed, schema, length, steps in settings():
        constraint = SchemaConstraint(schema, TOKENIZER, canvas_length=length)
        options: dict[str, Any] = {"seed": seed, "length": length, "max_denoising_steps": steps}
        for row in emitted(constraint, rows=10, **options):
            total += 1
            valid += is_valid(row, schema)
        bare += sum(is_valid(row, schema) for row in emitted(rows=10, **options))
    assert (valid, total) == (200, 200)
    assert bare < 5


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("steps", [1, 3])
def test_what_is_longer_than_a_canvas_goes_on_in_the_next(schema: Any, steps: int) -> None:
    constraint = SchemaConstraint(schema, TOKENIZER, canvas_length=24, max_new_tokens=72)
    for seed in range(3):
        rows = emitted(constraint, length=24, total=72, seed=seed, max_denoising_steps=steps)
        assert all(len(row) == 72 and is_valid(row, schema) for row in rows)


def test_texts_really_cross_the_border_or_end_before_it() -> None:
    long, short = Bias(length=2.0), Bias(length=-50.0)
    for bias, crosses in ((long, True), (short, False)):
        constraint = SchemaConstraint(
            WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=64, bias=bias
        )
        for row in emitted(constraint, total=64, max_denoising_steps=2):
            assert is_valid(row, WEATHER)
            assert (row.index(END) >= 32) is crosses


@pytest.mark.parametrize("stops", [{"eos_token_id": END, "pad_token_id": PAD}, {}])
def test_rows_that_stop_at_other_steps_keep_their_own_draft(stops: dict[str, int]) -> None:
    # stable for one step is enough: rows finish one by one, and their older drafts are emitted
    stops |= {"max_denoising_steps": 8, "confidence_threshold": 100.0}  # type: ignore[dict-item]
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=96)
    for seed in range(3):
        rows = emitted(constraint, rows=6, total=96, seed=seed, **stops)
        assert all(is_valid(row, WEATHER) for row in rows)


def test_canvases_behind_the_end_are_padding() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    for row in emitted(constraint, total=96, max_denoising_steps=2):
        assert is_valid(row, WEATHER)
        assert row[32:] == [PAD] * 64


@pytest.mark.parametrize("levels", [0, 1, 3], ids=["distinct", "all equal", "many ties"])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_argmax_is_the_best_valid_canvas(schema: Any, levels: int) -> None:
    constraint = SchemaConstraint(schema, TOKENIZER, canvas_length=32)
    logits = random_logits(2, 32, levels=levels)
    kept = logits.clone()
    led = constraint(prompt(2), logits, cur_step=4)
    assert torch.equal(logits, kept)
    assert led.shape == logits.shape
    for row, scores in zip(led, logits, strict=True):
        path = best(scores, constraint._automaton).tokens
        assert torch.equal(row.argmax(-1), path)
        assert torch.equal((row / 0.37).bfloat16().argmax(-1), path)
        assert is_valid(path.tolist(), schema)


def test_a_token_of_no_valid_canvas_has_no_chance() -> None:
    constraint = SchemaConstraint({"enum": ["ab", "cd"]}, TOKENIZER, canvas_length=32)
    led = constraint(prompt(1), random_logits(1, 32), cur_step=1)[0]
    possible = [text([token]) for token in led[0].isfinite().nonzero().flatten().tolist()]
    assert possible == ['"']
    assert led[-1].isfinite().nonzero().flatten().tolist() in ([PAD], [PAD, END])


def test_max_marginals_tell_what_a_token_costs() -> None:
    constraint = SchemaConstraint({"enum": [1, 2, 3]}, TOKENIZER, canvas_length=2)
    logits = random_logits(1, 2)
    led = constraint(prompt(1), logits, cur_step=1)[0, 0]
    digits = TOKENIZER.convert_tokens_to_ids(["1", "2", "3"])
    expected = logits[0, 0, digits] - logits[0, 0, digits].max()
    torch.testing.assert_close(led[digits], expected)


def test_rows_know_nothing_of_each_other() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    logits = random_logits(3, 32)
    together = constraint(prompt(3), logits, cur_step=1)
    for row in range(3):
        alone = constraint(prompt(3)[row : row + 1], logits[row : row + 1], cur_step=1)
        assert torch.equal(alone[0], together[row])


def test_one_constraint_serves_call_after_call() -> None:
    def made() -> SchemaConstraint:
        return SchemaConstraint(LISTS, TOKENIZER, canvas_length=24, max_new_tokens=48)

    used = made()
    for seed, rows in ((0, 3), (0, 3), (1, 2), (2, 2)):
        options: dict[str, Any] = {"rows": rows, "length": 24, "total": 48, "seed": seed}
        options["max_denoising_steps"] = 1 + seed
        assert emitted(used, **options) == emitted(made(), **options)


def test_a_call_that_was_broken_off_leaves_nothing_behind() -> None:
    class Broken(LogitsProcessor):
        calls = 0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return scores

    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=64)
    options: dict[str, Any] = {"total": 64, "max_denoising_steps": 3}
    with pytest.raises(KeyboardInterrupt):
        emitted(constraint, Broken(), **options)
    fresh = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=64)
    assert emitted(constraint, **options) == emitted(fresh, **options)


def test_a_prompt_that_grew_by_a_whole_canvas_is_no_next_canvas() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    logits = random_logits(1, 32)
    first = constraint(prompt(1), logits, cur_step=1)
    longer = torch.cat([prompt(1), prompt(1, 1), prompt(1, 2), prompt(1, 3)[:, :8]], dim=1)
    assert torch.equal(constraint(longer, logits, cur_step=1), first)


def test_what_earlier_processors_rule_out_is_a_last_resort() -> None:
    class Nothing(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return torch.full_like(scores, -torch.inf)

    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    for before in (Nothing(), TopKLogitsWarper(1)):
        rows = emitted(before, constraint, max_denoising_steps=2)
        assert all(is_valid(row, WEATHER) for row in rows)


def test_later_processors_that_keep_the_argmax_do_no_harm() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    rows = emitted(constraint, TopKLogitsWarper(5), max_denoising_steps=3)
    assert all(is_valid(row, WEATHER) for row in rows)


def test_banned_and_preferred_tokens() -> None:
    tokenizer: Any = TOKENIZER
    wanted, banned = tokenizer.convert_tokens_to_ids(["P", "d"])
    bias = Bias(banned=frozenset({banned}), preferred={wanted: 50.0})
    constraint = SchemaConstraint({"type": "string"}, TOKENIZER, canvas_length=32, bias=bias)
    path = constraint(prompt(1), random_logits(1, 32), cur_step=1)[0].argmax(-1).tolist()
    assert wanted in path
    assert banned not in path
    quote = tokenizer.convert_tokens_to_ids('"')
    with pytest.raises(TemplateError, match="ban fewer tokens"):
        SchemaConstraint(
            {"const": "a"}, TOKENIZER, canvas_length=32, bias=Bias(banned=frozenset({quote}))
        )
    with pytest.raises(TemplateError, match="give them a negative preference instead"):
        SchemaConstraint(
            WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=64, bias=Bias(banned=bias.banned)
        )


@pytest.mark.parametrize("syntax", ["json", "spaced", "gemma"])
@pytest.mark.parametrize("schema", [WEATHER, LISTS, FREE_KEYS])
def test_values_are_read_in_every_syntax(schema: Any, syntax: str) -> None:
    constraint = SchemaConstraint(schema, TOKENIZER, syntax=syntax, canvas_length=48)
    for row in emitted(constraint, length=48, max_denoising_steps=2):
        value = constraint.read(row)
        jsonschema.validate(value, schema)
        assert constraint.read(torch.tensor(row)) == value
        assert syntax == "gemma" or json.loads(text(row)) == value


def test_a_type_stands_for_its_schema() -> None:
    constraint = SchemaConstraint(Trip, TOKENIZER, canvas_length=32)
    for row in emitted(constraint, max_denoising_steps=2):
        assert Trip.model_validate_json(text(row)) == Trip(**constraint.read(row))


def test_keys_that_nobody_named_are_not_repeated() -> None:
    # equal logits everywhere would write one key again and again
    constraint = SchemaConstraint(FREE_KEYS, TOKENIZER, canvas_length=32)
    led = constraint(prompt(1), random_logits(1, 32, levels=1), cur_step=1)
    keys = json.loads(text(led[0].argmax(-1).tolist()), object_pairs_hook=lambda pairs: pairs)
    assert len(dict(keys)) == len(keys) >= 2


def test_what_can_not_fit_is_told_before_any_forward() -> None:
    with pytest.raises(CanvasTooShort) as caught:
        SchemaConstraint({"const": "Lagos " * 40}, TOKENIZER, canvas_length=32)
    assert caught.value.available == 32
    enough = SchemaConstraint(
        {"const": "Lagos " * 40},
        TOKENIZER,
        canvas_length=32,
        max_new_tokens=caught.value.needed,
    )
    rows = emitted(enough, total=caught.value.needed, max_denoising_steps=1)
    assert [enough.read(row) for row in rows] == ["Lagos " * 40] * 4


def test_a_value_that_was_cut_off_is_told() -> None:
    longest = Bias(length=2.0)
    constraint = SchemaConstraint(
        WEATHER, TOKENIZER, canvas_length=32, max_new_tokens=64, bias=longest
    )
    row = emitted(constraint, total=32, max_denoising_steps=1)[0]
    with pytest.raises(TemplateError, match=r"cut off after 32 tokens.*max_new_tokens=64"):
        constraint.read(row)


def test_another_canvas_than_was_said_is_told() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER)
    assert (constraint.canvas_length, constraint.max_new_tokens) == (256, 256)
    with pytest.raises(EngineError, match=r"canvas_length=model\.config\.canvas_length"):
        emitted(constraint, max_denoising_steps=1)
    with pytest.raises(EngineError, match="SchemaConstraint of a diffusion model"):
        constraint(prompt(1), torch.zeros(1, VOCABULARY), cur_step=1)


def test_broken_logits_are_told() -> None:
    constraint = SchemaConstraint(WEATHER, TOKENIZER, canvas_length=32)
    logits = random_logits(1, 32)
    logits[0, 3] = torch.nan
    with pytest.raises(InvalidLogProbs):
        constraint(prompt(1), logits, cur_step=1)


def test_wrong_tokens_and_schemas_are_told() -> None:
    with pytest.raises(CheckpointError, match=r"no token '<eot>'; name another by end=\.\.\."):
        SchemaConstraint(WEATHER, TOKENIZER, end="<eot>")
    with pytest.raises(TemplateError, match="use a special token"):
        SchemaConstraint(WEATHER, TOKENIZER, end="a")
    with pytest.raises(TemplateError, match=r"pass the parsed JSON"):
        SchemaConstraint("{}", TOKENIZER)
    with pytest.raises(UnsupportedSchema):
        SchemaConstraint({"type": "string", "pattern": "(?=x)"}, TOKENIZER)


def test_end_and_pad_are_found_or_named() -> None:
    other = tiny_tokenizer()
    named = SchemaConstraint(WEATHER, other, canvas_length=32, end="<unk>", pad=6)
    row = named(prompt(1), random_logits(1, 32), cur_step=1)[0].argmax(-1).tolist()
    assert {*row[row.index(3) + 1 :]} <= {6}
    assert "city" in named.read(row)
    other.pad_token = None
    with pytest.raises(CheckpointError, match=r"no token for 'pad'; name one by pad=\.\.\."):
        SchemaConstraint(WEATHER, other)


def test_as_its_documentation_shows() -> None:
    schema, tokenizer, inputs = WEATHER, TOKENIZER, {"input_ids": prompt(1)}
    diffusion = model(48)
    constraint = SchemaConstraint(schema, tokenizer, canvas_length=diffusion.config.canvas_length)
    output = diffusion.generate(
        **inputs,
        max_new_tokens=constraint.max_new_tokens,
        logits_processor=LogitsProcessorList([constraint]),
    )
    value = constraint.read(output.sequences[0, inputs["input_ids"].shape[1] :])
    jsonschema.validate(value, schema)
