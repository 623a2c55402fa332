"""Propose, verify, commit: exact is constrained greedy decoding, rerank is a weighted sum.

On random weights the causal encoder and the denoiser disagree nearly everywhere, so that exact has
to work for every token of what it ends with.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from greedy import MANY, decoded, fill, greedy, next_scores, repeats
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import LAYOUTS, SCHEMAS, TEMPLATES, course, forms_of, row_of

from agentkit_engine import Engine, Template
from agentkit_engine.checkpoint import Checkpoint
from agentkit_engine.denoisers import Denoiser, Prefix, Reading
from agentkit_engine.errors import EngineError
from agentkit_engine.filling.course import course_of
from agentkit_engine.filling.solution import fillings, solve
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Form, Region


@pytest.fixture(scope="module")
def uniform(tiny_checkpoint: Checkpoint) -> Iterator[Engine]:
    """The same checkpoint, whose canvases begin as random tokens."""
    dialect = replace(tiny_checkpoint.dialect, start="uniform")
    engine = Engine(replace(tiny_checkpoint, dialect=dialect))
    yield engine
    engine.close()


CASES = [
    (name, layout, start, steps)
    for k, name in enumerate([*SCHEMAS, *TEMPLATES])
    for j, layout in enumerate(LAYOUTS)
    for start, steps in [(("mask", "uniform")[(k + j) % 2], (1, 3)[k % 2])]
]


@pytest.mark.parametrize(("name", "layout", "start", "steps"), CASES)
def test_exact_is_constrained_greedy_decoding(
    engine: Engine, uniform: Engine, name: str, layout: Any, start: str, steps: int
) -> None:
    chosen = engine if start == "mask" else uniform
    denoiser = chosen.runtime.denoiser
    made = chosen.runtime.forms
    if name in SCHEMAS:
        form = made.call("tell", SCHEMAS[name], layout=layout)
    else:
        form = made.template(TEMPLATES[name], layout=layout, width=None)
    done = fill(chosen, form, f"tell me of {name}", verify="exact", steps=steps, rounds=MANY)
    assert done.said == greedy(denoiser, form, done.prefix.tokens)
    assert done.said == course(form).said(done.row)
    assert done.solved.verified.agreed is True
    assert done.turn.clock.passes == done.solved.verified.rounds <= MANY
    form.read(done.row)
    committed = done.solved.verified.prefix
    assert committed is not None
    assert committed.tokens == (*done.prefix.tokens, *done.said)
    scratch = next_scores(denoiser, committed.tokens)
    carried = denoiser.read(committed, [()]).logits(0)[0].numpy()
    assert np.abs(carried - scratch).max() < 1e-4


@cache
def expected(engine: Engine, form: Form, prompt: str) -> tuple[int, ...]:
    """By `greedy`, behind a prompt."""
    before = fill(engine, form, prompt, verify="off").prefix.tokens
    return greedy(engine.runtime.denoiser, form, before)


@pytest.mark.parametrize("prompt", ["hello", "9 9 9"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_rounds_cut_short_leave_a_valid_filling(
    engine: Engine, prompt: str, layout: Any, rounds: int
) -> None:
    for name in ("optional between required", "free keys", "arrays"):
        form = engine.runtime.forms.call("tell", SCHEMAS[name], layout=layout)
        done = fill(engine, form, prompt, verify="exact", rounds=rounds)
        form.read(done.row)
        assert done.said == course(form).said(done.row)
        assert done.turn.clock.passes <= rounds
        assert done.turn.clock.forwards <= rounds
        if done.solved.verified.agreed:
            assert done.said == expected(engine, form, prompt)
        else:
            assert done.solved.verified.prefix is None


def test_a_session_says_when_rounds_ran_out(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("hello")
    template = Template.json_schema(SCHEMAS["required"])
    assert session.infill_sync(template, rounds=1).agreed is False
    assert session.infill_sync(template, rounds=MANY).agreed is True
    assert session.infill_sync(template, verify="off").agreed is None


class Sure:
    """A denoiser whose logits put everything on one row; it reads and encodes as the real one."""

    def __init__(self, real: Denoiser, row: Sequence[int]) -> None:
        self._real, self._row = real, torch.tensor(row)

    def denoise(self, prefix: Any, canvas: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = torch.zeros(*canvas.shape, self._real.vocab_size)
        logits[0, torch.arange(len(self._row)), self._row] = 50.0
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_one_round_is_enough_where_the_denoiser_agrees(
    engine: Engine, name: str, layout: Any
) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS[name], layout=layout)
    before = fill(engine, form, verify="off").prefix.tokens
    wanted = greedy(engine.runtime.denoiser, form, before)
    row = row_of(form, course(form).held(wanted)[0])
    sure: Any = Sure(engine.runtime.denoiser, row)
    done = fill(engine, form, denoiser=sure, verify="exact")
    assert done.row == row
    assert done.solved.verified.agreed is True
    assert (done.turn.clock.forwards, done.turn.clock.passes) == (1, 1)
    assert done.solved.verified.rounds == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"enum": [0, 1]}},
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 1},
    ],
)
def test_what_greedy_decoding_would_repeat_is_said_strictly(
    engine: Engine, schema: Any, layout: Any
) -> None:
    """Nothing rules a repeated key or item out token by token, yet what comes out is valid."""
    form = engine.runtime.forms.template(Template.json_schema(schema), layout=layout, width=None)
    repeated = 0
    encode = engine.runtime.checkpoint.tokenizer.encode
    for seed in range(2):
        forgetful: Any = Forgetful(engine.runtime.denoiser, seed, encode(":,0"))
        done = fill(engine, form, denoiser=forgetful, verify="exact", rounds=MANY)
        repeated += repeats(form, decoded(forgetful, course(form), done.prefix.tokens))
        assert done.said == greedy(forgetful, form, done.prefix.tokens)
        assert done.solved.verified.agreed is True
        form.read(done.row)
        for rounds in (2, 5):
            cut = fill(engine, form, denoiser=forgetful, verify="exact", rounds=rounds)
            form.read(cut.row)
            assert cut.turn.clock.passes <= rounds
    assert repeated  # the case was met


class Forgetful:
    """Its causal encoder goes by the token before alone, and so says the same again and again."""

    def __init__(self, real: Denoiser, seed: int, often: Sequence[int]) -> None:
        chance = torch.Generator().manual_seed(seed)
        self._real = real
        self.behind = torch.randn(real.vocab_size, real.vocab_size, generator=chance)
        self.behind[:, list(often)] += 4.0

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> Reading:
        return _Recalled(self._real.read(prefix, rows), self.behind, prefix, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@dataclass
class _Recalled:
    real: Reading
    behind: torch.Tensor
    before: Prefix
    rows: Sequence[Sequence[int]]

    def logits(self, row: int) -> torch.Tensor:
        return self.behind[[self.before.tokens[-1], *self.rows[row]]]

    def prefix(self, row: int, length: int | None = None) -> Prefix | None:
        return self.real.prefix(row, length)


def test_a_map_keeps_all_the_keys_that_greedy_decoding_says(engine: Engine) -> None:
    schema = {"type": "object", "additionalProperties": {"enum": [1, 2]}}
    for layout in LAYOUTS:
        template = Template.json_schema(schema)
        form = engine.runtime.forms.template(template, layout=layout, width=None)
        encode = engine.runtime.forms.template(
            Template.json_schema({"const": {"a": 1, "b": 2, "c": 1}}), layout="slots", width=None
        )
        said = course(encode).said([token or 0 for token in encode.tokens])
        row = row_of(form, course(form).held(said)[0])
        sure: Any = Agreeing(engine.runtime.denoiser, row, said)
        done = fill(engine, form, denoiser=sure, verify="exact")
        assert form.read(done.row) == {"a": 1, "b": 2, "c": 1}
        assert done.solved.verified.agreed is True


class Agreeing(Sure):
    """Both the denoiser and the causal encoder are sure of the same."""

    def __init__(self, real: Denoiser, row: Sequence[int], said: Sequence[int]) -> None:
        super().__init__(real, row)
        self._said = said

    def read(self, prefix: Prefix, rows: Sequence[Sequence[int]]) -> Reading:
        return _Told(self._real.read(prefix, rows), self._said)


@dataclass
class _Told:
    real: Reading
    said: Sequence[int]

    def logits(self, row: int) -> torch.Tensor:
        scores = torch.zeros_like(self.real.logits(row))
        scores[torch.arange(len(self.said)), torch.tensor(self.said)] = 9.0
        return scores

    def prefix(self, row: int, length: int | None = None) -> Prefix | None:
        return self.real.prefix(row, length)


@contextmanager
def passes(engine: Engine) -> Generator[list[int]]:
    """The tokens of every forward of the real encoder meanwhile."""
    seen: list[int] = []
    encoder = engine.runtime.checkpoint.model.model.encoder

    def note(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["input_ids"].numel())

    hook = encoder.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["required", "optional between required", "free keys", "arrays"])
def test_rerank_takes_the_best_weighted_sum(engine: Engine, name: str, layout: Any) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS[name], layout=layout)
    denoiser = engine.runtime.denoiser
    for prompt, count in (("hello", 16), ("is it warm?", 5)):
        done = fill(engine, form, prompt, verify="rerank", candidates=count)
        before = done.prefix.tokens
        worth: dict[tuple[int, ...], float] = {}
        for score, row in fillings(done.solved.free[0].filled, form, count):
            said = course(form).said(row)
            reading = denoiser.read(denoiser.encode(before), [said]).logits(0).log_softmax(-1)
            causal = sum(float(reading[k, token]) for k, token in enumerate(said))
            worth[row] = causal + 0.3 * score
        assert 1 <= len(worth) <= count
        assert worth[done.row] == pytest.approx(max(worth.values()), abs=1e-3)
        form.read(done.row)
        assert done.solved.verified.agreed is None


def test_rerank_is_one_pass_whose_winner_is_the_new_prefix(engine: Engine) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS["required"], layout="slots")
    fill(engine, form, verify="off")  # the context is encoded
    with passes(engine) as seen:
        done = fill(engine, form, verify="rerank", candidates=4)
    assert len(seen) == 1
    assert done.turn.clock.passes == 1
    committed = done.solved.verified.prefix
    assert committed is not None
    assert committed.tokens == (*done.prefix.tokens, *done.said)
    scratch = next_scores(engine.runtime.denoiser, committed.tokens)
    carried = engine.runtime.denoiser.read(committed, [()]).logits(0)[0].numpy()
    assert np.abs(carried - scratch).max() < 1e-4


def message(decision: Any) -> dict[str, Any]:
    """What the model decided, as the next message says it."""
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in decision.calls
    ]
    content = decision.answer or ""
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("verify", ["exact", "rerank"])
def test_the_next_turn_goes_on_from_the_tokens_of_the_canvas(
    engine: Engine, layout: Any, verify: Any
) -> None:
    taken = 0
    for prompt in ("hello", "add milk to the list"):
        session = engine.session()
        session.extend_sync(prompt)
        calls = {"weather": SCHEMAS["required"], "done": SCHEMAS["all optional"]}
        decision = session.decide_sync(calls, verify=verify, rounds=MANY, layout=layout)
        with passes(engine) as seen:
            session.extend_sync(message(decision), {"role": "tool", "content": "18"})
        fresh = engine.session()
        fresh.extend_sync(*session.messages)
        template = Template.choice(["yes", "no"])
        one, other = (each.infill_sync(template, verify="off") for each in (session, fresh))
        assert set(one.confidence) == set(other.confidence)
        taken += sum(seen) < 20  # just the tool's result was encoded
    assert taken == 2


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["optional between required", "arrays"])
def test_exact_with_a_bias_is_greedy_decoding_under_it(
    engine: Engine, name: str, layout: Any
) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS[name], layout=layout)
    denoiser = engine.runtime.denoiser
    plain = fill(engine, form, verify="exact", rounds=MANY)
    banned = frozenset[int]()
    for token in plain.said:
        if course_of(form, Bias(banned=banned | {token})) is not None:
            banned |= {token}
    assert banned
    for bias in (
        Bias(banned=banned),
        Bias(length=-3.0),
        Bias(preferred=dict.fromkeys(range(100, 160), 4.0)),
    ):
        biased = course(form, bias)
        done = fill(engine, form, verify="exact", rounds=MANY, bias=bias)
        values = [r.said(done.row) or () for r in form.regions if isinstance(r, Region)]
        assert not bias.banned & {token for tokens in values for token in tokens}
        place = biased.start
        said: list[int] = []
        while not biased.finished(place):
            scores = next_scores(denoiser, [*done.prefix.tokens, *said])
            said.append(biased.greedy(place, scores))
            after = biased.step(place, said[-1])
            assert after is not None
            place = after
        if not repeats(form, said):
            assert done.said == tuple(said)
        assert done.solved.verified.agreed is True
        form.read(done.row)


@given(data=st.data(), seed=st.integers(0, 2**31), verify=st.sampled_from(["exact", "rerank"]))
@settings(max_examples=25, deadline=None)
def test_banned_tokens_never_come_back_through_verification(
    engine: Engine, data: st.DataObject, seed: int, verify: Any
) -> None:
    forms = forms_of(engine)
    _, form = forms[data.draw(st.integers(0, len(forms) - 1))]
    chance = np.random.default_rng(seed)
    bias = Bias(banned=frozenset(chance.integers(15, 448, size=120).tolist()))
    if not form.regions:
        return
    try:
        solve(torch.zeros(form.width, 448), form, bias=bias)
    except EngineError:
        return  # nothing can be filled in without them, which is said before a forward is spent
    done = fill(engine, form, verify=verify, bias=bias, rounds=4)
    form.read(done.row)
    for region in form.regions:
        assert isinstance(region, Region)
        assert not bias.banned & set(region.said(done.row) or ())


@pytest.mark.parametrize("temperature", [1.0, 30.0, (1.0, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("steps", [1, 3])
def test_exact_overrules_the_temperature_of_drafts(
    engine: Engine, temperature: Any, steps: int
) -> None:
    form = engine.runtime.forms.call("tell", SCHEMAS["required"], layout="slots")
    options: dict[str, Any] = {
        "rounds": MANY,
        "temperature": temperature,
        "steps": steps,
        "seed": 3,
    }
    done = fill(engine, form, verify="exact", **options)
    assert done.said == expected(engine, form, "hello")
    assert done.solved.verified.agreed is True
    short: dict[str, Any] = {**options, "rounds": 2}
    form.read(fill(engine, form, verify="exact", **short).row)
