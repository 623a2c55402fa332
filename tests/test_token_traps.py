"""Traps between tokens and texts, each by name, for two kinds of real tokenizers."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from languages import sample, valid
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from agentkit_engine.errors import CheckpointError
from agentkit_engine.grammar import TokenAutomaton, Vocabulary, compile_schema, schema_automaton
from agentkit_engine.lattice import best, marginals
from agentkit_engine.syntax import GEMMA, JSON, QUOTE, SPACED, Syntax

NUMBER, STRING = {"type": "number"}, {"type": "string"}
TEXTS = [
    '{"name":"a\\"b","path":"C:\\\\x","tags":["q","r"],"n":-12}',
    '{"name": "näïve 日本 😀", "n": 3.25, "ok": true}',
    'say "hi", then "bye"; "," and ":" and "}" again',
] * 4
MARK = '<|"|>'
FILLER = "<|fill|>"


def byte_level() -> Tokenizer:
    """As GPT-2 and its kin spell: every byte is a character of its own."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[MARK, FILLER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator(TEXTS, trainer)
    return found


def byte_fallback() -> Tokenizer:
    """As SentencePiece spells: `▁` for a blank, and <0xHH> for what it has no piece for."""
    found = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=160, show_progress=False)
    plain = [text.replace("日", "").replace("😀", "").replace(" ", "▁") for text in TEXTS]
    found.train_from_iterator(plain, trainer)
    learned = json.loads(found.to_str())["model"]
    pieces = [MARK, FILLER, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    merges = [tuple(pair) for pair in learned["merges"]]
    spelled = Tokenizer(models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>"))
    spelled.normalizer = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    spelled.decoder = decoders.Sequence(steps)
    spelled.add_special_tokens([MARK, FILLER, "<unk>"])
    return spelled


@pytest.fixture(scope="module", params=[byte_level, byte_fallback], ids=lambda one: one.__name__)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Tokenizer = request.param()
    return made


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return Vocabulary.from_tokenizer(tokenizer, symbols={QUOTE: MARK})


def text_of(vocabulary: Vocabulary, tokens: Sequence[int]) -> bytes:
    return b"".join(vocabulary.token_bytes[token] or b"" for token in tokens)


def filler_of(tokenizer: Tokenizer) -> int:
    found = tokenizer.token_to_id(FILLER)
    assert found is not None
    return int(found)


def filled(
    automaton: TokenAutomaton, vocabulary: Vocabulary, scores: torch.Tensor, filler: int
) -> bytes:
    found = best(scores, automaton.fill(filler))
    assert automaton.fill(filler).accepts(found.tokens.tolist())
    assert found.score <= found.log_partition + 1e-6
    return text_of(vocabulary, found.tokens.tolist())


OBJECT = {
    "type": "object",
    "properties": {"name": STRING, "path": {**STRING, "maxLength": 9}, "tags": {
        "type": "array", "items": {**STRING, "pattern": '["\\\\]'}, "maxItems": 2}, "n": NUMBER},
    "required": ["name", "n"],
    "additionalProperties": False,
}  # fmt: skip


def test_tokens_that_span_literals_and_holes(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    spanning = [one for one in vocabulary.token_bytes if one and b'"' in one and len(one) > 1]
    assert any(b"\\" in one for one in vocabulary.token_bytes if one)
    assert spanning  # or else there is no trap
    value = {"name": 'a"b', "path": "C:\\x", "tags": ["\\", '"'], "n": -12}
    automaton = compile_schema(OBJECT, vocabulary=vocabulary)
    assert valid(OBJECT, value)
    assert automaton.accepts(tokenizer.encode(JSON.dumps(value).decode()).ids)
    filler = filler_of(tokenizer)
    for seed in range(12):
        noise = torch.randn(60, vocabulary.size, generator=torch.Generator().manual_seed(seed))
        noise[:, [one is not None and b'"' in one for one in vocabulary.token_bytes]] += seed
        assert valid(OBJECT, JSON.loads(filled(automaton, vocabulary, noise, filler)))


@pytest.mark.parametrize("syntax", [JSON, SPACED, GEMMA], ids=lambda one: one.name)
def test_tokens_and_bytes_accept_alike(
    tokenizer: Tokenizer, vocabulary: Vocabulary, syntax: Syntax
) -> None:
    """However a text is cut into tokens, in the middle of a character included."""
    for schema in (OBJECT, {"enum": ["é", 'a"', "日本", {"é": [1]}]}, {**STRING, "maxLength": 2}):
        automaton = schema_automaton(schema, syntax=syntax)
        lifted = compile_schema(schema, vocabulary=vocabulary, syntax=syntax)
        chance = random.Random(3)
        for _ in range(12):
            text = sample(automaton, chance, turns=12)
            assert lifted.accepts(cut(text, vocabulary, chance)), text
            changed = bytearray(text)
            changed[chance.randrange(len(text))] = chance.choice(b'"\\,}x\xc3\xff')
            tokens = cut(bytes(changed), vocabulary, chance)
            assert lifted.accepts(tokens) == automaton.accepts(bytes(changed)), changed


def cut(text: bytes, vocabulary: Vocabulary, chance: random.Random) -> list[int]:
    """Some tokens that write a text, of the many."""
    tokens: list[int] = []
    while text:
        fits = [number for number, one in enumerate(vocabulary.token_bytes)
                if one and text.startswith(one)]  # fmt: skip
        tokens.append(chance.choice(fits))
        text = text[len(vocabulary.token_bytes[tokens[-1]] or b"") :]
    return tokens


def test_bytes_of_characters_without_a_token_form_valid_utf8(
    tokenizer: Tokenizer, vocabulary: Vocabulary
) -> None:
    """Only tokens of single bytes from 0x80 up are probable; two of them may be equally so."""
    high = [one is not None and len(one) == 1 and one >= b"\x80" for one in vocabulary.token_bytes]
    assert sum(high) >= 64
    automaton = compile_schema({**STRING, "maxLength": 5}, vocabulary=vocabulary)
    filler = filler_of(tokenizer)
    for seed in range(12):
        noise = torch.randn(14, vocabulary.size, generator=torch.Generator().manual_seed(seed))
        noise[:, high] += 30
        text = filled(automaton, vocabulary, noise, filler)
        assert 1 <= len(JSON.loads(text)) <= 5
        assert max(text) >= 0x80


def test_tokens_with_the_same_bytes_are_both_allowed() -> None:
    texts: tuple[bytes | None, ...] = (b'"', b"a", b"a", b'"a', b'a"', b'"a', None)
    found = Vocabulary.from_tokens(texts)
    automaton = compile_schema({"const": "a"}, vocabulary=found)
    accepted = {tokens for length in range(4)
                for tokens in itertools.product(range(6), repeat=length)
                if automaton.accepts(tokens)}  # fmt: skip
    assert accepted == {(0, 1, 0), (0, 2, 0), (3, 0), (5, 0), (0, 4)}
    scores = torch.full((2, len(texts)), -1.0)
    assert torch.isclose(torch.tensor(best(scores, automaton).log_partition),
                         torch.tensor(3.0).log() - 2)  # fmt: skip
    shares = marginals(scores, automaton)
    assert torch.allclose(shares.sum(1), torch.ones(2, dtype=shares.dtype))
    pinned = best(scores, automaton, pins={0: 5})  # a pin is a token, not its class
    assert pinned.tokens.tolist() == [5, 0]


FREE = {"type": "object", "additionalProperties": {"enum": [1]}}
REPEATING: list[tuple[Any, bytes]] = [
    (FREE, b'{"a":1,"a":1}'),
    ({**FREE, "minProperties": 2}, b'{"b":1,"a":1,"b":1}'),
    ({"type": "array", "items": FREE}, b'[{"a":1,"b":1},{"a":1,"a":1}]'),
    ({"properties": {"a": {}}, "patternProperties": {"^a": {"enum": [1]}}, "type": "object"},
     b'{"a":1,"ab":1,"ab":1}'),
    ({"type": "array", "items": {**STRING, "maxLength": 1}, "uniqueItems": True},
     b'["a","b","a"]'),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "wished"), REPEATING, ids=range(len(REPEATING)))
def test_the_best_filling_never_repeats_a_key(
    schema: Any, wished: bytes, tokenizer: Tokenizer, vocabulary: Vocabulary
) -> None:
    """The log-probabilities are all for a text that does."""
    automaton = compile_schema(schema, vocabulary=vocabulary)
    assert automaton.repeats is not None
    assert automaton.strict is not None
    filler = filler_of(tokenizer)
    chance = random.Random(5)
    for seed in range(12):
        tokens = cut(wished, vocabulary, chance)
        width = len(tokens) + seed % 4
        scores = torch.randn(width, vocabulary.size, generator=torch.Generator().manual_seed(seed))
        scores[range(width), [*tokens, *[filler] * (width - len(tokens))]] += 40
        bold = best(scores, replace(automaton, repeats=None, strict=None).fill(filler))
        assert text_of(vocabulary, bold.tokens.tolist()) == wished  # the trap is set
        value = JSON.loads(filled(automaton, vocabulary, scores, filler))
        assert valid(schema, value), value


def test_word_pieces_are_refused() -> None:
    pieces = {"[UNK]": 0, "a": 1, "##b": 2, '"': 3}
    found = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    found.decoder = decoders.WordPiece()
    with pytest.raises(CheckpointError, match=r"byte-level BPE.*SentencePiece"):
        Vocabulary.from_tokenizer(found)
