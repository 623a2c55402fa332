"""Objects: in which order keys may come, what each asks of its value, and how members are written.

Knows the statements about objects and the punctuation of a syntax. Must not know how the values
inside are written. Keys come in the order in which the schema declares them, free keys last; with
`order="any"` in any order, as long as the required ones that have come can be remembered; where
they are too many, these come as declared and the rest anywhere between them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

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
from agentkit_engine.grammar.machine.block import Marks
from agentkit_engine.grammar.machine.effort import LEAST_KEY_LIMIT, LEAST_NAMES
from agentkit_engine.grammar.machine.judgement import Wanted, atoms, settled, told
from agentkit_engine.grammar.machine.making import Maker
from agentkit_engine.grammar.machine.walk import Move, Situation, Walk
from agentkit_engine.grammar.text.characters import ALL, intersection
from agentkit_engine.grammar.text.expression import one_of, repeat, sequence
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.writing import text_leaf
from agentkit_engine.grammar.truth import Between, Truth

__all__ = ["FreeKeys", "ObjectWalk"]


class Place(NamedTuple):  # a tuple: it is hashed all the time
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
        self, machine: Maker, formulas: tuple[Formula, ...], wanted: Wanted, depth: int
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
        self._meant, self._speaking = self._meanings()
        self._demanded = self.must.union(
            *(one.keys.names for one in self.demands if not one.keys.others)
        )
        self._last_must = max((n for n, name in enumerate(self.names) if name in self.must),
                              default=-1)  # fmt: skip
        offered = any(isinstance(atom, Members) and atom.offered for atom in said)
        self.open = offered or not self.names or machine.options.open
        if self.open and len(self.names) > LEAST_NAMES:
            self.mark(Marks.GENEROUS)
            self.open = len(self.names) <= machine.effort.most_names
        self._most_free = machine.free_keys
        sparing = machine.free_keys is not None and not machine.lavish
        if sparing and not offered and self.names:
            self._most_free = min(machine.free_keys or 0, 1)
        remembered = len(self.requiring) + len(self.must)
        wide = machine.options.order == "any" and machine.free_keys is None
        self.any_order = wide and remembered <= machine.effort.key_limit
        # alternatives told apart by keys in many orders would take a situation for each set of keys
        few = machine.effort.most_names <= LEAST_NAMES  # the least effort
        self.mixed = wide and not (self.any_order or few or self.trackers.atoms)
        flexible = LEAST_KEY_LIMIT < remembered <= machine.options.key_limit
        if flexible and wide:
            self.mark(Marks.GENEROUS)
        self._free: FreeKeys | None = None

    def _meanings(self) -> tuple[dict[str, Meant], dict[str, list[int]]]:
        """For every name the statements that mean it, and those that name it."""
        demands = _by_name([(one.keys, one.value) for one in self.demands], self.names)
        members = _by_name([(keys, number) for number, keys in self._members], self.names)
        meant: dict[str, Meant] = {}
        speaking: dict[str, list[int]] = {}
        for name in self.names:
            tracked = [(number, truth) for number, truth, _ in members[name]]
            speaking[name] = [number for number, _, named in members[name] if named]
            if name in self.requiring:
                tracked.append((self.requiring[name], Truth.YES))
                speaking[name].append(self.requiring[name])
            asked = tuple(dict.fromkeys(value for value, _, _ in demands[name]))
            meant[name] = Meant(asked, (*tracked, *self._always))
        return meant, speaking

    def begin(self) -> Situation | None:
        return self.trackers.situation(Place(0, frozenset(), 0), self.trackers.first, {}, {})

    def closes(self, situation: Situation) -> bool:
        place = situation.position
        assert isinstance(place, Place)
        return place.seen >= self.must if self.any_order else place.next > self._last_must

    def moves(self, situation: Situation) -> Iterable[Move]:
        place = situation.position
        assert isinstance(place, Place)
        if self.any_order or self.mixed:
            coming: Iterable[int] = range(len(self.names))
        else:
            coming = (place.next,) if place.next < len(self.names) else ()
        yield from self._named(situation, place, coming)
        if self.open and (self.any_order or self.mixed or place.next == len(self.names)):
            yield from self._unnamed(situation, place)

    def passes(self, situation: Situation) -> Situation | None:
        place = situation.position
        assert isinstance(place, Place)
        if self.any_order or self.mixed or place.next == len(self.names):
            return None
        name = self.names[place.next]
        if name in self.must:
            return None
        number = self.requiring.get(name)
        asked = number is not None and number in self.trackers.relevant(situation.open)
        missed = {number: Truth.NO} if asked and number is not None else {}
        after = place._replace(next=place.next + 1)
        return self.trackers.situation(after, situation.open, dict(situation.states), missed)

    def _named(self, situation: Situation, place: Place, coming: Iterable[int]) -> Iterator[Move]:
        relevant = self.trackers.relevant(situation.open)
        late = False  # whether a key that must come was passed over
        for index in coming:
            name = self.names[index]
            needed = name in self.requiring or name in self.must
            if self.mixed and needed and (late or index < place.next):
                continue
            late |= name in self.must
            if name in place.seen or not self._spoken_of(name, relevant):
                continue
            if (self.any_order or self.mixed) and not needed:
                self.mark(Marks.REPEATING)
            yield from self._move(situation, index, self._meant[name], self._next(place, index))

    def _next(self, place: Place, index: int) -> Place:
        """Where the object is after a named key."""
        name = self.names[index]
        needed = name in self.requiring or name in self.must
        if self.any_order:
            return Place(0, place.seen | {name} if needed else place.seen, 0)
        return Place(place.next if self.mixed and not needed else index + 1, frozenset(), 0)

    def _spoken_of(self, name: str, relevant: frozenset[int]) -> bool:
        """Whether what is still open, or holds in any case, names this key."""
        return self.open or name in self._demanded or not relevant.isdisjoint(self._speaking[name])

    def _unnamed(self, situation: Situation, place: Place) -> Iterator[Move]:
        most = self._most_free
        if most == 0 or place.free == len(key_groups()):
            return
        free_keys = self.free_keys()
        for label, meant in free_keys.classes.items():
            group = free_keys.groups[label]
            if most is not None and group < place.free:
                continue
            free = 1 if most is None else group + 1 if most > 1 else len(key_groups())
            after = Place(place.next, place.seen, free)
            if most is None and place.free > 0:
                self.mark(Marks.REPEATING)
            yield from self._move(situation, label, meant, after)

    def _move(
        self,
        situation: Situation,
        key: Hashable,
        meant: Meant,
        place: Place,
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
            states: dict[int, object] = dict(situation.states)
            decided: dict[int, Truth] = {}
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
                truth = max(~meant, told(value, truths))
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
        floor = told(covered.value, truths)
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
        groups = key_groups() if (self._most_free or 0) > 1 else ()
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


_Said = TypeVar("_Said")


def _by_name(
    said: Iterable[tuple[Keys, _Said]], names: Sequence[str]
) -> dict[str, list[tuple[_Said, Truth, bool]]]:
    """For each name what is said of keys that may mean it, how truly, and whether by name."""
    found: dict[str, list[tuple[_Said, Truth, bool]]] = {name: [] for name in names}
    for keys, what in said:
        for name in names if keys.others or keys.patterns else sorted(keys.names):
            truth = keys.truth(name)
            if truth != Truth.NO:
                found[name].append((what, truth, name in keys.names and not keys.others))
    return found


@lru_cache(maxsize=1)
def key_groups() -> tuple[TextSet, ...]:
    """All keys, parted by their first character; where kept apart, groups come in order."""
    cuts = [0, *map(ord, "0:aeimqu{"), 0x110000]
    rest = repeat(one_of(ALL))
    first, *others = (
        TextSet.built(sequence(one_of(intersection(((low, high - 1),), ALL)), rest))
        for low, high in pairwise(cuts)
    )
    return first | TextSet.of([""]), *others
