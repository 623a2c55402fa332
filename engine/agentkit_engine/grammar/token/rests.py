"""What is left of tokens that leave a leaf midway, as a small trie.

Knows tries and token bytes. Must not know leaves' moves or skeletons. Tokens that leave alike (from
the same states, with the same labels and rests) form a *bundle* and are never told apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from agentkit_engine.grammar.token.index import Trie, VocabularyIndex
from agentkit_engine.grammar.token.runs import Bundles, Longs

__all__ = ["Rests", "Ways", "rests"]

Ways = tuple[bytes, ...]
"""For each label of a leaf the bytes by which its surroundings may go on, sorted."""


@dataclass(frozen=True, slots=True, eq=False)
class Rests:
    """Rests of tokens by the label with which a leaf is left.

    trie: a trie of rests for each label. roots: label -> its root.
    In a node end `end_first[node]` to `end_first[node + 1] - 1` of (end_group, end_bundle): the
    tokens of that bundle, from the starts `group_first[group]` to `group_first[group + 1] - 1` of
    `start`. bundles: of tokens.
    """

    trie: Trie
    roots: dict[int, int]
    end_first: Longs
    end_group: Longs
    end_bundle: Longs
    group_first: Longs
    start: Longs
    bundles: Bundles


def rests(
    index: VocabularyIndex,
    left: list[tuple[Longs, Longs]],
    leaving: Callable[[int, int], dict[int, Longs]],
) -> Rests | None:
    """left: nodes by whose byte the leaf is left, and the row before; leaving: by label, from which
    starts a row and a byte leave."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    members: list[Longs] = []
    ways: dict[int, list[tuple[int, int, bytes]]] = {}
    for nodes, rows in left:
        for node, row in zip(nodes.tolist(), rows.tolist(), strict=True):
            byte = int(index.trie.byte[node])
            if (row, byte) not in groups:
                by_label = leaving(row, byte)
                numbers = range(len(members), len(members) + len(by_label))
                groups[row, byte] = list(zip(by_label, numbers, strict=True))
                members += by_label.values()
            for below, rest in _below(index, node):
                ways.setdefault(below, []).extend(
                    (label, group, rest) for label, group in groups[row, byte]
                )
    if not ways:
        return None
    bundles: dict[tuple[tuple[int, int, bytes], ...], list[int]] = {}
    for node, way in ways.items():
        bundles.setdefault(tuple(sorted(way)), []).append(node)
    return _laid_out(index, bundles, members)


def _below(index: VocabularyIndex, node: int) -> Iterator[tuple[int, bytes]]:
    """The nodes from `node` on in which a token ends, with the bytes that lead there."""
    trie, token_first = index.trie, index.token_first
    stack = [(node, bytes([trie.byte[node]]))]
    while stack:
        at, rest = stack.pop()
        if token_first[at] < token_first[at + 1]:
            yield at, rest
        first, last = int(trie.first[at]), int(trie.last[at])
        letters = trie.byte[first:last].tobytes()
        stack += [(first + k, rest + letters[k : k + 1]) for k in range(last - first)]


def _laid_out(
    index: VocabularyIndex,
    bundles: dict[tuple[tuple[int, int, bytes], ...], list[int]],
    members: list[Longs],
) -> Rests:
    ends: dict[tuple[int, bytes], list[tuple[int, int]]] = {}
    for bundle, way in enumerate(bundles):
        for label, group, rest in way:
            ends.setdefault((label, rest), []).append((group, bundle))
    prefixes = {(label, rest[:k]) for label, rest in ends for k in range(len(rest) + 1)}
    order = sorted(prefixes, key=lambda one: (len(one[1]), one))
    number = {one: at for at, one in enumerate(order)}
    parent = [number[label, rest[:-1]] if rest else -1 for label, rest in order]
    trie = Trie.of(np.array(parent), np.array([rest[-1] if rest else 0 for _, rest in order]))
    listed = [ends.get(one, []) for one in order]
    flat = np.array([one for here in listed for one in here], np.int64).reshape(-1, 2)
    tokens = [
        np.concatenate(
            [index.token[index.token_first[n] : index.token_first[n + 1]] for n in nodes]
        )
        for nodes in bundles.values()
    ]
    return Rests(
        trie,
        {label: at for at, (label, rest) in enumerate(order) if not rest},
        np.cumsum([0, *map(len, listed)]),
        flat[:, 0],
        flat[:, 1],
        np.cumsum([0, *map(len, members)]),
        np.concatenate(members).astype(np.int64),
        Bundles.of(tokens),
    )
