"""Vocabularies: what each token of a real tokenizer writes, and automata lifted over them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vocabularies import (
    ABSENT,
    CORPUS,
    FILLER,
    GEMMA_QUOTE,
    KINDS,
    PAD,
    Kind,
    special,
    tiny,
    tokenizer,
    vocabulary,
    written,
)

from agentkit_engine.errors import CheckpointError, TemplateError
from agentkit_engine.grammar import (
    TokenAutomaton,
    Vocabulary,
    compile_choice,
    compile_regex,
    compile_schema,
    compile_text,
)
from agentkit_engine.syntax import GEMMA, JSON, QUOTE

BOTH = pytest.mark.parametrize("kind", KINDS)


@BOTH
def test_tokens_write_the_text_they_were_made_from(kind: Kind) -> None:
    for text in [*CORPUS[:5], "日 ünseen 🦊 text\n\t"]:
        tokens = tokenizer(kind).encode(text).ids
        assert written(vocabulary(kind), tokens).decode() == text


@BOTH
def test_special_tokens_write_nothing(kind: Kind) -> None:
    for token in (PAD, FILLER, ABSENT):
        assert vocabulary(kind).token_bytes[special(kind, token)] is None


@BOTH
def test_a_symbol_is_written_by_its_token_alone(kind: Kind) -> None:
    found = vocabulary(kind)
    holders = [number for number, text in enumerate(found.token_bytes) if text and b"\xff" in text]
    assert holders == [special(kind, GEMMA_QUOTE)]
    plain = Vocabulary.from_tokenizer(tokenizer(kind))
    assert not any(text and b"\xff" in text for text in plain.token_bytes)


@BOTH
def test_every_byte_of_utf8_has_a_token(kind: Kind) -> None:
    single = {text for text in vocabulary(kind).token_bytes if text and len(text) == 1}
    assert {bytes([byte]) for byte in range(0xF5) if byte not in (0xC0, 0xC1)} <= single


@BOTH
def test_added_tokens_are_never_written(kind: Kind) -> None:
    grown = Tokenizer.from_str(tokenizer(kind).to_str())
    grown.add_tokens(["<table>"])
    assert Vocabulary.from_tokenizer(grown).token_bytes[grown.get_vocab()["<table>"]] is None


@BOTH
def test_a_transformers_tokenizer_is_read_alike(kind: Kind) -> None:
    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer(kind))
    found = Vocabulary.from_tokenizer(fast, symbols={QUOTE: GEMMA_QUOTE})
    assert found.token_bytes == vocabulary(kind).token_bytes
    assert found.size == len(fast)


@pytest.mark.parametrize(
    ("decoder", "model"),
    [
        (None, models.BPE({"a": 0}, [])),
        (decoders.WordPiece(), models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]")),
        (decoders.Metaspace(), models.BPE({"a": 0}, [])),
        (decoders.ByteLevel(), models.BPE({"a": 0}, [], end_of_word_suffix="</w>")),
        (decoders.Sequence([decoders.Fuse()]), models.BPE({"a": 0}, [])),
    ],
    ids=["none", "wordpiece", "metaspace", "suffix", "no fallback"],
)
def test_unknown_spellings_are_refused(decoder: Any, model: Any) -> None:
    odd = Tokenizer(model)
    if decoder is not None:
        odd.decoder = decoder
    with pytest.raises(CheckpointError, match=r"byte-level BPE.*SentencePiece"):
        Vocabulary.from_tokenizer(odd)


def test_slow_and_empty_tokenizers_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Vocabulary.from_tokenizer(object())
    empty = Tokenizer(models.BPE())
    empty.decoder = decoders.ByteLevel()
    empty.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(CheckpointError, match="no token"):
        Vocabulary.from_tokenizer(empty)


def test_a_missing_symbol_is_named() -> None:
    with pytest.raises(CheckpointError, match="<nowhere>"):
        Vocabulary.from_tokenizer(tokenizer("byte-level"), symbols={QUOTE: "<nowhere>"})


def test_gemma_without_its_symbols_says_so() -> None:
    plain = Vocabulary.from_tokenizer(tokenizer("byte-level"))
    with pytest.raises(TemplateError, match="symbols of the syntax"):
        compile_schema({"type": "string"}, vocabulary=plain, syntax=GEMMA)


def splits(text: bytes, found: Vocabulary) -> list[list[int]]:
    """Every way to write `text` in tokens."""
    if not text:
        return [[]]
    return [
        [token, *rest]
        for token, piece in enumerate(found.token_bytes)
        if piece and text.startswith(piece)
        for rest in splits(text[len(piece) :], found)
    ]


def test_any_split_of_a_text_is_accepted_and_nothing_else() -> None:
    found = tiny(b"a", b"b", b"ab", b"ba", b"ab", None, b"c", b"abc")
    automaton = compile_choice(["abab", "ba"], vocabulary=found)
    accepted = [*splits(b"abab", found), *splits(b"ba", found)]
    for length in range(5):
        for tokens in itertools.product(range(found.size), repeat=length):
            assert automaton.accepts(tokens) == (list(tokens) in accepted)
    assert automaton.min_tokens == 1


def test_equal_tokens_share_a_class() -> None:
    found = tiny(b"a", b"b", b"a", b"x", b"y", None)
    automaton = compile_regex("[xy]*a", vocabulary=found)
    classes = automaton.class_of.tolist()
    assert classes[0] == classes[2] != classes[3] == classes[4]
    assert classes[1] == classes[5] == -1
    assert automaton.classes == 2


@BOTH
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=6))
@settings(max_examples=60, deadline=None)
def test_characters_may_be_split_over_byte_tokens(kind: Kind, text: str) -> None:
    found = vocabulary(kind)
    by_byte = {piece: token for token, piece in enumerate(found.token_bytes) if piece}
    tokens = [by_byte[bytes([byte])] for byte in text.encode()]
    automaton = free_text(kind)
    assert automaton.accepts(tokens)
    broken = [token for token in tokens if (found.token_bytes[token] or b"")[0] < 0xC2]
    if len(broken) < len(tokens):
        assert not automaton.accepts(broken)


_texts: dict[Kind, TokenAutomaton] = {}


def free_text(kind: Kind) -> TokenAutomaton:
    if kind not in _texts:
        _texts[kind] = compile_text(vocabulary=vocabulary(kind))
    return _texts[kind]


def test_slot_form() -> None:
    found = tiny(b"a", b"b", None, None)
    automaton = compile_regex("a*", vocabulary=found).fill(2)
    for length in range(4):
        for tokens in itertools.product(range(4), repeat=length):
            content = list(itertools.takewhile(lambda token: token == 0, tokens))
            rest = tokens[len(content) :]
            assert automaton.accepts(tokens) == all(token == 2 for token in rest)


def test_slot_form_of_an_optional_key() -> None:
    found = tiny(b"a", b"b", None, None)
    automaton = compile_regex("a*", vocabulary=found).fill(2, marker=3)
    assert automaton.accepts([3])
    assert automaton.accepts([3, 2, 2])
    assert automaton.accepts([0, 0, 2])
    assert automaton.accepts([2, 2])
    for wrong in ([0, 3], [0, 3, 2], [3, 3], [3, 0], [2, 3], [2, 0], [1]):
        assert not automaton.accepts(wrong)


def test_floating_form() -> None:
    found = tiny(b"a", b"b", None, None)
    automaton = compile_regex("ab?", vocabulary=found).close(2, 3)
    accepted = {(0, 2), (0, 1, 2), (0, 2, 3), (0, 1, 2, 3), (0, 2, 3, 3)}
    for length in range(5):
        for tokens in itertools.product(range(4), repeat=length):
            assert automaton.accepts(tokens) == (tokens in accepted)
    assert automaton.min_tokens == 2
    same = compile_regex("ab?", vocabulary=found).close(2, 2)
    assert same.accepts([0, 2, 2, 2])
    assert not same.accepts([0])


@pytest.mark.parametrize("token", [0, 99, -1])
def test_a_filler_must_be_a_token_that_writes_nothing(token: int) -> None:
    automaton = compile_regex("a*", vocabulary=tiny(b"a", None))
    with pytest.raises(TemplateError, match=f"token {token}"):
        automaton.fill(token)


def test_filler_and_marker_differ() -> None:
    automaton = compile_regex("a*", vocabulary=tiny(b"a", None))
    with pytest.raises(TemplateError, match="both the filler and the marker"):
        automaton.fill(1, marker=1)


def test_an_unwritable_language_is_refused() -> None:
    with pytest.raises(TemplateError, match="no tokens that write"):
        compile_choice(["ac"], vocabulary=tiny(b"a", b"b"))


def test_states_that_no_token_reaches_are_trimmed() -> None:
    automaton = compile_schema(
        {"enum": ["ab", "cd"]}, vocabulary=tiny(b'"ab"', b"c", b'"c'), syntax=JSON
    )
    assert (automaton.states, automaton.classes, automaton.pairs) == (2, 1, 1)
