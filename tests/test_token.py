"""From bytes to tokens: what a tokenizer's tokens write, and automata lifted over them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from automata import FREE, LETTERS, byte_automata, language, repeated, sequence
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

from agentkit_engine.errors import CheckpointError, SchemaTooLarge, TemplateError
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.token import index as index_module
from agentkit_engine.grammar.token import leaves as leaves_module
from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.cache import PATH_VARIABLE, Cache, default_folder, key_of
from agentkit_engine.grammar.token.index import index_of
from agentkit_engine.grammar.token.lift import lift
from agentkit_engine.grammar.token.passages import Passages
from agentkit_engine.grammar.token.vocabulary import Vocabulary
from agentkit_engine.syntax import QUOTE

BOTH = pytest.mark.parametrize("kind", KINDS)

# What tokens write.


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
    assert found.digest == vocabulary(kind).digest
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


# The trie of all tokens.


@BOTH
def test_the_trie_leads_to_every_token(kind: Kind) -> None:
    found = index_of(vocabulary(kind))
    for token, text in enumerate(vocabulary(kind).token_bytes):
        node = np.zeros(1, np.int64)
        for byte in text or b"":
            node = found.trie.child(node, np.array([byte]))
        at = int(node[0])
        assert at >= 0
        held = found.token[found.token_first[at] : found.token_first[at + 1]]
        assert (token in held) == (text is not None)
    assert found.trie.child(np.array([0]), np.array([0xFE])).tolist() == [-1]


def test_a_large_index_is_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "LARGE", 1)
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    made = index_of(vocabulary("byte-level"))
    assert len(os.listdir(tmp_path)) == 1
    monkeypatch.delattr(index_module, "_trie")  # nothing is made anew
    read = index_of(vocabulary("byte-level"))
    assert np.array_equal(made.token, read.token)
    assert np.array_equal(made.token_first, read.token_first)
    for part in fields(made.trie):
        assert np.array_equal(getattr(made.trie, part.name), getattr(read.trie, part.name))


# Automata over tokens.

TEXTS = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4).map(bytes)


def judged(automaton: ByteAutomaton, found: Vocabulary, tokens: Sequence[int]) -> bool:
    """Whether `automaton` accepts what the tokens write."""
    texts = [found.token_bytes[token] for token in tokens]
    return None not in texts and automaton.accepts(b"".join(text for text in texts if text))


@given(byte_automata(), st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
@settings(max_examples=400, deadline=None)
def test_equal_to_brute_force(automaton: ByteAutomaton, texts: list[bytes], whole: bool) -> None:
    """Over any vocabulary, with or without tokens of single bytes."""
    singles = [bytes([letter]) for letter in LETTERS] if whole else []
    found = tiny(*texts, None, *singles)
    every = [
        tokens
        for length in range(4)
        for tokens in itertools.product(range(found.size), repeat=length)
    ]
    accepted = {tokens for tokens in every if judged(automaton, found, tokens)}
    try:
        lifted = lift(automaton, found)
    except TemplateError:
        assert not accepted
        return
    assert {tokens for tokens in every if lifted.accepts(tokens)} == accepted
    assert min(map(len, accepted), default=4) == min(lifted.min_tokens, 4)
    check_form(lifted)


def check_form(automaton: TokenAutomaton) -> None:
    """What its docstring promises of the arrays."""
    first = automaton.set_first.tolist()
    sets = [
        tuple(automaton.set_class[low:high].tolist()) for low, high in itertools.pairwise(first)
    ]
    assert len({*sets}) == len(sets)
    assert all(one and list(one) == sorted({*one}) for one in sets)
    pairs = list(zip(automaton.src.tolist(), automaton.dst.tolist(), strict=True))
    assert pairs == sorted({*pairs})
    assert {*automaton.set.tolist()} == {*range(len(sets))}
    assert {*automaton.class_of.tolist()} - {-1} == {*range(automaton.classes)}
    moves: dict[int, dict[int, int]] = {}
    for src, number, dst in zip(*(part.tolist() for part in automaton.edges), strict=True):
        assert src not in moves.setdefault(number, {})
        moves[number][src] = dst
    distinct = {tuple(sorted(one.items())) for one in moves.values()}
    assert len(distinct) == len(moves) == automaton.classes


WORD, DIGITS = repeated(b"abcdefghijklmnopqrstuvwxyz "), repeated(b"0123456789", least=1)


@BOTH
@given(st.text("ab xyz", max_size=12), st.integers(0, 10**6), st.text('",:{}\u00e9', max_size=3))
@settings(max_examples=60, deadline=None)
def test_tokens_cross_from_keys_into_leaves_and_out_again(
    kind: Kind, word: str, number: int, noise: str
) -> None:
    automaton = CALLS[kind]
    for text in (f'{{"city":"{word}","days":{number}}}', f'{{"city":"{word}{noise}","days":1}}'):
        tokens = tokenizer(kind).encode(text).ids
        assert automaton.accepts(tokens) == CALL.accepts(text.encode())


CALL = sequence(b'{"city":"', WORD, b'","days":', DIGITS, b"}")
CALLS = {kind: lift(CALL, vocabulary(kind)) for kind in KINDS}


def test_equal_tokens_share_a_class() -> None:
    found = tiny(b"a", b"b", b"a", b"x", b"y", None)
    automaton = lift(sequence(repeated(b"xy"), b"a"), found)
    classes = automaton.class_of.tolist()
    assert classes[0] == classes[2] != classes[3] == classes[4]
    assert classes[1] == classes[5] == -1
    assert automaton.classes == 2


def test_an_unwritable_language_is_refused() -> None:
    with pytest.raises(TemplateError, match="no tokens that write"):
        lift(language(b"ac"), tiny(b"a", b"b"))


def test_states_that_no_token_reaches_are_trimmed() -> None:
    automaton = lift(language(b'"ab"', b'"cd"'), tiny(b'"ab"', b"c", b'"c'))
    assert (automaton.states, automaton.classes, automaton.pairs) == (2, 1, 1)


def test_a_leaf_is_worked_out_once() -> None:
    passages = Passages(index_of(vocabulary("byte-level")))
    first = passages.whole(WORD, (b'"',))
    assert passages.whole(repeated(b"abcdefghijklmnopqrstuvwxyz "), (b'"',)) is first
    assert passages.whole(WORD, (b",",)) is not first
    small = Passages(passages.index, budget=first.nbytes)
    kept = small.whole(WORD, (b'"',))
    small.whole(DIGITS, (b"}",))
    assert small.whole(WORD, (b'"',)) is not kept


def test_a_leaf_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves_module, "ROW_BUDGET", 3)
    with pytest.raises(SchemaTooLarge, match="token moves"):
        lift(sequence(repeated(b"ab", least=5)), tiny(b"a", b"aa", b"aaa"))


# Slots and floating text.

STARS, MAYBE = sequence(repeated(b"a")), language(b"a", b"ab")


def test_slot_form() -> None:
    automaton = lift(STARS, tiny(b"a", b"b", None, None)).fill(2)
    check_form(automaton)
    for length in range(4):
        for tokens in itertools.product(range(4), repeat=length):
            content = list(itertools.takewhile(lambda token: token == 0, tokens))
            rest = tokens[len(content) :]
            assert automaton.accepts(tokens) == all(token == 2 for token in rest)
    assert automaton.min_tokens == 0


def test_slot_form_of_an_optional_key() -> None:
    found = tiny(b"a", b"b", None, None)
    automaton = lift(STARS, found).fill(2, marker=3)
    check_form(automaton)
    for accepted in ([3], [3, 2, 2], [0, 0, 2], [2, 2]):
        assert automaton.accepts(accepted)
    for wrong in ([0, 3], [0, 3, 2], [3, 3], [3, 0], [2, 3], [2, 0], [1]):
        assert not automaton.accepts(wrong)
    longer = lift(language(b"aa"), found).fill(2, marker=3)
    assert (longer.min_tokens, lift(language(b"aa"), found).fill(2).min_tokens) == (1, 2)


def test_floating_form() -> None:
    found = tiny(b"a", b"b", None, None)
    automaton = lift(MAYBE, found).close(2, 3)
    check_form(automaton)
    accepted = {(0, 2), (0, 1, 2), (0, 2, 3), (0, 1, 2, 3), (0, 2, 3, 3)}
    for length in range(5):
        for tokens in itertools.product(range(4), repeat=length):
            assert automaton.accepts(tokens) == (tokens in accepted)
    assert automaton.min_tokens == 2
    same = lift(MAYBE, found).close(2, 2)
    assert same.accepts([0, 2, 2, 2])
    assert not same.accepts([0])


@pytest.mark.parametrize("token", [0, 99, -1])
def test_a_filler_must_be_a_token_that_writes_nothing(token: int) -> None:
    with pytest.raises(TemplateError, match=f"token {token}"):
        lift(STARS, tiny(b"a", None)).fill(token)


def test_filler_and_marker_differ() -> None:
    with pytest.raises(TemplateError, match="both the filler and the marker"):
        lift(STARS, tiny(b"a", None)).fill(1, marker=1)


# Keys that may not repeat.


def test_sequences_that_repeat_a_key_are_not_accepted() -> None:
    found = tiny(b'{"', b"a", b"b", b'":1', b',"', b"}", None, None)
    automaton = lift(FREE, found)
    equal, distinct = [0, 1, 3, 4, 1, 3, 5], [0, 2, 3, 4, 1, 3, 5]
    assert automaton.accepts(distinct)
    assert not automaton.accepts(equal)
    assert automaton.strict is not None
    assert not automaton.strict.accepts(distinct)
    assert automaton.nbytes > automaton.strict.nbytes
    for form, ending in ((automaton.fill(6, marker=7), [6]), (automaton.close(6, 7), [6, 7])):
        assert form.accepts(distinct + ending)
        assert not form.accepts(equal + ending)
        assert form.strict is not None
        assert form.strict.accepts([0, 1, 3, 4, 2, 3, 5, *ending])
    assert automaton.fill(6, marker=7).accepts([7, 6])


# Automata on disk.


def test_a_cached_automaton_is_the_same(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "folder")
    automaton = lift(FREE, vocabulary("byte-level"))
    key = key_of("schema", vocabulary("byte-level").digest)
    assert cache.automaton(key) is None
    cache.put_automaton(key, automaton)
    found = cache.automaton(key, repeats=automaton.repeats)
    assert found is not None
    assert found.strict is not None
    for one, other in ((found, automaton), (found.strict, automaton.strict)):
        for part in fields(TokenAutomaton):
            if part.name != "strict":
                assert np.array_equal(getattr(one, part.name), getattr(other, part.name))
    assert found.class_of.flags.writeable
    cache.put_automaton("plain", CALLS["byte-level"])
    plain = cache.automaton("plain", repeats=automaton.repeats)
    assert plain is not None
    assert plain.repeats is None


def test_keys_tell_their_parts_apart() -> None:
    keys = [key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", "c", "")]
    assert len({*keys}) == len(keys)
    assert key_of("ab", b"c") == keys[0]


def test_broken_files_are_taken_for_absent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put_automaton("key", CALLS["byte-level"])
    whole = (tmp_path / "key").read_bytes()
    turned = bytes([*whole[:500], whole[500] ^ 1, *whole[501:]])
    for broken in (b"", b"x" * 100, whole[:20], whole[:-1], turned):
        (tmp_path / "key").write_bytes(broken)
        assert cache.automaton("key") is None
    cache.put_arrays("key", {"other": np.zeros(3)})
    assert cache.automaton("key") is None
    cache.put_automaton("key", CALLS["byte-level"])
    assert cache.automaton("key") is not None


def test_the_least_recently_read_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=3000)
    for number in range(3):
        cache.put_arrays(f"{number}", {"a": np.full(100, number)})
        os.utime(tmp_path / f"{number}", ns=(number, number))
    assert cache.arrays("0") is not None
    cache.put_arrays("3", {"a": np.arange(100)})
    held = {name for name in "0123" if cache.arrays(name) is not None}
    assert held == {"0", "2", "3"}


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file")
    cache.put_arrays("key", {"a": np.zeros(3)})
    assert cache.arrays("key") is None


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv(PATH_VARIABLE)
    assert default_folder().parts[-2:] == ("agentkit", "grammar")
