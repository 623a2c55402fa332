"""Courses: what rows say is a language, read token by token; its beginnings fix parts of rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import (
    LAYOUTS,
    SCHEMAS,
    TEMPLATES,
    agrees,
    course,
    every_row,
    filled,
    forms_of,
    noise,
    row_of,
    tiny_schemas,
)

from agentkit_engine import Engine, EngineError, Template
from agentkit_engine.filling.course import Course, Place, course_of
from agentkit_engine.filling.solution import solve
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Form, Region
from agentkit_engine.layouts.joined import joined
from agentkit_engine.syntax import GEMMA, QUOTE, read_call

OPENING, CLOSING, END = "<|tool_call>", "<tool_call|>", "<turn|>"


def walked(course: Course, tokens: Sequence[int]) -> Place:
    place = course.start
    for token in tokens:
        found = course.step(place, token)
        assert found is not None
        place = found
    return place


def following(course: Course, place: Place) -> set[int]:
    found = course.following(place)
    return set(found) if isinstance(found, frozenset) else set(np.flatnonzero(found).tolist())


def number_of(forms: list[tuple[str, Form]]) -> st.SearchStrategy[int]:
    return st.integers(0, len(forms) - 1)


def read_back(kind: str, text: str) -> Any:
    """What a text says that a chat template might have written."""
    if kind in ("choice", "regex", "text"):
        assert text.endswith(END)
        return text.removesuffix(END)
    surface = text.encode().replace(b'<|"|>', bytes([QUOTE]))
    if kind == "call":
        opened = surface.replace(OPENING.encode(), b"\xfe").replace(CLOSING.encode(), b"\xfd")
        name, arguments = read_call(opened)
        assert name == "tell"
        return arguments
    assert text.endswith(END)
    return GEMMA.loads(surface.removesuffix(END.encode()))


@given(data=st.data(), seed=st.integers(0, 2**31), spread=st.sampled_from([0.3, 3.0, 12.0]))
@settings(max_examples=150, deadline=None)
def test_what_a_row_says_is_read_from_start_to_end_and_is_its_value(
    engine: Engine, data: st.DataObject, seed: int, spread: float
) -> None:
    forms = forms_of(engine)
    kind, form = forms[data.draw(number_of(forms))]
    row = filled(form, seed, spread)
    said = course(form).said(row)
    place = walked(course(form), said)
    assert course(form).finished(place)
    assert following(course(form), place) == set()
    text = engine.runtime.said_text(said)
    value = form.read(row)
    assert json.dumps(read_back(kind, text)) == json.dumps(value)
    known = engine.runtime.checkpoint.tokens
    assert not {known.filler, known.absent, known.mask, known.pad} & set(said)


@given(data=st.data(), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_way_through_a_course_ends_within_the_row_and_is_said_by_one(
    engine: Engine, data: st.DataObject, seed: int
) -> None:
    forms = forms_of(engine)
    _, form = forms[data.draw(number_of(forms))]
    strict = course(form).strictly or course(form)
    chance = np.random.default_rng(seed)
    place, said = strict.start, list[int]()
    while not strict.finished(place):
        ways = sorted(following(strict, place))
        assert ways
        some = {token for token in range(448) if strict.step(place, token) is not None}
        assert some == set(ways)
        token = int(chance.choice(ways))
        if isinstance(strict.following(place), np.ndarray) and chance.random() < 0.3:
            token = strict.greedy(place, _longing_for(448, chance.integers(448, size=40)))
        assert token in some
        said.append(token)
        found = strict.step(place, token)
        assert found is not None
        place = found
    (held,) = strict.held(said)
    row = row_of(form, held)
    assert strict.said(row) == tuple(said)
    form.read(row)  # the gate is passed


def _longing_for(size: int, tokens: Any) -> Any:
    scores = np.zeros(size, np.float32)
    scores[tokens] = 1.0
    return scores


@given(data=st.data(), seed=st.integers(0, 2**31), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_what_is_held_can_be_filled_and_goes_on_from_it(
    engine: Engine, data: st.DataObject, seed: int, share: float
) -> None:
    forms = forms_of(engine)
    _, form = forms[data.draw(number_of(forms))]
    said = course(form).said(filled(form, seed))
    beginning = said[: int(share * len(said))]
    held = course(form).held(beginning)
    other = solve(noise(form, seed + 1, 0.5), form, held).tokens
    assert course(form).said(other)[: len(beginning)] == beginning
    form.read(other)


@pytest.mark.parametrize("number", range(len(tiny_schemas())))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_beginning_holds_just_the_rows_that_begin_so(
    engine: Engine, number: int, layout: Any
) -> None:
    form = engine.runtime.forms.call("go", tiny_schemas()[number], layout=layout)
    if layout == "float":
        schema = Template.json_schema(tiny_schemas()[number])
        shortest = engine.runtime.forms.template(schema, layout=layout, width=None)
        width = min(16, shortest.width)
        form = engine.runtime.forms.template(schema, layout=layout, width=width)
    rows = every_row(form) if layout == "slots" else [filled(form, seed) for seed in range(60)]
    said = {row: course(form).said(row) for row in rows}
    assert layout == "float" or len(set(said.values())) == len(rows)  # no two rows say the same
    beginnings = {tokens[:end] for tokens in said.values() for end in range(len(tokens) + 1)}
    for beginning in sorted(beginnings):
        cases = course(form).held(beginning)
        begin = {row for row in rows if said[row][: len(beginning)] == beginning}
        assert {row for row in rows if any(agrees(form, row, held) for held in cases)} == begin
        assert begin
    for beginning in sorted(beginnings)[::7]:
        row = solve(noise(form, 3), form, course(form).held(beginning)).tokens
        assert course(form).said(row)[: len(beginning)] == beginning


def test_what_cannot_come_next_is_refused(engine: Engine) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS["required"], layout="slots")
    assert course(form).step(course(form).start, 0) is None
    with pytest.raises(EngineError, match="token 0 can't come next"):
        course(form).held([0])


def test_rows_of_choices_and_refilled_rows_have_no_course(engine: Engine) -> None:
    for layout in LAYOUTS:
        assert course_of(engine.runtime.forms.choice(("a", "b"), layout=layout)) is None
    form = engine.runtime.forms.call("tell", SCHEMAS["required"], layout="slots")
    assert form.without is not None
    assert course_of(form.without([filled(form, 0)], ["/days"])) is None


@given(data=st.data(), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_what_decides_on_a_value_is_summed_by_region(
    engine: Engine, data: st.DataObject, seed: int
) -> None:
    """Of each token that was one of several that might have come next, and of all in values."""
    forms = forms_of(engine)
    _, form = forms[data.draw(number_of(forms))]
    row = filled(form, seed)
    said = course(form).said(row)
    found = course(form).by_region(said, [1.0] * len(said))
    regions = [region for region in form.regions if isinstance(region, Region)]
    assert len(found) == len(regions)
    for region, worth in zip(regions, found, strict=True):
        tokens = region.said(row)
        if tokens is None:
            assert worth >= 1  # another key was said in its place, or the end
        elif region.absent is None:
            assert worth == len(tokens) + 1  # and what ended it
        else:
            assert worth >= len(tokens) + 1


@given(seed=st.integers(0, 2**31), count=st.integers(2, 3))
@settings(max_examples=25, deadline=None)
def test_several_calls_in_one_row_are_said_one_behind_the_other(
    engine: Engine, seed: int, count: int
) -> None:
    names = ("all optional", "nothing", "optional behind required")[:count]
    forms = [engine.runtime.forms.call("tell", SCHEMAS[name], layout="slots") for name in names]
    row = joined(forms, room=10**6)
    tokens = filled(row, seed)
    said = course(row).said(tokens)
    assert course(row).finished(walked(course(row), said))
    texts = engine.runtime.said_text(said).split(CLOSING)
    assert texts.pop() == ""
    assert [read_back("call", text + CLOSING) for text in texts] == row.read(tokens)
    (held,) = course(row).held(said)
    assert row_of(row, held) == tokens


def test_the_strict_part_repeats_no_key(engine: Engine) -> None:
    free = engine.runtime.forms.call("tell", SCHEMAS["free keys"], layout="slots")
    plain = engine.runtime.forms.call("tell", SCHEMAS["required"], layout="slots")
    assert course(plain).strictly is None
    strict = course(free).strictly
    assert strict is not None
    assert strict.strictly is None
    encode = engine.runtime.forms.call("tell", {"const": {"env": {"a": 1, "b": 2}}}, layout="slots")
    said = course(encode).said([token or 0 for token in encode.tokens])
    assert course(free).finished(walked(course(free), said))  # several keys are no fault
    assert {held.values for held in strict.held(())} == {"strict"}
    assert {held.values for held in course(free).held(())} == {"valid"}
    assert {held.values for held in course(free).held((), loose=True)} == {"loose"}


@given(data=st.data(), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_banned_tokens_never_come_next_in_a_value_and_leave_a_way_on(
    engine: Engine, data: st.DataObject, seed: int
) -> None:
    forms = forms_of(engine)
    _, form = forms[data.draw(number_of(forms))]
    chance = np.random.default_rng(seed)
    bias = Bias(banned=frozenset(chance.integers(15, 448, size=200).tolist()))
    biased = course_of(form, bias)
    if biased is None:
        return
    biased = biased.strictly or biased
    place, said = biased.start, list[int]()
    while not biased.finished(place):
        ways = following(biased, place)
        assert ways == {token for token in range(448) if biased.step(place, token) is not None}
        assert ways
        said.append(int(chance.choice(sorted(ways))))
        place = walked(biased, said)
    (held,) = biased.held(said)
    row = row_of(form, held)
    form.read(row)
    regions = [region for region in form.regions if isinstance(region, Region)]
    for region in regions:
        assert not set(region.said(row) or ()) & bias.banned


def test_a_key_that_must_not_be_absent_is_always_said(engine: Engine) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS["all optional"], layout="slots")
    absent = engine.runtime.checkpoint.tokens.absent
    assert absent is not None
    biased = course(form, Bias(banned=frozenset({absent})))
    text = engine.runtime.said_text(biased.said(filled(form, 1)))
    assert text.startswith(OPENING)
    place, names = biased.start, list[int]()
    while not biased.finished(place):
        token = biased.greedy(place, np.zeros(448, np.float32))
        names.append(token)
        place = walked(biased, names)
    said = read_back("call", engine.runtime.said_text(names))
    assert list(said) == ["a", "b", "c"]


def test_where_bans_leave_no_way_there_is_no_course(engine: Engine) -> None:
    form = engine.runtime.forms.template(TEMPLATES["array"], layout="slots", width=None)
    every = frozenset(range(15, 448))
    assert course_of(form, Bias(banned=every)) is None
    padding = engine.runtime.checkpoint.tokens.filler
    assert padding is not None
    assert course_of(form, Bias(banned=frozenset({padding}))) is None


@given(seed=st.integers(0, 2**31), length=st.floats(-3, 3), nats=st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_a_bias_is_added_where_the_lattice_adds_it(
    engine: Engine, seed: int, length: float, nats: float
) -> None:
    form = engine.runtime.forms.template(TEMPLATES["string"], layout="float", width=None)
    (region,) = form.regions
    assert isinstance(region, Region)
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=448).astype(np.float32)
    end = region.ending[0]
    favoured = {int(token): nats for token in chance.integers(15, 448, size=30)} | {end: nats}
    biased = course(form, Bias(length=length, preferred=favoured))
    said = biased.said(filled(form, seed))
    place = walked(biased, said[: int(chance.integers(1, len(said)))])
    ways = following(biased, place)

    def worth(token: int) -> float:
        more = 0.0 if token == end else length
        return float(scores[token]) + favoured.get(token, 0.0) + more

    if place.after:
        return
    best = max(map(worth, ways))
    assert worth(biased.greedy(place, scores)) == pytest.approx(best, abs=1e-5)
