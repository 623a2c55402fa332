"""How much is tried: ever less generous ways to make a machine, each with a smaller result.

Knows numbers. Must not know what is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentkit_engine.grammar.schema.options import Options

__all__ = ["LEAST_KEY_LIMIT", "LEAST_NAMES", "Effort", "efforts"]

LEAST_KEY_LIMIT = 1
"""Objects that must hold no more keys are written in any order with every effort."""

LEAST_NAMES = 4
"""Beside so few named keys others may come with every effort but the last."""


@dataclass(frozen=True, slots=True)
class Effort:
    """most_items: how many items of an array are counted before it ends.

    longest: how many characters of a string are counted. key_limit: how many keys that must be
    remembered an object may have so that they come in any order, -1 where none may. most_names:
    beside how many named keys of an object others may come. all_nesting: every level counts as one
    of recursion.
    """

    most_items: int
    longest: int
    key_limit: int
    most_names: int = 10_000
    all_nesting: bool = False


def efforts(options: Options) -> list[Effort]:
    """The most generous first; nothing is left to try after the last."""
    any_order = options.order == "any"
    limits = (6, 6, 3, LEAST_KEY_LIMIT) if any_order else (-1, -1, -1)
    counts = ((32, 512), (8, 64), (4, 64), (2, 24)) if any_order else ((32, 512), (8, 64), (2, 24))
    found = [
        Effort(most_items, longest, min(limit, options.key_limit))
        for (most_items, longest), limit in zip(counts, limits, strict=True)
    ]
    found.append(replace(found[-1], most_names=LEAST_NAMES))
    return [*found, replace(found[-1], most_names=0, all_nesting=True)]
