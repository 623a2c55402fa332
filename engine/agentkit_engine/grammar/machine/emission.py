"""Objects and arrays as bytes: the graph of situations with punctuation between its moves.

Knows a syntax and blocks. Must not know formulas. From every situation two things may follow: the
closing bracket, or a separator and one more piece.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.machine.block import Builder
from agentkit_engine.grammar.machine.tries import Tries

if TYPE_CHECKING:
    from agentkit_engine.grammar.machine.arrays import ArrayWalk
    from agentkit_engine.grammar.machine.objects import ObjectWalk
    from agentkit_engine.grammar.machine.walk import Situation, Walk, Way
    from agentkit_engine.syntax import Syntax

__all__ = ["write_array", "write_object"]


class _Writer(ABC):
    """Writes one walk into a builder; situations become states when they are first led to."""

    def __init__(self, builder: Builder, syntax: Syntax, walk: Walk, closing: bytes) -> None:
        self.builder = builder
        self.syntax = syntax
        self.walk = walk
        self.closing = closing
        self._after: dict[Situation, int] = {}
        self._values: dict[Hashable, int] = {}
        self._pieces: dict[Hashable, int] = {}

    def write(self, opening: bytes, first: Situation) -> None:
        builder = self.builder
        inside = builder.state()
        if self.walk.differing:
            builder.unique.append(inside)
        builder.chain(0, opening, inside)
        self._close(inside, first)
        self.piece(inside, first)
        done = 0
        while done < len(self._after):  # writing one situation may lead to further ones
            for situation, state in list(self._after.items())[done:]:
                done += 1
                self._close(state, situation)
                if any(True for _ in self.walk.offered(situation)):
                    builder.chain(state, self.syntax.item_separator, self._next_piece(situation))

    def _close(self, state: int, situation: Situation) -> None:
        label = self.walk.closing.get(situation)
        if label is not None:
            self.builder.chain(state, self.closing, self.builder.exit(label))

    def _next_piece(self, situation: Situation) -> int:
        """The state before one more piece."""
        key = self.sequel(situation)
        if key not in self._pieces:
            self._pieces[key] = self.builder.state()
            self.piece(self._pieces[key], situation)
        return self._pieces[key]

    def sequel(self, situation: Situation) -> Hashable:
        """Equal for situations after which the same may come."""
        return tuple((way.key, self.value(way)) for way in self.walk.offered(situation))

    def after(self, situation: Situation) -> int:
        """The state behind a piece that led to `situation`."""
        if situation not in self._after:
            self._after[situation] = self.builder.state()
        return self._after[situation]

    def value(self, way: Way) -> int:
        """The state before the value of a way, the same for ways with equal values and sequels."""
        exits = {label: self.after(target) for label, target in way.targets.items()}
        key = (id(way.block), frozenset(exits.items()))
        if key not in self._values:
            self._values[key] = self.builder.state()
            self.builder.embed(way.block, self._values[key], exits)
        return self._values[key]

    @abstractmethod
    def piece(self, state: int, situation: Situation) -> None:
        """Lets `state` go on with one member or item."""


class _Items(_Writer):
    def piece(self, state: int, situation: Situation) -> None:
        for way in self.walk.offered(situation):
            self.builder.merge(state, self.value(way))


class _Members(_Writer):
    def __init__(self, builder: Builder, syntax: Syntax, walk: ObjectWalk) -> None:
        super().__init__(builder, syntax, walk, b"}")
        self._object = walk
        self._tries = Tries(builder)
        self._tried: dict[Situation, tuple[int | None, Situation]] = {}
        self._leaves: dict[Hashable, int] = {}
        self._behind: dict[int, int] = {}

    def sequel(self, situation: Situation) -> Hashable:
        return self._trie(situation), tuple((key, self.value(way)) for key, way in
                                            self._unnamed(situation).items())  # fmt: skip

    def piece(self, state: int, situation: Situation) -> None:
        trie = self._trie(situation)
        unnamed = self._unnamed(situation)
        if unnamed:
            trie = self._with_free(state, situation, unnamed)
        if trie is not None:
            self._tries.begin(state, trie)

    def _trie(self, situation: Situation) -> int | None:
        """The named keys that may come next: those of the further situation, and some more."""
        chain: list[Situation] = []
        found: Situation | None = situation
        while found is not None and found not in self._tried:
            chain.append(found)
            found = self.walk.passing.get(found)
        trie, last = self._tried[found] if found is not None else (None, chain[-1])
        for one in reversed(chain):
            for way in self.walk.ways[one]:
                if isinstance(way.key, int):
                    text = self._text(self._object.names[way.key])
                    trie = self._tries.with_text(trie, text, self.value(way))
            self._tried[one] = trie, last
        return trie

    def _text(self, name: str) -> bytes:
        return self.syntax.key(name) + self.syntax.key_separator

    def _unnamed(self, situation: Situation) -> dict[Label, Way]:
        """The keys that no schema names, which only the last situation in a row offers."""
        self._trie(situation)
        _, last = self._tried[situation]
        return {way.key: way for way in self.walk.ways[last] if isinstance(way.key, tuple)}

    def _with_free(
        self, state: int, situation: Situation, unnamed: Mapping[Label, Way]
    ) -> int | None:
        """Lets `state` go on with keys that are free, and gives the trie of all others."""
        named = {self._object.names[way.key]: self.value(way)
                 for way in self.walk.offered(situation) if isinstance(way.key, int)}  # fmt: skip
        keys = self._object.free_keys()
        targets = {label: self.value(way) for label, way in unnamed.items()}
        for label, name in keys.names.items():
            if name in named:
                targets[label] = named.pop(name)
        self._free(state, keys.leaf, targets)
        return self._tries.of({self._text(name): value for name, value in named.items()})

    def _free(self, state: int, leaf: Leaf, targets: Mapping[Label, int]) -> None:
        """Any key of a leaf, its label deciding which value follows.

        Keys that may not come here lead nowhere: one leaf for all places, worked out once for a
        vocabulary, is worth more than having no dead ends.
        """
        exits = tuple(self._key_end(targets[label]) if label in targets else -1
                      for label in leaf.labels)  # fmt: skip
        if self.syntax.bare_keys:
            self.builder.join(state, leaf, exits)
            return
        key = (leaf.key, exits)
        if key not in self._leaves:
            self._leaves[key] = self.builder.leaf(leaf, exits)
        self.builder.chain(state, self.syntax.quote, self._leaves[key])

    def _key_end(self, value: int) -> int:
        """The state behind the text of a key whose value begins in `value`."""
        if value not in self._behind:
            closing = b"" if self.syntax.bare_keys else self.syntax.quote
            text = closing + self.syntax.key_separator
            self._behind[value] = self.builder.before(text, value)
        return self._behind[value]


def write_object(builder: Builder, syntax: Syntax, walk: ObjectWalk, first: Situation) -> None:
    """Adds the objects of a walk to what the builder's start may begin."""
    _Members(builder, syntax, walk).write(b"{", first)


def write_array(builder: Builder, syntax: Syntax, walk: ArrayWalk, first: Situation) -> None:
    """Adds the arrays of a walk to what the builder's start may begin."""
    _Items(builder, syntax, walk, b"]").write(b"[", first)
