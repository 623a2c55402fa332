"""The peer: constrained greedy decoding, token by token, with a model run causally.

What it may say is what the engine may fill in: the same calls, the same token automata, read from
left to right. It is as strong as such decoding gets: it keeps its cache, and tokens that the
grammar forces cost it no forward of their own (as engines with fast-forwarding have it).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from agentkit_engine import Engine
from agentkit_engine.contexts.prompt import render_prompt
from agentkit_engine.filling.course import Course, course_of

MOST_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the peer said.

    Attributes:
        name: of the tool called; None for an answer, of which nothing more is decoded.
        arguments: of the call.
        forwards: behind the prompt, those of forced tokens left out.
        tokens: said in all.
        seconds: behind the encoded prompt.
    """

    name: str | None
    arguments: Any
    forwards: int
    tokens: int
    seconds: float


class _Reader:
    """A model that reads on, and tells what it expects next."""

    def __init__(self, engine: Engine) -> None:
        self._model: Any = engine.runtime.checkpoint.model
        self._cache = DynamicCache(config=self._model.config.text_config)
        self._device = engine.runtime.denoiser.device
        self._waiting: list[int] = []
        self.forwards = self.tokens = 0

    def read(self, tokens: Sequence[int]) -> None:
        """Takes tokens, which go along with the next forward."""
        self._waiting += tokens
        self.tokens += len(tokens)

    def expected(self) -> torch.Tensor:
        """[V] scores of the next token."""
        ids = torch.tensor([self._waiting], device=self._device)
        encoder = self._model.model.encoder
        hidden = encoder(input_ids=ids, past_key_values=self._cache).last_hidden_state
        self._waiting = []
        self.forwards += 1
        scores: torch.Tensor = self._model.lm_head(hidden[0, -1])
        return scores


@torch.inference_mode()
def left_to_right(
    engine: Engine,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
) -> Spoken:
    """One turn, decoded greedily under the constraint.

    Args:
        messages, tools: as chat templates take them.
    """
    checkpoint, forms = engine.runtime.checkpoint, engine.runtime.forms
    reader = _Reader(engine)
    reader.read(render_prompt(checkpoint.tokenizer, messages, tools))
    scores = reader.expected()
    reader.forwards = reader.tokens = 0
    began = time.perf_counter()
    opening = checkpoint.tokens.call_open
    if not tools or int(scores.argmax()) != opening[0]:
        return Spoken(None, None, 1, 1, time.perf_counter() - began)
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    written = {name: tuple(forms.writing.encode(name.encode())) for name in schemas}
    reader.read(opening)
    name = _named(reader, written)
    form = forms.call(name, schemas[name], layout="slots")
    course = course_of(form)
    if course is None:  # nothing is open in it
        return Spoken(name, {}, reader.forwards, reader.tokens, time.perf_counter() - began)
    said = _decoded(reader, course, before=len(opening) + len(written[name]))
    row = [token if token is not None else -1 for token in form.tokens]
    for place, token in course.held(said)[0].pins.items():
        row[place] = token
    seconds = time.perf_counter() - began
    return Spoken(name, form.read(row), reader.forwards, reader.tokens, seconds)


def _named(reader: _Reader, written: Mapping[str, tuple[int, ...]]) -> str:
    """The likeliest name, token by token; where one name begins another, by what comes behind."""
    left, place = dict(written), 0
    while len(left) > 1:
        following = {tokens[place] for tokens in left.values() if place < len(tokens)}
        ended = next((name for name, tokens in left.items() if len(tokens) == place), None)
        if ended is not None or len(following) > 1:
            scores = reader.expected()
            best = max(following, key=lambda token: float(scores[token]))
            if ended is not None and float(scores[best]) < float(scores.max()):
                return ended
        else:
            (best,) = following
        left = {
            name: tokens for name, tokens in left.items() if tokens[place : place + 1] == (best,)
        }
        reader.read([best])
        place += 1
    ((name, tokens),) = left.items()
    reader.read(tokens[place:])
    return name


def _decoded(reader: _Reader, course: Course, *, before: int) -> tuple[int, ...]:
    """The likeliest token that may come next, one after the other; `before` of them are said."""
    place, said = course.start, list[int]()
    while not course.finished(place) and len(said) < MOST_TOKENS:
        allowed = course.following(place)
        if isinstance(allowed, frozenset) and len(allowed) == 1:
            (token,) = allowed
        else:
            scores = reader.expected()
            if isinstance(allowed, frozenset):
                token = max(sorted(allowed), key=lambda each: float(scores[each]))
            else:
                mask = torch.tensor(allowed, device=scores.device)
                token = int(scores.masked_fill(~mask, float("-inf")).argmax())
        said.append(token)
        if len(said) > before:
            reader.read([token])
        after = course.step(place, token)
        assert after is not None
        place = after
    return tuple(said)
