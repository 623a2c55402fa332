"""Conversations as token sequences with the canvases of the model's turns.

The canvases are those that the engine builds at run time: both lay them out through
`layouts.canvas`. Knows a tokenizer and a dialect. Must not know losses or batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from transformers import PreTrainedTokenizerFast

from agentkit_engine.contexts.prompt import encode_written, render_prompt, write_head
from agentkit_engine.dialect import Dialect
from agentkit_engine.layouts.canvas import lay_out, lay_out_choice, pour, slot_width, surface
from agentkit_engine.syntax import GEMMA
from agentkit_engine.template import Hole, Path, Schema, Text, outline
from agentkit_engine.training.corpus.conversations import Conversation

_ANSWER_WIDTHS = (24, 32, 48, 64)
_FREE_WIDTHS = (32, 48, 64, 96)
_EXACT_SHARE = 0.7  # how often slots are as wide as the engine makes them, not wider or narrower
_FREE_SHARE = 0.15  # how often a call is written freely, too
_FLOATING_SHARE = 0.1  # how often an answer is
_SEVERAL_SHARE = 0.35  # how often a choice has room for more calls than are made
_MOST_CALLS = 8
_CHOICE_WORTH = 2.5  # few positions, on which everything hangs
_CHOOSING_BLANK = 0.85  # where a name is partly seen, the rest is copying


@dataclass(frozen=True, slots=True)
class Block:
    """One canvas and what it should become.

    Attributes:
        at: how many prompt tokens it sees.
        tokens: the clean canvas.
        free: which positions are denoised.
        worth: what its positions count, beside those of other canvases.
        blank: how often nothing of it is seen, as the first denoise step sees it.
        meant: of the first choice, which of the declared tools is called and how many of the first
            positions say so; None for others, and where none is.
    """

    at: int
    tokens: tuple[int, ...]
    free: tuple[bool, ...]
    worth: float = 1.0
    blank: float = 0.5
    meant: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens, its canvases, and where the model itself speaks (start, stop).

    Attributes:
        shared: so many of the first tokens are those of every conversation of its scene.
        declared: where in those each tool is declared: the start of its name, the stop of that, and
            of all that is said of it.
    """

    tokens: tuple[int, ...]
    blocks: tuple[Block, ...]
    spoken: tuple[tuple[int, int], ...]
    shared: int = 0
    declared: tuple[tuple[int, int, int], ...] = ()

    @property
    def own(self) -> int:
        """Tokens and canvas positions behind the shared ones."""
        return len(self.tokens) - self.shared + sum(len(block.tokens) for block in self.blocks)


