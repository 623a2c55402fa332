"""Masked language models as denoisers: rows know nothing of each other, whatever pads them.

Against real classes of transformers at tiny size, in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_masked import (
    CONTEXT_LENGTH,
    PAD,
    VOCABULARY,
    Kind,
    masked_model,
    save_masked_checkpoint,
    save_own_code_checkpoint,
)
from transformers import dynamic_module_utils

from agentkit_engine import Engine, Template
from agentkit_engine.checkpoint import load_checkpoint
from agentkit_engine.denoisers import Denoiser, MaskedDenoiser, Prefix, denoiser_of
from agentkit_engine.errors import CheckpointError, ContextTooLong, EngineError

APART = 1e-2  # a difference that no rounding makes
KINDS: list[Kind] = ["bert", "roberta", "modernbert", "convbert"]
MODELS = {kind: masked_model(kind) for kind in KINDS}
DENOISERS = {kind: MaskedDenoiser(model) for kind, model in MODELS.items()}

everywhere = pytest.mark.parametrize("kind", KINDS)


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random tokens, padding among them, as content may be."""
    return torch.randint(VOCABULARY - 1, shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-4)


def own_forward(kind: Kind, tokens: Sequence[int]) -> torch.Tensor:
    """The model's own forward over one text without padding: [n, V]."""
    assert PAD not in tokens  # by which some classes would count positions
    model: Any = MODELS[kind]
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([list(tokens)])).logits
    return logits[0]


def assert_rows_are_alone(denoiser: Denoiser, rows: Sequence[tuple[Prefix, int]]) -> None:
    """Rows of these prefixes and widths get in a batch what each gets alone."""
    canvas = ids(len(rows), 12, seed=1)
    attend = torch.arange(12)[None] < torch.tensor([width for _, width in rows])[:, None]
    together = denoiser.denoise([prefix for prefix, _ in rows], canvas, attend=attend)
    assert together.shape == (len(rows), 12, VOCABULARY)
    for row, (prefix, width) in enumerate(rows):
        assert_close(together[row, :width], denoiser.denoise(prefix, canvas[[row], :width])[0])


@everywhere
def test_one_step_is_the_models_own_forward(kind: Kind) -> None:
    context, canvas = ids(20).clamp(min=1).tolist(), ids(3, 9, seed=1).clamp(min=1)
    denoiser = DENOISERS[kind]
    logits = denoiser.denoise(denoiser.encode(context), canvas)
    assert logits.dtype == torch.float32
    for row, own in zip(logits, canvas.tolist(), strict=True):
        assert_close(row, own_forward(kind, context + own)[20:])


@everywhere
def test_shifted_logits_are_those_of_the_position_before(kind: Kind) -> None:
    context, canvas = [9], ids(1, 9, seed=1).clamp(min=1)
    denoiser = MaskedDenoiser(MODELS[kind], shift=True)
    logits = denoiser.denoise(denoiser.encode(context), canvas)
    assert_close(logits[0], own_forward(kind, context + canvas[0].tolist())[:-1])


@everywhere
def test_rows_are_independent_of_their_companions(kind: Kind) -> None:
    denoiser = DENOISERS[kind]
    long, short = denoiser.encode(ids(30).tolist()), denoiser.encode([7])
    assert_rows_are_alone(denoiser, [(long, 12), (long, 12), (long, 12)])
    assert_rows_are_alone(denoiser, [(long, 12), (short, 3), (long, 1), (short, 12)])


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shift=st.booleans(),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=5),
)
def test_any_mix_of_prefixes_and_widths_comes_to_the_same(
    kind: Kind, shift: bool, lengths: list[int], rows: list[tuple[int, int]]
) -> None:
    denoiser = MaskedDenoiser(MODELS[kind], shift=shift)
    known = [denoiser.encode(ids(n, seed=n).tolist()) for n in lengths]
    assert_rows_are_alone(denoiser, [(known[owner % len(known)], width) for owner, width in rows])


@everywhere
def test_padding_tokens_within_a_text_are_content(kind: Kind) -> None:
    """A canvas ends in them; positions go on behind, and what stands there is seen."""
    denoiser = DENOISERS[kind]
    prefix, canvas = denoiser.encode(ids(9).clamp(min=1).tolist()), ids(1, 8).clamp(min=1)
    canvas[0, 3:] = PAD
    other = canvas.clone()
    other[0, 7] = PAD + 1
    logits = denoiser.denoise(prefix, canvas)
    assert (logits[0, 3] - logits[0, 5]).abs().max() > APART  # by their positions
    assert (logits[0, 6] - denoiser.denoise(prefix, other)[0, 6]).abs().max() > APART


@everywhere
def test_the_context_is_seen_and_the_previous_step_is_not(kind: Kind) -> None:
    denoiser, canvas = DENOISERS[kind], ids(1, 8, seed=1)
    logits = denoiser.denoise(denoiser.encode([3, 4, 5]), canvas)
    other = denoiser.denoise(denoiser.encode([3, 4, 6]), canvas)
    assert (logits - other).abs().max() > APART
    again = denoiser.denoise(denoiser.encode([3, 4, 5]), canvas, previous=logits)
    assert torch.equal(again, logits)


