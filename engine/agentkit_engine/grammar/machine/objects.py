"""Objects: in which order keys may come, what each asks of its value, and how members are written.

Knows the statements about objects and the punctuation of a syntax. Must not know how the values
inside are written. Keys come in the order in which the schema declares them, free keys last; with
`order="any"` in any order, as long as the required ones that have come can be remembered.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from agentkit_engine.grammar.formula import (
    AllOf,
    Covered,
    Formula,
    Keys,
    MemberCount,
    Members,
    Required,
    all_of,
)
from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.machine.judgement import Wanted, atoms, settled
from agentkit_engine.grammar.machine.walk import Move, Situation, Walk
from agentkit_engine.grammar.text.characters import ALL, intersection
from agentkit_engine.grammar.text.expression import one_of, repeat, sequence
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.writing import text_leaf
from agentkit_engine.grammar.truth import Between, Truth

if TYPE_CHECKING:
    from agentkit_engine.grammar.machine.values import Machine

__all__ = ["FreeKeys", "ObjectWalk"]


@dataclass(frozen=True, slots=True)
class Place:
    """next: the first declared key that may still come. seen: required keys that came (any order).

    free: whether a free key came; where these are kept apart, the first group the next may be of.
    """

    next: int
    seen: frozenset[str]
    free: int


@dataclass(frozen=True, slots=True)
class Meant:
    """The statements that mean one key. asked: what its value must be, or else nothing is valid.

    tracked: (number of another statement, whether it surely means the key).
    """

    asked: tuple[Formula, ...]
    tracked: tuple[tuple[int, Truth], ...]


@dataclass(frozen=True, slots=True)
class FreeKeys:
    """Keys that no schema names. leaf: all keys, labelled by name or by class of free key.

    names: the label of a declared name -> it. classes: the label of free keys -> what means them.
    groups: where free keys are kept apart, the group of a label.
    """

    leaf: Leaf
    names: dict[Label, str]
    classes: dict[Label, Meant]
    groups: dict[Label, int]


class ObjectWalk(Walk):
    """The members of one object, read one by one.

    What must hold in any case (`demands` on values, keys that `must` come) is kept out of the
    trackers: breaking it ends the object at once, so there is nothing to remember.
    """

    def __init__(
        self, machine: Machine, formulas: tuple[Formula, ...], wanted: Wanted, depth: int
    ) -> None:
        said = [atom for formula in formulas for atom in atoms(formula)]
        self.demands, self.must, rest = _split(formulas, wanted)
        super().__init__(machine, rest, wanted, depth)
        numbered = list(enumerate(self.trackers.atoms))
        self._always = tuple((n, Truth.YES) for n, atom in numbered
                             if isinstance(atom, MemberCount | Covered))  # fmt: skip
        self._members = [(n, atom.keys) for n, atom in numbered if isinstance(atom, Members)]
        self.requiring = {atom.name: n for n, atom in numbered if isinstance(atom, Required)}
        self.names = _declared(said)
        self._meant = {name: self._meaning(name) for name in self.names}
        self._last_must = max(map(self.names.index, self.must), default=-1)
        offered = any(isinstance(atom, Members) and atom.offered for atom in said)
        self.open = offered or not self.names or machine.options.open
        remembered = len(self.requiring) + len(self.must)
        self.any_order = machine.any_order and remembered <= machine.options.key_limit
        self._free: FreeKeys | None = None

    def _meaning(self, name: str) -> Meant:
        tracked = [
            (number, truth)
            for number, keys in self._members
            if (truth := keys.truth(name)) != Truth.NO
        ]
        if name in self.requiring:
            tracked.append((self.requiring[name], Truth.YES))
        asked = (one.value for one in self.demands if one.keys.truth(name) != Truth.NO)
        return Meant(tuple(dict.fromkeys(asked)), (*tracked, *self._always))

    def begin(self) -> Situation | None:
        return self.trackers.situation(Place(0, frozenset(), 0), self.trackers.first, {}, {})

    def closes(self, situation: Situation) -> bool:
        place = situation.position
        assert isinstance(place, Place)
        return place.seen >= self.must if self.any_order else place.next > self._last_must

    def moves(self, situation: Situation) -> Iterable[Move]:
        place = situation.position
        assert isinstance(place, Place)
        yield from self._named(situation, place)
        if self.open:
            yield from self._unnamed(situation, place)

    def _named(self, situation: Situation, place: Place) -> Iterator[Move]:
        relevant = self.trackers.relevant(situation.open)
        skipped: dict[int, Truth] = {}
        for index in range(0 if self.any_order else place.next, len(self.names)):
            name = self.names[index]
            if name in place.seen:
                continue
            if self._spoken_of(name, relevant):
                needed = name in self.requiring or name in self.must
                seen = place.seen | {name} if needed and self.any_order else place.seen
                after = Place(0 if self.any_order else index + 1, seen, 0)
                self.machine.repeating |= self.any_order and not needed
                yield from self._move(situation, index, self._meant[name], after, skipped)
            if self.any_order:
                continue
            if name in self.must:
                return
            if name in self.requiring:
                skipped[self.requiring[name]] = Truth.NO
                if self._blocked(situation, skipped):
                    return

    def _spoken_of(self, name: str, relevant: frozenset[int]) -> bool:
        """Whether what is still open, or holds in any case, names this key."""
        if self.open or name in self.must or self.requiring.get(name) in relevant:
            return True
        return any(name in one.keys.names for one in self.demands if not one.keys.others) or any(
            number in relevant and name in keys.names
            for number, keys in self._members
            if not keys.others
        )

    def _blocked(self, situation: Situation, skipped: dict[int, Truth]) -> bool:
        """Whether keys that were passed over can't be missing."""
        states = dict(situation.states)
        return self.trackers.situation(situation.position, situation.open, states, skipped) is None

    def _unnamed(self, situation: Situation, place: Place) -> Iterator[Move]:
        most = self.machine.free_keys
        if most == 0 or place.free == len(key_groups()):
            return
        skipped: dict[int, Truth] = {}
        if not self.any_order:
            if place.next <= self._last_must:
                return
            missed = self.names[place.next :]
            skipped = {self.requiring[name]: Truth.NO for name in missed if name in self.requiring}
            if skipped and self._blocked(situation, skipped):
                return
        free_keys = self.free_keys()
        for label, meant in free_keys.classes.items():
            group = free_keys.groups[label]
            if most is not None and group < place.free:
                continue
            free = 1 if most is None else group + 1 if most > 1 else len(key_groups())
            after = Place(0 if self.any_order else len(self.names), place.seen, free)
            self.machine.repeating |= most is None and place.free > 0
            yield from self._move(situation, label, meant, after, skipped)

    def _move(
        self,
        situation: Situation,
        key: Hashable,
        meant: Meant,
        place: Place,
        skipped: Mapping[int, Truth],
    ) -> Iterator[Move]:
        """The move by one key, unless no value at all could follow it."""
        relevant = self.trackers.relevant(situation.open)
        tracked = [touch for touch in meant.tracked if touch[0] in relevant]
        children = {value: None for value in meant.asked if settled(value) is None}
        if any(settled(value) in {Truth.NO, Truth.UNKNOWN} for value in meant.asked):
            return
        asked = len(children)
        for number, _ in tracked:
            atom = self.trackers.atoms[number]
            if isinstance(atom, Members | Covered) and settled(atom.value) is None:
                children[atom.value] = None
        order = tuple(children)

        def after(label: Label) -> Situation | None:
            if any(truth != Truth.YES for truth in label[:asked]):
                return None
            truths = dict(zip(order, label, strict=True))
            states, decided = dict(situation.states), dict(skipped)
            for number, surely in tracked:
                self._read(key, number, surely, truths, states, decided)
            return self.trackers.situation(place, situation.open, states, decided)

        yield Move(key, order, after, certain=asked == len(order))

    def _read(
        self,
        key: Hashable,
        number: int,
        meant: Truth,
        truths: dict[Formula, Truth],
        states: dict[int, object],
        decided: dict[int, Truth],
    ) -> None:
        """What one more member does to one statement."""
        match self.trackers.atoms[number]:
            case Required():
                decided[number] = Truth.YES
            case MemberCount(least):
                count = states.get(number, 0)
                assert isinstance(count, int)
                states[number] = count + 1
                if count + 1 >= least:
                    decided[number] = Truth.YES
            case Members(_, value):
                truth = max(~meant, _truth(value, truths))
                before = states.get(number, Truth.YES)
                assert isinstance(before, Truth)
                state = min(truth, before)
                if state != Truth.YES:
                    states[number] = state
                if state == Truth.NO:
                    decided[number] = Truth.NO
            case Covered() as covered:
                self._cover(covered, key, number, truths, states, decided)
            case _:
                pass

    def _cover(
        self,
        covered: Covered,
        key: Hashable,
        number: int,
        truths: dict[Formula, Truth],
        states: dict[int, object],
        decided: dict[int, Truth],
    ) -> None:
        floor = _truth(covered.value, truths)
        if floor == Truth.YES:
            return
        reached = [
            self._reach(reach, key) for _, reach in covered.branches if isinstance(reach, Keys)
        ]
        if Truth.UNKNOWN in reached:
            floor = Truth.UNKNOWN
        covering = frozenset(n for n, truth in enumerate(reached) if truth == Truth.YES)
        if not covering and floor == Truth.NO:
            decided[number] = Truth.NO
            return
        before = states.get(number, frozenset())
        assert isinstance(before, frozenset)
        states[number] = before | {(covering, floor)}

    def _reach(self, keys: Keys, key: Hashable) -> Truth:
        if isinstance(key, int):
            return keys.truth(self.names[key])
        assert isinstance(key, tuple)
        place = self._queried.get(keys)  # a free key is none of a few names
        return Truth.NO if place is None else Truth(key[place])

    def free_keys(self) -> FreeKeys:
        """The keys that no schema names, in classes that every statement treats alike."""
        if self._free is None:
            self._free = self._classify()
        return self._free

    def _classify(self) -> FreeKeys:
        covers = [reach for atom in self.trackers.atoms if isinstance(atom, Covered)
                  for _, reach in atom.branches if isinstance(reach, Keys)]  # fmt: skip
        tested = [one.keys for one in self.demands] + [keys for _, keys in self._members] + covers
        keys = [one for one in dict.fromkeys(tested) if one.others or one.patterns]
        self._queried = {one: len(self.names) + place for place, one in enumerate(keys)}
        groups = key_groups() if (self.machine.free_keys or 0) > 1 else ()
        queries = [Between.exactly(TextSet.of([name])) for name in self.names]
        queries += [one.texts() for one in keys] + [Between.exactly(one) for one in groups]
        leaf = text_leaf(tuple(queries), self.machine.syntax, place="key")
        free = FreeKeys(leaf, {}, {}, {})
        for label in leaf.labels:
            named = [name for name, truth in zip(self.names, label, strict=False) if truth]
            if named:
                free.names[label] = named[0]
            elif Truth.UNKNOWN not in label:
                free.classes[label] = self._meaning_of_class(label)
                group = label[len(self.names) + len(keys) :]
                free.groups[label] = group.index(Truth.YES) if groups else 0
        return free

    def _meaning_of_class(self, label: Label) -> Meant:
        def means(keys: Keys) -> bool:
            return keys in self._queried and label[self._queried[keys]] == Truth.YES

        asked = (one.value for one in self.demands if means(one.keys))
        tracked = ((number, Truth.YES) for number, keys in self._members if means(keys))
        return Meant(tuple(dict.fromkeys(asked)), (*tracked, *self._always))


