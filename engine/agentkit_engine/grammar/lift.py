"""From bytes to tokens: the token automaton of a byte automaton over a vocabulary.

Knows states, byte classes and token bytes. Must not know schemas, syntaxes or probabilities. Tokens
that the automaton can't tell apart (equal moves from every state) become one *class*, so that a
canvas is decided over some hundred classes in place of all tokens. Exact: classes are found by
comparing, never by hashing alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge, TemplateError
from agentkit_engine.grammar.automaton import ByteAutomaton
from agentkit_engine.grammar.vocabulary import Vocabulary

__all__ = ["TokenAutomaton", "lift"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_FAR = np.iinfo(np.int64).max
_CHUNK = 1 << 22  # states times moves that are composed at a time
_MOVE_BUDGET = 1 << 26


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class TokenAutomaton:
    """A trimmed deterministic automaton over token classes.

    class_of: int32 [V], the class of a token, -1 for tokens that never occur. src, cls, dst:
    int32 [E], one edge per state and class. accepting: bool [S]. min_tokens: the length of the
    shortest accepted sequence.
    """

    class_of: Ints
    src: Ints
    cls: Ints
    dst: Ints
    start: int
    accepting: NDArray[np.bool_]
    min_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        src, dst = _pairs(self.src, self.dst, self.states)
        ahead = _distances(src, dst, np.array([self.start]), self.states)
        object.__setattr__(self, "min_tokens", int(ahead[self.accepting].min()))

    @property
    def states(self) -> int:
        return len(self.accepting)

    @property
    def classes(self) -> int:
        return int(self.cls.max(initial=-1)) + 1

    @property
    def pairs(self) -> int:
        """Distinct (src, dst)."""
        return len(_pairs(self.src, self.dst, self.states)[0])

    def accepts(self, token_ids: Sequence[int]) -> bool:
        """Whether the sequence of tokens, whole, is in the language."""
        moves = {
            (src, cls): dst
            for src, cls, dst in zip(
                self.src.tolist(), self.cls.tolist(), self.dst.tolist(), strict=True
            )
        }
        state = self.start
        for token in token_ids:
            known = 0 <= token < len(self.class_of)
            state = moves.get((state, int(self.class_of[token])), -1) if known else -1
            if state < 0:
                return False
        return bool(self.accepting[state])

    def fill(self, filler: int, *, marker: int | None = None) -> "TokenAutomaton":
        """The slot form: any value, then fillers up to the slot's end.

        `marker` alone, then fillers, says that an optional key is absent. Raises TemplateError if
        either token already writes text here.
        """
        if marker == filler:
            raise TemplateError(f"token {marker} can't be both the filler and the marker")
        grown = self if marker is None else self._with_fresh_start()
        end = grown.states
        ending = [(state, filler, end) for state in np.flatnonzero(grown.accepting).tolist()]
        ending.append((end, filler, end))
        if marker is not None:
            ending.append((grown.start, marker, end))
        return grown._extended(ending, np.append(grown.accepting, True))

    def close(self, end: int, pad: int) -> "TokenAutomaton":
        """The floating form: a value, the token `end`, then only `pad`."""
        last = self.states
        ending = [(state, end, last) for state in np.flatnonzero(self.accepting).tolist()]
        ending.append((last, pad, last))
        return self._extended(ending, np.append(np.zeros(last, np.bool_), True))

    def _with_fresh_start(self) -> "TokenAutomaton":
        """The same language with a start state that no edge comes back to."""
        if not bool((self.dst == self.start).any()):
            return self
        leaving = self.src == self.start
        fresh = self.states
        return TokenAutomaton(
            self.class_of,
            np.append(self.src, np.full(leaving.sum(), fresh, np.int32)),
            np.append(self.cls, self.cls[leaving]),
            np.append(self.dst, self.dst[leaving]),
            fresh,
            np.append(self.accepting, self.accepting[self.start]),
        )

    def _extended(
        self, edges: list[tuple[int, int, int]], accepting: NDArray[np.bool_]
    ) -> "TokenAutomaton":
        """Adds edges (state, token, state) by tokens that had no class so far."""
        class_of = self.class_of.copy()
        for token in dict.fromkeys(token for _, token, _ in edges):
            if not 0 <= token < len(class_of):
                raise TemplateError(f"token {token} is outside the vocabulary of {len(class_of)}")
            if class_of[token] >= 0:
                raise TemplateError(
                    f"token {token} writes text in this grammar and can't also mark its end; "
                    "use a special token"
                )
            class_of[token] = class_of.max() + 1
        src, tokens, dst = np.array(edges, np.int32).T
        return TokenAutomaton(
            class_of,
            np.append(self.src, src),
            np.append(self.cls, class_of[tokens]),
            np.append(self.dst, dst),
            self.start,
            accepting,
        )


def lift(automaton: ByteAutomaton, vocabulary: Vocabulary) -> TokenAutomaton:
    """The token sequences whose bytes `automaton` accepts.

    Raises TemplateError if the vocabulary can't write any text of the language, SchemaTooLarge if
    the moves of its tokens are too many.
    """
    moves, move_of = _moves(automaton, vocabulary)
    used, used_of = np.unique(move_of[move_of >= 0], return_inverse=True)
    moves = moves[used]
    live = _live(moves, automaton)
    number = np.append(np.where(live, np.cumsum(live) - 1, -1), -1)  # the last is where -1 leads
    classes: dict[bytes, int] = {}
    rows = number[moves[:, live]].astype(np.int32)
    first, class_of_move = _numbered(rows, classes)
    rows = rows[first]
    class_of = np.full(vocabulary.size, -1, np.int32)
    class_of[vocabulary.ids[move_of >= 0]] = np.array(class_of_move, np.int32)[used_of]
    cls, src = np.nonzero(rows >= 0)
    return TokenAutomaton(
        class_of,
        src.astype(np.int32),
        cls.astype(np.int32),
        rows[cls, src].astype(np.int32),
        0,
        automaton.accepting[live],
    )


def _moves(automaton: ByteAutomaton, vocabulary: Vocabulary) -> tuple[Ints, Longs]:
    """What tokens do: int32 [M, S], where each distinct *move* leads; and the move of each token.

    A token's move is the composition of its bytes' moves. Walked byte by byte over all tokens at
    once; equal moves are merged at every byte, so what is computed is the part of the automaton's
    transition monoid that the vocabulary reaches. Tokens that lead nowhere have the move -1.
    """
    table = np.vstack([automaton.table, np.full_like(automaton.table[:1], -1)])
    width = table.shape[1]
    text = automaton.class_of[np.frombuffer(vocabulary.text, np.uint8)].astype(np.int64)
    ends = vocabulary.ends
    at = ends - np.diff(ends, prepend=0)
    moves = np.arange(automaton.states, dtype=np.int32)[None]
    found = [moves]
    ids = {moves.tobytes(): 0}
    move_of = np.zeros(len(ends), np.int64)
    active = np.arange(len(ends))
    while len(active):
        keys = move_of[active] * width + text[at[active]]
        asked = np.flatnonzero(np.bincount(keys, minlength=1))
        answer = np.zeros(asked[-1] + 1, np.int64)
        rows_at_once = max(1, _CHUNK // automaton.states)
        for low in range(0, len(asked), rows_at_once):
            part = asked[low : low + rows_at_once]
            rows = table[moves[part // width], (part % width)[:, None]]
            fresh, answer[part] = _numbered(rows, ids)
            found.append(rows[fresh])
            if len(ids) * automaton.states > _MOVE_BUDGET:
                raise SchemaTooLarge(len(ids) * automaton.states, _MOVE_BUDGET, "token moves")
        moves = np.concatenate(found)
        found = [moves]
        move_of[active] = answer[keys]
        at[active] += 1
        active = active[(move_of[active] >= 0) & (at[active] < ends[active])]
    return moves, move_of


def _numbered(rows: Ints, ids: dict[bytes, int]) -> tuple[list[int], list[int]]:
    """Which rows are new to `ids`, and the number of each row; -1 for one that leads nowhere."""
    fresh: list[int] = []
    numbers: list[int] = []
    for index, alive in enumerate(np.any(rows >= 0, axis=1).tolist()):
        known = len(ids)
        numbers.append(ids.setdefault(rows[index].tobytes(), known) if alive else -1)
        if len(ids) > known:
            fresh.append(index)
    return fresh, numbers


def _live(moves: Ints, automaton: ByteAutomaton) -> NDArray[np.bool_]:
    """States on a way of tokens from the start to acceptance."""
    states = automaton.states
    targets = [np.unique(column[column >= 0]) for column in np.ascontiguousarray(moves.T)]
    src = np.repeat(np.arange(states), [len(one) for one in targets])
    dst = np.concatenate(targets).astype(np.int64)
    ahead = _distances(src, dst, np.zeros(1, np.int64), states)
    behind = _distances(dst, src, np.flatnonzero(automaton.accepting), states)
    live = np.maximum(ahead, behind) < _FAR
    if not live[0]:
        raise TemplateError(
            "this vocabulary has no tokens that write any text of the language; was it read "
            "without the symbols of the syntax?"
        )
    return live


def _pairs(src: NDArray[Any], dst: NDArray[Any], states: int) -> tuple[Longs, Longs]:
    """Distinct (src, dst), sorted."""
    keys = np.unique(src.astype(np.int64) * states + dst)
    return keys // states, keys % states


def _distances(src: Longs, dst: Longs, roots: Longs, states: int) -> Longs:
    """Edges from the nearest root to each state; the largest int64 where there is no way."""
    order = np.argsort(src, kind="stable")
    first = np.searchsorted(src[order], np.arange(states + 1)).tolist()
    after = dst[order].tolist()
    distance = np.full(states, _FAR)
    distance[roots] = 0
    frontier = roots.tolist()
    seen = set(frontier)
    steps = 0
    while frontier:
        steps += 1
        reached = {to for state in frontier for to in after[first[state] : first[state + 1]]}
        frontier = list(reached - seen)
        seen.update(frontier)
        distance[frontier] = steps
    return distance
