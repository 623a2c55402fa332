"""A token automaton laid out for inference: sorted, grouped, and only once.

Knows the automaton's arrays. Must not know probabilities. A position's work is classes -> sets ->
pairs of states.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentkit_engine.grammar.token.automaton import TokenAutomaton

__all__ = ["Plan", "Segments", "plan_of"]

Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segments:
    """A sorted list in runs: run k is of `key[k]`, starts at `start[k]`, has `length[k]`."""

    key: Longs
    start: Longs
    length: Longs

    @classmethod
    def of(cls, keys: NDArray[Any]) -> "Segments":
        key, start, length = np.unique(keys, return_index=True, return_counts=True)
        return cls(key.astype(np.int64), start, length)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """tokens, token_class: int64 [N], the tokens that occur, by class and id.

    set_class: classes of all sets in a row, in runs `sets`. pair_*: int64 [P], (src, dst) and the
    set that joins them, sorted by source in runs `by_src`, those of state s from `pair_first[s]` to
    `pair_first[s + 1]`; `dst_order` sorts them by target in runs `by_dst`, `set_order` by set in
    runs `by_set`; `class_order` sorts set_class by class in runs `by_class`, entry i belonging to
    the set `entry_set[i]`.
    """

    tokens: Tensor
    token_class: Tensor
    classes: int
    set_class: Longs
    sets: Segments
    pair_first: Longs
    pair_src: Longs
    pair_dst: Longs
    pair_set: Longs
    by_src: Segments
    dst_order: Longs
    by_dst: Segments
    set_order: Longs
    by_set: Segments
    class_order: Longs
    by_class: Segments
    entry_set: Longs


_plans: WeakKeyDictionary[TokenAutomaton, Plan] = WeakKeyDictionary()


def plan_of(automaton: TokenAutomaton) -> Plan:
    """The plan of an automaton, made when it is first asked for."""
    found = _plans.get(automaton)
    if found is None:
        found = _plans[automaton] = _plan(automaton)
    return found


def _plan(automaton: TokenAutomaton) -> Plan:
    class_of = torch.from_numpy(automaton.class_of).long()
    token_class, tokens = torch.sort(class_of, stable=True)
    unused = int((token_class < 0).sum())
    pair_src, pair_dst, pair_set = (
        part.astype(np.int64) for part in (automaton.src, automaton.dst, automaton.set)
    )
    set_class = automaton.set_class.astype(np.int64)
    set_first = automaton.set_first.astype(np.int64)
    entry_set = np.repeat(np.arange(len(set_first) - 1), np.diff(set_first))
    class_order = np.argsort(set_class, kind="stable")
    dst_order = np.argsort(pair_dst, kind="stable")
    set_order = np.argsort(pair_set, kind="stable")
    return Plan(
        tokens=tokens[unused:],
        token_class=token_class[unused:],
        classes=automaton.classes,
        set_class=set_class,
        sets=Segments.of(entry_set),
        pair_first=np.searchsorted(pair_src, np.arange(automaton.states + 1)),
        pair_src=pair_src,
        pair_dst=pair_dst,
        pair_set=pair_set,
        by_src=Segments.of(pair_src),
        dst_order=dst_order,
        by_dst=Segments.of(pair_dst[dst_order]),
        set_order=set_order,
        by_set=Segments.of(pair_set[set_order]),
        class_order=class_order,
        by_class=Segments.of(set_class[class_order]),
        entry_set=entry_set[class_order],
    )
