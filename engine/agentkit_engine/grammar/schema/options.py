"""What may be chosen about how a schema is read and how its values are written.

Knows names and numbers. Must not know what follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Choices of one compilation; every one keeps what is written valid.

    order: "declared" writes keys in the order in which the schema declares them; "any" lets up to
    `key_limit` keys of an object come in any order.
    open: what the schema allows without speaking of it may be written: further keys, and values of
    other types than its keywords are about.
    formats: "assert" honours the formats that are known, "ignore" takes them as annotations.
    unknown_formats, unknown_keywords: "ignore" takes them as annotations, as JSON Schema says;
    "refuse" raises UnsupportedSchema.
    depth: levels of recursion that are written; None: as many as fit the budgets.
    max_states: states of the automaton over bytes; more raises SchemaTooLarge.
    typical_states: recursion and free nesting are cut so that the automaton stays below.
    max_seconds: seconds that building may take. max_memory: bytes that it may take.
    key_limit: how many keys of one object may come in any order.
    """

    order: Literal["declared", "any"] = "declared"
    open: bool = False
    formats: Literal["assert", "ignore"] = "assert"
    unknown_formats: Literal["ignore", "refuse"] = "ignore"
    unknown_keywords: Literal["ignore", "refuse"] = "ignore"
    depth: int | None = None
    max_states: int = 200_000
    typical_states: int = 20_000
    max_seconds: float = 10.0
    max_memory: int = 1 << 30
    key_limit: int = 6