def _split(
    formulas: tuple[Formula, ...], wanted: Wanted
) -> tuple[list[Members], frozenset[str], tuple[Formula, ...]]:
    """What must hold of every member, which keys must come, and the rest of the formulas."""
    if not wanted.is_only((Truth.YES,)):
        return [], frozenset(), formulas
    parts = formulas[0].parts if isinstance(formulas[0], AllOf) else formulas
    demands = [part for part in parts if isinstance(part, Members)]
    must = frozenset(part.name for part in parts if isinstance(part, Required))
    rest = (part for part in parts if not isinstance(part, Members | Required))
    return demands, must, (all_of(*rest),)


def _declared(said: Iterable[Formula]) -> list[str]:
    """The names that statements mention, those that say something of their values first."""
    members = [name for atom in said if isinstance(atom, Members) and not atom.keys.others
               for name in sorted(atom.keys.names)]  # fmt: skip
    required = [atom.name for atom in said if isinstance(atom, Required)]
    return list(dict.fromkeys(members + required))


@lru_cache(maxsize=1)
def key_groups() -> tuple[TextSet, ...]:
    """All keys, parted by their first character; where keys are kept apart, groups come in order."""
    cuts = [0, *map(ord, "0:aeimqu{"), 0x110000]
    rest = repeat(one_of(ALL))
    first, *others = (
        TextSet.built(sequence(one_of(intersection(((low, high - 1),), ALL)), rest))
        for low, high in pairwise(cuts)
    )
    return first | TextSet.of([""]), *others


def _truth(value: Formula, truths: dict[Formula, Truth]) -> Truth:
    known = settled(value)
    return truths[value] if known is None else known
