"""Strings as a syntax writes them: leaves whose ends say what is true of the text.

Knows sets of texts, and which alphabet a syntax and a place in it have. Must not know schemas or
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.errors import SchemaTooLarge
from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.minimal import STATE_BUDGET, minimal
from agentkit_engine.grammar.text.automaton import CharacterAutomaton, product, trie
from agentkit_engine.grammar.text.regex import pattern_texts
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.spelling import Alphabet, Spelling, spelling
from agentkit_engine.grammar.truth import Between, Truth
from agentkit_engine.syntax import Syntax

__all__ = ["text_leaf"]

_ENTRIES = 1 << 25
"""Entries that a table may have while it is made."""

_PARTS = "table entries"


def text_leaf(
    queries: Sequence[Between[TextSet]],
    syntax: Syntax,
    *,
    place: Literal["value", "key", "raw"] = "value",
) -> Leaf:
    """The contents of a string, without quotes; each end has the truth of every query.

    place: a string that is a value; one that is a key (where the syntax leaves quotes off, only
    keys that need none); or raw text outside of any syntax. Equal calls give one object. Raises
    SchemaTooLarge where telling the queries apart takes too many states.
    """
    alphabet: Alphabet = "json" if syntax.escapes and place != "raw" else "plain"
    return _leaf(tuple(queries), alphabet, bare=place == "key" and syntax.bare_keys)


@lru_cache(maxsize=256)
def _leaf(queries: tuple[Between[TextSet], ...], alphabet: Alphabet, *, bare: bool) -> Leaf:
    sets = dict.fromkeys(one for query in queries for one in (query.inner, query.outer))
    if bare:
        sets[_bare_keys()] = None
    automaton, members = _told_apart(list(sets))
    numbered: dict[Label, int] = {}
    named: list[int] = []
    for held in members:
        truths = tuple(_truth(query, held) for query in queries)
        ends = not bare or _bare_keys() in held
        named.append(numbered.setdefault(truths, len(numbered)) if ends else -1)
    table, label = automaton.table, np.array(named, np.int32)[automaton.label]
    spelled = spelling(automaton.columns, alphabet)
    lost = [column for column in range(table.shape[1]) if column not in spelled.columns]
    if lost or bare:
        table = table.copy()
        table[:, lost] = -1
        table, label = minimal(table, label)
    kept = np.unique(label[label >= 0])
    labels = tuple(numbered)
    if len(kept) < len(labels):
        label = np.where(label >= 0, np.searchsorted(kept, label), -1).astype(np.int32)
    return _written(table, label, tuple(labels[one] for one in kept.tolist()), spelled)


def _truth(query: Between[TextSet], held: frozenset[TextSet]) -> Truth:
    if query.inner in held:
        return Truth.YES
    return Truth.UNKNOWN if query.outer in held else Truth.NO


@lru_cache(maxsize=1)
def _bare_keys() -> TextSet:
    """Keys that need no quotes where a syntax leaves these off; see `Syntax.key`."""
    return pattern_texts("^[A-Za-z_][A-Za-z0-9_.-]*$", pointer="").inner


_Members = list[frozenset[TextSet]]
"""For each label of an automaton, which of some sets hold the texts labelled so."""


def _told_apart(sets: list[TextSet]) -> tuple[CharacterAutomaton, _Members]:
    """An automaton whose labels tell for each set whether it holds a text.

    No two of its states are equal, since the automata that run side by side are minimal.
    """
    automaton, members = _lists([one for one in sets if one.listed is not None])
    for one in sets:
        if one.listed is None:
            automaton, members = _beside(automaton, members, one)
    return automaton, members


def _beside(
    automaton: CharacterAutomaton, members: _Members, one: TextSet
) -> tuple[CharacterAutomaton, _Members]:
    inside: _Members = [frozenset(), frozenset({one})]
    if automaton.states == 1:
        return one.automaton, [members[0] | held for held in inside]
    number: dict[tuple[int, int], int] = {}

    def label(end: int, other: int) -> int:
        return number.setdefault((end, other), len(number))

    both = product(automaton, one.automaton, label)
    return both, [members[end] | inside[other] for end, other in number]


def _lists(sets: list[TextSet]) -> tuple[CharacterAutomaton, _Members]:
    """One automaton for all sets that are kept as lists, and what holds the texts of a label."""
    others = sum(1 << place for place, one in enumerate(sets) if one.outside)
    held: dict[str, int] = {}
    for place, one in enumerate(sets):
        for text in one.listed or ():
            held[text] = held.get(text, others) ^ (1 << place)
    number = {others: 0}
    labels = {text: number.setdefault(bits, len(number)) for text, bits in held.items()}
    members = [
        frozenset(one for place, one in enumerate(sets) if bits >> place & 1) for bits in number
    ]
    return trie(labels, other=0), members


def _written(
    table: NDArray[np.int32], label: NDArray[np.int32], labels: tuple[Label, ...], spelled: Spelling
) -> Leaf:
    """Puts the spelling of a character in place of each move; table: int32 [S, C], -1 is dead.

    A state of the leaf is a state between characters or one within a character's bytes. What is
    ahead of the latter is a row of next states, and equal rows are one state.
    """
    states = len(table)
    ahead = table  # per state and code of the spelling so far: the next state
    made: list[NDArray[np.int32]] = []
    total = states
    for level, beneath in zip(spelled.levels[:-1], spelled.beneath, strict=True):
        rows, places = _rows(table, ahead, level, beneath)
        kept, ids = _distinct(rows)
        reached = np.where(ids >= 0, ids + total, -1).astype(np.int32)
        ahead = np.hstack([ahead, reached[places]])
        made.append(kept)
        total += len(kept)
        if max(total * level.shape[1], ahead.size) > _ENTRIES:
            raise SchemaTooLarge(max(total * level.shape[1], ahead.size), _ENTRIES, _PARTS)
    if total > STATE_BUDGET:
        raise SchemaTooLarge(total, STATE_BUDGET)
    root = spelled.levels[-1][0]
    roots = np.where(root >= 0, ahead[:, root], -1)
    moves = np.concatenate([roots, *made]).astype(np.int32)
    ends = np.concatenate([label, np.full(total - states, -1)]).astype(np.int16)
    return Leaf(moves, spelled.class_of, ends, labels)


def _rows(
    table: NDArray[np.int32],
    ahead: NDArray[np.int32],
    level: NDArray[np.int32],
    beneath: tuple[tuple[int, ...], ...],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Next states by byte, int32 [R, B], for all nodes of a level, and where each is, [S, N].

    States whose moves by the columns beneath a node are the same share its row.
    """
    shared: dict[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    rows: list[NDArray[np.int32]] = []
    places = np.empty((len(table), len(level)), np.int64)
    count = 0
    for node, (codes, columns) in enumerate(zip(level, beneath, strict=True)):
        if columns not in shared:
            shared[columns] = _alike(table[:, columns])
        first, place = shared[columns]
        rows.append(np.where(codes >= 0, ahead[np.ix_(first, codes)], np.int32(-1)))
        places[:, node] = place + count
        count += len(first)
        if count * len(codes) > _ENTRIES:
            raise SchemaTooLarge(count * len(codes), _ENTRIES, _PARTS)
    return np.concatenate(rows), places


def _alike(moves: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One place of each distinct row, and for each row its place among these."""
    packed = np.ascontiguousarray(moves)
    if packed.shape[1] > 1:
        packed = packed.view(np.dtype((np.void, packed.shape[1] * packed.itemsize)))
    _, first, place = np.unique(packed.ravel(), return_index=True, return_inverse=True)
    return first, place


def _distinct(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The distinct rows in order of meeting, but those without any move, and which each is (-1)."""
    number: dict[bytes, int] = {np.full(rows.shape[1], -1, np.int32).tobytes(): -1}
    first: list[int] = []
    ids = np.empty(len(rows), np.int64)
    width = rows.shape[1] * 4
    packed = np.ascontiguousarray(rows).tobytes()
    for place in range(len(rows)):
        key = packed[place * width : (place + 1) * width]
        known = number.setdefault(key, len(first))
        if known == len(first):
            first.append(place)
        ids[place] = known
    return rows[first], ids
