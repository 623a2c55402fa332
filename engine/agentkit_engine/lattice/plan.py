"""A token automaton laid out for inference: sorted, grouped, and only once.

Knows the automaton's arrays. Must not know probabilities or lengths. A position's work is tokens ->
classes -> sets -> pairs of states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.token.automaton import TokenAutomaton
from agentkit_engine.grammar.token.runs import Longs, starts

__all__ = ["Plan", "plan_of"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """tokens: int64 [N], those that occur, by class and id; class c has `first[c]` to `first[c +
    1]` of them, and at least one. text: bool [C], classes whose tokens write text.

    set_first: int64 [K + 1], set_class: int64 [M], the classes of each set. entry_set: int64 [M],
    the set of each entry of set_class. class_order: int64 [M], the entries by class, in runs that
    begin at `class_first`, int64 [C].

    largest: the class of most tokens. rest: int64, where the tokens of all others stand, by id.
    """

    tokens: Longs
    first: Longs
    token_class: Longs
    text: Flags
    set_first: Longs
    set_class: Longs
    entry_set: Longs
    class_order: Longs
    class_first: Longs
    largest: int
    rest: Longs

    @property
    def classes(self) -> int:
        return len(self.text)

    @property
    def sets(self) -> int:
        return len(self.set_first) - 1


_plans: WeakKeyDictionary[TokenAutomaton, Plan] = WeakKeyDictionary()


def plan_of(automaton: TokenAutomaton) -> Plan:
    """The plan of an automaton, made when it is first asked for."""
    found = _plans.get(automaton)
    if found is None:
        found = _plans[automaton] = _plan(automaton)
    return found


def _plan(automaton: TokenAutomaton) -> Plan:
    classes = automaton.classes
    order = np.argsort(automaton.class_of, kind="stable")
    tokens = order[int((automaton.class_of < 0).sum()) :]
    token_class = _longs(automaton.class_of[tokens])
    set_class, set_first = _longs(automaton.set_class), _longs(automaton.set_first)
    class_order = np.argsort(set_class, kind="stable")
    text = np.ones(classes, np.bool_)
    tail = automaton.class_of[np.array(sorted(automaton.tail), np.int64)]
    text[tail[tail >= 0]] = False
    first = starts(token_class, classes)
    largest = int(np.diff(first).argmax()) if classes else -1
    others = np.flatnonzero(token_class != largest)
    return Plan(
        tokens=tokens,
        first=first,
        token_class=token_class,
        text=text,
        set_first=set_first,
        set_class=set_class,
        entry_set=np.repeat(np.arange(len(set_first) - 1), np.diff(set_first)),
        class_order=class_order,
        class_first=starts(set_class[class_order], classes)[:-1],
        largest=largest,
        rest=others[np.argsort(tokens[others])],
    )


def _longs(numbers: NDArray[Any]) -> Longs:
    return numbers.astype(np.int64)
