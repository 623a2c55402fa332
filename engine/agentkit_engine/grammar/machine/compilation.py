"""How much of a schema's language is written: as much as the budgets allow, never too much of it.

Knows blocks and budgets. Must not know tokens. Recursion, values that nothing is said of, long
arrays and keys in any order make automata large; they are cut back step by step, which leaves
values out and lets none in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from agentkit_engine.errors import (
    SchemaTooLarge,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.grammar.formula import Formula, Reference
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.machine.block import Block, Builder, assembled
from agentkit_engine.grammar.machine.judgement import Wanted
from agentkit_engine.grammar.machine.objects import key_groups
from agentkit_engine.grammar.machine.recursion import cyclic
from agentkit_engine.grammar.machine.repetition import repeats_itself
from agentkit_engine.grammar.machine.values import YES, Machine
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.syntax import Syntax

__all__ = ["content_automaton", "leaf_automaton", "value_automaton"]

_DEEPEST = 64
_SMALL = 4000
_WANTED = Wanted(frozenset({YES}))


def value_automaton(reader: Reader, place: str, syntax: Syntax) -> ByteAutomaton:
    """The values that the schema at `place` allows, as `syntax` writes them.

    Raises UnsupportedSchema, UnsatisfiableSchema or SchemaTooLarge.
    """
    options = reader.options
    deadline = time.monotonic() + options.max_seconds
    make = partial(Machine, reader, syntax, cyclic(reader, place), deadline=deadline)
    machine, block = _largest_that_fits(make, place, options)
    if not block.exits:
        first = reader.pointer(machine.barren[0]) if machine.barren else ""
        why = f"nothing fits the part at {first!r}" if first != reader.pointer(place) else ""
        raise UnsatisfiableSchema(reader.pointer(place), why)
    automaton = assembled(block, [YES])
    if not machine.repeating:
        return automaton
    strict = _strict(make, Reference(place), small=block.size <= _SMALL)
    if strict is None:
        why = "several keys or items are needed that must differ, and they can't be kept apart"
        raise UnsupportedSchema("uniqueItems", reader.pointer(place), why)
    repeats = partial(repeats_itself, syntax, lambda: automaton)
    return replace(automaton, repeats=repeats, strict=assembled(strict, [YES]))


def _largest_that_fits(
    make: Callable[..., Machine], place: str, options: Options
) -> tuple[Machine, Block]:
    """The most generous machine whose block stays below `typical_states`, or else the smallest.

    Where not even that stays below `max_states`, all nesting is cut and not only recursion.
    """
    found: tuple[Machine, Block] | None = None
    for effort in _efforts(any_order=options.order == "any"):
        machine = make(**effort)
        try:
            block = _deep_enough(machine, Reference(place))
        except SchemaTooLarge as error:
            if error.parts != "states":
                raise
        else:
            if found is None or block.size < found[1].size:
                found = machine, block
            if block.size <= options.typical_states:
                break
        if not machine.generous:
            break
    if found is None:
        machine = make(most_items=2, longest=24, all_nesting=True)
        found = machine, _deep_enough(machine, Reference(place))
    return found


def _efforts(*, any_order: bool) -> Iterator[dict[str, Any]]:
    """Ever less generous ways to make a machine."""
    for most_items, longest in ((32, 512), (8, 64), (2, 24)):
        yield {"any_order": any_order, "most_items": most_items, "longest": longest}
    if any_order:
        yield {"most_items": 2, "longest": 24}


def _strict(make: Callable[..., Machine], formula: Formula, *, small: bool) -> Block | None:
    """A block in which keys never repeat: with several free keys, with one, or with none."""
    several = (len(key_groups()),)
    for free_keys in (*(several if small else ()), 1, 0, *(() if small else several)):
        for all_nesting in (False, True):
            machine = make(free_keys=free_keys, most_items=2, longest=24, all_nesting=all_nesting)
            try:
                block = _deep_enough(machine, formula)
            except SchemaTooLarge as error:
                if error.parts != "states":
                    raise
                continue
            if block.exits:
                return block
            break
    return None


def _deep_enough(machine: Machine, formula: Formula) -> Block:
    """As many levels of recursion as fit `typical_states`, at least as many as any value needs.

    A strict automaton, which is seldom asked, gets no more than needed.
    """
    options = machine.options
    best: Block | None = None
    for depth in range(1, _DEEPEST) if options.depth is None else [options.depth]:
        try:
            block = machine.block([formula], _WANTED, depth)
        except SchemaTooLarge:
            if best is None or not best.exits:
                raise
            return best
        if best is not None and best.exits and block.size > options.typical_states:
            return best
        best = block
        if not block.cut or (machine.free_keys is not None and block.exits):
            break
        if not (block.exits or block.starved):  # deeper nesting has nothing to add
            break
        if block.exits:
            machine.budget = options.typical_states
    assert best is not None
    return best


def content_automaton(reader: Reader, place: str, syntax: Syntax) -> ByteAutomaton:
    """The texts of the strings that the schema at `place` allows, without their quotes.

    Raises TemplateError if it allows other values too, and what `value_automaton` raises.
    """
    deadline = time.monotonic() + reader.options.max_seconds
    machine = Machine(reader, syntax, frozenset(), deadline=deadline)
    leaf = machine.content(Reference(place))
    if leaf is None:
        raise UnsatisfiableSchema(reader.pointer(place))
    return leaf_automaton(leaf)


def leaf_automaton(leaf: Leaf) -> ByteAutomaton:
    """The texts of a leaf, whatever their label."""
    builder = Builder(1 << 31)
    first = builder.leaf(leaf, (builder.exit(YES),) * len(leaf.labels))
    automaton = assembled(builder.finish(), [YES])
    return replace(automaton, start=first if first >= 0 else automaton.skeleton - 1 - first)
