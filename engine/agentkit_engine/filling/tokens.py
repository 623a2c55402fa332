"""What was filled in, token by token, and how probable each was at its place.

Knows filled rows, their lattices and JSON. Must not know how rows are solved. A value that the
checkpoint writes as JSON does is told in the checkpoint's own tokens; what lies between values is
settled by the schema, and certain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from agentkit_engine.filling.outcome import Token
from agentkit_engine.filling.solution import Filled
from agentkit_engine.grammar import Vocabulary
from agentkit_engine.lattice import Lattice
from agentkit_engine.syntax import QUOTE
from agentkit_engine.template import Path, json_pointer

__all__ = ["json_tokens", "said_tokens", "write_json"]

# A value as one token, by its pointer and its JSON.
Whole: TypeAlias = Callable[[str, str], Token]

_QUOTE = Token(b'"', 0.0)


def said_tokens(
    filled: Filled, row: Sequence[int], vocabulary: Vocabulary, likeliest: int
) -> dict[str, list[Token]]:
    """JSON pointer of each value of a row -> its tokens.

    Of a key that is absent there is one, which writes nothing and tells how probable that was.

    Args:
        row: what became of it, which need not be the best by these logits.
        likeliest: tokens that are told of each place.
    """
    found: dict[str, list[Token]] = {}
    for number, region in enumerate(filled.form.values):
        said = region.said(row)
        if said is None:
            assert region.absent is not None
            [absent] = filled.lattice.log_marginals(number, [region.absent]).tolist()
            found[region.pointer] = [Token(b"", absent)]
            continue
        nats = filled.lattice.log_marginals(number, said).tolist()
        top = _likeliest(filled.lattice, number, len(said), likeliest, vocabulary)
        texts = [_text(token, vocabulary) for token in said]
        found[region.pointer] = list(map(Token, texts, nats, top))
    return found


def json_tokens(value: Any, said: Mapping[str, Sequence[Token]], whole: Whole) -> list[Token]:
    """The tokens of a value's JSON, which is as `write_json` writes it.

    What lies between its values is as certain as that the keys left out there are absent.

    Args:
        said: by JSON pointer, those of the values in it that were filled in, and of absent keys.
        whole: of one whose tokens are no JSON.
    """
    missing: dict[str, float] = {}  # by object
    for pointer, tokens in said.items():
        if tokens and not tokens[0].text:
            owner = pointer.rpartition("/")[0]
            missing[owner] = missing.get(owner, 0.0) + tokens[0].nats
    found: list[Token] = []
    literal, nats = "", 0.0
    for text, pointer, is_value in _parts(value, (), said):
        if is_value:
            found += [Token(literal.encode(), nats)] if literal else []
            found += _value(text, said[pointer]) or [whole(pointer, text)]
            literal, nats = "", 0.0
        else:
            literal += text
            nats += missing.pop(pointer, 0.0) if text.endswith("}") else 0.0
    return [*found, Token(literal.encode(), nats)] if literal else found


def write_json(value: Any) -> str:
    """JSON as answers are written in it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _parts(
    value: Any, path: Path, said: Mapping[str, Sequence[Token]]
) -> Iterator[tuple[str, str, bool]]:
    """Pieces of a value's JSON, each with the pointer of the value that it is, or lies in."""
    pointer = json_pointer(path)
    if pointer in said:
        yield write_json(value), pointer, True
    elif isinstance(value, dict):
        members: dict[str, Any] = value
        for number, (key, item) in enumerate(members.items()):
            yield f"{',' if number else '{'}{write_json(key)}:", pointer, False
            yield from _parts(item, (*path, key), said)
        yield "}" if members else "{}", pointer, False
    elif isinstance(value, list):
        items: list[Any] = value
        for number, item in enumerate(items):
            yield "," if number else "[", pointer, False
            yield from _parts(item, (*path, number), said)
        yield "]" if items else "[]", pointer, False
    else:
        yield write_json(value), pointer, False


def _value(text: str, tokens: Sequence[Token]) -> list[Token] | None:
    """The tokens of a value, with the quotes that were settled; None where they write no JSON."""
    written = b"".join(token.text for token in tokens)
    if written == text.encode():
        return list(tokens)
    if b'"%s"' % written == text.encode():
        return [_QUOTE, *tokens, _QUOTE]
    return None


def _likeliest(
    lattice: Lattice, number: int, length: int, count: int, vocabulary: Vocabulary
) -> list[tuple[tuple[bytes, float], ...]]:
    """What is likeliest at each place, that the text has ended included."""
    if not count or not length:
        return [()] * length
    tail = lattice.problems[number].automaton.tail
    tokens, nats = lattice.likeliest(number, count + len(tail), length)
    ended = torch.zeros(length, dtype=torch.float64)
    for token in tail:
        ended += lattice.tail_marginals(number, token)[:length].cpu()
    found: list[tuple[tuple[bytes, float], ...]] = []
    for ids, logs, end in zip(tokens.tolist(), nats.tolist(), ended.log().tolist(), strict=True):
        pairs: list[tuple[bytes, float]] = [
            (_text(token, vocabulary), log)
            for token, log in zip(ids, logs, strict=True)
            if token not in tail and log > -math.inf
        ]
        if end > -math.inf:
            pairs.append((b"", end))
        pairs.sort(key=lambda pair: -pair[1])
        found.append(tuple(pairs[:count]))
    return found


def _text(token: int, vocabulary: Vocabulary) -> bytes:
    """What a token writes; a symbol that stands for a quote is one."""
    return (vocabulary.token_bytes[token] or b"").replace(bytes([QUOTE]), b'"')
