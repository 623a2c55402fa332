"""How characters are spelled as bytes: UTF-8, with or without the escapes of JSON.

Knows alphabets and bytes. Must not know sets of texts, schemas or tokens. Every character has
exactly one spelling, so that an automaton over characters has one over bytes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentkit_engine.grammar.text.automaton import Columns

__all__ = ["Alphabet", "Spelling", "spelling"]

Alphabet = Literal["json", "plain"]
"""json: every character, as `json.dumps(ensure_ascii=False)` writes it between the quotes. plain:
every character but the controls of ASCII, of which only line feed and tab; as it is."""

_NONE = -1
_CHILD = 1 << 20  # codes from here on are nodes, those below columns
_PLAIN_ASCII = frozenset({0x09, 0x0A, *range(0x20, 0x7F)})
_JSON_ASCII = frozenset(range(0x20, 0x80)) - {0x22, 0x5C}
_ESCAPED = frozenset(range(0x20)) | {0x22, 0x5C}
_LEADS = (
    *((0xC0 + lead, 1, lead << 6, (lead << 6) + 0x3F) for lead in range(2, 32)),
    *((0xE0 + lead, 2, max(lead << 12, 0x800), 0xD7FF if lead == 13 else (lead << 12) + 0xFFF)
      for lead in range(16)),
    *((0xF0 + lead, 3, max(lead << 18, 0x10000), min((lead << 18) + 0x3FFFF, 0x10FFFF))
      for lead in range(5)),
)  # fmt: skip
"""(first byte, bytes that follow, first and last code point) of UTF-8 (RFC 3629) beyond ASCII."""


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """A tree of bytes under which each character stands as its column.

    levels: one int32 array [N, B] for each height, from the leaves up, the last being the root
    alone. An entry is -1 (no such byte), a column, or `first_node` + the number of a node of a
    lower level (nodes are numbered through, in order). beneath: the columns beneath each node, by
    level without the root. class_of: uint8 [256], the entry of a byte. columns: those that some
    spelled character has.
    """

    levels: tuple[NDArray[np.int32], ...]
    beneath: tuple[tuple[tuple[int, ...], ...], ...]
    class_of: NDArray[np.uint8]
    first_node: int
    columns: frozenset[int]


@lru_cache(maxsize=1024)
def spelling(columns: Columns, alphabet: Alphabet) -> Spelling:
    """The spelling of all characters of an alphabet, told apart as far as `columns` does."""
    nodes = _Nodes(columns)
    root = [_NONE] * 256
    for code in _JSON_ASCII if alphabet == "json" else _PLAIN_ASCII:
        root[code] = columns[code]
    for lead, following, low, high in _LEADS:
        root[lead] = nodes.following(following, low, high)
    if alphabet == "json":
        spelled = {json.dumps(chr(code))[1:-1].encode()[1:]: columns[code] for code in _ESCAPED}
        root[0x5C] = nodes.tree(spelled)
    return _packed(nodes, root)


class _Nodes:
    """The nodes made so far: their rows, how high they stand, and which are equal."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.rows: list[list[int]] = []
        self.height: list[int] = []
        self.known: dict[tuple[int, ...], int] = {}

    def add(self, row: list[int], height: int) -> int:
        number = self.known.setdefault(tuple(row), len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
            self.height.append(height)
        return _CHILD + number

    def following(self, count: int, low: int, high: int) -> int:
        """What stands for the code points `low` to `high`, which `count` more bytes tell apart."""
        if count == 0:
            return self.columns[low]
        step = 1 << 6 * (count - 1)
        row = [_NONE] * 256
        cuts = self.columns.cuts
        first = low
        while first <= high:
            # the blocks from here on in which nothing changes are all alike
            place = bisect_right(cuts, first)
            change = cuts[place] if place < len(cuts) else 0x110000
            last = first | (step - 1)
            same = first % step == 0 and last <= high
            code = self.following(count - 1, first, min(last, high))
            while True:
                row[0x80 + (first >> 6 * (count - 1) & 0x3F)] = code
                first = last + 1
                last = first + step - 1
                if not same or last > high or last >= change:
                    break
        return self.add(row, count)

    def tree(self, spelled: dict[bytes, int]) -> int:
        """The node under which these bytes lead to these columns."""
        if b"" in spelled:
            return spelled[b""]
        row = [_NONE] * 256
        height = 1
        for byte in {text[0] for text in spelled}:
            code = self.tree(
                {text[1:]: column for text, column in spelled.items() if text[0] == byte}
            )
            row[byte] = code
            if code >= _CHILD:
                height = max(height, self.height[code - _CHILD] + 1)
        return self.add(row, height)


def _packed(nodes: _Nodes, root: list[int]) -> Spelling:
    order = sorted(range(len(nodes.rows)), key=lambda node: nodes.height[node])
    width = nodes.columns.width
    renumbered = np.empty(len(order), np.int64)
    renumbered[order] = np.arange(len(order)) + width
    table = np.array([*(nodes.rows[node] for node in order), root], np.int64)
    inner = table >= _CHILD
    found = frozenset(np.unique(table[(table >= 0) & ~inner]).tolist())
    table[inner] = renumbered[table[inner] - _CHILD]
    kept, class_of = np.unique(table, axis=1, return_inverse=True)
    beneath: list[tuple[int, ...]] = []
    for row in kept[:-1].tolist():
        held = {code for code in row if 0 <= code < width}
        held.update(*(beneath[code - width] for code in row if code >= width))
        beneath.append(tuple(sorted(held)))
    heights = [nodes.height[node] for node in order]
    starts = [0, *(place for place in range(1, len(order)) if heights[place] != heights[place - 1])]
    spans = list(pairwise([*starts, len(order)]))
    levels = [np.ascontiguousarray(kept[low:high], np.int32) for low, high in spans]
    levels.append(kept[-1:].astype(np.int32))
    return Spelling(
        tuple(levels),
        tuple(tuple(beneath[low:high]) for low, high in spans),
        class_of.reshape(256).astype(np.uint8),
        width,
        found,
    )
