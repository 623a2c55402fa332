"""Beliefs: how sure the model was of what it filled in.

Knows solved rows and their forms. Must not know how they were solved. Everything is worked out when
it is asked for: a caller who wants values alone pays for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

from agentkit_engine.filling.canvases import Piece
from agentkit_engine.filling.course import course_of
from agentkit_engine.filling.outcome import Alternative, Token
from agentkit_engine.filling.solution import confidences, runners_up
from agentkit_engine.filling.tokens import json_tokens, said_tokens, write_json
from agentkit_engine.filling.verify import Verified
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Form

__all__ = ["Beliefs", "Solved"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """A row as it is emitted, and what the denoiser thought of it while all of it was free."""

    form: Form
    free: tuple[Piece, ...]
    verified: Verified


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Those about the values of one solved row, by JSON pointer.

    Attributes:
        bias: that it was filled under.
        value, plain: what was read from it, and whether that is a text and not JSON.
        head: only of what lies below this pointer, which is left off.
    """

    solved: Solved
    vocabulary: Vocabulary
    bias: Bias | None
    value: Any
    plain: bool
    head: str = ""

    @cached_property
    def confidence(self) -> Mapping[str, float]:
        """By the causal encoder where it has agreed on the row, else the posterior."""
        course, done = course_of(self.solved.form, self.bias), self.solved.verified
        if course is None or not done.nats:
            return self.posterior
        worth = course.by_region(done.said, done.nats)
        pointers = [region.pointer for region in self.solved.form.values]
        shares = [min(1.0, math.exp(nats)) for nats in worth]
        return self._below(dict(zip(pointers, shares, strict=True)))

    @cached_property
    def posterior(self) -> Mapping[str, float]:
        """By the denoiser, among all valid values; of a value's parts each given those before."""
        found: dict[str, float] = {}
        for piece in self.solved.free:
            own: Sequence[int] = self.solved.verified.tokens[piece.start : piece.stop]
            shares = confidences(piece.filled, piece.filled.form, own, self.vocabulary)
            for pointer, share in shares.items():
                found[pointer] = share * found.get(pointer, 1.0)
        return self._below(found)

    @cached_property
    def runners_up(self) -> Mapping[str, Alternative]:
        """The likeliest other values, by the denoiser."""
        found: dict[str, Alternative] = {}
        tokens = self.solved.verified.tokens
        for piece in self.solved.free:
            found |= runners_up(
                piece.filled, self.solved.form, tokens, self.vocabulary, start=piece.start
            )
        return self._below(found)

    def token_probabilities(self, likeliest: int) -> Sequence[Token]:
        """What it says, token by token."""
        row = self.solved.verified.tokens
        found: dict[str, list[Token]] = {}
        for piece in self.solved.free:
            own = row[piece.start : piece.stop]
            of_piece = said_tokens(piece.filled, own, self.vocabulary, likeliest)
            for pointer, tokens in of_piece.items():
                found.setdefault(pointer, []).extend(tokens)
        said = self._below(found)
        if self.plain:
            return said.get("", [])
        return json_tokens(self.value, said, partial(self._whole, likeliest))

    def _whole(self, likeliest: int, pointer: str, text: str) -> Token:
        """A value as one token; of others, no more than the runner-up is known."""
        nats = _nats(self.posterior[pointer])
        found = [(text.encode(), nats)]
        if likeliest and pointer in self.runners_up:
            other = self.runners_up[pointer]
            found.append((write_json(other.value).encode(), _nats(other.probability)))
        found.sort(key=lambda one: -one[1])
        return Token(text.encode(), nats, tuple(found[:likeliest]))

    def _below(self, found: Mapping[str, T]) -> dict[str, T]:
        start = len(self.head)
        return {
            pointer[start:]: one
            for pointer, one in found.items()
            if pointer.startswith(self.head) and pointer[start : start + 1] in ("", "/")
        }


def _nats(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
