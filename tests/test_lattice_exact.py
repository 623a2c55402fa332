"""The lattice's answers equal those of trying every filling, and of the reference."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import AUTOMATA, Fillings, fillings, log_total, ordered, problems, random_log_probs
from vocabularies import KINDS, Kind, slot, tiny, vocabulary

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar import compile_regex, compile_schema
from agentkit_engine.lattice import (
    Bias,
    Lattice,
    Problem,
    best,
    entropies,
    marginals,
    max_marginals,
    n_best,
    sample,
)
from agentkit_engine.lattice.reference import Reference

FIRST = 12


def hold(lattice: Lattice, number: int, found: Fillings) -> None:
    """A problem of a lattice has exactly these fillings."""
    log_probs = lattice.problems[number].log_probs
    expected, total = ordered(found), log_total(list(found.values()))
    answer = lattice.best()[number]
    assert tuple(answer.tokens.tolist()) == expected[0]
    assert answer.score == found[expected[0]]
    assert answer.log_partition == pytest.approx(total, abs=1e-9)
    assert answer.log_posterior == pytest.approx(answer.score - total, abs=1e-9)
    assert lattice.log_partition(number) == answer.log_partition
    several = lattice.n_best(number, FIRST)
    assert [tuple(one.tokens.tolist()) for one in several] == expected[:FIRST]
    assert [one.score for one in several] == [found[tokens] for tokens in expected[:FIRST]]
    chances = torch.zeros_like(log_probs)
    highest = torch.full_like(log_probs, -math.inf)
    for tokens, score in found.items():
        for at, token in enumerate(tokens):
            chances[at, token] += math.exp(score - total)
            highest[at, token] = max(float(highest[at, token]), score)
    torch.testing.assert_close(lattice.marginals(number), chances)
    torch.testing.assert_close(lattice.max_marginals(number), highest)
    relative = lattice.max_marginals(number, relative=True)
    torch.testing.assert_close(relative, highest - answer.score)
    nats = torch.special.entr(chances).sum(-1)
    torch.testing.assert_close(lattice.entropies()[number], nats, atol=1e-7, rtol=1e-7)
    for tokens in lattice.sample(number, count=3, temperature=0.7).tolist():
        assert tuple(tokens) in found


@given(problems())
@settings(max_examples=300, deadline=None)
def test_equal_to_trying_all(problem: Problem) -> None:
    found = fillings(problem)
    if found:
        hold(Lattice([problem]), 0, found)
        return
    for answer in (best, marginals, max_marginals, sample, entropies):
        with pytest.raises(TemplateError):
            answer(problem.log_probs, problem.automaton, pins=problem.pins, bias=problem.bias)
    with pytest.raises(TemplateError):
        n_best(problem.log_probs, problem.automaton, 2, pins=problem.pins, bias=problem.bias)


@given(st.lists(problems(), min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_batch_holds_each_by_itself(several: list[Problem]) -> None:
    """Canvases of different automata and lengths, some pinned, some biased."""
    known = [(problem, fillings(problem)) for problem in several]
    able = [(problem, found) for problem, found in known if found]
    lattice = Lattice([problem for problem, _ in able])
    for number, (_, found) in enumerate(able):
        hold(lattice, number, found)


SCHEMAS: dict[str, Any] = {
    "short string": {"type": "string", "minLength": 2, "maxLength": 12},
    "enum": {"enum": ["low", "normal", "high", 3, None, {"deep": ["é", 1.5]}]},
    "number": {"type": "number", "exclusiveMinimum": 0, "maximum": 99.5},
    "list": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_equal_to_the_reference(name: str, kind: Kind) -> None:
    automaton = slot(compile_schema(SCHEMAS[name], vocabulary=vocabulary(kind)), kind)
    noise = torch.Generator().manual_seed(3)
    shape = (automaton.min_tokens + 2, vocabulary(kind).size)
    log_probs = torch.randn(shape, generator=noise, dtype=torch.float64) * 3
    first = best(log_probs, automaton)
    wish = Bias(length=0.5, preferred={int(first.tokens[0]): -4.0})
    for pins, bias in (({}, None), ({1: int(first.tokens[1])}, wish)):
        problem = Problem(log_probs, automaton, pins, bias)
        ours, theirs = Lattice([problem]), Reference(problem)
        several, expected = ours.n_best(0, 20), theirs.n_best(20)
        assert [one.tokens.tolist() for one in several] == [one.tokens.tolist() for one in expected]
        for one, other in zip([*ours.best(), *several], [theirs.best(), *expected], strict=True):
            assert one.tokens.tolist() == other.tokens.tolist()
            assert one.score == pytest.approx(other.score)
            assert one.log_partition == pytest.approx(other.log_partition)
        torch.testing.assert_close(ours.marginals(0), theirs.marginals())
        torch.testing.assert_close(ours.max_marginals(0), theirs.max_marginals())
        torch.testing.assert_close(ours.entropies()[0], theirs.entropies())


def chi_square(drawn: list[list[int]], expected: Fillings) -> float:
    """Pearson's statistic, less its mean, in its standard deviations."""
    counts = Counter(tuple(tokens) for tokens in drawn)
    assert counts.keys() <= expected.keys()
    total = log_total(list(expected.values()))
    due = {tokens: len(drawn) * math.exp(score - total) for tokens, score in expected.items()}
    statistic = sum((counts[tokens] - wanted) ** 2 / wanted for tokens, wanted in due.items())
    freedom = max(1, len(due) - 1)
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("number", range(6, len(AUTOMATA), 3))
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_samples_are_drawn_by_their_probability(number: int, temperature: float) -> None:
    automaton = AUTOMATA[number]
    length = automaton.min_tokens + 2
    pins = {0: int(best(random_log_probs(length, 7, seed=9), automaton).tokens[0])}
    problem = Problem(random_log_probs(length, 7), automaton, pins if number % 2 else None)
    tempered = {tokens: score / temperature for tokens, score in fillings(problem).items()}
    lattice = Lattice([Problem(random_log_probs(4, 7, seed=2), AUTOMATA[7]), problem])
    generator = torch.Generator().manual_seed(number)
    drawn = lattice.sample(1, count=4000, temperature=temperature, generator=generator)
    assert (drawn.shape, drawn.dtype) == ((4000, length), torch.int64)
    assert abs(chi_square(drawn.tolist(), tempered)) < 5


