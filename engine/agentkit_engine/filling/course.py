"""Courses: what a filled row says, token by token, as a causal reader comes to it.

Knows regions and what is said between them. Must not know models or layouts. A row says less than
it holds: fillers fall away, and an optional key that is absent is not spoken of at all. Read from
left to right that is a language of its own; a `Course` tells which token may come next in it, and
what a beginning of it leaves free on the canvas. A bias counts in it where it counts in a lattice:
in values, not in what is said between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import EngineError
from agentkit_engine.grammar import TokenAutomaton
from agentkit_engine.grammar.token.runs import spread
from agentkit_engine.lattice import Bias
from agentkit_engine.layouts.forms import Form, Region

__all__ = ["Course", "Held", "Place", "course_of"]


@dataclass(frozen=True, slots=True)
class Held:
    """What of a row is fixed.

    Attributes:
        pins: tokens by position.
        present: optional regions that are not absent.
        values: "loose" lets values repeat a key of an object, which only a draft may; "strict"
            takes but those of a part of their language whose moves never do.
    """

    pins: dict[int, int] = field(default_factory=dict[int, int])
    present: frozenset[int] = frozenset()
    values: Literal["valid", "loose", "strict"] = "valid"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands: in the value of a region, or in what is said between two.

    Attributes:
        region: the last one entered; -1 before the first.
        state: of its value's automaton.
        used: tokens read of the value, or of what is said behind it.
        after: the regions that may come next, their number standing for the end; none in a value.
    """

    region: int
    state: int = 0
    used: int = 0
    after: tuple[int, ...] = ()


def course_of(form: Form, bias: Bias | None = None) -> Course | None:
    """The course of a form's rows.

    None where nothing is said, and where the tokens that are banned leave no way to say it.
    """
    regions = [region for region in form.regions if isinstance(region, Region)]
    if form.literal is None or len(regions) < len(form.regions):
        return None
    course = Course(regions, form.literal, bias or Bias())
    return course if course.passable else None


