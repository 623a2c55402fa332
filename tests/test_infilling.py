"""Infilling: text between texts, its length decided with its content; and texts edited in place."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fillings import RandomDenoiser, denoising_of, fill, form_of, run
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import FILLER, MARKER, PATTERNS, TINY, log_total, random_log_probs

from agentkit_engine import CanvasTooShort, Engine, Template, TemplateError
from agentkit_engine.filling.solution import confidences, fillings, solve
from agentkit_engine.grammar import Vocabulary, compile_regex
from agentkit_engine.lattice.placing import lengths
from agentkit_engine.layouts.forms import Form, Region
from agentkit_engine.layouts.maker import Layout

LAYOUTS: list[Layout] = ["slots", "float"]
HOLES = [compile_regex(pattern, vocabulary=TINY) for pattern in PATTERNS]
CODE = ("def area(r):\n", "\n\treturn a")


def hole(form: Form) -> Region:
    (region,) = form.values
    return region


def row_of(region: Region) -> Form:
    """A row that is one hole and the text behind it."""
    return Form("", (None,) * region.width, (region,), read=lambda row: None)


def rows(region: Region) -> list[tuple[int, ...]]:
    """Every filling of a region, by trying all texts."""
    texts = itertools.chain.from_iterable(
        itertools.product(range(5), repeat=length) for length in range(region.room + 1)
    )
    return [(*text, *region.tail(len(text))) for text in texts if region.value.accepts(text)]


def nats_by_position(found: dict[tuple[int, ...], float]) -> list[float]:
    """The entropy of each position over these rows, given their scores."""
    total = log_total(list(found.values()))
    entropies: list[float] = []
    for column in zip(*found, strict=True):
        chances: dict[int, float] = {}
        for token, score in zip(column, found.values(), strict=True):
            chances[token] = chances.get(token, 0.0) + math.exp(score - total)
        entropies.append(-sum(p * math.log(p) for p in chances.values() if p > 0))
    return entropies


@settings(max_examples=150, deadline=None)
@given(
    value=st.sampled_from(HOLES),
    text=st.lists(st.integers(0, 4), max_size=3),
    more=st.integers(0, 3),
    pad=st.sampled_from([FILLER, MARKER]),
    seed=st.integers(0, 1 << 16),
)
def test_length_and_content_are_found_together_exactly(
    value: Any, text: list[int], more: int, pad: int, seed: int
) -> None:
    room = value.min_tokens + more
    region = Region.before(0, room + len(text) + 1, value, text=text, end=MARKER, pad=pad)
    form, log_probs = row_of(region), random_log_probs(region.width, 7, seed=seed).double()
    worth = {row: float(sum(log_probs[k, t] for k, t in enumerate(row))) for row in rows(region)}
    total = log_total(list(worth.values()))

    filled = solve(log_probs, form)
    assert filled.tokens == max(worth, key=worth.__getitem__)
    assert filled.score == pytest.approx(worth[filled.tokens], abs=1e-9)
    assert filled.lattice.log_partition(0) == pytest.approx(total, abs=1e-9)
    share = math.exp(worth[filled.tokens] - total)
    assert confidences(filled, form, filled.tokens, Vocabulary.from_tokens(()))[
        ""
    ] == pytest.approx(share, abs=1e-9)
    ranked = [row for _, row in fillings(filled, form, 5)]
    assert ranked == sorted(worth, key=lambda row: -worth[row])[:5]

    assert region.markers is not None
    chances = lengths(filled.lattice, 0, region.markers[0])
    for length in range(room + 1):
        ended = [
            math.exp(worth[row] - total) for row in worth if len(region.said(row) or ()) == length
        ]
        assert float(chances[length]) == pytest.approx(math.fsum(ended), abs=1e-9)
    with pytest.raises(ValueError, match="tail"):
        lengths(filled.lattice, 0, 0)
    for bound, exact in zip(filled.entropies, nats_by_position(worth), strict=True):
        assert bound >= exact - 1e-7
        both = any(value.class_of[token] >= 0 for token in text)  # may stand in the hole, too
        assert both or bound == pytest.approx(exact, abs=1e-7)


def test_samples_of_length_and_content_follow_their_probability() -> None:
    value = compile_regex("a*", vocabulary=TINY)
    region = Region.before(0, 4, value, text=[0], end=MARKER, pad=FILLER)
    form, log_probs = row_of(region), random_log_probs(4, 7, seed=3)
    worth = {row: float(sum(log_probs[k, t] for k, t in enumerate(row))) for row in rows(region)}
    total = log_total(list(worth.values()))
    noise = torch.Generator().manual_seed(0)
    drawn = [solve(log_probs, form, temperature=1.0, random=noise).tokens for _ in range(600)]
    for row, score in worth.items():
        assert drawn.count(row) / 600 == pytest.approx(math.exp(score - total), abs=0.07)


class Sure(RandomDenoiser):
    """A denoiser that wants one row, whatever it is shown."""

    def __init__(self, vocab_size: int, row: Sequence[int]) -> None:
        super().__init__(vocab_size, spread=0.1, seed=0)
        self._row = row

    def denoise(self, *args: Any, **options: Any) -> torch.Tensor:
        logits = super().denoise(*args, **options)
        for place, token in enumerate(self._row[: logits.shape[1]]):
            logits[0, place, token] += 20.0
        return logits


@pytest.mark.parametrize("text", ["", "x", "\n\tr = 2 * r"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_length_the_model_wants_is_found(engine: Engine, layout: Layout, text: str) -> None:
    form = form_of(engine, Template.infill(*CODE, max_tokens=12), layout)
    encode, tokens = engine.runtime.forms.writing.encode, engine.runtime.checkpoint.tokens
    known = [encode(part.encode()) for part in (CODE[0], text, CODE[1])]
    if layout == "slots":
        known[1] += [tokens.filler or 0] * (12 - len(known[1]))
    row = [*itertools.chain(*known), tokens.end]
    row += [tokens.pad] * (form.width - len(row))
    denoising = denoising_of(engine, [form], steps=3)
    run(denoising, Sure(engine.runtime.denoiser.vocab_size, row))
    assert list(denoising.filled(0).tokens) == row
    assert form.read(row) == text
    assert denoising.steps == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prefix_and_suffix_hold_at_every_input_and_in_what_comes_out(
    engine: Engine, layout: Layout
) -> None:
    form = form_of(engine, Template.infill(*CODE, max_tokens=9), layout)
    region, encode = hole(form), engine.runtime.forms.writing.encode
    prefix, suffix = (tuple(encode(text.encode())) for text in CODE)
    for seed in range(12):
        value, denoising, noise = fill(engine, form, seed=seed, steps=4)
        row = denoising.filled(0).tokens
        said = region.said(row) or ()
        assert value == engine.runtime.forms.writing.text(said)
        assert row[: len(prefix)] == prefix
        assert region.room == 9
        for canvas in [*(canvas[0].tolist() for canvas in noise.seen), row]:
            ends = range(len(prefix), len(prefix) + 10)
            assert tuple(canvas[: len(prefix)]) == prefix
            assert any(tuple(canvas[end : end + len(suffix)]) == suffix for end in ends)


def test_each_step_shows_the_suffix_where_the_draft_has_placed_it(engine: Engine) -> None:
    form = form_of(engine, Template.infill(*CODE, max_tokens=9), "float")
    region = hole(form)
    for seed in range(8):
        drafts: list[tuple[int, ...]] = []
        denoising = denoising_of(engine, [form], steps=4)
        noise = RandomDenoiser(engine.runtime.denoiser.vocab_size, spread=2.0, seed=seed)

        def keep(done: int, denoising: Any = denoising, drafts: Any = drafts) -> None:
            if done:
                drafts.append(denoising.filled(0).tokens)

        run(denoising, noise, on_step=keep)
        first, *others = [tuple(canvas[0].tolist()) for canvas in noise.seen]
        half = region.start + 5
        assert first[half:] == region.tail(5)
        for shown, draft in zip(others, drafts, strict=False):
            begin = region.start + len(region.said(draft) or ())
            assert shown[begin:] == draft[begin:]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_edit_begins_with_the_old_texts_length_and_hints(engine: Engine, layout: Layout) -> None:
    text, span = "the list has three things on it", (13, 18)
    encode, mask = engine.runtime.forms.writing.encode, engine.runtime.checkpoint.tokens.mask
    old = encode(text[span[0] : span[1]].encode())
    before = encode(text[: span[0]].encode())
    for keep, kept in ((0.0, 0), (0.5, len(old) // 2), (1.0, len(old))):
        form = form_of(engine, Template.edit(text, span, keep=keep), layout)
        value, _, noise = fill(engine, form, seed=1)
        start = hole(form).start
        assert start == len(before)
        first = noise.seen[0][0].tolist()[start:]
        shown = [token for token in first[: len(old)] if token != mask]
        assert len(shown) == kept
        assert set(shown) <= set(old)
        if layout == "float":
            assert first[len(old) : len(old) + 3] == encode(text[span[1] :].encode())[:3]
        assert value.startswith(text[: span[0]])
        assert value.endswith(text[span[1] :])


def test_an_edit_may_grow_and_its_old_text_may_come_back(engine: Engine) -> None:
    text, span = "I like milk and tea", (7, 11)
    for layout in LAYOUTS:
        form = form_of(engine, Template.edit(text, span), layout)
        assert hole(form).room == 16
        old = engine.runtime.forms.writing.encode(b"milk")
        region = hole(form)
        row = [*[token or 0 for token in form.tokens]]
        row[region.start : region.stop] = [*old, *region.tail(len(old))]
        assert form.read(row) == text
        assert hole(form_of(engine, Template.edit(text, span, max_tokens=3), layout)).room == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hole_keeps_to_its_pattern(engine: Engine, layout: Layout) -> None:
    template = Template.infill(*CODE, max_tokens=14, pattern=r"\n\t[a-z]+ = [0-9.]{1,4}")
    form = form_of(engine, template, layout)
    for seed in range(10):
        value = fill(engine, form, seed=seed)[0]
        assert value.startswith("\n\t")
        assert value[-1] in "0123456789."
    with pytest.raises(CanvasTooShort) as caught:
        form_of(engine, Template.infill("a", "b", max_tokens=3, pattern="[a-z]{90}"), layout)
    assert caught.value.available == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_nearest_to_the_hole_stands_on_the_canvas(engine: Engine, layout: Layout) -> None:
    encode = engine.runtime.forms.writing.encode
    long, short = "0123456789" * 9, "ab"
    end = engine.runtime.checkpoint.tokens.end
    for prefix, suffix, left, right in (
        (long, short, 35, 2),  # of 48 positions the hole takes 10 and the end 1
        (short, long, 2, 35),
        (long, long, 18, 19),
    ):
        form = form_of(engine, Template.infill(prefix, suffix, max_tokens=10), layout)
        assert form.width == 48
        assert form.tokens[:left] == tuple(encode(prefix.encode())[-left:])
        row = fill(engine, form, seed=0)[1].filled(0).tokens
        behind = [*encode(suffix.encode())[:right], end]
        assert hole(form).start == left
        begin = left + (10 if layout == "slots" else len(hole(form).said(row) or ()))
        assert list(row[begin : begin + right + 1]) == behind
    with pytest.raises(CanvasTooShort) as caught:
        form_of(engine, Template.infill("a", "b", max_tokens=48), layout)
    assert (caught.value.needed, caught.value.available) == (49, 48)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sessions_infill_and_edit(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("finish this function")
    template = Template.infill(*CODE, max_tokens=8)
    filling = session.infill_sync(template, layout=layout)
    assert filling.value == filling.text
    assert (filling.forwards, filling.passes, filling.agreed) == (1, 0, None)
    assert 0 < filling.confidence[""] <= 1
    assert filling.runners_up[""].value != filling.value
    assert session.infill_sync(template, layout=layout).value == filling.value

    other = session.refill_sync(filling, [""])
    assert other.text == other.value != filling.value
    third = session.refill_sync(other, [""])
    assert third.value not in {filling.value, other.value}

    edited = session.infill_sync(
        Template.edit("I like milk and tea", (7, 11), max_tokens=4), layout=layout, steps=3
    )
    assert edited.value == edited.text
    assert edited.value.startswith("I like ")
    assert edited.value.endswith(" and tea")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_causal_encoder_ranks_but_never_has_the_last_word(engine: Engine, layout: Layout) -> None:
    session = engine.session()
    session.extend_sync("finish this function")
    template = Template.infill(*CODE, max_tokens=8)
    ranked = session.infill_sync(template, layout=layout, verify="rerank")
    assert (ranked.forwards, ranked.passes) == (1, 1)
    assert isinstance(ranked.value, str)
    first = session.infill_sync(template, layout=layout)
    with pytest.raises(TemplateError, match="stands behind"):
        session.infill_sync(template, layout=layout, verify="exact")
    with pytest.raises(TemplateError, match="stands behind"):
        session.refill_sync(first, [""], verify="exact")


def test_no_chat_is_needed(engine: Engine) -> None:
    session = engine.session()
    filling = session.infill_sync(Template.infill("I like ", " and tea", max_tokens=6))
    assert isinstance(filling.value, str)
    assert session.messages == ()
    assert isinstance(session.infill_sync(Template.text(5)).value, str)
    session.extend_sync("hello")
    chat = engine.session()
    chat.extend_sync("hello")
    template = Template.text(5)
    assert session.infill_sync(template).value == chat.infill_sync(template).value


def test_bad_requests_are_named() -> None:
    with pytest.raises(TemplateError, match="max_tokens is 0"):
        Template.infill("a", "b", max_tokens=0)
    with pytest.raises(TemplateError, match="max_tokens is -1"):
        Template.edit("ab", (0, 1), max_tokens=-1)
    for span in ((-1, 1), (2, 1), (0, 9)):
        with pytest.raises(TemplateError, match="text of 2 characters"):
            Template.edit("ab", span)
    with pytest.raises(TemplateError, match=r"keep is 1\.5"):
        Template.edit("ab", (0, 1), keep=1.5)
    with pytest.raises(TemplateError, match="surrogate"):
        Template.infill("\ud800", "b", max_tokens=3)
