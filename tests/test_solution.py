"""Solutions: a row's best filling, its runners-up and how sure it is, against trying all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import agrees, course, every_row, noise, tiny_schemas

from agentkit_engine import Engine, Template
from agentkit_engine.errors import InvalidLogProbs
from agentkit_engine.filling.course import Held
from agentkit_engine.filling.solution import confidences, fillings, runners_up, solve
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Choice, Form, Region

SCHEMAS = range(len(tiny_schemas()))
SEEDS = st.integers(0, 2**31)
SPREADS = st.sampled_from([0.2, 1.0, 4.0])


@pytest.fixture(scope="module")
def known(engine: Engine) -> list[tuple[Form, list[tuple[int, ...]]]]:
    """Forms and all of their rows."""
    forms = [engine.runtime.forms.call("go", schema, layout="slots") for schema in tiny_schemas()]
    return [(form, every_row(form)) for form in forms]


def regions_of(form: Form) -> list[Region]:
    return [region for region in form.regions if isinstance(region, Region)]


def worth(logits: torch.Tensor, form: Form, row: Sequence[int], bias: Bias | None = None) -> float:
    """The sum of what is at free positions, with the bias."""
    return sum(worth_in(logits, region, row, bias) for region in regions_of(form))


def worth_in(
    logits: torch.Tensor, region: Region, row: Sequence[int], bias: Bias | None = None
) -> float:
    bias = bias or Bias()
    found = 0.0
    for place in range(region.start, region.stop):
        token = row[place]
        if token in bias.banned:
            return -math.inf
        text = token not in (region.padding, region.absent)
        found += float(logits[place, token]) + bias.length * text + bias.preferred.get(token, 0.0)
    return found


@given(number=st.sampled_from(SCHEMAS), seed=SEEDS, spread=SPREADS, count=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_fillings_are_the_best_rows_in_order(
    known: list[tuple[Form, list[tuple[int, ...]]]],
    number: int,
    seed: int,
    spread: float,
    count: int,
) -> None:
    form, rows = known[number]
    logits = noise(form, seed, spread)
    ranked = sorted(rows, key=lambda row: -worth(logits, form, row))[:count]
    filled = solve(logits, form)
    assert filled.tokens == ranked[0]
    assert filled.score == pytest.approx(worth(logits, form, ranked[0]), abs=1e-4)
    found = list(fillings(filled, form, count))
    best = worth(logits, form, ranked[0])
    assert [row for _, row in found] == ranked
    assert [score for score, _ in found] == pytest.approx(
        [worth(logits, form, row) - best for row in ranked], abs=1e-4
    )


@given(number=st.sampled_from(SCHEMAS), seed=SEEDS, spread=SPREADS, biased=st.booleans())
@settings(max_examples=40, deadline=None)
def test_confidences_are_exact_posteriors(
    engine: Engine,
    known: list[tuple[Form, list[tuple[int, ...]]]],
    number: int,
    seed: int,
    spread: float,
    biased: bool,
) -> None:
    """Of values: their fillings by all tokenisations are summed."""
    vocabulary = engine.runtime.vocabulary
    form, rows = known[number]
    logits = noise(form, seed, spread)
    bias = Bias(length=0.7, preferred={rows[0][-2]: 1.0, 30: -1.0}) if biased else None
    filled = solve(logits, form, bias=bias)
    for row in (filled.tokens, rows[seed % len(rows)]):
        found = confidences(filled, form, row, vocabulary)
        assert set(found) == {region.pointer for region in regions_of(form)}
        for region in regions_of(form):
            inside = {one[region.start : region.stop]: one for one in rows}
            weights = {
                one: math.exp(worth_in(logits, region, one, bias)) for one in inside.values()
            }
            value = said(vocabulary, region, row)
            own = [nats for one, nats in weights.items() if said(vocabulary, region, one) == value]
            share = sum(own) / sum(weights.values())
            assert found[region.pointer] == pytest.approx(share, rel=1e-3)


@given(number=st.sampled_from(SCHEMAS), seed=SEEDS, spread=SPREADS)
@settings(max_examples=40, deadline=None)
def test_a_runner_up_is_the_likeliest_other_value(
    engine: Engine,
    known: list[tuple[Form, list[tuple[int, ...]]]],
    number: int,
    seed: int,
    spread: float,
) -> None:
    vocabulary = engine.runtime.vocabulary
    form, rows = known[number]
    logits = noise(form, seed, spread)
    filled = solve(logits, form)
    found = runners_up(filled, form, filled.tokens, vocabulary)
    value = form.read(filled.tokens)
    for region in regions_of(form):
        others = [
            row
            for row in rows
            if row[: region.start] == filled.tokens[: region.start]
            and row[region.stop :] == filled.tokens[region.stop :]
        ]
        ranked = sorted(others, key=lambda row: -worth_in(logits, region, row))
        likeliest = next(row for row in ranked if form.read(row) != value)
        if ranked.index(likeliest) >= 4:
            assert region.pointer not in found
            continue
        other = found[region.pointer]
        assert other.value == at(form.read(likeliest), region.pointer)
        share = confidences(filled, form, likeliest, vocabulary)[region.pointer]
        assert other.probability == pytest.approx(share, rel=1e-3)


def said(vocabulary: Vocabulary, region: Region, row: Sequence[int]) -> bytes | None:
    """The text of a region's value; None where it is absent."""
    tokens = region.said(row)
    known = vocabulary.token_bytes
    return None if tokens is None else b"".join(known[token] or b"" for token in tokens)


