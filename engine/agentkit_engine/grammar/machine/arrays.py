"""Arrays: what each item is asked, how many there may be, and which must differ.

Knows the statements about arrays. Must not know how items are written. Items that must all differ
are told apart here where few values are possible; else that is left to a test of the whole text,
and a strict automaton has no second item.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentkit_engine.grammar.formula import (
    Contains,
    Covered,
    Formula,
    ItemCount,
    Items,
    Unique,
)
from agentkit_engine.grammar.leaf import Label
from agentkit_engine.grammar.machine.block import Marks
from agentkit_engine.grammar.machine.judgement import Wanted, settled, told
from agentkit_engine.grammar.machine.making import Maker
from agentkit_engine.grammar.machine.walk import Move, Situation, Walk
from agentkit_engine.grammar.truth import Truth

__all__ = ["ArrayWalk"]

_REMEMBERED = 6  # values whose coming and going is remembered in any order
_LISTED = 40


class ArrayWalk(Walk):
    """The items of one array, read one by one."""

    def __init__(
        self, machine: Maker, formulas: tuple[Formula, ...], wanted: Wanted, depth: int
    ) -> None:
        super().__init__(machine, formulas, wanted, depth)
        self.last = max((_settles(atom) for atom in self.trackers.atoms), default=0)
        self.listed: tuple[Formula, ...] = ()
        if any(isinstance(atom, Unique) for atom in self.trackers.atoms):
            strict = machine.free_keys is not None
            values = [atom.value for atom in self.trackers.atoms if isinstance(atom, Items)]
            self.listed = machine.listed(values, _LISTED if strict else _REMEMBERED, depth)
            self.differing = not strict and not self.listed
            if self.differing:
                self.mark(Marks.REPEATING)

    def begin(self) -> Situation | None:
        return self.trackers.situation(0, self.trackers.first, {}, {})

    def moves(self, situation: Situation) -> Iterable[Move]:
        index = situation.position
        assert isinstance(index, int)
        # a counted array is not unrolled further than anyone writes, once it may end
        if 1 < index < self.last and situation in self.closing:
            self.mark(Marks.GENEROUS)
            if index >= self.machine.effort.most_items:
                return
        relevant = sorted(self.trackers.relevant(situation.open))
        asked = [n for n in relevant if _asks(self.trackers.atoms[n], index)]
        children: dict[Formula, None] = {}
        for number in asked:
            for value in self._values(self.trackers.atoms[number], index):
                if settled(value) is None:
                    children[value] = None
        order = tuple(children)

        def after(label: Label) -> Situation | None:
            truths = dict(zip(order, label, strict=True))
            states: dict[int, Any] = dict(situation.states)
            decided: dict[int, Truth] = {}
            for number in asked:
                if not self._read(index, number, truths, states, decided):
                    return None
            place = min(index + 1, self.last)
            return self.trackers.situation(place, situation.open, states, decided)

        yield Move(index, order, after)

    def _values(self, atom: Formula, index: int) -> Iterable[Formula]:
        """What a statement asks of the item at `index`."""
        if isinstance(atom, Items | Contains):
            yield atom.value
        elif isinstance(atom, Covered):
            yield atom.value
            for _, reach in atom.branches:
                if not isinstance(reach, tuple):
                    yield reach  # type: ignore[misc]  # of an array these are formulas
        elif isinstance(atom, Unique):
            yield from self.listed

    def _read(
        self,
        index: int,
        number: int,
        truths: dict[Formula, Truth],
        states: dict[int, Any],
        decided: dict[int, Truth],
    ) -> bool:
        """What one more item does to one statement; False if such an item is never written."""
        match self.trackers.atoms[number]:
            case ItemCount(least):
                if index + 1 >= least:
                    decided[number] = Truth.YES
            case Items(_, _, value):
                state = min(told(value, truths), states.get(number, Truth.YES))
                if state != Truth.YES:
                    states[number] = state
                if state == Truth.NO:
                    decided[number] = Truth.NO
            case Contains(value, least):
                count, doubt = states.get(number, (0, False))
                truth = told(value, truths)
                states[number] = (count + (truth == Truth.YES), doubt or truth == Truth.UNKNOWN)
                if states[number] == (0, False):
                    del states[number]
                elif states[number][0] >= least:
                    decided[number] = Truth.YES
            case Unique():
                return self._differs(number, truths, states, decided)
            case Covered() as covered:
                _cover(covered, index, number, truths, states, decided)
            case _:
                pass
        return True

    def _differs(
        self,
        number: int,
        truths: dict[Formula, Truth],
        states: dict[int, Any],
        decided: dict[int, Truth],
    ) -> bool:
        if self.differing:  # checked when the text is whole
            return True
        which = [n for n, value in enumerate(self.listed) if told(value, truths) == Truth.YES]
        seen = states.get(number, frozenset())
        if isinstance(seen, Truth):
            return True
        if not which:
            states[number] = Truth.UNKNOWN if seen else frozenset({-1})
            return True
        if which[0] in seen:
            decided[number] = Truth.NO
        elif -1 in seen:
            states[number] = Truth.UNKNOWN
        elif len(self.listed) <= _REMEMBERED:
            states[number] = seen | {which[0]}
        else:  # in the order in which they are listed
            if seen and max(seen) > which[0]:
                return False
            states[number] = frozenset({which[0]})
        return True


def _settles(atom: Formula) -> int:
    """The index from which on a statement treats all items alike."""
    match atom:
        case Items(start, stop, _):
            return start if stop is None else stop
        case ItemCount(least):
            return least
        case Covered(_, branches, _):
            ends = [reach[0] if reach[1] is None else reach[1]
                    for _, reach in branches if isinstance(reach, tuple)]  # fmt: skip
            return max(ends, default=0)
        case _:
            return 0


def _asks(atom: Formula, index: int) -> bool:
    if isinstance(atom, Items):
        return atom.start <= index and (atom.stop is None or index < atom.stop)
    return True


def _cover(
    covered: Covered,
    index: int,
    number: int,
    truths: dict[Formula, Truth],
    states: dict[int, Any],
    decided: dict[int, Truth],
) -> None:
    floor = told(covered.value, truths)
    if floor == Truth.YES:
        return
    covering: set[int] = set()
    for place, (_, reach) in enumerate(covered.branches):
        if isinstance(reach, tuple):
            if reach[0] <= index and (reach[1] is None or index < reach[1]):
                covering.add(place)
            continue
        truth = told(reach, truths)  # type: ignore[arg-type]  # of an array these are formulas
        if truth == Truth.YES:
            covering.add(place)
        elif truth == Truth.UNKNOWN:
            floor = Truth.UNKNOWN
    if not covering and floor == Truth.NO:
        decided[number] = Truth.NO
        return
    states[number] = states.get(number, frozenset()) | {(frozenset(covering), floor)}
