"""Which tokens an automaton can't tell apart.

Knows bundles of tokens and the rows of passages. Must not know states or bytes. Exact: what is
equal is found by comparing, never by hashing alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agentkit_engine.grammar.token.leaves import Passage
from agentkit_engine.grammar.token.runs import Bundles, Ints, Longs, compacted, grouped

__all__ = ["Classes", "classes_of"]


@dataclass(frozen=True, slots=True, eq=False)
class _Common:
    """number: int64 [V], equal for tokens of equal rows in all of some passages; -1 for tokens
    without any. count: int64 [N + 1], tokens of each number, the last entry is that of -1. rows:
    int32 [N + 1, passages], their rows, or -1."""

    number: Longs
    count: Longs
    rows: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Classes of tokens that are in the same bundles and in the same rows.

    rows: int32 [classes, passages], the row of each class in each passage, or -1. bundles: the
    bundles, of classes in place of tokens.
    """

    rows: Ints
    bundles: Bundles
    _common: _Common
    _plain: Longs
    _token: Ints
    _own: Longs

    def class_of(self, name: Ints) -> Ints:
        """The class of each token under the names given: int32 [V]. name: int32 [classes]."""
        names = np.full(len(self._common.count), -1, np.int32)
        names[self._plain] = name[: len(self._plain)]
        found = names[self._common.number]
        found[self._token] = name[self._own]
        return found


def classes_of(bundles: Bundles, passages: Sequence[Passage], size: int) -> Classes:
    """Classes of all tokens in bundles or in passages. size: the vocabulary's."""
    common = _common_rows(tuple(sorted(passages, key=id)), size)
    token, which, kind = _kinds(bundles)
    base = common.number[token]
    left = common.count.copy()
    np.subtract.at(left, base, 1)
    plain = np.flatnonzero(left[:-1])  # numbers that also tokens without a bundle have
    kinds = int(kind.max(initial=0)) + 1
    both, own = compacted((base + 1) * kinds + kind, len(left) * kinds)
    own += len(plain)
    first, classes = grouped(bundles.owner, own[which], bundles.count)
    column = [sorted(passages, key=id).index(one) for one in passages]
    rows = common.rows[np.append(plain, both // kinds - 1)][:, column]
    return Classes(rows, Bundles(first, classes), common, plain, token, own)


@lru_cache(maxsize=16)
def _common_rows(passages: tuple[Passage, ...], size: int) -> _Common:
    number = np.full(size, -1)
    count = np.array([size])
    rows = np.full((1, len(passages)), -1, np.int32)
    for at in sorted(range(len(passages)), key=lambda at: -len(passages[at].bundles.item)):
        tokens = passages[at].bundles
        before = number[tokens.item]
        keys = (before + 1) * tokens.count + tokens.owner
        both, fresh = compacted(keys, len(rows) * tokens.count)
        number[tokens.item] = len(rows) - 1 + fresh
        np.subtract.at(count, before, 1)
        count = np.concatenate([count[:-1], np.bincount(fresh), count[-1:]])
        split = rows[both // tokens.count - 1]
        split[:, at] = both % tokens.count
        rows = np.concatenate([rows[:-1], split, rows[-1:]])
    return _Common(number, count, rows)


def _kinds(bundles: Bundles) -> tuple[Ints, Longs, Longs]:
    """The tokens of the bundles, ascending; which of them each item is; and a number for each that
    is equal where it is in the same bundles."""
    order = np.argsort(bundles.item, kind="stable")
    owner, token = bundles.owner[order], bundles.item[order]
    fresh = np.append(True, token[1:] != token[:-1])[: len(token)]
    which = np.zeros(len(token), np.int64)
    which[order] = np.cumsum(fresh) - 1
    begins = np.flatnonzero(fresh)
    kind = owner[begins]
    bounds = np.append(begins, len(token))
    lists: dict[bytes, int] = {}
    for one in np.flatnonzero(np.diff(bounds) > 1).tolist():
        among = owner[bounds[one] : bounds[one + 1]].tobytes()
        kind[one] = lists.setdefault(among, bundles.count + len(lists))
    return token[begins], which, kind
