"""The engines that bench_grammar.py sets side by side, behind one small face.

Knows how each is loaded, asked to compile and asked to accept. Must not know the sets or the
measures. A value counts as accepted when an engine allows every token of its compact JSON and the
end after it. Level "bytes" gives each engine the vocabulary of the 256 bytes: the same languages,
judged quickly, with compile times that say nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from tokenizers import Tokenizer

__all__ = ["ENGINES", "Engine", "Level", "Setting", "Unavailable", "fingerprint"]

Level = Literal["tokens", "bytes"]
_ENDS = ("<eos>", "</s>", "<|endoftext|>", "<|end_of_text|>", "<turn|>")
_END_BYTE = 256


class Unavailable(Exception):
    """This engine can't run here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an engine reads: the file of the tokenizer, and at which level it works."""

    tokenizer: Path
    level: Level

    def load(self) -> Tokenizer:
        """The tokenizer, read once a process: no engine's time."""
        return _read(self.tokenizer)


@cache
def _read(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


class Engine(Protocol):
    """One engine under one vocabulary. `Compiled` is the engine's own."""

    def compile(self, schema: Any) -> Any:
        """What accepts the schema's values; raises whatever the engine raises to refuse it."""
        ...

    def accepts(self, compiled: Any, value: Any) -> bool:
        """Whether the value's compact JSON is allowed, whole."""
        ...

    def size(self, compiled: Any) -> int | None:
        """Bytes of memory that one compiled schema takes, if the engine tells."""
        ...


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _tokens(tokenizer: Tokenizer | None, value: Any) -> list[int]:
    """Token ids of the value's compact JSON; its bytes where there is no tokenizer."""
    text = _compact(value)
    if tokenizer is None:
        return list(text.encode())
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _end(tokenizer: Tokenizer) -> int:
    """The token that ends a text: by its usual names."""
    found = (tokenizer.token_to_id(name) for name in _ENDS)
    return next(token for token in found if token is not None)


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unavailable(f"not installed: pip install --no-deps {name}") from error


class _Ours:
    """This project's grammar, by its public functions."""

    def __init__(self, setting: Setting, **options: Any) -> None:
        grammar = importlib.import_module("agentkit_engine.grammar")
        self._options: dict[str, Any] = {}
        if hasattr(grammar, "Options"):
            self._options["options"] = grammar.Options(**options)
        elif options:
            raise Unavailable("this version has no options")
        self._grammar = grammar
        self._tokenizer: Tokenizer | None = None
        if setting.level == "tokens":
            self._tokenizer = setting.load()
            self._vocabulary = grammar.Vocabulary.from_tokenizer(self._tokenizer)

    def compile(self, schema: Any) -> Any:
        if self._tokenizer is None:
            return self._grammar.schema_automaton(schema, **self._options)
        return self._grammar.compile_schema(schema, vocabulary=self._vocabulary, **self._options)

    def accepts(self, compiled: Any, value: Any) -> bool:
        if self._tokenizer is None:
            return bool(compiled.accepts(_compact(value).encode()))
        return bool(compiled.accepts(_tokens(self._tokenizer, value)))

    def size(self, compiled: Any) -> int | None:
        if hasattr(compiled, "nbytes"):
            return int(compiled.nbytes)
        return _array_bytes(compiled)


def _array_bytes(record: Any) -> int | None:
    """Bytes of all arrays among a dataclass's fields."""
    if not is_dataclass(record):
        return None
    values = [getattr(record, field.name) for field in fields(record)]
    return sum(int(value.nbytes) for value in values if isinstance(value, np.ndarray))


class _Llguidance:
    """llguidance by its Python face: LLMatcher over a JSON schema, default options."""

    def __init__(self, setting: Setting) -> None:
        self._library = _installed("llguidance")
        self._tokenizer = setting.load() if setting.level == "tokens" else None
        if self._tokenizer is None:
            self._vocabulary = self._library.LLTokenizer("byte")
        else:
            self._vocabulary = self._library.LLTokenizer(
                self._tokenizer.to_str(), eos_token=_end(self._tokenizer)
            )

    def compile(self, schema: Any) -> Any:
        matcher = self._library.LLMatcher
        grammar = matcher.grammar_from_json_schema(_compact(schema))
        compiled = matcher(self._vocabulary, grammar, log_level=0)
        if compiled.is_error():
            raise ValueError(compiled.get_error())
        return compiled

    def accepts(self, compiled: Any, value: Any) -> bool:
        tokens = _tokens(self._tokenizer, value)
        matcher = compiled.deep_copy()
        if matcher.validate_tokens(tokens) < len(tokens):
            return False
        if not matcher.consume_tokens(tokens):
            raise ValueError(matcher.get_error())
        return bool(matcher.is_accepting())

    def size(self, compiled: Any) -> int | None:
        return None


class _Xgrammar:
    """xgrammar's compiler on one thread without its cache; `strict_mode` is True by default."""

    def __init__(self, setting: Setting, **options: Any) -> None:
        self._library = library = _installed("xgrammar")
        self._options = options
        self._tokenizer = setting.load() if setting.level == "tokens" else None
        if self._tokenizer is None:
            self._stop = _END_BYTE
            pieces: list[Any] = [*(bytes([byte]) for byte in range(256)), b"</s>"]
            kind = library.VocabType.RAW
        else:
            self._stop = _end(self._tokenizer)
            numbered = self._tokenizer.get_vocab(with_added_tokens=True)
            pieces = [f"<unused{number}>" for number in range(max(numbered.values()) + 1)]
            for piece, number in numbered.items():
                pieces[number] = piece
            spelling = json.loads(self._tokenizer.to_str())["decoder"]
            whole = spelling["type"] == "ByteLevel"
            kind = library.VocabType.BYTE_LEVEL if whole else library.VocabType.BYTE_FALLBACK
        vocabulary = library.TokenizerInfo(
            pieces, vocab_type=kind, stop_token_ids=[self._stop], add_prefix_space=False
        )
        self._compiler = library.GrammarCompiler(vocabulary, max_threads=1, cache_enabled=False)

    def compile(self, schema: Any) -> Any:
        return self._compiler.compile_json_schema(_compact(schema), **self._options)

    def accepts(self, compiled: Any, value: Any) -> bool:
        matcher = self._library.GrammarMatcher(compiled)
        tokens = [*_tokens(self._tokenizer, value), self._stop]
        return all(matcher.accept_token(token) for token in tokens)

    def size(self, compiled: Any) -> int | None:
        return int(compiled.memory_size_bytes)


ENGINES: Mapping[str, Callable[[Setting], Engine]] = {
    "ours": _Ours,
    "ours (open)": lambda setting: _Ours(
        setting, order="any", open=True, typical_states=60_000, max_states=400_000
    ),
    "llguidance": _Llguidance,
    "xgrammar": _Xgrammar,
    "xgrammar (open)": lambda setting: _Xgrammar(setting, strict_mode=False),
}
"""Name -> how to load it. "open": undeclared keys may be written where a schema allows them, and
ours also takes declared ones in any order."""


def fingerprint(name: str) -> str:
    """Tells one state of an engine from another: a rival's version, a digest of our sources."""
    if not name.startswith("ours"):
        try:
            return version(name.split()[0])
        except PackageNotFoundError:
            return "none"
    package = importlib.import_module("agentkit_engine").__file__
    assert package is not None
    digest = hashlib.sha256()
    for source in sorted((Path(package).parent / "grammar").rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]