class Course:
    """The language of what the rows of a form may say.

    Where an object's free keys could be repeated it says more than that, as no finite number of
    places can tell; `strictly` then says less.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        literal: Callable[[int, int], tuple[int, ...]],
        bias: Bias,
        *,
        strict: bool = False,
    ) -> None:
        """Takes what a form has under these names."""
        self._regions, self._literal, self._bias = regions, literal, bias
        self._strict = strict
        values = [(strict and region.value.strict) or region.value for region in regions]
        self._values = [_without(value, bias.banned) for value in values]
        self._sayable = [
            value.ahead[value.start] <= region.room
            for value, region in zip(self._values, regions, strict=True)
        ]
        self._optional = [
            region.absent is not None and region.absent not in bias.banned for region in regions
        ]
        self._end = len(regions)

    @property
    def passable(self) -> bool:
        """Whether anything can be said: bans leave each value some text, and rows their tails."""
        tails = {token for r in self._regions for token in (r.padding, *r.ending)}
        return tails.isdisjoint(self._bias.banned) and all(
            sayable or optional
            for sayable, optional in zip(self._sayable, self._optional, strict=True)
        )

    @property
    def strictly(self) -> Course | None:
        """The part of it in which no key can be repeated; None where there is no other part."""
        if self._strict or all(region.value.strict is None for region in self._regions):
            return None
        course = Course(self._regions, self._literal, self._bias, strict=True)
        return course if course.passable else None

    @property
    def leaning(self) -> bool:
        """Whether scores alone don't tell what is the likeliest."""
        return bool(self._bias.length or self._bias.preferred)

    @property
    def start(self) -> Place:
        return self._settled(Place(-1, after=self._next_regions(-1)))

    def said(self, row: Sequence[int]) -> tuple[int, ...]:
        """What a filled row says."""
        tokens: list[int] = []
        last = -1
        for number, region in enumerate(self._regions):
            value = region.said(row)
            if value is not None:
                tokens += [*self._literal(last, number), *value]
                last = number
        return (*tokens, *self._literal(last, self._end))

    def by_region(self, said: Sequence[int], nats: Sequence[float]) -> list[float]:
        """The sum for each region of what tokens are worth that decide on its value.

        Those of the value, the one behind it, which ends it, and the one that tells whether an
        optional region is there at all.
        """
        found = [0.0] * self._end
        place = self.start
        for token, worth in zip(said, nats, strict=True):
            after = self.step(place, token)
            assert after is not None
            open_ = place.after
            if not open_:
                found[place.region] += worth
                if after.after or after.region != place.region:  # this token ended the value
                    open_ = self._next_regions(place.region)
            if len(open_) > 1:
                for number in range(place.region + 1, max(open_)):
                    found[number] += worth
            place = after
        return found

    def finished(self, place: Place) -> bool:
        """Whether nothing more can be said."""
        return place.region == self._end

    def forced(self, place: Place) -> int | None:
        """The token of what is said between values, where only one may come next."""
        if len(place.after) != 1:
            return None
        return self._literal(place.region, place.after[0])[place.used]

    def following(self, place: Place) -> frozenset[int] | NDArray[np.bool_]:
        """Which tokens may come next: a few, or a flag for each of the vocabulary."""
        if place.after or self.finished(place):
            return frozenset(self._literal(place.region, to)[place.used] for to in place.after)
        more = self._text(place)
        for token in self._endings(place):
            more[token] = True
        return more

    def greedy(self, place: Place, scores: NDArray[np.float32]) -> int:
        """The likeliest token that may come next, of equal ones the lowest. scores: [V]."""
        allowed = self.following(place)
        if isinstance(allowed, frozenset):
            return max(sorted(allowed), key=lambda token: float(scores[token]))
        leaning = scores[: len(allowed)] + self._leanings(place)
        return int(np.where(allowed, leaning, -np.inf).argmax())

    def step(self, place: Place, token: int) -> Place | None:
        """Where a token leads; None where it may not come next."""
        if place.after:
            kept = tuple(
                to for to in place.after if self._literal(place.region, to)[place.used] == token
            )
            return self._settled(replace(place, after=kept, used=place.used + 1)) if kept else None
        if self.finished(place):
            return None
        value, room = self._values[place.region], self._regions[place.region].room
        state = value.step(place.state, token)
        if state >= 0 and value.ahead[state] < room - place.used:
            return replace(place, state=state, used=place.used + 1)
        if token not in self._endings(place):
            return None
        between = Place(place.region, after=self._next_regions(place.region))
        return self.step(between, token)

    def held(self, tokens: Sequence[int], *, loose: bool = False) -> tuple[Held, ...]:
        """What of a row the beginning `tokens` fixes: a case for each region that may be next.

        Args:
            loose: for a draft only: keys of an object may be repeated.

        Raises:
            EngineError: no row says that.
        """
        pins: dict[int, int] = {}
        present: set[int] = set()
        place = self.start
        self._enter(-1, place, pins, present)
        for token in tokens:
            after = self.step(place, token)
            if after is None:
                raise EngineError(f"token {token} can't come next in what a row says")
            if not place.after and after.after:
                self._leave(place, pins)
            if not place.after and not after.after and after.region == place.region:
                pins[self._regions[place.region].start + place.used] = token
            elif after.region != place.region:
                if not place.after:
                    self._leave(place, pins)
                self._enter(place.region, after, pins, present)
            place = after
        found = self._cases(place, pins, frozenset(present))
        return tuple(replace(case, values="loose") for case in found) if loose else tuple(found)

    def _cases(self, place: Place, pins: dict[int, int], present: frozenset[int]) -> Iterator[Held]:
        values: Literal["valid", "strict"] = "strict" if self._strict else "valid"
        if not place.after:
            yield Held(pins, present, values)
        for to in place.after:
            more, there = dict(pins), set(present)
            self._enter(place.region, Place(to), more, there)
            yield Held(more, frozenset(there), values)

    def _enter(self, before: int, place: Place, pins: dict[int, int], present: set[int]) -> None:
        """The regions between are absent, the one entered is present."""
        if place.region == before:
            return
        for number in range(before + 1, place.region):
            region = self._regions[number]
            assert region.absent is not None
            marked = (region.absent, *[region.padding] * (region.width - 1))
            pins.update(enumerate(marked, region.start))
        if place.region < self._end:
            present.add(place.region)

    def _leave(self, place: Place, pins: dict[int, int]) -> None:
        region = self._regions[place.region]
        pins.update(enumerate(region.tail(place.used), region.start + place.used))

    def _settled(self, place: Place) -> Place:
        """Goes on into a region whose literal has been read to its end."""
        for to in place.after:
            if len(self._literal(place.region, to)) == place.used:
                start = self._values[to].start if to < self._end else 0
                return Place(to, state=start)
        return place

    def _next_regions(self, region: int) -> tuple[int, ...]:
        """Which may come behind a region: up to the first that can't be absent, or the end."""
        found: list[int] = []
        for number in range(region + 1, self._end):
            if self._sayable[number]:
                found.append(number)
            if not self._optional[number]:
                return tuple(found)
        return (*found, self._end)

    def _leanings(self, place: Place) -> NDArray[np.float32]:
        """What the bias adds to each token in a value: float32 [V], nats."""
        text, ending = self._text(place), self._regions[place.region].ending
        nats = np.where(text, np.float32(self._bias.length), np.float32(0))
        for token, more in self._bias.preferred.items():
            if token in ending or (0 <= token < len(text) and text[token]):
                nats[token] += more
        return nats

    def _text(self, place: Place) -> NDArray[np.bool_]:
        """Flags of the tokens with which a value goes on, and can still end in its region."""
        room = self._regions[place.region].room - place.used
        return _allowed(self._values[place.region], place.state, room)

    def _endings(self, place: Place) -> frozenset[int]:
        """The tokens that end the value read so far."""
        if not self._values[place.region].accepting[place.state]:
            return frozenset()
        return frozenset(
            self._literal(place.region, to)[0] for to in self._next_regions(place.region)
        )


def _without(automaton: TokenAutomaton, banned: frozenset[int]) -> TokenAutomaton:
    """What of a language doesn't take the tokens that are banned; nothing is trimmed."""
    if not banned:
        return automaton
    class_of = automaton.class_of.copy()
    class_of[[token for token in banned if 0 <= token < len(class_of)]] = -1
    left = np.isin(automaton.set_class, class_of)
    sets = np.logical_or.reduceat(left, automaton.set_first[:-1])
    kept = sets[automaton.set]
    moves = {name: getattr(automaton, name)[kept] for name in ("src", "dst", "set")}
    return replace(automaton, class_of=class_of, **moves)


def _allowed(automaton: TokenAutomaton, state: int, room: int) -> NDArray[np.bool_]:
    """Flags of the tokens with which a value can still end within `room` tokens."""
    low, high = np.searchsorted(automaton.src, [state, state + 1])
    kept = automaton.set[low:high][automaton.ahead[automaton.dst[low:high]] < room]
    _, entry = spread(automaton.set_first[kept], automaton.set_first[kept + 1])
    classes = np.zeros(automaton.classes + 1, np.bool_)  # the last one: tokens of no class
    classes[automaton.set_class[entry]] = True
    return classes[automaton.class_of]
