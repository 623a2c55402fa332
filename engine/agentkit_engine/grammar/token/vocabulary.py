"""What each token writes: token id -> bytes.

Knows the two ways in which today's tokenizers spell bytes: the byte-level alphabet of GPT-2, and
SentencePiece pieces with byte fallback. Must not know automata or schemas. Special tokens, and
added ones but for white space, write nothing unless a syntax uses them as symbols; so does a token
that holds a byte which UTF-8 never uses, since only symbols may stand for such bytes.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import CheckpointError

__all__ = ["Vocabulary"]

_NEVER_UTF8 = re.compile(rb"[\xc0\xc1\xf5-\xff]")
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
Spelling = Callable[[str], bytes | None]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The bytes of every token; None for tokens that no automaton ever emits.

    ids: int32 [N], the tokens that write something. text: their bytes in a row.
    ends: int64 [N], where in `text` the bytes of each end.
    """

    token_bytes: tuple[bytes | None, ...]
    ids: NDArray[np.int32]
    text: bytes
    ends: NDArray[np.int64]

    @property
    def size(self) -> int:
        return len(self.token_bytes)

    @cached_property
    def digest(self) -> bytes:
        """Equal for vocabularies of equal tokens."""
        found = blake2b(self.size.to_bytes(8, "little"), digest_size=16)
        for part in (self.ids.tobytes(), self.ends.tobytes(), self.text):
            found.update(part)
        return found.digest()

    @classmethod
    def from_tokens(cls, token_bytes: tuple[bytes | None, ...]) -> "Vocabulary":
        """A vocabulary from the bytes of its tokens, in order of their ids."""
        known = [(number, text) for number, text in enumerate(token_bytes) if text]
        return cls(
            tuple(text or None for text in token_bytes),
            np.array([number for number, _ in known], np.int32),
            b"".join(text for _, text in known),
            np.cumsum([len(text) for _, text in known], dtype=np.int64),
        )

    @classmethod
    def from_tokenizer(
        cls, tokenizer: Any, *, symbols: Mapping[int, str] | None = None
    ) -> "Vocabulary":
        """Reads a fast Hugging Face tokenizer (or a bare `tokenizers.Tokenizer`).

        `symbols`: symbol byte -> text of the special token it stands for. Raises CheckpointError
        for a tokenizer whose spelling of bytes is not known, or that lacks a symbol's token.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not hasattr(backend, "get_added_tokens_decoder"):
            raise CheckpointError(
                f"{type(tokenizer).__name__!r} has no fast tokenizer behind it; "
                "the checkpoint needs a tokenizer.json"
            )
        spell = _spelling(backend)
        pieces: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        added = {
            number
            for number, token in backend.get_added_tokens_decoder().items()
            if token.special or (spell(token.content) or b"x").strip()
        }
        token_bytes: list[bytes | None] = [None] * (max(pieces.values(), default=-1) + 1)
        for piece, number in pieces.items():
            text = None if number in added else spell(piece)
            if text and not _NEVER_UTF8.search(text):
                token_bytes[number] = text
        if not any(token_bytes):
            raise CheckpointError("no token of the tokenizer writes any text; is it the right one?")
        for symbol, piece in (symbols or {}).items():
            if piece not in pieces:
                raise CheckpointError(
                    f"the tokenizer has no token {piece!r}, which this syntax writes with; "
                    "add it as a special token, or use the JSON syntax"
                )
            token_bytes[pieces[piece]] = bytes([symbol])
        return cls.from_tokens(tuple(token_bytes))


def _spelling(backend: Any) -> Spelling:
    """How the pieces of a tokenizer spell bytes."""
    # the state it pickles: the whole tokenizer.json of a large vocabulary takes a second to read
    decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder else {}
    model = backend.model
    steps = decoder.get("decoders", [decoder]) if decoder else []
    kinds = [step.get("type") for step in steps]
    marked = any(
        getattr(model, name, None) for name in ("continuing_subword_prefix", "end_of_word_suffix")
    )
    if not marked and kinds == ["ByteLevel"]:
        return _byte_level
    fallback = "ByteFallback" in kinds and getattr(model, "byte_fallback", False)
    if not marked and fallback and set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        replaced = [
            (step["pattern"].get("String"), step["content"])
            for step in steps
            if step["type"] == "Replace"
        ]
        if all(old for old, _ in replaced):
            return _fallback(replaced)
    raise CheckpointError(
        f"the tokenizer is a {type(model).__name__!r} model with the decoder {kinds!r}; known are "
        "byte-level BPE (decoder 'ByteLevel') and SentencePiece with byte fallback "
        "(decoders 'Replace', 'ByteFallback', 'Fuse')"
    )


def _alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte, the other way round."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {chr(byte): byte for byte in printable}
    hidden = [byte for byte in range(256) if byte not in printable]
    return letters | {chr(0x100 + at): byte for at, byte in enumerate(hidden)}


_ALPHABET = _alphabet()


def _byte_level(piece: str) -> bytes | None:
    try:
        return bytes(_ALPHABET[letter] for letter in piece)
    except KeyError:
        return None


def _fallback(replaced: list[tuple[str, str]]) -> Spelling:
    def spell(piece: str) -> bytes | None:
        byte = _BYTE_PIECE.fullmatch(piece)
        if byte:
            return bytes([int(byte[1], 16)])
        for old, new in replaced:
            piece = piece.replace(old, new)
        return piece.encode(errors="surrogatepass")

    return spell
