"""Keys as moves: deterministic tries over the keys that may come next, shared where they can be.

Knows key texts and builder states. Must not know formulas. A trie with one more key shares all but
the way to that key, so that the tries of all places of a large object together stay small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentkit_engine.grammar.machine.block import Builder

__all__ = ["Tries"]


@dataclass(frozen=True, slots=True)
class _End:
    """A text ends here, and its target state goes on."""

    target: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Only `text`, which is not empty, leads on, to another node."""

    text: bytes
    then: int


@dataclass(frozen=True, slots=True)
class _Fork:
    """Several bytes lead on, each to a node."""

    ways: frozenset[tuple[int, int]]


_Node = _End | _Run | _Fork


class Tries:
    """Tries of (text, target state) pairs, by number; no text is the beginning of another."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._nodes: list[_Node] = []
        self._numbers: dict[_Node, int] = {}
        self._states: dict[tuple[bytes, int], int] = {}

    def with_text(self, trie: int | None, text: bytes, target: int) -> int:
        """The trie that holds one more text; None is the trie that holds none."""
        end = self._number(_End(target))
        if trie is None:
            return self._run(text, end)
        above: list[bytes | tuple[dict[int, int], int]] = []
        while True:
            node = self._nodes[trie]
            if isinstance(node, _Run):
                shared = _shared(node.text, text)
                if shared < len(node.text):
                    found = self._run(node.text[:shared], self._fork({
                        node.text[shared]: self._run(node.text[shared + 1 :], node.then),
                        text[shared]: self._run(text[shared + 1 :], end),
                    }))  # fmt: skip
                    break
                above.append(node.text)
                trie, text = node.then, text[shared:]
                continue
            assert isinstance(node, _Fork)
            ways = dict(node.ways)
            if text[0] not in ways:
                found = self._fork({**ways, text[0]: self._run(text[1:], end)})
                break
            above.append((ways, text[0]))
            trie, text = ways[text[0]], text[1:]
        for way in reversed(above):
            if isinstance(way, bytes):
                found = self._run(way, found)
            else:
                found = self._fork({**way[0], way[1]: found})
        return found

    def of(self, ways: Mapping[bytes, int]) -> int | None:
        """The trie of some texts and their targets."""
        trie: int | None = None
        for text, target in ways.items():
            trie = self.with_text(trie, text, target)
        return trie

    def begin(self, state: int, trie: int) -> None:
        """Lets `state` go on with any of the texts."""
        open_ = [(state, b"", trie)]
        while open_:
            state, text, number = open_.pop()
            node = self._nodes[number]
            if not text and isinstance(node, _Run):
                text, number = node.text, node.then
            if text:
                ways = [(text[0], text[1:], number)]
            else:
                assert isinstance(node, _Fork)
                ways = [(byte, b"", then) for byte, then in sorted(node.ways)]
            for byte, rest, then in ways:
                self._builder.move(state, byte, self._state(rest, then, open_))

    def _state(self, text: bytes, number: int, open_: list[tuple[int, bytes, int]]) -> int:
        """The state from which `text` leads to a node; `open_` takes it if it is new."""
        node = self._nodes[number]
        if not text and isinstance(node, _End):
            return node.target
        if not text and isinstance(node, _Run):
            text, number = node.text, node.then
        key = (text, number)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = self._builder.state()
            open_.append((found, text, number))
        return found

    def _run(self, text: bytes, then: int) -> int:
        return self._number(_Run(text, then)) if text else then

    def _fork(self, ways: dict[int, int]) -> int:
        return self._number(_Fork(frozenset(ways.items())))

    def _number(self, node: _Node) -> int:
        found = self._numbers.setdefault(node, len(self._nodes))
        if found == len(self._nodes):
            self._nodes.append(node)
        return found


def _shared(left: bytes, right: bytes) -> int:
    """How many bytes two texts begin with alike."""
    pairs = enumerate(zip(left, right, strict=False))
    return next(
        (place for place, (one, other) in pairs if one != other), min(map(len, (left, right)))
    )
