"""Token automata: what may be filled in, as moves over classes of tokens.

Knows states, classes and token ids. Must not know bytes, schemas or probabilities. Tokens that the
automaton can't tell apart (equal moves from every state) are one *class*, and states joined by
equal sets of classes share that *set*, so that inference works over some hundred classes and sets
in place of all tokens and edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import TemplateError
from agentkit_engine.grammar.token.runs import Ints, Longs, spread, starts

__all__ = ["TokenAutomaton", "steps_from"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TokenAutomaton:
    """A trimmed deterministic automaton over token classes, in set form.

    class_of: int32 [V], the class of a token, -1 for tokens that never occur. src, dst, set: int32
    [P], one entry for each pair of states that some set of classes joins, sorted by src and dst;
    the sets of one src are disjoint. The classes of set k are `set_first[k]` to `set_first[k + 1] -
    1` of `set_class`, ascending; no two sets are equal. accepting: bool [S]. min_tokens: the length
    of the shortest sequence that the moves accept.

    repeats: where an object's free keys could be repeated, which no finite automaton can rule out:
    whether the text of a sequence repeats one; such a sequence is not accepted.
    strict: then, a part of the language whose moves never repeat a key.
    tail: tokens that `fill` and `close` added, which write no text.
    """

    class_of: Ints
    src: Ints
    dst: Ints
    set: Ints
    set_first: Ints
    set_class: Ints
    start: int
    accepting: Flags
    min_tokens: int
    repeats: Callable[[Sequence[int]], bool] | None = None
    strict: TokenAutomaton | None = None
    tail: frozenset[int] = frozenset()

    @property
    def states(self) -> int:
        return len(self.accepting)

    @cached_property
    def classes(self) -> int:
        return int(self.set_class.max(initial=-1)) + 1

    @property
    def pairs(self) -> int:
        """Pairs of states that some class joins."""
        return len(self.src)

    @property
    def enough_tokens(self) -> int:
        """From this length on something can be filled in even if it must be of the strict part."""
        return max(self.min_tokens, self.strict.min_tokens if self.strict is not None else 0)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, that of `strict` included."""
        own = (self.class_of, self.src, self.dst, self.set, self.set_first, self.set_class)
        held = sum(part.nbytes for part in (*own, self.accepting))
        return held + (self.strict.nbytes if self.strict else 0)

    @cached_property
    def ahead(self) -> Ints:
        """The least number of tokens from each state to acceptance: int32 [S].

        A state that no accepting one can be reached from has the largest int32.
        """
        src, dst = self.src.astype(np.int64), self.dst.astype(np.int64)
        steps = steps_from(np.flatnonzero(self.accepting), dst, src, self.states)
        return np.where(steps < 0, np.iinfo(np.int32).max, steps).astype(np.int32)

    @cached_property
    def edges(self) -> tuple[Ints, Ints, Ints]:
        """The moves one by one: src, class, dst, each int32 [E], sorted by src and class."""
        owner, entry = spread(self.set_first[self.set], self.set_first[self.set + 1])
        src, cls = self.src[owner], self.set_class[entry]
        order = np.lexsort((cls, src))
        return src[order], cls[order], self.dst[owner][order]

    def step(self, state: int, token: int) -> int:
        """Where a token leads from a state, -1 if nowhere."""
        number = int(self.class_of[token]) if 0 <= token < len(self.class_of) else -1
        if number < 0:
            return -1
        pairs = slice(self._src_first[state], self._src_first[state + 1])
        low, high = self._class_first[number], self._class_first[number + 1]
        sets = self._class_sets[low:high]  # ascending, never empty
        asked = self.set[pairs]
        place = np.minimum(np.searchsorted(sets, asked), len(sets) - 1)
        met = np.flatnonzero(sets[place] == asked)
        return int(self.dst[pairs][met[0]]) if len(met) else -1

    def accepts(self, token_ids: Sequence[int]) -> bool:
        """Whether the sequence of tokens, whole, is in the language."""
        state = self.start
        for token in token_ids:
            state = self.step(state, token)
            if state < 0:
                return False
        if not self.accepting[state]:
            return False
        return self.repeats is None or not self.repeats(token_ids)

    def fill(self, filler: int, *, marker: int | None = None) -> TokenAutomaton:
        """The slot form: any value, then fillers up to the slot's end.

        `marker` alone, then fillers, says that an optional key is absent. Raises TemplateError if
        either token already writes text here.
        """
        if marker == filler:
            raise TemplateError(f"token {marker} can't be both the filler and the marker")
        grown = self if marker is None else self._with_fresh_start()
        end = grown.states
        states: list[int] = [*np.flatnonzero(grown.accepting).tolist(), end]
        ending: dict[int, tuple[int, ...]] = dict.fromkeys(states, (filler,))
        if marker is not None:
            ending[grown.start] = (*ending.get(grown.start, ()), marker)
        least = self.min_tokens if marker is None else min(self.min_tokens, 1)
        found = grown._extended(ending, np.append(grown.accepting, True), least)
        ends = {filler} if marker is None else {filler, marker}
        strict = self.strict and self.strict.fill(filler, marker=marker)
        return replace(found, strict=strict, tail=self.tail | ends)

    def close(self, end: int, pad: int) -> TokenAutomaton:
        """The floating form: a value, the token `end`, then only `pad`."""
        last = self.states
        states: list[int] = np.flatnonzero(self.accepting).tolist()
        ending: dict[int, tuple[int, ...]] = {**dict.fromkeys(states, (end,)), last: (pad,)}
        accepting = np.append(np.zeros(last, np.bool_), True)
        found = self._extended(ending, accepting, self.min_tokens + 1)
        strict = self.strict and self.strict.close(end, pad)
        return replace(found, strict=strict, tail=self.tail | {end, pad})

    def carried(self, start: int, room: int) -> TokenAutomaton:
        """What one canvas of several may hold: a piece from the state `start` on.

        It accepts in every state from which acceptance is at most `room` tokens away, so that what
        follows fits a further canvas of `room` tokens, provided that the language can be stretched
        to fill it: do this to what `fill` or `close` made. Without either, a shorter ending than
        `room` is counted as fitting. room 0 is the last canvas: it accepts where this one does.

        A piece alone can't tell whether the whole repeats a key: `repeats` and `strict` are off,
        and the caller asks `repeats` of the whole.
        """
        return replace(
            self,
            start=start,
            accepting=self.ahead <= room,
            min_tokens=max(0, int(self.ahead[start]) - room),
            repeats=None,
            strict=None,
        )

    @cached_property
    def _src_first(self) -> list[int]:
        return starts(self.src, self.states).tolist()

    @cached_property
    def _class_sets(self) -> Longs:
        """The sets that hold each class, by class."""
        return np.repeat(np.arange(len(self.set_first) - 1), np.diff(self.set_first))[
            np.argsort(self.set_class, kind="stable")
        ]

    @cached_property
    def _class_first(self) -> list[int]:
        return starts(np.sort(self.set_class), self.classes).tolist()

    def _with_fresh_start(self) -> TokenAutomaton:
        """The same language with a start state that no edge comes back to."""
        if not bool((self.dst == self.start).any()):
            return self
        leaving = self.src == self.start
        return replace(
            self,
            src=np.append(self.src, np.full(leaving.sum(), self.states, np.int32)),
            dst=np.append(self.dst, self.dst[leaving]),
            set=np.append(self.set, self.set[leaving]),
            start=self.states,
            accepting=np.append(self.accepting, self.accepting[self.start]),
        )

    def _extended(
        self, ending: dict[int, tuple[int, ...]], accepting: Flags, min_tokens: int
    ) -> TokenAutomaton:
        """Adds moves from states into a new last one, by tokens that had no class so far."""
        class_of = self.class_of.copy()
        sets = dict.fromkeys(ending.values(), 0)
        sets = {tokens: len(self.set_first) - 1 + k for k, tokens in enumerate(sets)}
        for k, token in enumerate(dict.fromkeys(one for tokens in sets for one in tokens)):
            if not 0 <= token < len(class_of):
                raise TemplateError(f"token {token} is outside the vocabulary of {len(class_of)}")
            if class_of[token] >= 0:
                raise TemplateError(
                    f"token {token} writes text in this grammar and can't also mark its end; "
                    "use a special token"
                )
            class_of[token] = self.classes + k
        last = len(accepting) - 1
        more = np.array([(src, last, sets[tokens]) for src, tokens in ending.items()], np.int32)
        pairs = np.concatenate([[self.src, self.dst, self.set], more.T], axis=1)
        src, dst, number = pairs[:, np.lexsort((pairs[1], pairs[0]))]
        ends = np.cumsum([len(tokens) for tokens in sets], dtype=np.int32)
        classes = [np.sort(class_of[list(tokens)]) for tokens in sets]
        return replace(
            self,
            class_of=class_of,
            src=src,
            dst=dst,
            set=number,
            set_first=np.append(self.set_first, self.set_first[-1] + ends),
            set_class=np.concatenate([self.set_class, *classes]),
            accepting=accepting,
            min_tokens=min_tokens,
        )


