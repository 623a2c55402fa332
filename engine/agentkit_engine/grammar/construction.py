"""From an expression to its automaton: Thompson's construction (1968), then subsets of states.

Knows how each kind of expression is wired up. Must not know schemas, syntaxes or tokens. Subset
construction after Rabin and Scott (1959).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.automaton import (
    STATE_BUDGET,
    ByteAutomaton,
    Numbering,
    minimal,
)
from agentkit_engine.grammar.expression import (
    Bytes,
    Choice,
    Expression,
    Joined,
    Literal,
    Repeat,
    Series,
    Spliced,
)

__all__ = ["build"]


def build(expression: Expression) -> ByteAutomaton:
    """The minimal automaton of an expression; raises SchemaTooLarge above the state budget."""
    network = _Network()
    start, end = network.state(), network.state()
    network.add(expression, start, end)
    return _determinize(network, start, end)


class _Network:
    """A nondeterministic automaton: per state its silent moves and its moves by byte range."""

    def __init__(self) -> None:
        self.silent: list[list[int]] = []
        self.moves: list[list[tuple[int, int, int]]] = []

    def state(self) -> int:
        if len(self.moves) > STATE_BUDGET:
            raise SchemaTooLarge(len(self.moves), STATE_BUDGET)
        self.silent.append([])
        self.moves.append([])
        return len(self.moves) - 1

    def add(self, expression: Expression, start: int, end: int) -> None:
        """Adds ways from `start` to `end`. None comes back to `start` or goes on from `end`."""
        match expression:
            case Bytes(ranges):
                self.moves[start].extend((low, high, end) for low, high in ranges)
            case Literal(text):
                self._literal(text, start, end)
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
            case Joined(members, separator):
                self._joined(members, separator, start, end)
            case Spliced(automaton):
                self._splice(automaton, start, end)

    def _literal(self, text: bytes, start: int, end: int) -> None:
        if not text:
            self.silent[start].append(end)
            return
        for byte in text[:-1]:
            middle = self.state()
            self.moves[start].append((byte, byte, middle))
            start = middle
        self.moves[start].append((text[-1], text[-1], end))

    def _repeat(self, loop: Repeat, start: int, end: int) -> None:
        before = after = self.state()
        self.silent[start].append(before)
        if loop.least == 0:
            self.silent[start].append(end)
        copies = loop.most if loop.most is not None else max(loop.least, 1)
        for count in range(1, copies + 1):
            after = self.state()
            self.add(loop.item, before, after)
            if count >= loop.least:
                self.silent[after].append(end)
            if count == copies:
                break
            next_before = self.state()
            self._literal(loop.separator, after, next_before)
            before = next_before
        if loop.most is None:
            self._literal(loop.separator, after, before)

    def _joined(
        self, members: tuple[tuple[Expression, bool], ...], separator: bytes, start: int, end: int
    ) -> None:
        """Two tracks: `none`, where no member stands yet, and `some`, which needs a separator."""
        none: int | None = start
        some: int | None = None
        for member, required in members:
            before, after = self.state(), self.state()
            if none is not None:
                self.silent[none].append(before)
            if some is not None:
                self._literal(separator, some, before)
            self.add(member, before, after)
            if required:
                none = None
            elif some is not None:
                self.silent[some].append(after)
            some = after
        for track in (none, some):
            if track is not None:
                self.silent[track].append(end)

    def _splice(self, automaton: ByteAutomaton, start: int, end: int) -> None:
        states = [self.state() for _ in range(automaton.states)]
        self.silent[start].append(states[0])
        ranges = _ranges(automaton.class_of)
        for state, row in zip(states, automaton.table.tolist(), strict=True):
            self.moves[state].extend(
                (low, high, states[row[column]]) for low, high, column in ranges if row[column] >= 0
            )
        for state in np.flatnonzero(automaton.accepting).tolist():
            self.silent[states[state]].append(end)


def _ranges(class_of: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Maximal runs of bytes of one class: (low, high, class)."""
    cuts = [0, *(np.flatnonzero(np.diff(class_of.astype(np.int64))) + 1).tolist(), 256]
    return [(low, high - 1, int(class_of[low])) for low, high in pairwise(cuts)]


def _determinize(network: _Network, start: int, end: int) -> ByteAutomaton:
    cuts = sorted({0, 256} | {cut for move in network.moves for low, high, _ in move
                              for cut in (low, high + 1)})  # fmt: skip
    column_at = {cut: column for column, cut in enumerate(cuts)}
    width = len(cuts) - 1
    closures: dict[int, frozenset[int]] = {}

    def closure(state: int) -> frozenset[int]:
        """The states that matter (with a move, or the end) within silent reach."""
        found = closures.get(state)
        if found is None:
            seen = {state}
            stack = [state]
            while stack:
                fresh = [to for to in network.silent[stack.pop()] if to not in seen]
                seen.update(fresh)
                stack.extend(fresh)
            found = frozenset(one for one in seen if network.moves[one] or one == end)
            closures[state] = found
        return found

    number = Numbering(closure(start))
    rows: list[list[int]] = []
    accepting: list[bool] = []
    for subset in number.order:
        targets: dict[int, frozenset[int]] = {}
        for state in subset:
            for low, high, to in network.moves[state]:
                reached = closure(to)
                for column in range(column_at[low], column_at[high + 1]):
                    known = targets.get(column)
                    targets[column] = reached if known is None else known | reached
        row = [-1] * width
        for column, target in targets.items():
            row[column] = number(target)
        rows.append(row)
        accepting.append(end in subset)
    class_of = np.repeat(np.arange(width, dtype=np.uint8), np.diff(cuts))
    return minimal(np.array(rows, np.int32), class_of, np.array(accepting, np.bool_))
