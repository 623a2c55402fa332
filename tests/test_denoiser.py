"""A prefix grows without changing logits or its elders; rows of a denoise step know nothing of each
other. Against the real class of transformers, at tiny size, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CANVAS_LENGTH, CONTEXT_LENGTH, VOCABULARY, tiny_model

from agentkit_engine.denoisers import DiffusionGemmaDenoiser, Prefix, Reading, diffusion_gemma
from agentkit_engine.denoisers.cache import Memory, layers_of, memory_of
from agentkit_engine.errors import ContextTooLong, EngineError

WINDOW = 8
APART = 1e-2  # a difference that no rounding makes

WIDE = DiffusionGemmaDenoiser(tiny_model())
NARROW = DiffusionGemmaDenoiser(tiny_model(window=WINDOW))
EXPERTS = DiffusionGemmaDenoiser(tiny_model(window=WINDOW, experts=4))

everywhere = pytest.mark.parametrize(
    "denoiser",
    [
        pytest.param(WIDE, id="window wider than the context"),
        pytest.param(NARROW, id="window exceeded"),
        pytest.param(EXPERTS, id="four experts"),
    ],
)


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)


def encode_in(denoiser: DiffusionGemmaDenoiser, pieces: Sequence[list[int]]) -> Prefix:
    prefix = denoiser.encode(pieces[0])
    for piece in pieces[1:]:
        prefix = denoiser.encode(piece, prefix=prefix)
    return prefix


def reference(
    denoiser: DiffusionGemmaDenoiser,
    tokens: list[int],
    canvas: torch.Tensor,
    previous: torch.Tensor | None = None,
) -> torch.Tensor:
    """The model's own forward over everything at once, its own masks."""
    rows, width = canvas.shape
    with torch.no_grad():
        output = denoiser._model(
            input_ids=torch.tensor([tokens]).expand(rows, -1),
            attention_mask=torch.ones(rows, len(tokens), dtype=torch.long),
            decoder_input_ids=canvas,
            decoder_attention_mask=torch.ones(rows, len(tokens) + width, dtype=torch.bool),
            decoder_position_ids=torch.arange(len(tokens), len(tokens) + width)[None],
            self_conditioning_logits=previous,
        )
    logits: torch.Tensor = output.logits
    return logits


@everywhere
def test_one_step_is_the_models_own_forward(denoiser: DiffusionGemmaDenoiser) -> None:
    tokens, canvas = ids(40).tolist(), ids(3, 20, seed=1)
    logits = denoiser.denoise(denoiser.encode(tokens), canvas)
    assert logits.shape == (3, 20, denoiser.vocab_size)
    assert logits.dtype == torch.float32
    assert_close(logits, reference(denoiser, tokens, canvas))


@everywhere
def test_extending_equals_encoding_from_scratch(denoiser: DiffusionGemmaDenoiser) -> None:
    tokens, canvas = ids(40).tolist(), ids(2, 16, seed=1)
    whole = denoiser.denoise(denoiser.encode(tokens), canvas)
    grown = encode_in(denoiser, [tokens[:25], tokens[25:26], tokens[26:]])
    assert grown.tokens == tuple(tokens)
    assert grown.length == 40
    assert_close(denoiser.denoise(grown, canvas), whole)


@everywhere
def test_token_by_token_equals_encoding_from_scratch(denoiser: DiffusionGemmaDenoiser) -> None:
    tokens, canvas = ids(3 * WINDOW).tolist(), ids(1, 8, seed=1)
    grown = encode_in(denoiser, [[token] for token in tokens])
    whole = denoiser.denoise(denoiser.encode(tokens), canvas)
    assert_close(denoiser.denoise(grown, canvas), whole)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 2 * WINDOW), min_size=1, max_size=6))
def test_pieces_of_any_length_come_to_the_same(lengths: list[int]) -> None:
    tokens, canvas = ids(sum(lengths)).tolist(), ids(1, 8, seed=1)
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    pieces = [tokens[a : a + n] for a, n in zip(starts, lengths, strict=True)]
    logits = NARROW.denoise(encode_in(NARROW, pieces), canvas)
    assert_close(logits, reference(NARROW, tokens, canvas))