_MANY, _LEVELS = 10_000, 64
"""A graph of so many moves is walked level by level, that far: deeper ones are long and narrow."""


def steps_from(roots: Longs, src: Longs, dst: Longs, states: int) -> Longs:
    """Moves from the nearest root to each state: int64 [S], -1 where there is no way."""
    order = np.argsort(src, kind="stable")
    first, after = starts(src[order], states), dst[order]
    steps = np.full(states, -1)
    steps[roots] = 0
    frontier, depth = roots, 0
    while len(frontier) and depth < _LEVELS and len(src) > _MANY:
        depth += 1
        reached = after[spread(first[frontier], first[frontier + 1])[1]]
        steps[reached[steps[reached] < 0]] = depth
        frontier = np.flatnonzero(steps == depth)
    return _steps_on(frontier, first, after, steps) if len(frontier) else steps


def _steps_on(frontier: Longs, first: Longs, after: Longs, steps: Longs) -> Longs:
    """State by state, which is quicker where few are reached at a time."""
    ends, targets, found = first.tolist(), after.tolist(), steps.tolist()
    here: list[int] = frontier.tolist()
    while here:
        reached: list[int] = []
        for state in here:
            for to in targets[ends[state] : ends[state + 1]]:
                if found[to] < 0:
                    found[to] = found[state] + 1
                    reached.append(to)
        here = reached
    return np.array(found)
