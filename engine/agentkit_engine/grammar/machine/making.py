"""What the walks through objects and arrays ask of what makes blocks for the values inside.

Knows the questions. Must not know how they are answered: values hold values, so that the maker of
blocks needs the walks and the walks need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agentkit_engine.grammar.formula import Formula
from agentkit_engine.grammar.machine.block import Block, Marks
from agentkit_engine.grammar.machine.effort import Effort
from agentkit_engine.grammar.machine.judgement import Wanted
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.syntax import Syntax

__all__ = ["Maker"]


class Maker(Protocol):
    """Makes the blocks of one document, with a certain effort.

    free_keys: how many keys that no schema names an object may have at most, which are then kept
    apart; None: any number, though they may repeat. lavish: so many also where the schema doesn't
    speak of them. marks: gathers what was met on the way. check:
    raises SchemaTooLarge once the time or memory allowed is used up.
    """

    options: Options
    syntax: Syntax
    effort: Effort
    free_keys: int | None
    lavish: bool
    marks: Marks
    check: Callable[[], None]

    def block(self, formulas: Sequence[Formula], wanted: Wanted, depth: int) -> Block:
        """All values whose label (the truth of each formula) is wanted."""
        ...

    def listed(self, formulas: Sequence[Formula], limit: int, depth: int) -> tuple[Formula, ...]:
        """Formulas for each of the values that the given ones allow, if these are few scalars."""
        ...