@everywhere
def test_a_long_context_is_encoded_in_chunks(
    denoiser: DiffusionGemmaDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, canvas = ids(40).tolist(), ids(1, 8, seed=1)
    at_once = denoiser.denoise(denoiser.encode(tokens), canvas)
    monkeypatch.setattr(diffusion_gemma, "_CHUNK", 7)
    assert_close(denoiser.denoise(denoiser.encode(tokens), canvas), at_once)


@everywhere
def test_a_prefix_outlives_its_forks(denoiser: DiffusionGemmaDenoiser) -> None:
    canvas, common = ids(1, 12, seed=1), ids(20).tolist()
    trunk = denoiser.encode(common)
    before = denoiser.denoise(trunk, canvas).clone()
    left = denoiser.encode(ids(15, seed=2).tolist(), prefix=trunk)
    right = denoiser.encode(ids(15, seed=3).tolist(), prefix=trunk)
    denoiser.denoise(left, ids(4, 12, seed=4))
    assert trunk.tokens == tuple(common)
    assert torch.equal(denoiser.denoise(trunk, canvas), before)
    left_logits, right_logits = denoiser.denoise(left, canvas), denoiser.denoise(right, canvas)
    assert (left_logits - right_logits).abs().max() > APART
    assert_close(left_logits, reference(denoiser, list(left.tokens), canvas))


def test_no_new_tokens_give_the_prefix_back() -> None:
    prefix = WIDE.encode([5, 6, 7])
    assert WIDE.encode([], prefix=prefix) is prefix


def test_a_prefix_holds_no_keys_out_of_the_window() -> None:
    layers = layers_of(memory_of(NARROW.encode(ids(40).tolist())).cache)
    held = [layer.keys.untyped_storage().nbytes() // layer.keys[0, :, 0].nbytes for layer in layers]
    assert held == [WINDOW - 1, WINDOW - 1, 40]


@everywhere
def test_rows_are_independent_of_their_companions(denoiser: DiffusionGemmaDenoiser) -> None:
    prefix, rows = denoiser.encode(ids(30).tolist()), ids(5, 20, seed=1)
    together = denoiser.denoise(prefix, rows)
    for index in range(5):
        alone = denoiser.denoise(prefix, rows[index : index + 1])
        assert_close(together[index : index + 1], alone)


@everywhere
def test_padding_behind_a_narrower_row_does_not_count(denoiser: DiffusionGemmaDenoiser) -> None:
    prefix, rows = denoiser.encode(ids(30).tolist()), ids(3, 24, seed=1)
    widths = [24, 9, 17]
    attend = torch.arange(24)[None] < torch.tensor(widths)[:, None]
    previous = torch.randn(3, 24, VOCABULARY, generator=torch.Generator().manual_seed(0))
    first = denoiser.denoise(prefix, rows, attend=attend)
    second = denoiser.denoise(prefix, rows, attend=attend, previous=previous)
    for index, width in enumerate(widths):
        row, soft = rows[index : index + 1, :width], previous[index : index + 1, :width]
        alone = denoiser.denoise(prefix, row)
        assert_close(first[index : index + 1, :width], alone)
        alone = denoiser.denoise(prefix, row, previous=soft)
        assert_close(second[index : index + 1, :width], alone)


def test_unmasked_padding_would_have_counted() -> None:
    prefix, row = WIDE.encode(ids(30).tolist()), ids(1, 24, seed=1)
    padded, narrow = WIDE.denoise(prefix, row)[:, :9], WIDE.denoise(prefix, row[:, :9])
    assert (padded - narrow).abs().max() > APART


def test_attending_to_all_is_the_same_as_no_mask() -> None:
    prefix, rows = WIDE.encode(ids(30).tolist()), ids(2, 10, seed=1)
    everything = torch.ones(2, 10, dtype=torch.bool)
    masked = WIDE.denoise(prefix, rows, attend=everything)
    assert torch.equal(masked, WIDE.denoise(prefix, rows))


@everywhere
def test_the_previous_step_conditions_the_next(denoiser: DiffusionGemmaDenoiser) -> None:
    tokens, canvas = ids(30).tolist(), ids(2, 16, seed=1)
    prefix = denoiser.encode(tokens)
    first = denoiser.denoise(prefix, canvas)
    second = denoiser.denoise(prefix, canvas, previous=first)
    assert (second - first).abs().max() > APART
    assert_close(second, reference(denoiser, tokens, canvas, first.clone()))


@pytest.mark.parametrize("other", [[3, 4, 5, 6], [4, 5], [3, 4, 6]])
def test_the_canvas_sees_the_context(other: list[int]) -> None:
    canvas = ids(1, 8, seed=1)
    logits = WIDE.denoise(WIDE.encode([3, 4, 5]), canvas)
    assert (logits - WIDE.denoise(WIDE.encode(other), canvas)).abs().max() > APART


def test_eager_attention_takes_the_same_masks() -> None:
    model = tiny_model(window=WINDOW)
    model.set_attn_implementation("eager")
    eager = DiffusionGemmaDenoiser(model)
    tokens, rows = ids(40).tolist(), ids(2, 12, seed=1)
    attend = torch.arange(12)[None] < torch.tensor([[12], [5]])
    logits = eager.denoise(encode_in(eager, [tokens[:30], tokens[30:]]), rows, attend=attend)
    expected = NARROW.denoise(NARROW.encode(tokens), rows, attend=attend)
    assert_close(logits[attend], expected[attend])


def test_attention_without_explicit_masks_is_refused() -> None:
    model = tiny_model()
    text: Any = model.config.text_config
    text._attn_implementation = "flash_attention_2"
    with pytest.raises(EngineError, match="'flash_attention_2' takes no explicit masks"):
        DiffusionGemmaDenoiser(model)


def test_its_measures_are_the_models() -> None:
    assert (WIDE.vocab_size, WIDE.canvas_length, WIDE.context_length) == (
        VOCABULARY,
        CANVAS_LENGTH,
        CONTEXT_LENGTH,
    )
    assert WIDE.device == torch.device("cpu")


def test_too_long_a_context_is_told() -> None:
    with pytest.raises(ContextTooLong) as caught:
        WIDE.encode([5] * (CONTEXT_LENGTH + 1))
    assert (caught.value.needed, caught.value.available) == (CONTEXT_LENGTH + 1, CONTEXT_LENGTH)
    prefix = WIDE.encode([5] * (CONTEXT_LENGTH - 10))
    assert WIDE.denoise(prefix, ids(1, 10)).shape == (1, 10, VOCABULARY)
    with pytest.raises(ContextTooLong):
        WIDE.denoise(prefix, ids(1, 11))
    with pytest.raises(ContextTooLong):
        WIDE.encode([5] * 11, prefix=prefix)


def test_too_wide_a_canvas_is_told() -> None:
    with pytest.raises(EngineError, match=f"{CANVAS_LENGTH + 1} tokens is wider"):
        WIDE.denoise(WIDE.encode([5]), ids(1, CANVAS_LENGTH + 1))


def test_an_empty_context_is_refused() -> None:
    with pytest.raises(EngineError, match="at least one token"):
        WIDE.encode([])


def test_the_prefix_of_another_family_is_refused() -> None:
    with pytest.raises(EngineError, match="another family"):
        WIDE.denoise(Prefix((5,), memory=None), ids(1, 4))


def test_rewinding_equals_encoding_less() -> None:
    tokens, canvas = ids(40).tolist(), ids(2, 16, seed=1)
    whole = WIDE.encode(tokens)
    shorter = WIDE.rewind(whole, 25)
    assert shorter is not None
    assert shorter.tokens == tuple(tokens[:25])
    expected = WIDE.denoise(WIDE.encode(tokens[:25]), canvas)
    assert_close(WIDE.denoise(shorter, canvas), expected)
    again = WIDE.encode(tokens[25:], prefix=shorter)
    assert_close(WIDE.denoise(again, canvas), WIDE.denoise(whole, canvas))


@everywhere
def test_rewinding_to_what_is_gone_or_nothing(denoiser: DiffusionGemmaDenoiser) -> None:
    whole = denoiser.encode(ids(40).tolist())
    assert denoiser.rewind(whole, 40) is whole
    assert denoiser.rewind(whole, 0) is None
    assert (denoiser.rewind(whole, 20) is None) == (denoiser is not WIDE)


@everywhere
@pytest.mark.parametrize("share", [0.0, 1.0], ids=["as a batch", "packed"])
def test_rows_of_unlike_widths_get_what_each_gets_alone(
    denoiser: DiffusionGemmaDenoiser, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion_gemma, "_DENSE", share)
    prefix, canvas, widths = denoiser.encode(ids(30).tolist()), ids(3, 20, seed=1), (20, 3, 11)
    attend = torch.arange(20)[None] < torch.tensor(widths)[:, None]
    guess = denoiser.denoise(prefix, canvas, attend=attend)
    again = denoiser.denoise(prefix, canvas, attend=attend, previous=guess)
    for row, width in enumerate(widths):
        alone = canvas[row : row + 1, :width]
        first = denoiser.denoise(prefix, alone)
        assert_close(guess[row, :width], first[0])
        assert_close(again[row, :width], denoiser.denoise(prefix, alone, previous=first)[0])


# --- rows of several prefixes


def prefixes_of(denoiser: DiffusionGemmaDenoiser, *lengths: int) -> list[Prefix]:
    return [denoiser.encode(ids(n, seed=n).tolist()) for n in lengths]


@everywhere
@pytest.mark.parametrize(
    ("owners", "widths"),
    [
        pytest.param([0, 1, 2], [20, 20, 20], id="one row each"),
        pytest.param([0, 1, 2], [20, 3, 11], id="one row each, of unlike widths"),
        pytest.param([0, 0, 1, 1], [20, 20, 20, 20], id="two rows each"),
        pytest.param([2, 0, 2, 1, 2], [4, 20, 9, 1, 20], id="mixed"),
        pytest.param([1, 1, 1, 0], [5, 6, 7, 20], id="many behind one"),
    ],
)
def test_rows_of_several_prefixes_get_what_each_gets_alone(
    denoiser: DiffusionGemmaDenoiser, owners: list[int], widths: list[int]
) -> None:
    known = prefixes_of(denoiser, 30, WINDOW - 3, 1)
    prefixes = [known[owner] for owner in owners]
    canvas = ids(len(owners), 20, seed=1)
    attend = torch.arange(20)[None] < torch.tensor(widths)[:, None]
    first = denoiser.denoise(prefixes, canvas, attend=attend)
    assert first.shape == (len(owners), 20, VOCABULARY)
    second = denoiser.denoise(prefixes, canvas, attend=attend, previous=first)
    for row, (prefix, width) in enumerate(zip(prefixes, widths, strict=True)):
        alone = canvas[row : row + 1, :width]
        guess = denoiser.denoise(prefix, alone)
        assert_close(first[row, :width], guess[0])
        assert_close(second[row, :width], denoiser.denoise(prefix, alone, previous=guess)[0])
    if min(widths) == 20:
        assert torch.equal(denoiser.denoise(prefixes, canvas), first)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 3 * WINDOW), min_size=1, max_size=4),
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10)), min_size=1, max_size=6),
)
def test_any_mix_of_prefixes_and_widths_comes_to_the_same(
    lengths: list[int], rows: list[tuple[int, int]]
) -> None:
    known = prefixes_of(NARROW, *lengths)
    prefixes = [known[owner % len(known)] for owner, _ in rows]
    canvas = ids(len(rows), 10, seed=1)
    attend = torch.arange(10)[None] < torch.tensor([width for _, width in rows])[:, None]
    together = NARROW.denoise(prefixes, canvas, attend=attend)
    for row, (prefix, (_, width)) in enumerate(zip(prefixes, rows, strict=True)):
        assert_close(together[row, :width], NARROW.denoise(prefix, canvas[[row], :width])[0])


