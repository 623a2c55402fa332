"""From an expression to its automaton: Thompson's construction (1968), then subsets of states.

Knows how each kind of expression is wired up. Must not know patterns, schemas or bytes. Subset
construction after Rabin and Scott (1959), with sets of states as the bits of an integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.text.automaton import CharacterAutomaton, Columns, merged
from agentkit_engine.grammar.text.characters import Characters
from agentkit_engine.grammar.text.expression import (
    Anchor,
    Choice,
    Expression,
    One,
    Repeat,
    Series,
)
from agentkit_engine.patience import keep_on

__all__ = ["TEXT_STATES", "build"]

TEXT_STATES = 20_000
"""States that the automaton of one set of texts may have."""

_PARTS = 50_000
"""States of the nondeterministic automaton."""

_STEPS = 2_000_000
"""Steps from state to state while subsets are made, so that no expression takes long."""


def build(expression: Expression, *, loose_end: bool = False) -> CharacterAutomaton:
    """Labels the texts of an expression 1 and all others 0.

    loose_end: the end anchor also holds before a line feed at the end of the text, as in Python's
    `re`. Raises SchemaTooLarge above 20,000 states, or where finding them takes too long.
    """
    network = _Network()
    start, end = network.state(), network.state()
    network.add(expression, start, end)
    return _Subsets(network, start, end, loose_end=loose_end).automaton()


class _Network:
    """A nondeterministic automaton: per state its silent, anchored and character moves."""

    def __init__(self) -> None:
        self.silent: list[list[int]] = []
        self.at_start: dict[int, list[int]] = {}
        self.at_end: dict[int, list[int]] = {}
        self.moves: list[list[tuple[Characters, int]]] = []

    def state(self) -> int:
        if len(self.moves) > _PARTS:
            raise SchemaTooLarge(len(self.moves), _PARTS)
        self.silent.append([])
        self.moves.append([])
        return len(self.moves) - 1

    def add(self, expression: Expression, start: int, end: int) -> None:
        """Adds ways from `start` to `end`. None comes back to `start` or goes on from `end`."""
        match expression:
            case One(wanted):
                self.moves[start].append((wanted, end))
            case Anchor(at_end):
                moves = self.at_end if at_end else self.at_start
                moves.setdefault(start, []).append(end)
            case Series(()):
                self.silent[start].append(end)
            case Series(parts):
                for part in parts[:-1]:
                    middle = self.state()
                    self.add(part, start, middle)
                    start = middle
                self.add(parts[-1], start, end)
            case Choice(options):
                for option in options:
                    self.add(option, start, end)
            case Repeat():
                self._repeat(expression, start, end)

    def _repeat(self, loop: Repeat, start: int, end: int) -> None:
        before = self.state()
        self.silent[start].append(before)
        if loop.least == 0:
            self.silent[start].append(end)
        copies = loop.most if loop.most is not None else max(loop.least, 1)
        for count in range(1, copies + 1):
            after = self.state()
            self.add(loop.item, before, after)
            if count >= loop.least:
                self.silent[after].append(end)
            if count == copies and loop.most is None:
                self.silent[after].append(before)
            before = after

    def reach(self, state: int, *, start: bool = False, end: bool = False) -> set[int]:
        """The states in reach of `state` without a character, at the start or end of a text."""
        seen = {state}
        stack = [state]
        while stack:
            here = stack.pop()
            nexts = list(self.silent[here])
            if start:
                nexts += self.at_start.get(here, [])
            if end:
                nexts += self.at_end.get(here, [])
            fresh = [to for to in nexts if to not in seen]
            seen.update(fresh)
            stack.extend(fresh)
        return seen


@dataclass(slots=True)
class _Symbols:
    """The columns that each set of characters takes part in."""

    columns: Columns
    members: dict[Characters, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, sets: list[Characters]) -> _Symbols:
        # each cut flips the sets that begin or end there, and equal memberships share a column
        flips: dict[int, int] = {0: 0}
        for place, ranges in enumerate(sets):
            for low, high in ranges:
                flips[low] = flips.get(low, 0) ^ (1 << place)
                after = 0xE000 if high == 0xD7FF else high + 1
                flips[after] = flips.get(after, 0) ^ (1 << place)
        flips.pop(0x110000, None)
        inside = 0
        held: list[tuple[int, int]] = []
        for cut in sorted(flips):
            inside ^= flips[cut]
            held.append((cut, inside))
        symbols = cls(Columns.of(held))
        memberships = list(dict.fromkeys(inside for _, inside in held))
        for place, wanted in enumerate(sets):
            symbols.members[wanted] = tuple(
                column for column, inside in enumerate(memberships) if inside >> place & 1
            )
        return symbols


class _Subsets:
    """Sets of a network's states, as the bits of integers, and the moves between them."""

    def __init__(self, network: _Network, start: int, end: int, *, loose_end: bool) -> None:
        self.network = network
        self.start = start
        self.end = end
        self.steps = 0
        self.price = 1 + len(network.moves) // 8192  # what longer integers cost
        self.closures: dict[int, int] = {}
        self.moves: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        sets = dict.fromkeys(wanted for moves in network.moves for wanted, _ in moves)
        newline: Characters = ((10, 10),)
        if loose_end and network.at_end:
            sets[newline] = None
        self.symbols = _Symbols.of(list(sets))
        self.width = self.symbols.columns.width
        self.newline = self.symbols.members.get(newline, ()) if loose_end else ()
        self.accepting = 1 << end
        self.last = 0  # where a line feed may be the last character
        self.tail = 1 << network.state()  # behind that line feed
        for state in network.at_end:
            if end in network.reach(state, end=True):
                self.accepting |= 1 << state
            if self.newline and self._ends_behind_newline(network.reach(state, end=True)):
                self.last |= 1 << state
        self.accepting |= self.tail
        self.universal = sum(1 << state for state in self._universal())

    def _spend(self, steps: int) -> None:
        self.steps += steps * self.price
        if self.steps > _STEPS:
            raise SchemaTooLarge(self.steps, _STEPS, "steps")

    def closure(self, state: int) -> int:
        """The states that matter within silent reach: with a move or an anchor, or the end."""
        found = self.closures.get(state)
        if found is None:
            reached = self.network.reach(state)
            self._spend(len(reached))
            found = self.closures[state] = self._bits(reached)
        return found

    def _bits(self, reached: set[int]) -> int:
        found = 0
        for one in reached:
            if self.network.moves[one] or one == self.end or one in self.network.at_end:
                found |= 1 << one
        return found

    def _ends_behind_newline(self, reached: set[int]) -> bool:
        return any(
            wanted[0][0] <= 10 and any(low <= 10 <= high for low, high in wanted)
            and self.end in self.network.reach(to, end=True)
            for state in reached for wanted, to in self.network.moves[state]
        )  # fmt: skip

    def _universal(self) -> Iterator[int]:
        """States from which every text but the empty one is accepted, by a loop."""
        for state, moves in enumerate(self.network.moves):
            for wanted, to in moves:
                if len(self.symbols.members[wanted]) == self.width:
                    kept = self.closure(to)
                    if kept >> state & 1 and kept >> self.end & 1:
                        yield state

    def automaton(self) -> CharacterAutomaton:
        network, start = self.network, self.start
        first = self._bits(network.reach(start, start=True))
        at_both = network.reach(start, start=True, end=True)
        accepts = [self.end in at_both]
        ids: dict[int, int] = {}
        order = [first]
        rows: list[list[int]] = []
        for here, subset in enumerate(order):
            keep_on()
            row = self._row(subset)
            if here == 0 and self.newline and self._ends_behind_newline(at_both):
                row = [bits | self.tail if column in self.newline else bits
                       for column, bits in enumerate(row)]  # fmt: skip
            for column, bits in enumerate(row):
                known = ids.setdefault(bits, len(order))
                if known == len(order):
                    order.append(bits)
                    accepts.append(bool(bits & self.accepting))
                    if known >= TEXT_STATES:
                        raise SchemaTooLarge(known + 1, TEXT_STATES)
                row[column] = known
            rows.append(row)
        table, label = np.array(rows, np.int32), np.array(accepts, np.int32)
        return merged(CharacterAutomaton(self.symbols.columns, table, label))

    def _row(self, subset: int) -> list[int]:
        """Per column the states that `subset` moves to."""
        row = [0] * self.width
        rest = subset
        steps = 0
        while rest:
            low = rest & -rest
            rest ^= low
            for closed, columns in self._moves(low.bit_length() - 1):
                steps += len(columns)
                for column in columns:
                    row[column] |= closed
        if subset & self.last:
            for column in self.newline:
                row[column] |= self.tail
        self._spend(steps + len(row))
        return [self._settled(bits) for bits in row]

    def _moves(self, state: int) -> list[tuple[int, tuple[int, ...]]]:
        """The states that a state moves to, and by which columns."""
        found = self.moves.get(state)
        if found is None:
            found = self.moves[state] = [
                (self.closure(to), self.symbols.members[wanted])
                for wanted, to in self.network.moves[state]
            ]
        return found

    def _settled(self, bits: int) -> int:
        """Nothing but the loop over all characters and the end, where both are there."""
        if bits & self.universal and bits >> self.end & 1:
            return bits & self.universal | 1 << self.end
        return bits
