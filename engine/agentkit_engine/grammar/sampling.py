"""Values drawn at random from a schema.

Knows schemas and their automata over bytes. Must not know what keywords mean, or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.inspection import places
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.machine.compilation import value_automaton
from agentkit_engine.grammar.machine.enumeration import all_texts
from agentkit_engine.grammar.machine.repetition import identity
from agentkit_engine.grammar.readable import ReadableTexts
from agentkit_engine.grammar.schema.document import Document
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.syntax import JSON, Syntax

__all__ = ["distances", "random_text", "sample_values"]

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_PATIENCE = 60  # tries for one more value


def sample_values(
    schema: Any,
    count: int,
    *,
    seed: int | None = None,
    options: Options | None = None,
    syntax: Syntax = JSON,
) -> list[Any]:
    """`count` random values that `schema` allows; all different if there are that many.

    Args:
        seed: the same seed draws the same values; None draws others every time.
        options: how the schema is read; optional keys that it does not declare are written only
            with `Options(open=True)`.
        syntax: what each value is written in before it is read back.

    Raises:
        UnsupportedSchema, UnsatisfiableSchema, SchemaTooLarge: as compiling the schema does.
    """
    reader = Reader(Document(schema), options or Options())
    automaton = value_automaton(reader, reader.root, syntax)
    chance = Random(seed)
    found: dict[str, Any] = {}
    for texts in _sources(automaton, _names(reader.document, syntax), syntax, chance, count):
        misses = 0
        for text in texts:
            if len(found) == count or misses > _PATIENCE:
                break
            value = syntax.loads(text)
            misses = misses + 1 if identity(value) in found else 0
            found.setdefault(identity(value), value)
    values = list(found.values())
    return values + [chance.choice(values) for _ in range(count - len(values))]


def _names(document: Document, syntax: Syntax) -> tuple[bytes, ...]:
    """The keys that a document names anywhere, as they stand between quotes."""
    found: dict[str, None] = {}
    for place in places(document):
        for keyword in ("properties", "required"):
            listed = place.schema.get(keyword)
            if isinstance(listed, Mapping | list):
                found.update(dict.fromkeys(map(str, cast("Iterable[object]", listed))))
    return tuple(syntax.dumps(name)[1:-1] for name in found if name.isprintable())


def _sources(
    automaton: ByteAutomaton,
    names: tuple[bytes, ...],
    syntax: Syntax,
    chance: Random,
    count: int,
) -> Iterator[Iterable[bytes]]:
    """Where to take texts from, one source after another: the nicest that have enough first."""
    whole = all_texts(automaton, 4 * count + 64)
    if whole is not None:
        chance.shuffle(whole)
        yield [text for text in whole if automaton.accepts(text)]
        return
    ahead = distances(automaton)
    yield _accepted(automaton, ReadableTexts(automaton, ahead, names, syntax, chance).draw)
    yield _accepted(automaton, lambda: random_text(automaton, ahead, chance))
    if (strict := automaton.strict) is not None:
        readable = ReadableTexts(strict, distances(strict), names, syntax, chance)
        yield _accepted(strict, readable.draw)


def _accepted(automaton: ByteAutomaton, draw: Callable[[], bytes]) -> Iterator[bytes]:
    """Texts that repeat no key, as long as there are any to be had."""
    failures = 0
    while failures <= _PATIENCE:
        text = draw()
        if automaton.repeats is None or not automaton.repeats(text):
            yield text
            failures = 0
        else:
            failures += 1


def random_text(automaton: ByteAutomaton, ahead: Ints, chance: Random, *, turns: int = 60) -> bytes:
    """One text: random moves, and after `turns` of them the shortest way out.

    ahead: what `distances` says.
    """
    state, text = automaton.start, bytearray()
    while True:
        moves = automaton.ways(state).items()
        ways = sorted(way for way in moves if ahead[way[1]] < automaton.states)
        if automaton.ends(state) and (not ways or len(text) >= turns or chance.random() < 0.3):
            return bytes(text)
        if len(text) >= turns:
            byte, state = min(ways, key=lambda way: (ahead[way[1]], way[0]))
        else:
            byte, state = chance.choice(ways)
        text.append(byte)


def distances(automaton: ByteAutomaton) -> Ints:
    """int32 [states]: bytes from each state to the nearest end; states + 1 where there is none.

    Backwards from the ends, a level at a time. A leaf state goes on as the state of its exit, so it
    is as far as that one is, at no byte's cost.
    """
    src, dst, inside, exit_ = _graph(automaton)
    before = _Backwards(src, dst, automaton.states)
    leaving = _Backwards(inside, exit_, automaton.states)
    ahead = np.full(automaton.states, automaton.states + 1, np.int32)
    far, ends = automaton.states + 1, np.flatnonzero(automaton.accepting)
    ahead[ends] = 0
    level, reached = 0, ends
    while len(reached):
        merged = leaving.of(reached)
        merged = merged[ahead[merged] == far]
        ahead[merged] = level
        level += 1
        reached = before.of(np.concatenate([reached, merged]))
        reached = np.unique(reached[ahead[reached] == far])
        ahead[reached] = level
    return ahead


class _Backwards:
    """Edges looked up by where they lead."""

    def __init__(self, src: Longs, dst: Longs, states: int) -> None:
        order = np.argsort(dst, kind="stable")
        self._src = src[order]
        self._first = np.searchsorted(dst[order], np.arange(states + 1))

    def of(self, states: Longs) -> Longs:
        """Where the edges come from that lead to one of `states`."""
        first = self._first[states]
        count = self._first[states + 1] - first
        total = int(count.sum())
        offset = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        return self._src[np.repeat(first, count) + offset]


def _graph(automaton: ByteAutomaton) -> tuple[Longs, Longs, Longs, Longs]:
    """src, dst: int64 [E], pairs of states that a byte joins; inside, exit: int64 [X], each leaf
    state that may be left, and the state whose moves it then has."""
    src = [automaton.src.astype(np.int64)]
    dst = [automaton.dst.astype(np.int64)]
    inside, exits = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    places: dict[Leaf, list[int]] = {}
    for number, one in enumerate(automaton.instances):
        places.setdefault(one.leaf, []).append(number)
    for leaf, among in places.items():
        base = np.array([automaton.instances[number].base for number in among])[:, None]
        joined = np.unique(leaf.moves[0] * leaf.states + leaf.moves[2])
        src.append((base + joined // leaf.states).ravel())
        dst.append((base + joined % leaf.states).ravel())
        named = np.flatnonzero(leaf.label >= 0)
        target = np.array([automaton.instances[number].exits for number in among], np.int64)
        target = target[:, leaf.label[named]]
        inside.append((base + named)[target >= 0])
        exits.append(target[target >= 0])
    return np.concatenate(src), np.concatenate(dst), np.concatenate(inside), np.concatenate(exits)
