"""The lattice: exactly the best valid filling, whatever the model says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from automata import FREE
from jsonschema import Draft202012Validator
from lattices import AUTOMATA, FILLER, MARKER, TINY, random_log_probs
from vocabularies import ABSENT, END, KINDS, PAD, Kind, slot, special, tiny, vocabulary, written

from agentkit_engine.errors import CanvasTooShort, EngineError, InvalidLogProbs, TemplateError
from agentkit_engine.grammar import (
    compile_choice,
    compile_regex,
    compile_schema,
    compile_text,
)
from agentkit_engine.grammar.token.lift import lift
from agentkit_engine.lattice import best, entropies, marginals
from agentkit_engine.syntax import GEMMA, JSON, Syntax

SCHEMAS: dict[str, Any] = {
    "string": {"type": "string"},
    "short string": {"type": "string", "minLength": 2, "maxLength": 12},
    "pattern": {"type": "string", "pattern": r"^\+[0-9]{7,12}$"},
    "date-time": {"type": "string", "format": "date-time"},
    "email": {"type": "string", "format": "email"},
    "integer": {"type": "integer", "minimum": -20, "maximum": 1200},
    "number": {"type": "number", "exclusiveMinimum": 0, "maximum": 99.5},
    "enum": {"enum": ["low", "normal", "high", 3, None, {"deep": ["é", 1.5]}]},
    "nullable": {"type": ["string", "null"], "maxLength": 8},
    "list": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    "any": {},
    "flat": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "who": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "integer"}]},
            "two words": {"type": "boolean"},
            "at": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                    "required": ["x", "y"],
                },
            },
        },
        "required": ["at"],
    },
    "tree": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "v": {"type": "integer"},
                    "c": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
                },
                "required": ["v"],
            }
        },
        "$ref": "#/$defs/tree",
    },
}
FILLINGS = 20


@pytest.mark.parametrize("syntax", [JSON, GEMMA], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_random_fillings_are_valid(name: str, kind: Kind, syntax: Syntax) -> None:
    """14 schemas x 2 tokenizers x 2 syntaxes x 20 canvases of pure noise: 1,120 fillings."""
    schema, found = SCHEMAS[name], vocabulary(kind)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    bare = compile_schema(schema, vocabulary=found, syntax=syntax)
    ended = (slot(bare, kind), bare.close(special(kind, END), special(kind, PAD)))
    noise = torch.Generator().manual_seed(len(name))
    for number in range(FILLINGS):
        automaton = ended[number % 2]
        length = automaton.min_tokens + 3 * (number // 2)
        logits = torch.randn(length, found.size, generator=noise) * (1 + 4 * (number % 3))
        filling = best(logits.log_softmax(-1), automaton).tokens.tolist()
        assert automaton.accepts(filling)
        value = syntax.loads(written(found, filling))
        validator.validate(value)


def test_pins_hold_while_a_canvas_settles() -> None:
    """As in denoising: every step pins some more of the filling, under fresh logits."""
    kind: Kind = "byte-level"
    automaton = slot(compile_schema(SCHEMAS["nested"], vocabulary=vocabulary(kind)), kind)
    length = automaton.min_tokens + 10
    pins: dict[int, int] = {}
    for step in range(6):
        log_probs = random_log_probs(length, vocabulary(kind).size, seed=step)
        filling = best(log_probs, automaton, pins=pins).tokens.tolist()
        assert automaton.accepts(filling)
        assert all(filling[at] == token for at, token in pins.items())
        pins |= {at: filling[at] for at in range(step, length, 7)}


def test_a_pin_outranks_the_other_tokens_of_its_class() -> None:
    automaton = compile_regex("[ab]*", vocabulary=tiny(b"a", b"b"))
    log_probs = torch.tensor([[0.0, -50.0], [0.0, -math.inf]])
    assert best(log_probs, automaton, pins={0: 1, 1: 1}).tokens.tolist() == [1, 1]


def test_pinned_positions_are_certain() -> None:
    automaton = AUTOMATA[7]
    log_probs = random_log_probs(4, 7)
    probabilities = marginals(log_probs, automaton, pins={0: 0})
    assert probabilities[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert entropies(log_probs, automaton, pins={0: 0})[0] == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_marginals_are_distributions(name: str) -> None:
    kind: Kind = "byte-level"
    automaton = slot(compile_schema(SCHEMAS[name], vocabulary=vocabulary(kind)), kind)
    log_probs = random_log_probs(automaton.min_tokens + 6, vocabulary(kind).size)
    probabilities = marginals(log_probs, automaton)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(log_probs)))
    assert not probabilities[:, torch.from_numpy(automaton.class_of < 0)].any()
    assert bool((entropies(log_probs, automaton) >= 0).all())


def test_of_equal_fillings_the_lowest_tokens_win() -> None:
    automaton = compile_regex("a?[abc]*", vocabulary=tiny(b"c", b"b", b"a", b"b"))
    assert best(torch.zeros(3, 4), automaton).tokens.tolist() == [0, 0, 0]
    log_probs = torch.tensor([[-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert best(log_probs, automaton).tokens.tolist() == [1, 0]


def test_a_needed_but_improbable_token_does_not_underflow() -> None:
    automaton = compile_regex("ab", vocabulary=tiny(b"a", b"b"))
    log_probs = torch.tensor([[0.0, -1e4], [0.0, -1e4]])
    answer = best(log_probs, automaton)
    assert answer.tokens.tolist() == [0, 1]
    assert answer.log_partition == answer.score == -1e4


def test_masked_rows_do_not_matter_while_something_fits() -> None:
    automaton = compile_regex("a*", vocabulary=tiny(b"a", b"b"))
    log_probs = torch.tensor([[-3.0, -math.inf], [-math.inf, -math.inf]])
    assert best(log_probs, automaton, pins={1: 0}).score == -3.0
    with pytest.raises(TemplateError, match="probability 0"):
        best(log_probs, automaton)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_type(dtype: torch.dtype) -> None:
    automaton = AUTOMATA[6]
    log_probs = random_log_probs(5, 7).to(dtype)
    assert automaton.accepts(best(log_probs, automaton).tokens.tolist())
    assert marginals(log_probs, automaton).dtype == torch.promote_types(dtype, torch.float32)


def test_padding_of_the_vocabulary_is_ignored() -> None:
    automaton = AUTOMATA[0]
    log_probs = torch.full((2, 12), 5.0)
    log_probs[:, :7] = random_log_probs(2, 7)
    assert best(log_probs, automaton).tokens.tolist() == best(
        log_probs[:, :7], automaton
    ).tokens.tolist()  # fmt: skip
    assert not marginals(log_probs, automaton)[:, 7:].any()


def test_an_empty_canvas() -> None:
    automaton = compile_regex("a*", vocabulary=tiny(b"a"))
    answer = best(torch.zeros(0, 1), automaton)
    assert (answer.tokens.tolist(), answer.score, answer.log_partition) == ([], 0.0, 0.0)
    assert marginals(torch.zeros(0, 1), automaton).shape == (0, 1)
    only_empty = compile_choice([""], vocabulary=tiny(b"a"))
    assert best(torch.zeros(0, 1), only_empty).tokens.tolist() == []
    slot_form = compile_choice([""], vocabulary=tiny(b"a", None)).fill(1)
    assert best(torch.zeros(2, 2), slot_form).tokens.tolist() == [1, 1]


def test_a_canvas_too_short_says_what_it_needs() -> None:
    automaton = compile_choice(["abab"], vocabulary=TINY).close(MARKER, FILLER)
    for run in (best, marginals):
        with pytest.raises(CanvasTooShort) as caught:
            run(torch.zeros(2, 7), automaton)
        assert (caught.value.needed, caught.value.available) == (3, 2)
        assert "3 tokens" in str(caught.value)
    assert best(torch.zeros(3, 7), automaton).tokens.tolist() == [2, 2, MARKER]


def test_a_canvas_too_long_without_a_filler() -> None:
    with pytest.raises(TemplateError, match="exactly 5 tokens"):
        best(torch.zeros(5, 7), compile_choice(["abab"], vocabulary=TINY))


@pytest.mark.parametrize(
    ("pins", "named"),
    [
        ({4: 0}, "position 4 is outside"),
        ({-1: 0}, "position -1 is outside"),
        ({0: 7}, "token 7, pinned at position 0, never occurs"),
        ({0: 6}, "token 6, pinned at position 0, never occurs"),
        ({0: 1}, "token 1 pinned at position 0 fits no"),
        ({0: 0, 1: 0}, "token 0 pinned at position 1 fits no"),
        ({2: FILLER, 3: 1}, "token 1 pinned at position 3 fits no"),
    ],
)
def test_impossible_pins_are_named(pins: dict[int, int], named: str) -> None:
    automaton = compile_choice(["abab"], vocabulary=TINY).fill(FILLER)
    with pytest.raises(TemplateError, match=named):
        best(torch.zeros(4, 7), automaton, pins=pins)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("large", [False, True])
def test_broken_log_probs_are_refused(
    monkeypatch: pytest.MonkeyPatch, value: float, *, large: bool
) -> None:
    if large:
        monkeypatch.setattr("agentkit_engine.lattice.reduction._SMALL", 0)
    log_probs = torch.zeros(3, 7)
    log_probs[1, FILLER] = value
    for run in (best, marginals):
        with pytest.raises(InvalidLogProbs, match=r"NaN or \+inf") as caught:
            run(log_probs, AUTOMATA[6])
        assert isinstance(caught.value, EngineError)
        assert isinstance(caught.value, ValueError)


def test_what_is_not_a_float_is_refused() -> None:
    with pytest.raises(InvalidLogProbs, match="needs floats"):
        best(torch.zeros(3, 7, dtype=torch.int64), AUTOMATA[6])


@pytest.mark.parametrize("shape", [(3,), (3, 6), (1, 3, 7)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidLogProbs, match="shape"):
        best(torch.zeros(shape), AUTOMATA[6])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_writes_whole_characters(kind: Kind) -> None:
    """Random byte tokens end up as UTF-8 also where characters are split over them."""
    automaton = compile_text(vocabulary=vocabulary(kind), min_length=1)
    single = torch.tensor([len(text or b"") == 1 for text in vocabulary(kind).token_bytes])
    for seed in range(30):
        log_probs = random_log_probs(9, vocabulary(kind).size, seed=seed)
        log_probs = log_probs.masked_fill(~single, -math.inf)
        text = written(vocabulary(kind), best(log_probs, automaton).tokens.tolist())
        assert len(text) == 9
        text.decode()


def test_an_absent_key_is_the_marker_and_nothing_else() -> None:
    kind: Kind = "byte-level"
    absent = special(kind, ABSENT)
    bare = compile_schema({"type": "integer"}, vocabulary=vocabulary(kind))
    automaton = bare.fill(special(kind, "<|fill|>"), marker=absent)
    log_probs = random_log_probs(4, vocabulary(kind).size)
    log_probs[0, absent] = 5.0
    answer = best(log_probs, automaton)
    assert answer.tokens.tolist() == [absent, *[special(kind, "<|fill|>")] * 3]
    chance = float(marginals(log_probs, automaton)[0, absent])
    assert math.log(chance) == pytest.approx(answer.log_posterior, abs=1e-5)


def test_a_filling_that_repeats_a_key_gives_way_to_a_strict_one() -> None:
    found = tiny(b'{"', b"a", b"b", b'":1', b',"', b"}", None)
    automaton = lift(FREE, found).fill(6)
    log_probs = torch.zeros(7, 7)
    log_probs[:, 1] = 1.0
    answer = best(log_probs, automaton)
    assert answer.tokens.tolist() == [0, 1, 3, 4, 2, 3, 5]
    assert automaton.accepts(answer.tokens.tolist())
    assert answer.log_posterior < 0
    log_probs[1, 2] = 2.0
    assert best(log_probs, automaton).tokens.tolist() == [0, 2, 3, 4, 1, 3, 5]
    with pytest.raises(TemplateError, match="token 2 pinned at position 1"):
        best(log_probs, automaton, pins={1: 2, 4: 2})
    with pytest.raises(TemplateError, match="nothing in the grammar"):
        best(log_probs, replace(automaton, strict=None), pins={1: 1, 4: 1})
