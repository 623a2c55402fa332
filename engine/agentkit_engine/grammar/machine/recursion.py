"""Which schemas of a document contain themselves.

Knows references between formulas. Must not know anything else of them. Strongly connected parts
after Tarjan (1972).
"""

from __future__ import annotations

from collections.abc import Iterator

from agentkit_engine.grammar.formula import (
    Contains,
    Covered,
    Formula,
    Items,
    Keys,
    Members,
    Reference,
)
from agentkit_engine.grammar.machine.judgement import atoms
from agentkit_engine.grammar.schema.reader import Reader

__all__ = ["cyclic"]


def cyclic(reader: Reader, root: str) -> frozenset[str]:
    """The places, among those that `root` leads to, whose schemas lead back to themselves."""
    after: dict[str, list[str]] = {}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    found: set[str] = set()
    path: list[tuple[str, Iterator[str]]] = []

    def enter(place: str) -> None:
        number[place] = low[place] = len(number)
        stack.append(place)
        waiting.add(place)
        after[place] = list(dict.fromkeys(_leads_to(reader.formula(place))))
        path.append((place, iter(after[place])))

    enter(root)
    while path:
        place, rest = path[-1]
        for other in rest:
            if other not in number:
                enter(other)
                break
            if other in waiting:
                low[place] = min(low[place], number[other])
        else:
            path.pop()
            if path:
                low[path[-1][0]] = min(low[path[-1][0]], low[place])
            if low[place] == number[place]:
                part = stack[stack.index(place) :]
                del stack[len(stack) - len(part) :]
                waiting.difference_update(part)
                if len(part) > 1 or place in after[place]:
                    found.update(part)
    return frozenset(found)


def _leads_to(formula: Formula) -> Iterator[str]:
    """The places of the schemas that a formula asks of the values inside."""
    for atom in atoms(formula):
        match atom:
            case Reference(place):
                yield place
            case Members(_, value) | Items(_, _, value) | Contains(value, _):
                yield from _leads_to(value)
            case Covered(_, branches, value):
                yield from _leads_to(value)
                for _, reach in branches:
                    if not isinstance(reach, Keys | tuple):
                        yield from _leads_to(reach)
            case _:
                pass
