"""Canvases before a forward is spent on them, and texts carried over several of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from automata import FREE
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import AUTOMATA, FILLER, MARKER, TINY, fillings, problems, random_log_probs
from vocabularies import tiny

from agentkit_engine.errors import CanvasTooShort, TemplateError
from agentkit_engine.grammar import TokenAutomaton, compile_choice, compile_regex
from agentkit_engine.grammar.token.lift import lift
from agentkit_engine.lattice import Bias, Lattice, Problem, best, check, n_best, sample


@given(problems())
@settings(max_examples=200, deadline=None)
def test_what_passes_the_check_can_be_filled(problem: Problem) -> None:
    """Under any log-probabilities that rule nothing out; what does not pass, under none."""
    length = len(problem.log_probs)
    even = Problem(torch.zeros(length, 7), problem.automaton, problem.pins, problem.bias)
    if fillings(even):
        check(even.automaton, length, pins=even.pins, bias=even.bias)
        return
    with pytest.raises(TemplateError) as caught:
        check(even.automaton, length, pins=even.pins, bias=even.bias)
    with pytest.raises(type(caught.value)) as again:
        best(even.log_probs, even.automaton, pins=even.pins, bias=even.bias)
    assert str(again.value) == str(caught.value)


def test_the_check_needs_no_log_probs() -> None:
    closed = compile_choice(["abab"], vocabulary=TINY).close(MARKER, FILLER)
    check(closed, 3)
    with pytest.raises(CanvasTooShort):
        check(closed, 2)
    with pytest.raises(TemplateError, match="token 0 pinned at position 1"):
        check(closed, 3, pins={0: 2, 1: 0})
    with pytest.raises(TemplateError, match="ban fewer"):
        check(closed, 4, bias=Bias(banned=frozenset({MARKER})))


def test_an_error_in_a_batch_says_whose_it_is() -> None:
    closed = compile_choice(["abab"], vocabulary=TINY).close(MARKER, FILLER)
    able, unable = (Problem(torch.zeros(length, 7), closed) for length in (4, 2))
    with pytest.raises(CanvasTooShort) as caught:
        Lattice([able, unable])
    assert caught.value.__notes__ == ["This is about problem 1 of the lattice."]


def test_a_lattice_of_nothing() -> None:
    assert Lattice([]).best() == []
    assert Lattice([]).entropies() == []


def steps_by_trying(automaton: TokenAutomaton, state: int) -> int:
    """The least moves to acceptance, breadth first."""
    reached, steps = {state}, 0
    while not any(automaton.accepting[one] for one in reached):
        onward = (automaton.step(one, token) for one in reached for token in range(7))
        reached, steps = {one for one in onward if one >= 0}, steps + 1
    return steps


@pytest.mark.parametrize("number", range(len(AUTOMATA)))
def test_tokens_ahead(number: int) -> None:
    automaton = AUTOMATA[number]
    assert automaton.ahead.dtype == np.int32
    expected = [steps_by_trying(automaton, state) for state in range(automaton.states)]
    assert automaton.ahead.tolist() == expected
    assert automaton.ahead[automaton.start] == automaton.min_tokens


def test_the_tail_writes_no_text() -> None:
    bare = compile_regex("(ab)*", vocabulary=TINY)
    assert bare.tail == frozenset()
    assert bare.fill(FILLER).tail == {FILLER}
    assert bare.fill(FILLER, marker=MARKER).tail == {FILLER, MARKER}
    assert bare.close(MARKER, FILLER).tail == {FILLER, MARKER}


@given(
    st.integers(6, len(AUTOMATA) - 1),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_a_text_over_several_canvases(number: int, lengths: list[int], seed: int) -> None:
    """Each canvas goes on where the one before it ended, and none is led to a dead end."""
    automaton = AUTOMATA[number]
    if sum(lengths) < automaton.min_tokens:
        with pytest.raises(CanvasTooShort):
            check(automaton.carried(automaton.start, sum(lengths[1:])), lengths[0])
        return
    state, whole = automaton.start, list[int]()
    for at, length in enumerate(lengths):
        piece = automaton.carried(state, sum(lengths[at + 1 :]))
        assert piece.min_tokens <= length
        assert piece.tail == automaton.tail
        tokens = best(random_log_probs(length, 7, seed=seed + at), piece).tokens.tolist()
        for token in tokens:
            state = automaton.step(state, token)
        whole += tokens
    assert automaton.accepts(whole)


def test_what_repeats_a_key_is_left_to_who_carries() -> None:
    automaton = lift(FREE, tiny(b'{"', b"a", b"b", b'":1', b',"', b"}", None)).fill(6)
    piece = automaton.carried(automaton.start, 3)
    assert (piece.repeats, piece.strict) == (None, None)


def test_repeated_keys_are_left_out_of_every_answer() -> None:
    found = tiny(b'{"', b"a", b"b", b'":1', b',"', b"}", None)
    automaton = lift(FREE, found).fill(6)
    log_probs = torch.zeros(8, 7)
    log_probs[:, 1] = 1.0
    several = n_best(log_probs, automaton, 10)
    assert several[0].tokens.tolist() == best(log_probs, automaton).tokens.tolist()
    assert len({tuple(one.tokens.tolist()) for one in several}) == len(several)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(log_probs, automaton, count=200, generator=generator)
    for tokens in [*drawn.tolist(), *(one.tokens.tolist() for one in several)]:
        assert automaton.accepts(tokens)


def test_draws_that_keep_repeating_a_key_come_from_the_strict_part() -> None:
    automaton = lift(FREE, tiny(b'{"', b"a", b"b", b'":1', b',"', b"}", None)).fill(6)
    log_probs = torch.zeros(7, 7)
    log_probs[:, 1] = 60.0
    generator = torch.Generator().manual_seed(0)
    for tokens in sample(log_probs, automaton, count=5, generator=generator).tolist():
        assert automaton.accepts(tokens)
