"""Small real tokenizers, of both kinds that the engine reads."""

from __future__ import annotations

import json
from functools import cache
from typing import Literal

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from agentkit_engine.grammar import TokenAutomaton, Vocabulary
from agentkit_engine.syntax import QUOTE

Kind = Literal["byte-level", "byte-fallback"]
KINDS: tuple[Kind, ...] = ("byte-level", "byte-fallback")

PAD, FILLER, ABSENT, END, GEMMA_QUOTE = "<pad>", "<|fill|>", "<|none|>", "<turn|>", '<|"|>'
SPECIAL = [PAD, FILLER, ABSENT, END, GEMMA_QUOTE]

CORPUS = [
    json.dumps(
        {"city": "São Paulo", "days": 12, "tags": ["a", "b"], "note": 'say "hi"\n'},
        ensure_ascii=False,
    ),
    '{"query":"naïve café 日本語 😀","max_results":10,"ok":true,"none":null,"x":-3.5}',
    "2026-03-04T10:30:00Z ana.li@example.org 123e4567-e89b-12d3-a456-426614174000 192.168.0.1",
    "the quick brown fox jumps over the lazy dog, and then comes back again for more",
    '","":{"}],[{"":["low","normal","high"],"false","true"',
] * 8


@cache
def tokenizer(kind: Kind) -> Tokenizer:
    """A tokenizer of about 500 tokens; the byte-fallback one spells as SentencePiece does."""
    if kind == "byte-level":
        found = Tokenizer(models.BPE())
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        found.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=520, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        found.train_from_iterator(CORPUS, trainer)
        return found
    pieces = [*SPECIAL, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += sorted({letter for text in CORPUS for letter in text.replace(" ", "▁")})
    merges: list[tuple[str, str]] = []
    for word in ["▁the", "▁fox", '",', '":', '{"', '"}', "tr", "ue", "12", "São", "日本", 'a"b']:
        for end in range(1, len(word)):
            if word[: end + 1] not in pieces:
                merges.append((word[:end], word[end]))
                pieces.append(word[: end + 1])
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    found = Tokenizer(models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>"))
    found.normalizer = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    found.decoder = decoders.Sequence(steps)
    found.add_special_tokens([*SPECIAL, "<unk>"])
    return found


@cache
def vocabulary(kind: Kind) -> Vocabulary:
    """The tokenizer's vocabulary with Gemma's quote as a symbol."""
    return Vocabulary.from_tokenizer(tokenizer(kind), symbols={QUOTE: GEMMA_QUOTE})


def special(kind: Kind, token: str) -> int:
    """The id of a special token."""
    found = tokenizer(kind).token_to_id(token)
    assert found is not None
    return int(found)


def written(vocabulary: Vocabulary, tokens: list[int]) -> bytes:
    """The bytes that a filling writes; special tokens write none."""
    return b"".join(vocabulary.token_bytes[token] or b"" for token in tokens)


def tiny(*texts: bytes | None) -> Vocabulary:
    """A vocabulary of just these tokens."""
    return Vocabulary.from_tokens(texts)


def slot(automaton: TokenAutomaton, kind: Kind) -> TokenAutomaton:
    """The slot form by the tokenizer's own filler."""
    return automaton.fill(special(kind, FILLER))
