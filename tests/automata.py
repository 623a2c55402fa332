"""Byte automata made by hand, for tests of what is lifted from them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton, Instance
from agentkit_engine.grammar.truth import Truth

LETTERS = b"abc"
"""What the texts of random automata are made of."""


def repeated(letters: bytes, *, least: int = 0) -> Leaf:
    """At least so many of these bytes."""
    class_of = np.zeros(256, np.uint8)
    class_of[list(letters)] = 1
    table = np.full((least + 1, 2), -1, np.int32)
    table[:, 1] = [*range(1, least + 1), least]
    label = np.full(least + 1, -1, np.int16)
    label[-1] = 0
    return Leaf(table, class_of, label, ((),))


def sequence(*parts: bytes | Leaf) -> ByteAutomaton:
    """Literals and leaves, one after the other; a leaf stands before a literal or at the end."""
    edges: list[tuple[int, int, int]] = []
    leaves: list[tuple[Leaf, int]] = []
    states, at = 1, 0
    for part in parts:
        if isinstance(part, Leaf):
            leaves.append((part, states))
            if edges:
                edges[-1] = (*edges[-1][:2], -len(leaves))
        for byte in part if isinstance(part, bytes) else b"":
            edges.append((at, byte, states))
            at, states = states, states + 1
        if isinstance(part, Leaf):
            at, states = states, states + 1
    ends = np.cumsum([states, *(leaf.states for leaf, _ in leaves)]).tolist()
    moves = np.array([(a, b, c if c >= 0 else ends[-c - 1]) for a, b, c in edges], np.int32)
    instances = [
        Instance(leaf, base, (out,)) for (leaf, out), base in zip(leaves, ends, strict=False)
    ]
    start = instances[0].base if isinstance(parts[0], Leaf) else 0
    sources, letters, targets = moves.reshape(-1, 3).T
    accepting = np.arange(states) == at
    return ByteAutomaton(sources, letters, targets, accepting, tuple(instances), start)


def language(*texts: bytes) -> ByteAutomaton:
    """Just these texts, without any leaf."""
    nodes = sorted({text[:end] for text in texts for end in range(len(text) + 1)})
    moves = [(nodes.index(node[:-1]), node[-1], nodes.index(node)) for node in nodes if node]
    src, byte, dst = np.array(moves, np.int32).reshape(-1, 3).T
    return ByteAutomaton(src, byte, dst, np.array([node in texts for node in nodes]), (), 0)


def twice(text: bytes) -> bool:
    """Whether an object repeats a key."""
    keys = [key for key, _ in json.loads(text, object_pairs_hook=list)]
    return len({*keys}) < len(keys)


KEYS = repeated(b"ab", least=1)
FREE = replace(
    sequence(b'{"', KEYS, b'":1,"', KEYS, b'":1}'),
    repeats=twice,
    strict=sequence(b'{"a', repeated(b"ab"), b'":1,"b', repeated(b"ab"), b'":1}'),
)
"""Objects of two free keys; of the strict ones the first begins with a, the second with b."""


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    """Any leaf over LETTERS, with up to two labels."""
    states = draw(st.integers(1, 3))
    moves = st.integers(-1, states - 1)
    table = [[draw(moves) for _ in LETTERS] + [-1] for _ in range(states)]
    label = [draw(st.integers(-1, 1)) for _ in range(states)]
    class_of = np.full(256, len(LETTERS), np.uint8)
    class_of[list(LETTERS)] = range(len(LETTERS))
    labels = ((Truth.NO,), (Truth.YES,))
    return Leaf(np.array(table, np.int32), class_of, np.array(label, np.int16), labels)


@st.composite
def byte_automata(draw: st.DrawFn) -> ByteAutomaton:
    """Any skeleton and any leaves in it: loops, dead ends, leaves entered midway."""
    skeleton = draw(st.integers(1, 4))
    exits = st.integers(-1, skeleton - 1)
    known = draw(st.lists(leaves(), max_size=2))
    instances: list[Instance] = []
    states = skeleton
    for leaf in draw(st.lists(st.sampled_from(known), max_size=3)) if known else []:
        instances.append(Instance(leaf, states, (draw(exits), draw(exits))))
        states += leaf.states
    target = st.none() | st.integers(0, states - 1)
    moves = [(src, byte, draw(target)) for src in range(skeleton) for byte in LETTERS]
    kept = [move for move in moves if move[2] is not None]
    sources, letters, targets = np.array(kept, np.int32).reshape(-1, 3).T
    accepting = np.array([draw(st.booleans()) for _ in range(skeleton)])
    start = draw(st.integers(0, states - 1))
    return ByteAutomaton(sources, letters, targets, accepting, tuple(instances), start)