def test_a_seed_makes_samples_reproducible() -> None:
    log_probs, automaton = random_log_probs(5, 7), AUTOMATA[7]

    def drawn(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return sample(log_probs, automaton, count=20, generator=generator).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_temperature_is_checked() -> None:
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature is"):
            sample(random_log_probs(4, 7), AUTOMATA[7], temperature=temperature)


def test_a_low_temperature_draws_the_best() -> None:
    log_probs, automaton = random_log_probs(6, 7), AUTOMATA[7]
    drawn = sample(log_probs, automaton, count=10, temperature=1e-3)
    assert drawn.tolist() == [best(log_probs, automaton).tokens.tolist()] * 10


def test_a_longer_filling_by_the_length_bias() -> None:
    automaton = compile_regex("a*", vocabulary=tiny(b"a", None)).fill(1)
    log_probs = torch.tensor([[-1.0, 0.0]]).repeat(5, 1)
    assert best(log_probs, automaton).tokens.tolist() == [1] * 5
    answer = best(log_probs, automaton, bias=Bias(length=1.5))
    assert (answer.tokens.tolist(), answer.score) == ([0] * 5, 2.5)


def test_banned_and_preferred_tokens() -> None:
    automaton = compile_regex("[ab]{2}", vocabulary=tiny(b"a", b"b", b"ab"))
    log_probs = torch.zeros(2, 3)
    bias = Bias(banned=frozenset({0, 99}), preferred={1: -3.0, 99: 5.0})
    assert best(log_probs, automaton, bias=bias).tokens.tolist() == [1, 1]
    assert best(log_probs, automaton, bias=bias, pins={0: 0}).tokens.tolist() == [0, 1]
    assert not log_probs.any()
    with pytest.raises(TemplateError, match="ban fewer tokens"):
        best(log_probs, automaton, bias=Bias(banned=frozenset({0, 1})))
    with pytest.raises(ValueError, match="must be finite"):
        Bias(preferred={3: math.inf})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_large_vocabulary_is_reduced_the_same(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, temperature: float
) -> None:
    """What is done in blocks, with the largest class hidden from the rest, changes no answer."""
    kind: Kind = "byte-level"
    automaton = slot(compile_schema(SCHEMAS["list"], vocabulary=vocabulary(kind)), kind)
    log_probs = (random_log_probs(9, vocabulary(kind).size + 3) * 4).to(dtype)
    log_probs[2, ::3] = -math.inf
    log_probs[:, -3:] = math.nan
    bias = Bias(length=0.25, preferred={7: 1.0})
    problem = Problem(log_probs, automaton, {4: int(best(log_probs, automaton).tokens[4])}, bias)

    def answers() -> tuple[Any, ...]:
        lattice = Lattice([problem])
        generator = torch.Generator().manual_seed(1)
        drawn = lattice.sample(0, count=3, temperature=temperature, generator=generator)
        found = lattice.best()[0]
        several = [one.tokens for one in lattice.n_best(0, 20)]
        figures = torch.tensor([found.score, found.log_partition])
        dense = lattice.marginals(0), lattice.max_marginals(0)
        return found.tokens, figures, lattice.entropies()[0], *dense, *several, drawn

    expected = answers()
    monkeypatch.setattr("agentkit_engine.lattice.reduction._SMALL", 0)
    monkeypatch.setattr("agentkit_engine.lattice.reduction._BLOCK", 1600)
    monkeypatch.setattr("agentkit_engine.lattice.scores._FEW", 2)
    for ours, theirs in zip(answers(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("large", [False, True])
def test_log_probs_that_span_thousands_of_nats(
    monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """Whatever is needed is found, however improbable it is beside what doesn't fit."""
    if large:
        monkeypatch.setattr("agentkit_engine.lattice.reduction._SMALL", 0)
    automaton = compile_regex("(a|b)c(a|b)*d", vocabulary=tiny(b"a", b"b", b"c", b"d", None))
    automaton = automaton.fill(4)
    noise = torch.Generator().manual_seed(5)
    log_probs = torch.rand(7, 5, generator=noise, dtype=torch.float64) * -2000
    log_probs[:, 3] -= 3000
    problem = Problem(log_probs, automaton)
    ours, theirs = Lattice([problem]), Reference(problem)
    assert ours.best()[0].tokens.tolist() == theirs.best().tokens.tolist()
    assert ours.log_partition(0) == pytest.approx(theirs.log_partition(), rel=1e-12)
    torch.testing.assert_close(ours.marginals(0), theirs.marginals())
    torch.testing.assert_close(ours.entropies()[0], theirs.entropies(), atol=1e-9, rtol=1e-7)
    narrow = best(log_probs.float(), automaton)
    assert narrow.log_partition == pytest.approx(theirs.log_partition(), rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_log_probs_on_a_gpu() -> None:
    automaton = slot(compile_schema({"type": "string"}, vocabulary=vocabulary(KINDS[0])), KINDS[0])
    log_probs = random_log_probs(12, vocabulary(KINDS[0]).size)
    near, far = (Lattice([Problem(log_probs.to(d), automaton)]) for d in ("cpu", "cuda"))
    assert far.best()[0].tokens.device.type == "cuda"
    assert far.best()[0].tokens.tolist() == near.best()[0].tokens.tolist()
    torch.testing.assert_close(far.entropies()[0], near.entropies()[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(far.marginals(0).cpu(), near.marginals(0))
    torch.testing.assert_close(far.max_marginals(0).cpu(), near.max_marginals(0))
    assert far.sample(0).device.type == "cuda"