def at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        value = value.get(part) if value is not None else None
    return value


def test_an_absent_key_is_another_value_than_null(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [None]}}}
    form = engine.runtime.forms.call("go", schema, layout="slots")
    filled = solve(noise(form, 1), form)
    assert set(runners_up(filled, form, filled.tokens, engine.runtime.vocabulary)) == {"/a"}


def test_a_truth_is_another_value_than_its_number(engine: Engine) -> None:
    for schema in ({"enum": [1, True]}, {"enum": [[0], [False]]}):
        form = engine.runtime.forms.call("go", schema, layout="slots")
        filled = solve(noise(form, 1), form)
        taken = form.read(filled.tokens)
        found = runners_up(filled, form, filled.tokens, engine.runtime.vocabulary)
        assert repr(found[""].value) in map(repr, schema["enum"])
        assert repr(found[""].value) != repr(taken)


def test_a_row_without_room_for_a_value_is_told_of_as_well(engine: Engine) -> None:
    session = engine.session()
    filling = session.infill_sync(Template.regex("a*"), width=1, layout="slots")
    assert (filling.value, dict(filling.posterior)) == ("", {"": 1.0})


@given(number=st.sampled_from(SCHEMAS), seed=SEEDS, share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_of_what_is_held_the_best_of_all_cases_is_taken(
    known: list[tuple[Form, list[tuple[int, ...]]]], number: int, seed: int, share: float
) -> None:
    form, rows = known[number]
    logits = noise(form, seed, 2.0)
    said = course(form).said(rows[seed % len(rows)])
    held = course(form).held(said[: int(share * len(said))])
    left = [row for row in rows if any(agrees(form, row, case) for case in held)]
    log_probs = logits.log_softmax(-1)
    best = max(left, key=lambda row: worth(log_probs, form, row))
    filled = solve(logits, form, held)
    assert worth(log_probs, form, filled.tokens) == pytest.approx(worth(log_probs, form, best))
    assert filled.tokens in left


def test_pins_are_sure(known: list[tuple[Form, list[tuple[int, ...]]]]) -> None:
    form, rows = known[0]
    free = {place for region in regions_of(form) for place in range(region.start, region.stop)}
    pins = {place: rows[0][place] for place in sorted(free)[:1]}
    filled = solve(noise(form, 4), form, (Held(pins),))
    entropies = list(filled.entropies)
    assert len(entropies) == form.width
    for place, entropy in enumerate(entropies):
        assert entropy >= 0
        if place not in free or place in pins:
            assert entropy == 0


@given(seed=SEEDS, temperature=st.sampled_from([0.3, 1.0, 5.0]))
@settings(max_examples=20, deadline=None)
def test_samples_are_valid_and_their_own_seed_s(
    known: list[tuple[Form, list[tuple[int, ...]]]], seed: int, temperature: float
) -> None:
    form, rows = known[1]
    logits = noise(form, seed, 2.0)

    def draw() -> tuple[int, ...]:
        random = torch.Generator().manual_seed(seed)
        return solve(logits, form, temperature=temperature, random=random).tokens

    assert draw() in rows
    assert draw() == draw()


def test_a_low_temperature_nearly_takes_the_best(
    known: list[tuple[Form, list[tuple[int, ...]]]],
) -> None:
    form, _ = known[2]
    logits = noise(form, 5, 4.0)
    random = torch.Generator().manual_seed(0)
    draws = [solve(logits, form, temperature=1e-3, random=random).tokens for _ in range(20)]
    assert set(draws) == {solve(logits, form).tokens}


@given(seed=SEEDS, layout=st.sampled_from(["slots", "float"]))
@settings(max_examples=20, deadline=None)
def test_a_choice_is_shared_out_among_its_options(engine: Engine, seed: int, layout: Any) -> None:
    form = engine.runtime.forms.choice(("a", "tea", "team"), layout=layout)
    logits = noise(form, seed)
    (region,) = form.regions
    assert isinstance(region, Choice)
    log_probs = logits[region.start : region.stop].log_softmax(-1)
    weights: list[float] = []
    for option in region.sequences:
        if option is None:
            first = {other[0] for other in region.sequences if other}
            taken = sum(math.exp(float(log_probs[0, token])) for token in first)
            weights.append(1 - taken)
        else:
            places = enumerate(option)
            weights.append(math.exp(sum(float(log_probs[k, token]) for k, token in places)))
    filled = solve(logits, form)
    (shares,) = filled.shares
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-3)


@pytest.mark.parametrize("layout", ["slots", "float"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_choice_by_broken_logits_is_refused(engine: Engine, layout: Any, bad: float) -> None:
    form = engine.runtime.forms.choice(("a", "tea"), layout=layout)
    with pytest.raises(InvalidLogProbs):
        solve(torch.full((form.width, 448), bad), form)


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_what_a_session_tells_is_what_was_solved(engine: Engine, layout: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 7]}, "b": {"enum": [1, 7]}},
        "required": ["a", "b"],
    }
    session = engine.session()
    session.extend_sync("hello")
    template = Template.json_schema(schema)
    filling = session.infill_sync(template, layout=layout, verify="off")
    pointers = {"/a", "/b"} if layout == "slots" else {""}
    assert set(filling.confidence) == set(filling.runners_up) == pointers
    for pointer, other in filling.runners_up.items():
        assert other.value != at(filling.value, pointer)
        assert 0 < other.probability <= filling.confidence[pointer] <= 1
