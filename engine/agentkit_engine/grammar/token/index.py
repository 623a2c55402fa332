"""The trie of a vocabulary's tokens, in flat arrays.

Knows token bytes. Must not know automata. Nodes are numbered breadth first, so that the children of
a node stand in a row, sorted by their bytes; walks go over many nodes at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.cache import Cache, key_of
from agentkit_engine.grammar.token.runs import Ints, Longs, spread, starts
from agentkit_engine.grammar.token.vocabulary import Vocabulary

__all__ = ["LARGE", "Trie", "VocabularyIndex", "index_of"]

LARGE = 1 << 15
"""Tokens from which on reading from disk is quicker than making anew."""


@dataclass(frozen=True, eq=False)
class Trie:
    """A trie, or several that stand behind one another.

    first, last: int64 [N], the children of a node are `first[node]` to `last[node] - 1`.
    byte: uint8 [N], the byte that leads to a node. key: int64 [N], ascending, parent * 256 + byte;
    a root repeats the key before it (-1 if there is none).
    """

    first: Longs
    last: Longs
    byte: NDArray[np.uint8]
    key: Longs

    @classmethod
    def of(cls, parent: NDArray[Any], byte: NDArray[Any]) -> Trie:
        """parent: int [N], ascending, -1 for roots, which come first; byte: int [N]."""
        roots = int(np.searchsorted(parent, 0))
        key = parent.astype(np.int64) * 256 + byte
        key[:roots] = -1
        bounds = np.searchsorted(parent, np.arange(len(parent) + 1))
        return cls(bounds[:-1], bounds[1:], byte.astype(np.uint8), key)

    @classmethod
    def joined(cls, tries: Sequence[Trie]) -> tuple[Trie, Longs]:
        """Tries behind one another, and where the nodes of each start: int64 [tries + 1]."""
        at = np.cumsum([0, *(len(one.byte) for one in tries)])
        keys: list[Longs] = []
        for one, offset in zip(tries, at.tolist(), strict=False):
            keys.append(one.key + 256 * offset)
            keys[-1][one.key < 0] = keys[-2][-1] if len(keys) > 1 else -1
        offsets = at[:-1]
        return (
            cls(
                np.concatenate([one.first + k for one, k in zip(tries, offsets, strict=True)]),
                np.concatenate([one.last + k for one, k in zip(tries, offsets, strict=True)]),
                np.concatenate([one.byte for one in tries]),
                np.concatenate(keys),
            ),
            at,
        )

    def child(self, nodes: Longs, byte: NDArray[Any]) -> Longs:
        """The child of each node by a byte, -1 if it has none."""
        asked = nodes * 256 + byte
        found = np.searchsorted(self.key, asked)
        found[found == len(self.key)] = 0
        return np.where(self.key[found] == asked, found, -1)

    def children(self, nodes: Longs) -> tuple[Longs, Longs]:
        """All children: (which of `nodes`, the child)."""
        return spread(self.first[nodes], self.last[nodes])


@dataclass(frozen=True, eq=False)
class VocabularyIndex:
    """token: int32 [T], the tokens that write something, by node; those of a node are
    `token_first[node]` to `token_first[node + 1] - 1`. size: the vocabulary's."""

    trie: Trie
    token: Ints
    token_first: Longs
    size: int

    @cached_property
    def node(self) -> Longs:
        """The node of each of `token`."""
        return np.repeat(np.arange(self.nodes), np.diff(self.token_first))

    @property
    def nodes(self) -> int:
        return len(self.trie.byte)


def index_of(vocabulary: Vocabulary, *, cache: Cache | None = None) -> VocabularyIndex:
    """The index of a vocabulary; a large one is kept in the cache (the default one if None)."""
    if len(vocabulary.ids) < LARGE:
        return _indexed(vocabulary, *_trie(vocabulary))
    cache = cache or Cache()
    key = key_of("index", vocabulary.digest)
    names = ("parent", "byte", "position", "node")
    found = cache.arrays(key)
    if found is not None and found.keys() == {*names}:
        return _indexed(vocabulary, *(found[name] for name in names))
    parts = _trie(vocabulary)
    cache.put_arrays(key, dict(zip(names, parts, strict=True)))
    return _indexed(vocabulary, *parts)


def _indexed(
    vocabulary: Vocabulary, parent: Ints, byte: NDArray[np.uint8], position: Ints, node: Ints
) -> VocabularyIndex:
    return VocabularyIndex(
        Trie.of(parent, byte), vocabulary.ids[position], starts(node, len(byte)), vocabulary.size
    )


def _trie(vocabulary: Vocabulary) -> tuple[Ints, NDArray[np.uint8], Ints, Ints]:
    """The trie of all tokens, made a byte deeper at a time: parent and byte of each node; and the
    tokens by node, as positions in `vocabulary.ids`, with the node of each."""
    order, begins, ends = _sorted_tokens(vocabulary)
    text = np.frombuffer(vocabulary.text, np.uint8)
    node = np.zeros(len(order), np.int64)
    keys: list[Longs] = [np.full(1, -256)]  # of the root: parent -1
    active = np.arange(len(order))
    nodes = 1
    while len(active):
        key = node[active] * 256 + text[begins[active]]
        fresh = np.append(True, key[1:] != key[:-1])
        node[active] = nodes + np.cumsum(fresh) - 1
        keys.append(key[fresh])
        nodes += len(keys[-1])
        begins[active] += 1
        active = active[begins[active] < ends[active]]
    key = np.concatenate(keys)
    by_node = np.argsort(node, kind="stable")
    return (
        (key >> 8).astype(np.int32),
        (key & 255).astype(np.uint8),
        order[by_node].astype(np.int32),
        node[by_node].astype(np.int32),
    )


def _sorted_tokens(vocabulary: Vocabulary) -> tuple[Longs, Longs, Longs]:
    """Tokens in order of their bytes: positions in `vocabulary.ids`, starts, ends in its text."""
    known = [text for text in vocabulary.token_bytes if text]
    order = np.array(sorted(range(len(known)), key=known.__getitem__), np.int64)
    ends = vocabulary.ends
    begins = ends - np.diff(ends, prepend=0)
    return order, begins[order], ends[order]
