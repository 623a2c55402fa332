"""The set form of an automaton: which sets of classes join its states.

Knows edges and classes. Must not know tokens or bytes. Exact: what is equal is found by comparing,
never by hashing alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentkit_engine.grammar.token.classes import classes_of
from agentkit_engine.grammar.token.edges import Edges
from agentkit_engine.grammar.token.runs import Bundles, Ints, Longs, compacted, grouped, spread

__all__ = ["SetForm", "set_form"]


@dataclass(frozen=True, slots=True, eq=False)
class SetForm:
    """class_of: int32 [V], -1 for none. src, dst, set: int64 [P], one entry for each pair of joined
    states, sorted. sets: of classes, ascending."""

    class_of: Ints
    src: Longs
    dst: Longs
    set: Longs
    sets: Bundles


def set_form(edges: Edges) -> SetForm:
    """Edges by the pairs of states that they join, and tokens of equal moves as one class."""
    sets_at = sum(one.count for one in edges.blocks)
    joins = [passage.joins.sets for passage in edges.passages]
    used, bundle = compacted(edges.bundle, sets_at + sum(one.count for one in joins))
    inner = int(np.searchsorted(used, sets_at))
    tokens = Bundles.joined(_chosen(edges.blocks, used[:inner]))
    sets = _chosen(joins, used[inner:] - sets_at)
    met = [at for at, one in enumerate(sets) if one.count]
    classes = classes_of(tokens, [edges.passages[at] for at in met], edges.size)
    of_rows = _of_rows([sets[at] for at in met], classes.rows)
    bundles = Bundles.joined([classes.bundles, *of_rows])
    src, dst, number, united = _pairs(edges, bundle, bundles)
    name, united = _merged(united, len(classes.rows))
    return SetForm(classes.class_of(name), src, dst, number, united)


def _chosen(blocks: Sequence[Bundles], used: Longs) -> list[Bundles]:
    """The bundles `used`, ascending, of blocks that are numbered one after the other."""
    offsets = np.cumsum([0, *(one.count for one in blocks)])
    cuts = np.searchsorted(used, offsets).tolist()
    return [
        one.chosen(used[low:high] - offset)
        for one, low, high, offset in zip(blocks, cuts, cuts[1:], offsets, strict=False)
    ]


def _of_rows(sets: list[Bundles], rows: Ints) -> list[Bundles]:
    """Sets of each passage's rows as sets of classes. rows: the row of each class."""
    found: list[Bundles] = []
    for one, row in zip(sets, rows.T, strict=True):
        known = np.flatnonzero(row >= 0)
        first, held = grouped(row[known], known, int(one.item.max(initial=-1)) + 1)
        which, at = spread(first[one.item], first[one.item + 1])
        found.append(Bundles(*grouped(one.owner[which], held[at], one.count)))
    return found


def _pairs(edges: Edges, bundle: Longs, bundles: Bundles) -> tuple[Longs, Longs, Longs, Bundles]:
    """The pairs of states that edges join, sorted: src, dst, and the set of classes of each."""
    src, dst, bundle = _sorted(edges.src, edges.dst, bundle, bundles.count)
    fresh = np.append(True, (src[1:] != src[:-1]) | (dst[1:] != dst[:-1]))[: len(src)]
    begins = np.flatnonzero(fresh)
    ids: dict[bytes, int] = {}
    parts = bundles.contents()
    number = np.array([ids.setdefault(key, len(ids)) for key in parts], np.int64)[bundle[begins]]
    runs = Bundles(np.append(begins, len(src)), bundle)
    several = np.flatnonzero(np.diff(runs.first) > 1)
    unions: dict[bytes, int] = {}
    for one, key in zip(several.tolist(), runs.chosen(several).contents(), strict=True):
        if key not in unions:
            among = np.frombuffer(key, np.int64).tolist()
            union = np.frombuffer(b"".join([parts[k] for k in among]), np.int64)
            unions[key] = ids.setdefault(np.sort(union).tobytes(), len(ids))
        number[one] = unions[key]
    used, number = compacted(number, len(ids))
    found = list(ids)
    sets = Bundles.of([np.frombuffer(found[one], np.int64) for one in used.tolist()])
    return src[begins], dst[begins], number, sets


def _sorted(src: Longs, dst: Longs, bundle: Longs, bundles: int) -> tuple[Longs, Longs, Longs]:
    states = int(max(src.max(initial=0), dst.max(initial=0))) + 1
    if states * states * bundles < 1 << 62:  # as one number each, which is quicker
        pair, bundle = np.divmod(np.sort((src * states + dst) * bundles + bundle), bundles)
        return pair // states, pair % states, bundle
    order = np.lexsort((bundle, dst, src))
    return src[order], dst[order], bundle[order]


def _merged(sets: Bundles, classes: int) -> tuple[Ints, Bundles]:
    """One class in place of all that are in the same sets, since no move tells them apart.

    Returns the new class of each, -1 for those in no set, and the sets of the new ones.
    """
    ids: dict[bytes, int] = {b"": -1}
    holders = sets.inverted(classes).contents()
    name = np.array([ids.setdefault(key, len(ids) - 1) for key in holders], np.int32)
    known = np.flatnonzero(name >= 0)
    chosen = np.zeros(len(ids) - 1, np.int64)
    chosen[name[known][::-1]] = known[::-1]  # the first of each; the new order is theirs
    kept = chosen[name[sets.item]] == sets.item
    first = np.append(0, np.cumsum(kept))[sets.first]
    return name, Bundles(first, name[sets.item[kept]])