@everywhere
def test_a_step_writes_nothing_into_its_canvas(kind: Kind) -> None:
    denoiser, canvas = DENOISERS[kind], ids(2, 8, seed=1)
    before, pinned = canvas.clone(), canvas[:, :3].clone()
    logits = denoiser.denoise(denoiser.encode([3, 4, 5]), canvas)
    assert torch.equal(canvas, before)
    canvas[:, 3:] = logits[:, 3:].argmax(-1)  # as a next step does: pins stay and are seen
    again = denoiser.denoise(denoiser.encode([3, 4, 5]), canvas)
    assert torch.equal(canvas[:, :3], pinned)
    other = canvas.clone()
    other[:, 0] += 1
    seen = denoiser.denoise(denoiser.encode([3, 4, 5]), other)
    assert (again[:, 3:] - seen[:, 3:]).abs().max() > APART


def test_a_prefix_is_its_tokens() -> None:
    denoiser = DENOISERS["bert"]
    prefix = denoiser.encode([5, 6], prefix=denoiser.encode([3, 4]))
    assert prefix.tokens == (3, 4, 5, 6)
    assert denoiser.nbytes(prefix) == 0
    assert denoiser.encode([], prefix=prefix) is prefix
    assert denoiser.rewind(prefix, 4) is prefix
    shorter = denoiser.rewind(prefix, 3)
    assert shorter is not None
    assert shorter.tokens == (3, 4, 5)
    assert denoiser.rewind(prefix, 0) is None
    assert denoiser.rewind(prefix, 5) is None
    with pytest.raises(EngineError, match="at least one token"):
        denoiser.encode([])


def test_it_can_not_read_causally() -> None:
    denoiser = DENOISERS["bert"]
    assert not denoiser.causal
    with pytest.raises(EngineError, match="no causal encoder; take verify='off'"):
        denoiser.read(denoiser.encode([5]), [[6]])


@everywhere
def test_its_measures_are_the_models(kind: Kind) -> None:
    denoiser = DENOISERS[kind]
    assert denoiser.vocab_size == VOCABULARY
    assert denoiser.context_length == CONTEXT_LENGTH
    assert denoiser.canvas_length == CONTEXT_LENGTH // 2  # 256 is more than there are positions
    assert MaskedDenoiser(MODELS[kind], canvas_length=16).canvas_length == 16
    assert MaskedDenoiser(MODELS[kind], canvas_length=999).canvas_length == CONTEXT_LENGTH
    assert denoiser.device == torch.device("cpu")
    prefix = denoiser.encode([5] * (CONTEXT_LENGTH - 10))
    assert denoiser.denoise(prefix, ids(1, 10)).shape == (1, 10, VOCABULARY)
    with pytest.raises(ContextTooLong):
        denoiser.denoise(prefix, ids(1, 11))
    with pytest.raises(ContextTooLong):
        denoiser.encode([5] * 11, prefix=prefix)
    with pytest.raises(EngineError, match=f"{CONTEXT_LENGTH // 2 + 1} tokens is wider"):
        denoiser.denoise(prefix, ids(1, CONTEXT_LENGTH // 2 + 1))
    with pytest.raises(EngineError, match="2 rows came with 1 prefixes"):
        denoiser.denoise([prefix], ids(2, 4))


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model by its checkpoint's own code."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = save_own_code_checkpoint(tmp_path)
    return load_checkpoint(folder, device="cpu", trust_remote_code=True).model


def test_a_model_of_its_own_code_is_given_no_padding(own_code: Any) -> None:
    denoiser = denoiser_of(own_code)
    assert isinstance(denoiser, MaskedDenoiser)
    assert denoiser.context_length == CONTEXT_LENGTH
    long, short = denoiser.encode(ids(30).tolist()), denoiser.encode([7, 8])
    assert_rows_are_alone(denoiser, [(long, 12), (short, 3), (long, 1), (short, 12), (long, 12)])


def test_a_model_without_a_measure_is_told(own_code: Any) -> None:
    own_code.config.max_sequence_length = None
    with pytest.raises(EngineError, match="'own_diffusion' does not say how long a context may be"):
        denoiser_of(own_code)


# --- a whole engine over one

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 9},
        "days": {"enum": [1, 3, 7]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Over a folder without agentkit.json."""
    folder = save_masked_checkpoint(tmp_path_factory.mktemp("masked"), chat=True)
    engine = Engine.load(folder, device="cpu")
    yield engine
    engine.close()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_schema_is_filled(engine: Engine, steps: int) -> None:
    session = engine.session(instructions="be brief")
    session.extend_sync("and the weather in Paris?")
    filling = session.infill_sync(Template.json_schema(WEATHER), steps=steps)
    jsonschema.validate(filling.value, WEATHER)
    assert json.loads(filling.text) == filling.value
    assert 1 <= filling.forwards <= steps


def test_a_turn_is_decided(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("the weather in Paris?")
    decision = session.decide_sync({"weather": WEATHER})
    for call in decision.calls:
        jsonschema.validate(call.arguments, WEATHER)
    assert decision.calls or decision.answer


def test_a_chat_without_a_template_is_told_when_it_is_needed(tmp_path: Path) -> None:
    engine = Engine.load(save_masked_checkpoint(tmp_path), device="cpu")
    session = engine.session()
    with pytest.raises(CheckpointError, match="has no chat template"):
        session.extend_sync("and the weather in Paris?")
    engine.close()
