"""The probability of a text, over all its spellings: brute force over tiny vocabularies."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentkit_engine.grammar import Vocabulary
from agentkit_engine.grammar.token.spellings import spellings_of
from agentkit_engine.lattice.writings import log_written

VOCABULARY = Vocabulary.from_tokens((None, b"a", b"b", b"ab", b"ba", b"a", b"aba"))
FILLER = 0


def written(tokens: tuple[int, ...]) -> bytes:
    return b"".join(VOCABULARY.token_bytes[token] or b"" for token in tokens)


@given(
    text=st.text("ab", max_size=5).map(str.encode),
    room=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_it_is_the_sum_over_all_fillings(text: bytes, room: int, seed: int) -> None:
    log_probs = torch.randn(room, 7, generator=torch.Generator().manual_seed(seed)) * 3
    fillings = [
        tokens
        for tokens in product(range(7), repeat=room)
        if written(tokens) == text and FILLER not in tokens[: len(tokens) - tokens.count(FILLER)]
    ]
    scores = [sum(float(log_probs[k, t]) for k, t in enumerate(tokens)) for tokens in fillings]
    found = log_written(
        log_probs,
        spellings_of(text, VOCABULARY),
        room=room,
        tail=lambda used: [FILLER] * (room - used),
    )
    if not fillings:
        assert found == -math.inf
    else:
        top = max(scores)
        total = top + math.log(math.fsum(math.exp(score - top) for score in scores))
        assert found == pytest.approx(total, abs=1e-5)


def test_every_token_is_found_wherever_it_writes() -> None:
    found = spellings_of(b"aba", VOCABULARY)
    moves = set(zip(found.start.tolist(), found.token.tolist(), found.stop.tolist(), strict=True))
    assert moves == {
        (0, 1, 1), (0, 5, 1), (0, 3, 2), (0, 6, 3), (1, 2, 2), (1, 4, 3), (2, 1, 3), (2, 5, 3),
    }  # fmt: skip
    assert found.stop.tolist() == sorted(found.stop.tolist())