def test_one_prefix_given_for_each_row_is_one_prefix() -> None:
    prefix, canvas = WIDE.encode(ids(30).tolist()), ids(3, 12, seed=1)
    assert torch.equal(WIDE.denoise([prefix] * 3, canvas), WIDE.denoise(prefix, canvas))


def test_too_few_prefixes_are_told() -> None:
    with pytest.raises(EngineError, match="3 rows came with 2 prefixes; give one for all or one"):
        WIDE.denoise(prefixes_of(WIDE, 4, 5), ids(3, 12))


def test_padding_takes_no_room() -> None:
    prefixes = prefixes_of(WIDE, CONTEXT_LENGTH - 4, 3)
    attend = torch.arange(12)[None] < torch.tensor([[4], [12]])
    assert WIDE.denoise(prefixes, ids(2, 12), attend=attend).shape == (2, 12, VOCABULARY)
    with pytest.raises(ContextTooLong):
        WIDE.denoise(prefixes, ids(2, 12))


def test_the_caches_of_the_same_prefixes_are_stacked_once() -> None:
    denoiser, canvas = DiffusionGemmaDenoiser(tiny_model(window=WINDOW)), ids(3, 12, seed=1)
    first, second, third = prefixes_of(denoiser, 20, 3, 9)
    denoiser.denoise([first, second, second], canvas)
    stacked = denoiser._stack._cache
    assert stacked is not None
    before = [layer.keys.clone() for layer in layers_of(stacked)]
    denoiser.denoise(first, canvas)
    denoiser.denoise([first, first, second], canvas)
    assert denoiser._stack._cache is stacked
    assert all(
        torch.equal(layer.keys, keys)
        for layer, keys in zip(layers_of(stacked), before, strict=True)
    )
    denoiser.denoise([first, second, third], canvas)
    assert denoiser._stack._cache is not stacked
    del third
    assert denoiser._stack._cache is None