class Canvases:
    """Turns conversations into examples, with one tokenizer and dialect."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, dialect: Dialect) -> None:
        self._tokenizer: Any = tokenizer  # annotated for every kind of input at once
        self._backend = tokenizer.backend_tokenizer
        self._symbols = {bytes([byte]): token.encode() for byte, token in GEMMA.symbols.items()}
        self.filler, self.absent = self._id(dialect.filler), self._id(dialect.absent)
        self.mask = None if dialect.mask is None else self._id(dialect.mask)
        self.end = self._id(dialect.end)
        self._string_width = dialect.string_width
        self._tool, self._tool_end = self._id("<|tool>"), self._id("<tool|>")
        self._open, self._close = dialect.call_open.encode(), dialect.call_close.encode()
        self._known = lru_cache(100_000)(self._encoded)

    def encode(self, text: bytes) -> list[int]:
        """Surface bytes to token ids; symbols become their special tokens."""
        return list(self._known(text))

    def _encoded(self, text: bytes) -> tuple[int, ...]:
        for symbol, token in self._symbols.items():
            text = text.replace(symbol, token)
        return tuple(self._backend.encode(text.decode(), add_special_tokens=False).ids)

    def _id(self, token: str | None) -> int:
        return int(self._tokenizer.convert_tokens_to_ids(token))

    def scene(self, conversations: Sequence[Conversation], random: Random) -> list[Example]:
        """The examples of conversations that share their tools and instructions."""
        first = conversations[0]
        system = first.messages[:1] if first.messages[0]["role"] == "system" else []
        shared = encode_written(self._tokenizer, write_head(self._tokenizer, system, first.tools))
        declared = self._declared(shared, first.tools)
        examples = (self._example(one, shared, len(system), random) for one in conversations)
        return [replace(one, declared=declared) for one in examples]

    def example(self, conversation: Conversation, random: Random) -> Example:
        """All canvases of one conversation over one encoder sequence."""
        return self.scene([conversation], random)[0]

    def choosing(self, conversations: Sequence[Conversation], random: Random) -> list[Example]:
        """Of each conversation no more than its first request and the choice that it takes.

        They are so short that a step holds ten times as many choices. What the encoder foretells
        ends behind the name of the tool, or is the whole of an answer.
        """
        found: list[Example] = []
        begun = [_first_turn(one) for one in conversations]
        for one, example in zip(begun, self.scene(begun, random), strict=True):
            (start, stop), choice = example.spoken[0], example.blocks[0]
            calls = one.messages[-1].get("tool_calls")
            if calls:
                head = self._open + calls[0]["function"]["name"].encode()
                stop = start + len(self.encode(head)) + 1
            blocks = (replace(choice, blank=_CHOOSING_BLANK),)
            tokens = example.tokens[:stop]
            found.append(replace(example, tokens=tokens, blocks=blocks, spoken=((start, stop),)))
        return found

    def _example(
        self, conversation: Conversation, shared: list[int], skipped: int, random: Random
    ) -> Example:
        said = conversation.messages[skipped:]
        blocks: list[Block] = []
        spoken: list[tuple[int, int]] = []
        tokens = list(shared)
        for index, message in enumerate(said):
            if message["role"] != "assistant":
                continue
            prompt = self._behind(shared, said[:index], prompt=True)
            tokens = self._behind(shared, said[: index + 1], prompt=False)
            if tokens[: len(prompt)] != prompt:
                raise ValueError("the chat template does not extend its own prompt")
            spoken.append((len(prompt), len(tokens)))
            made = list(self._turn(conversation, message, len(prompt), random))
            blocks += [replace(one, meant=None) for one in made] if blocks else made
        if conversation.extraction is not None:
            task = conversation.extraction
            tokens = self._behind(shared, said, prompt=True)
            schema = task.declared.schema
            blocks = [self._slots(schema, task.arguments, len(tokens), random)]
        return Example(tuple(tokens), tuple(blocks), tuple(spoken), len(shared))

    def _declared(
        self, shared: list[int], tools: Sequence[dict[str, Any]]
    ) -> tuple[tuple[int, int, int], ...]:
        """Where the chat template declares each tool, its name first."""
        found: list[tuple[int, int, int]] = []
        stop = 0
        for tool in tools:
            start = shared.index(self._tool, stop) + 1
            name = len(self.encode(tool["function"]["name"].encode()))
            stop = shared.index(self._tool_end, start)
            found.append((start, start + name, stop))
        return tuple(found)

    def _behind(self, shared: list[int], said: Sequence[Any], *, prompt: bool) -> list[int]:
        """What is said behind the shared tokens; the template begins every chat alike."""
        start, *rest = render_prompt(self._tokenizer, said, add_generation_prompt=prompt)
        if start != shared[0]:
            raise ValueError("the chat template does not begin with one token of its own")
        return shared + rest

    def _turn(
        self, conversation: Conversation, message: dict[str, Any], at: int, random: Random
    ) -> Iterator[Block]:
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        yield self._choice(conversation, [call["name"] for call in calls], at, random)
        if not calls:
            yield self._answer(message["content"], at, random)
            return
        if len(calls) == 1 and random.random() < _FREE_SHARE:
            yield self._free(calls[0], at, random)
        schemas = {t["function"]["name"]: t["function"]["parameters"] for t in conversation.tools}
        rows = [
            self._slots(
                schemas[call["name"]], call["arguments"], at, random,
                around=(self._open + call["name"].encode(), self._close),
            )
            for call in calls
        ]  # fmt: skip
        if any(any(row.free) for row in rows):
            tokens = tuple(token for row in rows for token in row.tokens)
            yield Block(at, tokens, tuple(flag for row in rows for flag in row.free))

    def _choice(
        self, conversation: Conversation, chosen: Sequence[str], at: int, random: Random
    ) -> Block:
        """Slots for the names of calls; behind the last, the marker of absence."""
        names = [self.encode(tool["function"]["name"].encode()) for tool in conversation.tools]
        calls = max(1, len(chosen))
        # in conversations that make their calls in turn, one is asked for at a time
        in_turn = conversation.kind in ("together", "chain") and len(chosen) == 1
        if not in_turn and random.random() < _SEVERAL_SHARE:
            calls = min(_MOST_CALLS, calls + random.randint(1, 3))
        opening = self.encode(self._open)
        padded, _, width = lay_out_choice(
            [*names, [self.absent]], opening=opening, filler=self.filler, calls=calls
        )
        declared = {tool["function"]["name"]: row
                    for tool, row in zip(conversation.tools, padded, strict=False)}  # fmt: skip
        rows = [declared[name] for name in chosen] + [padded[-1]] * (calls - len(chosen))
        one = (False,) * len(opening) + (True,) * len(padded[-1])
        tokens = tuple(token for row in rows for token in (*opening, *row))
        assert len(tokens) == width
        meant = (list(declared).index(chosen[0]), len(one)) if chosen else None
        return Block(at, tokens, one * calls, _CHOICE_WORTH, meant=meant)

    def _answer(self, text: str, at: int, random: Random) -> Block:
        ids = self.encode(text.encode())
        width = random.choice((len(ids) + random.randint(0, 8), *_ANSWER_WIDTHS, 64))
        room = [self.filler] * max(0, width - len(ids))
        if random.random() < _FLOATING_SHARE:
            tokens = (*ids, self.end, *room)
            return Block(at, tokens, (True,) * len(tokens))
        tokens = (*ids, *room, self.end)
        return Block(at, tokens, (True,) * (len(tokens) - 1) + (False,))

    def _free(self, call: dict[str, Any], at: int, random: Random) -> Block:
        """A call as running text: as the float layout writes it, all free or its head pinned."""
        head = self.encode(self._open) + self.encode(call["name"].encode())
        ids = head + self.encode(GEMMA.dumps(call["arguments"])) + self.encode(self._close)
        width = next((w for w in _FREE_WIDTHS if w >= len(ids) and random.random() < 0.7), len(ids))
        tokens = (*ids, *[self.filler] * (width - len(ids)))
        pinned = len(head) if random.random() < 0.5 else 0
        return Block(at, tokens, (False,) * pinned + (True,) * (len(tokens) - pinned))

    def _slots(
        self, schema: Schema, arguments: dict[str, Any], at: int, random: Random, *,
        around: tuple[bytes, bytes] = (b"", b""),
    ) -> Block:  # fmt: skip
        values = _by_path(arguments)
        exact = random.random() < _EXACT_SHARE

        def width_of(hole: Hole) -> int:
            typical = slot_width(
                hole, syntax=GEMMA, encode=self.encode, string_width=self._string_width
            )
            if hole.path not in values:
                return typical if exact else random.randint(1, typical)
            needed = len(self.encode(surface(values[hole.path], hole, GEMMA)))
            return max(typical, needed) if exact else needed + random.randint(0, 6)

        segments = (Text(around[0]), *outline(schema, GEMMA), Text(around[1]))
        canvas = lay_out(segments, encode=self.encode, width_of=width_of, filler=self.filler)
        tokens = pour(
            canvas, values, syntax=GEMMA, encode=self.encode, filler=self.filler, absent=self.absent
        )
        return Block(at, tokens, tuple(canvas.free()))


def _first_turn(conversation: Conversation) -> Conversation:
    """What is said up to the first turn of the model, and that."""
    turns = (n for n, said in enumerate(conversation.messages) if said["role"] == "assistant")
    return replace(conversation, messages=conversation.messages[: next(turns) + 1])


def _by_path(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every value under its path: an object under its own path as well as its members'."""
    found: dict[Path, Any] = {path: value}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= _by_path(item, (*path, key))
    return found
