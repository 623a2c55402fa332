"""What was filled in, token by token: exact marginals, whole texts, and JSON of every layout."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lattices import problems
from test_fuzz import random_schema

from agentkit_engine import Engine
from agentkit_engine.errors import CanvasTooShort, TemplateError, UnsatisfiableSchema
from agentkit_engine.filling.outcome import Answer, Token
from agentkit_engine.filling.settings import DecidingOptions
from agentkit_engine.lattice import Bias, Lattice, Problem
from agentkit_engine.layouts.maker import Layout

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "people": {"type": "integer", "minimum": 1, "maximum": 12},
        "note": {"type": "string"},
        "at": {
            "type": "object",
            "properties": {"day": {"enum": ["today", "tomorrow"]}, "late": {"type": "boolean"}},
            "required": ["day"],
        },
    },
    "required": ["city", "people", "at"],
}


def answered(
    engine: Engine,
    schema: Any = None,
    *,
    layout: Layout = "slots",
    bias: Bias | None = None,
    seed: int = 0,
) -> Answer:
    """An answer, drawn at random."""
    session = engine.session()
    session.extend_sync("a table for two")
    options = DecidingOptions(temperature=1.0, seed=seed, answer_tokens=6, layout=layout)
    if bias is not None:
        options["bias"] = bias
    found = session.decide_sync({}, answer=schema, **options).answered
    session.close()
    assert found is not None
    return found


def written(tokens: Sequence[Token]) -> str:
    return b"".join(token.text for token in tokens).decode()


@settings(deadline=None)
@given(problems(), st.integers(1, 9))
def test_the_likeliest_tokens_are_those_of_the_marginals(problem: Problem, count: int) -> None:
    try:
        lattice = Lattice([problem])
        chances = lattice.marginals(0).double()
    except TemplateError:
        return
    length, size = chances.shape
    tokens, nats = lattice.likeliest(0, count, length)
    assert tokens.shape == nats.shape == (length, min(count, size))
    torch.testing.assert_close(nats.exp(), chances.topk(min(count, size)).values)
    torch.testing.assert_close(nats.exp(), chances.gather(1, tokens))
    for row in tokens.T.tolist():
        single = lattice.log_marginals(0, row)
        torch.testing.assert_close(
            single.exp(), chances.gather(1, torch.tensor(row)[:, None])[:, 0]
        )


def test_words_are_told_token_by_token_with_what_else_might_have_stood_there(
    engine: Engine,
) -> None:
    for seed in range(4):
        answer = answered(engine, seed=seed)
        tokens = answer.token_probabilities(1000)
        assert written(tokens) == answer.text
        for token in tokens:
            chances = [math.exp(nats) for _, nats in token.likeliest]
            assert sum(chances) == pytest.approx(1.0, abs=1e-6)  # that it has ended included
            assert chances == sorted(chances, reverse=True)
            assert any(math.isclose(nats, token.nats) for _, nats in token.likeliest)
        assert not any(not text for text, _ in tokens[0].likeliest)  # nobody says nothing
        assert [token.nats for token in answer.token_probabilities()] == [
            token.nats for token in tokens
        ]
        assert not any(token.likeliest for token in answer.token_probabilities())


@pytest.mark.parametrize("layout", ["slots", "float"])
def test_json_is_told_whole_and_what_the_schema_settles_is_certain(
    engine: Engine, layout: Layout
) -> None:
    for seed in range(4):
        answer = answered(engine, SCHEMA, layout=layout, seed=seed)
        tokens = answer.token_probabilities(3)
        assert written(tokens) == answer.text
        assert json.loads(written(tokens)) == answer.value
        assert all(token.nats <= 0 for token in tokens)
        assert all(len(token.likeliest) <= 3 for token in tokens)
        assert not any(token.likeliest for token in answer.token_probabilities())
        if layout == "slots":
            assert tokens[0] == Token(b'{"city":', 0.0)


def test_an_absent_key_s_probability_is_that_of_the_brace_behind_it(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
    absent = engine.runtime.checkpoint.tokens.absent
    assert absent is not None
    for nats, there in ((3.0, False), (-20.0, True)):
        bias = Bias(preferred={absent: nats})
        answer = next(
            one
            for one in (answered(engine, schema, bias=bias, seed=seed) for seed in range(50))
            if ("a" in one.value) == there
        )
        share = answer.posterior["/a"]
        if there:
            assert all(
                share <= math.exp(token.nats) + 1e-9 for token in answer.token_probabilities()
            )
        else:
            [brace] = answer.token_probabilities()
            assert brace.text == b"{}"
            assert brace.nats == pytest.approx(math.log(share))


def test_a_call_s_arguments_are_told_as_well(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("a table for two")
    decision = session.decide_sync(
        {"book": SCHEMA, "cancel": SCHEMA}, must_call=True, max_calls=2, seed=1
    )
    session.close()
    for call in decision.calls:
        assert json.loads(written(call.token_probabilities())) == call.arguments


def test_a_schema_that_leaves_nothing_free_is_certain(engine: Engine) -> None:
    answer = answered(engine, {"const": {"a": [1, "b"]}})
    assert written(answer.token_probabilities()) == answer.text
    assert [token.nats for token in answer.token_probabilities()] == [0.0] * len(
        answer.token_probabilities()
    )


def test_random_values_are_told_whole(engine: Engine) -> None:
    random, told = Random(5), 0
    while told < 30:
        try:
            answer = answered(engine, random_schema(random), seed=told)
        except (CanvasTooShort, UnsatisfiableSchema):
            continue
        told += 1
        assert written(answer.token_probabilities(2)) == answer.text


def test_what_was_encoded_before_is_told_apart(engine: Engine) -> None:
    session = engine.session()
    session.extend_sync("how many things are on the list?")
    first = session.decide_sync({})
    assert first.cached_tokens < first.prompt_tokens
    again = session.decide_sync({})
    assert again.cached_tokens == again.prompt_tokens
    other = engine.session()
    other.extend_sync("how many things are on the list?", "and now?")
    grown = other.decide_sync({})
    assert 0 < grown.cached_tokens < grown.prompt_tokens
