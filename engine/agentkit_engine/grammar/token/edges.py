"""All moves of tokens from state to state, by bundles of tokens that go together.

Knows the moves of a byte automaton and passages. Must not know classes. A token goes along the
skeleton, into a leaf, or out of one, and from there on along the skeleton again; whole leaves are
*joined* by what their passage says, in every place alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.frontier import Frontier, Moves
from agentkit_engine.grammar.token.index import Trie
from agentkit_engine.grammar.token.leaves import Passage
from agentkit_engine.grammar.token.passages import Passages
from agentkit_engine.grammar.token.rests import Rests
from agentkit_engine.grammar.token.runs import Bundles, Longs, spread

__all__ = ["Edges", "edges_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """src, bundle, dst: int64 [E].

    Bundles are numbered through the blocks of bundles of tokens, and on through the sets of rows
    (`Joins`) of the passages, one for each leaf. size: the vocabulary's.
    """

    src: Longs
    bundle: Longs
    dst: Longs
    blocks: tuple[Bundles, ...]
    passages: tuple[Passage, ...]
    size: int

    def among(self, live: NDArray[np.bool_]) -> Edges:
        """Those between live states."""
        kept = live[self.src] & live[self.dst]
        return replace(self, src=self.src[kept], bundle=self.bundle[kept], dst=self.dst[kept])


def edges_of(moves: Moves, start: int, passages: Passages) -> Edges:
    """The moves from all states that some byte leads to, and from the start."""
    whole = tuple(passages.whole(place.leaf, place.ways) for place in moves.places)
    gathered = _Gathered(moves, passages)
    gathered.along_the_skeleton(start)
    for place, passage in zip(moves.places, whole, strict=True):
        if passage.rests is not None:
            gathered.leaving(passage.rests, place.base, place.exits)
    gathered.after_the_leaves()
    return gathered.finished(whole)


class _Gathered:
    """Edges so far; a bundle is known by its block of bundles (0: the nodes of the trie)."""

    def __init__(self, moves: Moves, passages: Passages) -> None:
        self.moves = moves
        self.passages = passages
        self.index = passages.index
        self.parts: list[tuple[Longs, Longs, Longs]] = []
        self.blocks = [Bundles(self.index.token_first, self.index.token)]
        self.offset = self.index.nodes
        self.left: list[tuple[Rests, Longs, Longs]] = []

    def add(self, src: Longs, bundle: Longs, dst: Longs) -> None:
        self.parts.append((src, bundle, dst))

    def block(self, bundles: Bundles) -> int:
        """A number to add to these bundles' own."""
        self.blocks.append(bundles)
        self.offset += bundles.count
        return self.offset - bundles.count

    def along_the_skeleton(self, start: int) -> None:
        moves, index = self.moves, self.index
        heads = np.unique(np.append(moves.dst, start))
        heads = heads[heads < moves.skeleton]
        frontier = Frontier(heads, heads, np.zeros(len(heads), np.int64))
        inside: list[Frontier] = []
        for reached in moves.along(frontier, index.trie):
            ends = reached[index.token_first[reached.node] < index.token_first[reached.node + 1]]
            self.add(ends.origin, ends.node, ends.state)
            goes_on = index.trie.first[reached.node] < index.trie.last[reached.node]
            inside.append(reached[goes_on & (reached.state >= moves.skeleton)])
        self._into_leaves(Frontier.joined(inside))

    def _into_leaves(self, entered: Frontier) -> None:
        """Tokens that come into a leaf and are not at their end."""
        moves = self.moves
        own = entered.state - moves.skeleton
        base, place = moves.base_of[own], moves.place_of[own]
        keys = np.stack([place, entered.state - base, entered.node], axis=1)
        kinds, number = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(number, kind="stable")
        bounds = np.searchsorted(number[order], np.arange(len(kinds) + 1)).tolist()
        for k, (at, state, node) in enumerate(kinds.tolist()):
            members = order[bounds[k] : bounds[k + 1]]
            one = moves.places[at]
            passage = self.passages.entering(one.leaf, one.ways, node=node, state=state)
            origin, where = entered.origin[members], base[members]
            rows = len(passage.row)
            offset = self.block(passage.bundles)
            self.add(
                np.repeat(origin, rows),
                np.tile(np.arange(rows) + offset, len(origin)),
                (where[:, None] + passage.row[:, 0]).ravel(),
            )
            if passage.rests is not None:
                exits = one.exits[moves.number_of[own[members]]]
                self.leaving(passage.rests, origin, exits)

    def leaving(self, rests: Rests, origin: Longs, exits: Longs) -> None:
        """Tokens that leave a leaf midway. exits: int64 [origins, labels]."""
        self.left.append((rests, origin, exits))

    def after_the_leaves(self) -> None:
        """Where the rests of tokens lead."""
        if not self.left:
            return
        trie, at = Trie.joined([rests.trie for rests, _, _ in self.left])
        parts: list[Frontier] = []
        for (rests, origin, exits), offset in zip(self.left, at.tolist(), strict=False):
            for label, root in rests.roots.items():
                out = exits[:, label]
                kept = out >= 0
                node = np.full(int(kept.sum()), root + offset)
                parts.append(Frontier(origin[kept], out[kept], node))
        ends = _Ends([rests for rests, _, _ in self.left], self)
        for reached in self.moves.through(Frontier.joined(parts), trie):
            self.add(*ends.among(reached))

    def finished(self, whole: tuple[Passage, ...]) -> Edges:
        """All edges, the leaves joined."""
        offset = self.offset
        for place, passage in zip(self.moves.places, whole, strict=True):
            joins = passage.joins
            self.add(
                (place.base[:, None] + joins.start).ravel(),
                np.tile(joins.set + offset, len(place.base)),
                (place.base[:, None] + joins.target).ravel(),
            )
            offset += joins.sets.count
        src, bundle, dst = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return Edges(src, bundle, dst, tuple(self.blocks), whole, self.index.size)


class _Ends:
    """The bundles that end in the nodes of several tries of rests behind one another."""

    def __init__(self, several: list[Rests], gathered: _Gathered) -> None:
        """Numbers the bundles for `gathered`."""
        first: list[Longs] = [np.zeros(1, np.int64)]
        groups: list[Longs] = []
        bundles: list[Longs] = []
        starts: list[Longs] = []
        bounds: list[Longs] = [np.zeros(1, np.int64)]
        for rests in several:
            groups.append(rests.end_group + sum(len(one) for one in bounds) - 1)
            bundles.append(rests.end_bundle + gathered.block(rests.bundles))
            first.append(rests.end_first[1:] + first[-1][-1])
            bounds.append(rests.group_first[1:] + bounds[-1][-1])
            starts.append(rests.start)
        self.first, self.group_first = np.concatenate(first), np.concatenate(bounds)
        self.group, self.bundle = np.concatenate(groups), np.concatenate(bundles)
        self.start = np.concatenate(starts)

    def among(self, reached: Frontier) -> tuple[Longs, Longs, Longs]:
        """The edges of the tokens that end in a frontier's nodes."""
        owner, end = spread(self.first[reached.node], self.first[reached.node + 1])
        group = self.group[end]
        which, at = spread(self.group_first[group], self.group_first[group + 1])
        owner = owner[which]
        return (
            reached.origin[owner] + self.start[at],
            self.bundle[end[which]],
            reached.state[owner],
        )
