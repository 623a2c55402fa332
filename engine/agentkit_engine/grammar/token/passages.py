"""Passages, kept for a vocabulary: the same leaves come back in schema after schema.

Knows leaves and how long to keep what was worked out. Must not know skeletons.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from weakref import WeakKeyDictionary

from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.token.index import VocabularyIndex, index_of
from agentkit_engine.grammar.token.leaves import Passage, passage
from agentkit_engine.grammar.token.rests import Ways
from agentkit_engine.grammar.token.vocabulary import Vocabulary

__all__ = ["Passages", "passages_of"]

_Key = tuple[tuple[bytes, bytes, bytes], Ways, int, int]


class Passages:
    """The passages of one vocabulary; those least recently asked for go first.

    budget: bytes that may be kept.
    """

    def __init__(self, index: VocabularyIndex, *, budget: int = 1 << 28) -> None:
        self.index = index
        self.budget = budget
        self._kept: OrderedDict[_Key, Passage] = OrderedDict()
        self._held = 0
        self._lock = Lock()

    def whole(self, leaf: Leaf, ways: Ways) -> Passage:
        """All tokens, from every state of the leaf."""
        return self._passage(leaf, ways, 0, -1)

    def entering(self, leaf: Leaf, ways: Ways, *, node: int, state: int) -> Passage:
        """The tokens that come to `state` of the leaf with their bytes up to `node`."""
        return self._passage(leaf, ways, node, state)

    def _passage(self, leaf: Leaf, ways: Ways, node: int, state: int) -> Passage:
        key = (leaf.key, ways, node, state)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        starts = range(leaf.states) if state < 0 else (state,)
        found = passage(self.index, leaf, ways, node=node, starts=starts)
        with self._lock:
            self._held += 0 if key in self._kept else found.nbytes
            self._kept[key] = found
            while self._held > self.budget and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes
        return found


_known: WeakKeyDictionary[Vocabulary, Passages] = WeakKeyDictionary()


def passages_of(vocabulary: Vocabulary) -> Passages:
    """The passages of a vocabulary, made when they are first asked for."""
    found = _known.get(vocabulary)
    if found is None:
        found = _known[vocabulary] = Passages(index_of(vocabulary))
    return found
