"""Reading an object or array piece by piece: the situations that arise, and those that end well.

Knows formulas and how far they are decided. Must not know bytes. A *situation* is all that the rest
of the value depends on: where in it we are, what is still open of each formula, and what the open
statements have seen. Situations are found breadth first from the beginning; what can't end in a
wanted label is dropped before anything is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.formula import (
    AllOf,
    AnyOf,
    Contains,
    Covered,
    Formula,
    Items,
    Members,
    Unique,
    all_of,
    any_of,
    evaluate,
)
from agentkit_engine.grammar.leaf import Label
from agentkit_engine.grammar.machine.block import Block, Marks
from agentkit_engine.grammar.machine.judgement import (
    Bounds,
    Wanted,
    atoms,
    bounds,
    constant,
    reduced,
    settled,
)
from agentkit_engine.grammar.machine.making import Maker
from agentkit_engine.grammar.truth import Truth

__all__ = ["Move", "Situation", "Trackers", "Walk", "Way"]

_SITUATION_BUDGET = 20_000


class Situation(NamedTuple):  # a tuple: it is hashed all the time
    """position: where in the value. open: the numbers of the formulas left to decide.

    states: what open atoms have seen, (number of the atom, its state), where it isn't the first.
    """

    position: Hashable
    open: tuple[int, ...]
    states: frozenset[tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class Move:
    """One more member or item. key: which; children: what is asked of its value.

    after: the situation that a value with a label leads to; None if that can't be. certain: it can
    be only if all that is asked is YES.
    """

    key: Hashable
    children: tuple[Formula, ...]
    after: Callable[[Label], Situation | None]
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """A move that is taken: the values it reads, and for each of their labels where that leads."""

    key: Hashable
    children: tuple[Formula, ...]
    wanted: Wanted
    block: Block
    targets: Mapping[Label, Situation]


class Trackers:
    """What is asked of one object or array, and how answers change what is open."""

    def __init__(self, formulas: tuple[Formula, ...], wanted: Wanted) -> None:
        self.wanted = wanted
        self.atoms = list(dict.fromkeys(atom for formula in formulas for atom in atoms(formula)))
        self._number = {
            atom: self._origin(atom) if isinstance(atom, Covered) else number
            for number, atom in enumerate(self.atoms)
        }
        self._formulas: list[Formula] = []
        self._formula_number: dict[Formula, int] = {}
        self._open_atoms: dict[tuple[int, ...], frozenset[int]] = {}
        self._vital: dict[int, frozenset[int]] = {}
        self._inside: dict[Formula, frozenset[int]] = {}
        self._settled: dict[Hashable, tuple[int, ...]] = {}
        self._hopes: dict[tuple[tuple[int, ...], frozenset[tuple[int, Any]]], bool] = {}
        self._one_must_hold = wanted.is_only((Truth.YES,))
        self.first = tuple(map(self._intern, formulas))

    def _intern(self, formula: Formula) -> int:
        found = self._formula_number.setdefault(formula, len(self._formulas))
        if found == len(self._formulas):
            self._formulas.append(formula)
            for atom in atoms(formula):
                if atom not in self._number:  # coverage whose guards are partly decided
                    assert isinstance(atom, Covered)
                    self._number[atom] = self._origin(atom)
        return found

    def _origin(self, atom: Covered) -> int:
        """The first statement of the same coverage: what it follows depends on no guard."""
        reaches = [reach for _, reach in atom.branches]
        return next(
            number
            for number, one in enumerate(self.atoms)
            if isinstance(one, Covered)
            and (one.kind, one.value) == (atom.kind, atom.value)
            and [reach for _, reach in one.branches] == reaches
        )

    def relevant(self, open_: tuple[int, ...]) -> frozenset[int]:
        """The atoms that the open formulas still depend on."""
        found = self._open_atoms.get(open_)
        if found is None:
            inside = (self._atoms_inside(self._formulas[one]) for one in open_)
            found = self._open_atoms[open_] = frozenset[int]().union(*inside)
        return found

    def situation(
        self,
        position: Hashable,
        open_: tuple[int, ...],
        states: Mapping[int, Any],
        decided: Mapping[int, Truth],
    ) -> Situation | None:
        """The situation after some atoms were decided; None where no wanted label is in reach."""
        if decided:
            if self._one_must_hold:
                vital = self._vital_atoms(open_[0])
                if any(truth != Truth.YES and atom in vital for atom, truth in decided.items()):
                    return None
            open_ = self._after(open_, decided)
            if states:
                relevant = self.relevant(open_)
                states = {atom: state for atom, state in states.items() if atom in relevant}
        found = Situation(position, open_, frozenset(states.items()))
        key = (open_, found.states)
        if key not in self._hopes:
            self._hopes[key] = self._hopeful(open_, states)
        return found if self._hopes[key] else None

    def _after(self, open_: tuple[int, ...], decided: Mapping[int, Truth]) -> tuple[int, ...]:
        """The formulas that are open after some atoms were decided."""
        key = (open_, frozenset(decided.items()))
        found = self._settled.get(key)
        if found is None:
            found = tuple(
                self._intern(self._reduced(self._formulas[one], decided)) for one in open_
            )
            self._settled[key] = found
        return found

    def _reduced(self, formula: Formula, decided: Mapping[int, Truth]) -> Formula:
        def known(atom: Formula) -> Formula | None:
            truth = decided.get(self._number[atom])
            return None if truth is None else constant(truth)

        if not isinstance(formula, AllOf | AnyOf):
            return reduced(formula, known)
        parts = [  # of many parts few are touched
            part if self._atoms_inside(part).isdisjoint(decided) else reduced(part, known)
            for part in formula.parts
        ]
        return all_of(*parts) if isinstance(formula, AllOf) else any_of(*parts)

    def _atoms_inside(self, formula: Formula) -> frozenset[int]:
        found = self._inside.get(formula)
        if found is None:
            found = frozenset(self._number[atom] for atom in atoms(formula))
            self._inside[formula] = found
        return found

    def _vital_atoms(self, open_: int) -> frozenset[int]:
        """The atoms without which a formula fails, each by itself."""
        found = self._vital.get(open_)
        if found is None:
            formula = self._formulas[open_]
            parts = formula.parts if isinstance(formula, AllOf) else (formula,)
            found = frozenset(self._number[part] for part in parts if part in self._number)
            self._vital[open_] = found
        return found

    def _hopeful(self, open_: tuple[int, ...], states: Mapping[int, Any]) -> bool:
        def of(atom: Formula) -> Bounds:
            if isinstance(atom, Members | Items) and settled(atom.value) == Truth.YES:
                return Truth.YES, Truth.YES
            state = states.get(self._number[atom])
            return Truth.NO, state if isinstance(state, Truth) else Truth.YES

        return self.wanted.reachable([bounds(self._formulas[one], of) for one in open_])

    def label(self, situation: Situation) -> Label:
        """The truths if the value ends here."""
        states = dict(situation.states)

        def truth(atom: Formula) -> Truth:
            state = states.get(self._number[atom])
            match atom:
                case Members() | Items():
                    return Truth.YES if state is None else Truth(state)
                case Unique():
                    return state if isinstance(state, Truth) else Truth.YES
                case Contains():
                    return Truth.UNKNOWN if state is not None and state[1] else Truth.NO
                case Covered(_, branches, _):
                    return min(
                        (
                            max([floor, *(evaluate(branches[one][0], truth) for one in covering)])
                            for covering, floor in state or ()
                        ),
                        default=Truth.YES,
                    )
                case _:
                    return Truth.NO

        return tuple(evaluate(self._formulas[one], truth) for one in situation.open)


class Walk(ABC):
    """The graph of situations of one object or array."""

    def __init__(
        self, machine: Maker, formulas: tuple[Formula, ...], wanted: Wanted, depth: int
    ) -> None:
        self.machine = machine
        self.depth = depth
        self.marks = Marks.NONE
        self.differing = False  # whether items must differ though nothing here sees to it
        self.trackers = Trackers(formulas, wanted)
        self.closing: dict[Situation, Label] = {}
        self.ways: dict[Situation, list[Way]] = {}
        self.passing: dict[Situation, Situation] = {}
        self._found: dict[tuple[tuple[Formula, ...], object], tuple[Wanted, Block]] = {}

    def mark(self, mark: Marks) -> None:
        """Notes what holds of this object or array, whatever is inside."""
        self.marks |= mark
        self.machine.marks |= mark

    @abstractmethod
    def begin(self) -> Situation | None:
        """The situation before the first piece."""

    @abstractmethod
    def moves(self, situation: Situation) -> Iterable[Move]:
        """What may come next."""

    def passes(self, situation: Situation) -> Situation | None:
        """The situation whose moves may come as well, for some of the pieces are passed over."""
        return None

    def closes(self, situation: Situation) -> bool:
        """Whether the value may end here, whatever that makes of it."""
        return True

    def explore(self) -> Situation | None:
        """Finds all situations; returns the first, or None if no wanted label can be reached."""
        first = self.begin()
        if first is None:
            return None
        order = [first]
        self.ways[first] = []
        for situation in order:
            if self.closes(situation):
                label = self.trackers.label(situation)
                if label in self.trackers.wanted:
                    self.closing[situation] = label
            targets: list[Situation] = []
            for move in self.moves(situation):
                way = self._way(move)
                self.ways[situation].append(way)
                targets += way.targets.values()
            further = self.passes(situation)
            if further is not None:
                self.passing[situation] = further
                targets.append(further)
            for target in targets:
                if target not in self.ways:
                    self.ways[target] = []
                    order.append(target)
            if len(order) > _SITUATION_BUDGET:
                raise SchemaTooLarge(len(order), _SITUATION_BUDGET, "situations in one value")
            self.machine.check()
        self._keep(self._live())
        return first if first in self.ways else None

    def _way(self, move: Move) -> Way:
        @cache
        def after(label: Label) -> Situation | None:
            self.machine.check()  # one step may take long: formulas are long
            return move.after(label)

        if move.certain:
            wanted = Wanted.all_true(len(move.children))
        else:
            wanted = Wanted.such_that(len(move.children), lambda label: after(label) is not None)
        block = self._asked_for(move.children, wanted)
        targets = {label: after(label) for label in block.exits}
        return self._narrowed(
            Way(
                move.key,
                move.children,
                wanted,
                block,
                {label: target for label, target in targets.items() if target is not None},
            )
        )

    def _asked_for(self, children: tuple[Formula, ...], wanted: Wanted) -> Block:
        """The block of a move; what it turned out to hold is remembered."""
        block = self.machine.block(children, wanted, self.depth)
        self._found[children, wanted.key] = (wanted, block)
        return block

    def deepened(self, depth: int) -> bool:
        """Puts in blocks of another depth; False if the situations would then be others."""
        self.depth = depth
        self.machine.marks |= self.marks
        for (children, _), (wanted, before) in list(self._found.items()):
            if self._asked_for(children, wanted).exits.keys() != before.exits.keys():
                return False
        block = self.machine.block
        self.ways = {
            situation: [replace(way, block=block(way.children, way.wanted, depth)) for way in ways]
            for situation, ways in self.ways.items()
        }
        return True

    def _narrowed(self, way: Way) -> Way:
        """The way with a block that has no other values than those that lead on."""
        if len(way.targets) == len(way.block.exits) or not way.targets:
            return way
        wanted = Wanted(frozenset(way.targets))
        block = self.machine.block(way.children, wanted, self.depth)
        return replace(way, wanted=wanted, block=block)

    def offered(self, situation: Situation) -> Iterator[Way]:
        """All that may come next, what further situations offer included."""
        found: Situation | None = situation
        while found is not None:
            yield from self.ways[found]
            found = self.passing.get(found)

    def _live(self) -> set[Situation]:
        """The situations from which a closing one can be reached."""
        before: dict[Situation, list[Situation]] = {}
        for situation, ways in self.ways.items():
            for way in ways:
                for target in way.targets.values():
                    before.setdefault(target, []).append(situation)
        for situation, further in self.passing.items():
            before.setdefault(further, []).append(situation)
        queue = list(self.closing)
        live = set(queue)
        for situation in queue:
            for source in before.get(situation, ()):
                if source not in live:
                    live.add(source)
                    queue.append(source)
        return live

    def _keep(self, live: set[Situation]) -> None:
        self.ways = {
            situation: [
                self._narrowed(replace(way, targets=targets))
                for way in ways
                if (targets := {label: to for label, to in way.targets.items() if to in live})
            ]
            for situation, ways in self.ways.items()
            if situation in live
        }
        self.passing = {one: to for one, to in self.passing.items() if to in live}
