"""`SchemaConstraint`: nothing but valid values out of the stock `generate()` of transformers.

Knows how DiffusionGemma's `generate()` calls a logits processor: canvas by canvas, step by step.
Must not know the model, nor how the engine itself denoises.

What that function emits of a canvas is the argmax of its processed logits, position by position.
The argmax of constrained marginals need not be a valid text, that of *max*-marginals is: at each
token stands the score of the best valid canvas that holds it, so that the tokens of the best canvas
(its Viterbi path) lead everywhere. A token in no valid canvas gets -inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from agentkit_engine.errors import CanvasTooShort, CheckpointError, EngineError, TemplateError
from agentkit_engine.grammar import Options, TokenAutomaton, Vocabulary, compile_schema
from agentkit_engine.lattice import Bias, Lattice, Problem, check
from agentkit_engine.syntax import Syntax, syntax_of

__all__ = ["SchemaConstraint"]

_END = "<turn|>"
# By how much, in nats, the best canvas leads: it decides ties, and rounding to bf16 keeps it.
_LEAD = 1e-3
# What a processor before this one has ruled out stays possible where nothing else is valid.
_RULED_OUT = -1e4


@dataclass(slots=True)
class _Generation:
    """Where a call of `generate()` stands.

    seen: int64 [B, N], the prompt and the canvases behind it. first, step: the number that the
    canvas's first step has and the last one seen; they count down. states: each row's state of the
    automaton before this canvas.
    """

    seen: Tensor
    first: int
    step: int
    canvas: int
    states: list[int]


class SchemaConstraint(LogitsProcessor):
    """Makes `generate()` of an unmodified DiffusionGemma emit a valid value, whatever the weights.

        constraint = SchemaConstraint(schema, tokenizer)
        output = model.generate(
            **inputs,
            max_new_tokens=constraint.max_new_tokens,
            logits_processor=LogitsProcessorList([constraint]),
        )
        value = constraint.read(output.sequences[0, inputs["input_ids"].shape[1] :])

    Each row of a batch writes the value, then the token `end`, then `pad`, so that in both JSON
    syntaxes `tokenizer.decode(..., skip_special_tokens=True)` of what is emitted is the JSON text.
    (The syntax "gemma" delimits strings by the special token `<|"|>`, which that would skip: use
    `read`.) Every step's draft is valid, too, so any number of steps will do.

    A value longer than one canvas goes on in the next: `max_new_tokens`, the same as `generate()`
    gets, says in how many. Where keys or items must differ and no automaton can see to that, the
    texts of several canvases are taken from a part of the language in which they can't repeat.
    A model that is not sure when to stop fills what room there is: `bias=Bias(length=-1.0)` or a
    `maxLength` keeps values short.

    One constraint serves any number of `generate()` calls, one after the other; put it in a new
    `LogitsProcessorList` for each, since `generate()` appends its temperature to the list it gets
    (and calls it, so that a plain list won't do). Processors before it see the model's logits, and
    what they rule out is emitted only where nothing else is valid. Processors behind it must keep
    the argmax, as temperatures and top-k do.
    """

    supports_continuous_batching = False

    def __init__(
        self,
        schema: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        syntax: Syntax | str = "json",
        end: str | int | None = None,
        pad: str | int | None = None,
        canvas_length: int = 256,
        max_new_tokens: int | None = None,
        bias: Bias | None = None,
        options: Options | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Compiles the schema: what can't be done is told here, before any forward.

        Args:
            schema: a JSON Schema, or a type that pydantic makes one of (a model class, ...).
            tokenizer: the fast tokenizer of the model.
            syntax: how values are written: "json", "spaced" or "gemma".
            end: the token behind the value, which should be one that `generate()` stops at; by
                default `<turn|>`, or the tokenizer's `eos_token` if it has no such token.
            pad: the token behind that; by default the tokenizer's `pad_token`.
            canvas_length: `model.config.canvas_length`.
            max_new_tokens: tokens there are for value and end; by default one canvas. As in
                `generate()`, a canvas begun is a whole one.
            bias: tokens that are preferred or banned, and whether longer texts are, in nats.
            options: how the schema is read, see `agentkit_engine.grammar.Options`.
            vocabulary: `Vocabulary.from_tokenizer(tokenizer, symbols=...)`, to read a large
                tokenizer only once for many schemas.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema, SchemaTooLarge: see `compile_schema`.
            CanvasTooShort: the shortest valid text is longer than all canvases together.
            CheckpointError: the tokenizer lacks one of the tokens.
            TemplateError: `schema` is no schema, `end` or `pad` may stand within a text, or the
                banned tokens leave nothing.
        """
        self._syntax = syntax_of(syntax)
        self._vocabulary = vocabulary or Vocabulary.from_tokenizer(
            tokenizer, symbols=self._syntax.symbols
        )
        self._end = _token_id(tokenizer, _default_end(tokenizer) if end is None else end, "end")
        padding = _token_id(tokenizer, _default_pad(tokenizer) if pad is None else pad, "pad")
        self._bias = bias
        self.canvas_length = canvas_length
        self.max_new_tokens = max_new_tokens or canvas_length
        self._canvases = math.ceil(self.max_new_tokens / canvas_length)
        automaton = compile_schema(
            schema,
            vocabulary=self._vocabulary,
            syntax=self._syntax,
            options=options or Options(),
        )
        closed = automaton.close(self._end, padding)
        certain = closed.strict or closed  # what stays valid without asking a whole text
        if self._canvases == 1:
            self._automaton = closed
            check(certain, canvas_length, bias=bias)
        else:
            self._automaton = certain
            self._require_canvases(certain.min_tokens, banned=bool(bias and bias.banned))
        self._generation: _Generation | None = None
        self._carried: dict[tuple[int, int], TokenAutomaton] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, cur_step: Tensor | int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Max-marginals in place of a step's logits, each row by itself: [B, W, V] in nats.

        The best valid canvas has 0 at each of its tokens and everything else is below.

        Args:
            input_ids: [B, N] int64, the prompt and the canvases finished so far.
            scores: [B, W, V] float, the logits of this canvas.
            cur_step: how many steps of this canvas are left, this one included.

        Raises:
            EngineError: the canvas is not as long as was said, or there is none.
            InvalidLogProbs: the logits hold NaN or +inf, or the model has fewer tokens than the
                tokenizer.
        """
        if scores.ndim != 3 or scores.shape[1] != self.canvas_length:
            raise EngineError(
                f"got logits of the shape {tuple(scores.shape)} in place of [rows, "
                f"{self.canvas_length}, tokens]; give the SchemaConstraint of a diffusion model "
                "canvas_length=model.config.canvas_length"
            )
        here = self._generation = self._placed(input_ids, int(cur_step))
        room = max(0, self._canvases - 1 - here.canvas) * self.canvas_length
        lattice = Lattice(
            [
                Problem(row.float().clamp_min(_RULED_OUT), self._from(state, room), bias=self._bias)
                for row, state in zip(scores, here.states, strict=True)
            ]
        )
        led = torch.empty_like(scores)
        for row, best in enumerate(lattice.best()):
            behind = lattice.max_marginals(row, relative=True).clamp_max_(-_LEAD)
            led[row] = behind.scatter_(1, best.tokens[:, None], 0.0)
        return led

    def read(self, tokens: Sequence[int] | Tensor) -> Any:
        """The value that one row has written; `tokens` are those emitted, without the prompt.

        Raises:
            TemplateError: the end is missing: `generate()` got fewer tokens than the constraint.
        """
        ids = [int(token) for token in tokens]
        if self._end not in ids:
            raise TemplateError(
                f"the value is cut off after {len(ids)} tokens; give generate() "
                f"max_new_tokens={self.max_new_tokens}, as the constraint has it"
            )
        written = (self._vocabulary.token_bytes[token] for token in ids[: ids.index(self._end)])
        return self._syntax.loads(b"".join(text or b"" for text in written))

    def _require_canvases(self, needed: int, *, banned: bool) -> None:
        room = self._canvases * self.canvas_length
        if needed > room:
            raise CanvasTooShort(needed=needed, available=room)
        if banned:  # a canvas could end where only they lead on
            raise TemplateError(
                f"banned tokens can be kept out of one canvas, and {self._canvases} are asked for; "
                "give them a negative preference instead"
            )

    def _from(self, state: int, room: int) -> TokenAutomaton:
        """The automaton of a row that goes on in `state`, with `room` tokens behind this canvas."""
        if self._canvases == 1 and state == self._automaton.start:
            return self._automaton
        if (state, room) not in self._carried:
            self._carried[state, room] = self._automaton.carried(state, room)
        return self._carried[state, room]

    def _placed(self, ids: Tensor, step: int) -> _Generation:
        """Which canvas of which `generate()` call this step belongs to.

        All that tells is the prompt, which grows by what a canvas became, and the count of steps.
        """
        last = self._generation
        if last is not None and last.seen.device != ids.device:
            last = None  # a model elsewhere, thus another call
        if last is not None and step < last.step and torch.equal(ids, last.seen):
            last.step = step
            return last
        self._carried.clear()
        states = None if last is None or step != last.first else self._next_states(ids, last)
        if last is None or states is None:
            return _Generation(ids.clone(), step, step, 0, [self._automaton.start] * len(ids))
        return _Generation(ids.clone(), step, step, last.canvas + 1, states)

    def _next_states(self, ids: Tensor, last: _Generation) -> list[int] | None:
        """The rows' states behind the canvas that `ids` has more; None if it has no such canvas."""
        rows, length = last.seen.shape
        if ids.shape != (rows, length + self.canvas_length):
            return None
        if not torch.equal(ids[:, :length], last.seen):
            return None
        canvases: list[list[int]] = ids[:, length:].tolist()
        states = [self._walk(*row) for row in zip(last.states, canvases, strict=True)]
        return None if -1 in states else states

    def _walk(self, state: int, tokens: Sequence[int]) -> int:
        """Where the tokens lead from a state, -1 if nowhere. What is behind the end is all one."""
        if self._automaton.accepting[state]:
            return state
        for token in tokens:
            state = self._automaton.step(state, token)
            if state < 0 or token == self._end:
                break
        return state


def _default_end(tokenizer: Any) -> str | None:
    return tokenizer.eos_token if _find(tokenizer, _END) is None else _END


def _default_pad(tokenizer: Any) -> str | None:
    return tokenizer.pad_token


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str | int | None, role: str) -> int:
    if isinstance(token, int):
        return token
    if token is None:
        raise CheckpointError(f"the tokenizer has no token for {role!r}; name one by {role}=...")
    found = _find(tokenizer, token)
    if found is None:
        raise CheckpointError(f"the tokenizer has no token {token!r}; name another by {role}=...")
    return found


def _find(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """The id of a token; None for one that is not known, which some tokenizers give an id, too."""
    found = tokenizer.convert_tokens_to_ids(token)
    if isinstance(found, int) and tokenizer.convert_ids_to_tokens(found) == token:
        return found
    return None