# --- reading


def causal_logits(denoiser: DiffusionGemmaDenoiser, tokens: list[int]) -> torch.Tensor:
    """Next-token logits [n, V] of a plain causal forward, the model's own masks and head."""
    model: Any = denoiser._model
    with torch.no_grad():
        states = model.model.encoder(
            input_ids=torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens))
        ).last_hidden_state
        cap = model.config.text_config.final_logit_softcapping
        logits: torch.Tensor = cap * torch.tanh(model.lm_head(states)[0] / cap)
    return logits


def assert_reads(
    denoiser: DiffusionGemmaDenoiser, reading: Reading, row: int, before: list[int], own: list[int]
) -> None:
    """A row's logits, and its prefixes of every length, are those of encoding from scratch."""
    logits = reading.logits(row)
    assert logits.shape == (len(own) + 1, VOCABULARY)
    assert logits.dtype == torch.float32
    assert_close(logits, causal_logits(denoiser, before + own)[len(before) - 1 :])
    canvas = ids(2, 6, seed=9)
    for length in {0, len(own) // 2, len(own)}:
        got = reading.prefix(row, length)
        assert got is not None
        assert got.tokens == (*before, *own[:length])
        scratch = denoiser.encode(before + own[:length])
        assert_close(denoiser.denoise(got, canvas), denoiser.denoise(scratch, canvas))
        for layer, other in zip(
            layers_of(memory_of(got).cache), layers_of(memory_of(scratch).cache), strict=True
        ):
            assert layer.keys.shape == other.keys.shape
            assert layer.get_seq_length() == other.get_seq_length()
        further = denoiser.encode([7, 8, 9], prefix=got)
        expected = denoiser.encode([*before, *own[:length], 7, 8, 9])
        assert_close(denoiser.denoise(further, canvas), denoiser.denoise(expected, canvas))


@everywhere
@pytest.mark.parametrize("past", [1, WINDOW - 2, WINDOW, 30])
def test_reading_is_a_causal_forward_from_scratch(
    denoiser: DiffusionGemmaDenoiser, past: int
) -> None:
    before = ids(past).tolist()
    rows = [ids(n, seed=n).tolist() for n in (5, 1, 2 * WINDOW, 0, 5)]
    reading = denoiser.read(denoiser.encode(before), rows)
    for row, own in enumerate(rows):
        assert_reads(denoiser, reading, row, before, own)
    whole = reading.prefix(2)
    assert whole is not None
    assert whole.tokens == (*before, *rows[2])


@everywhere
def test_readings_can_be_read_on(denoiser: DiffusionGemmaDenoiser) -> None:
    before, first, second = (ids(n, seed=n).tolist() for n in (12, 6, 7))
    prefix = denoiser.read(denoiser.encode(before), [second, first]).prefix(1)
    assert prefix is not None
    assert_reads(denoiser, denoiser.read(prefix, [second]), 0, before + first, second)


@pytest.mark.parametrize("length", [1, 5, WINDOW - 2])
@pytest.mark.parametrize("denoiser", [WIDE, NARROW])
def test_a_rewound_prefix_is_read_behind(denoiser: DiffusionGemmaDenoiser, length: int) -> None:
    tokens = ids(WINDOW - 1).tolist()
    prefix = denoiser.rewind(denoiser.encode(tokens), length)
    assert prefix is not None
    rows = [ids(n, seed=n).tolist() for n in (4, 0, 2 * WINDOW)]
    reading = denoiser.read(prefix, rows)
    for row, own in enumerate(rows):
        assert_reads(denoiser, reading, row, tokens[:length], own)
    again = reading.prefix(0, 0)  # and now it knows what follows it
    assert again is not None
    assert memory_of(again).state is not None


def test_a_row_of_nothing_needs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ids(9).tolist()
    prefix, expected = WIDE.encode(tokens), causal_logits(WIDE, tokens)
    monkeypatch.setattr(WIDE, "_encode", None)
    reading = WIDE.read(prefix, [[]])
    assert_close(reading.logits(0), expected[-1:])
    assert reading.prefix(0) is prefix


@everywhere
def test_what_rows_begin_with_in_common_is_read_once(denoiser: DiffusionGemmaDenoiser) -> None:
    before, stem = ids(12).tolist(), ids(WINDOW + 1, seed=1).tolist()
    rows = [[*stem, 5, 6], stem, [*stem[:3], 5, 6], [*stem, 5, 6], [*stem, 5, 7], [6]]
    reading = denoiser.read(denoiser.encode(before), rows)
    assert len(reading._rows[0].run.states) == len(stem) + 2 + 2 + 1 + 1
    for row, own in enumerate(rows):
        assert_reads(denoiser, reading, row, before, own)


@everywhere
def test_many_rows_are_read_in_chunks(
    denoiser: DiffusionGemmaDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = ids(20).tolist(), [ids(n, seed=n).tolist() for n in (5, 0, 9, 2, 2, 0)]
    prefix = denoiser.encode(before)
    monkeypatch.setattr(diffusion_gemma, "_CHUNK", 7)
    reading = denoiser.read(prefix, rows)
    for row, own in enumerate(rows):
        assert_reads(denoiser, reading, row, before, own)


def test_a_reading_holds_no_copy_of_the_prefix() -> None:
    prefix = WIDE.encode(ids(400).tolist())
    reading = WIDE.read(prefix, [[5, 6], [7]])
    assert all(
        keys.untyped_storage().nbytes() < WIDE.nbytes(prefix) / 100
        for row in reading._rows
        for keys, _ in row.run.fresh
    )


def test_too_long_a_reading_is_told() -> None:
    prefix = WIDE.encode([5] * (CONTEXT_LENGTH - 4))
    with pytest.raises(ContextTooLong):
        WIDE.read(prefix, [[5], [5] * 5])
    with pytest.raises(EngineError, match="row 1 has 4 tokens; there is no prefix of 5"):
        WIDE.read(prefix, [[5], [5] * 4]).prefix(1, 5)


@everywhere
def test_a_prefix_tells_its_size(denoiser: DiffusionGemmaDenoiser) -> None:
    prefix = denoiser.encode(ids(40).tolist())
    kept = WINDOW - 1 if denoiser is not WIDE else 40
    layers, heads, head_dim, both, float32, state = 3, 2, 8, 2, 4, 32 * 4
    a_token = heads * head_dim * both * float32
    assert denoiser.causal
    assert denoiser.nbytes(prefix) == a_token * (kept * (layers - 1) + 40) + state
    rewound = WIDE.rewind(WIDE.encode(ids(40).tolist()), 1)
    assert rewound is not None  # a view: the storage is the whole one
    assert WIDE.nbytes(rewound) == a_token * layers * 40
    assert isinstance(rewound.memory, Memory)
