"""How much of a schema's language is written: as much as the budgets allow, never too much of it.

Knows blocks and budgets. Must not know tokens. Recursion, values that nothing is said of, long
arrays and keys in any order make automata large; they are cut back step by step, which leaves
values out and lets none in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from agentkit_engine.errors import (
    SchemaTooLarge,
    UnsatisfiableSchema,
    UnsupportedSchema,
)
from agentkit_engine.grammar.formula import Formula, Reference
from agentkit_engine.grammar.leaf import Leaf
from agentkit_engine.grammar.machine.automaton import ByteAutomaton
from agentkit_engine.grammar.machine.block import Block, Builder, Marks, assembled
from agentkit_engine.grammar.machine.effort import Effort, efforts
from agentkit_engine.grammar.machine.judgement import Wanted
from agentkit_engine.grammar.machine.limits import Limits
from agentkit_engine.grammar.machine.objects import key_groups
from agentkit_engine.grammar.machine.recursion import cyclic
from agentkit_engine.grammar.machine.repetition import repeats_itself
from agentkit_engine.grammar.machine.values import YES, Machine
from agentkit_engine.grammar.schema.options import Options
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.syntax import Syntax

__all__ = ["content_automaton", "leaf_automaton", "value_automaton"]

_DEEPEST = 64
_FREE_DEPTH = 5  # levels of values that nothing is said of
_ENOUGH = 2  # levels for which less of other things is given up
_TOLD = 3  # sizes that tell how they grow
_SMALL = 4000
_SHARE = 0.5  # of the time left that one effort may take, unless it is the last
_FATAL = {"bytes"}  # limits that less effort doesn't help to keep
_WANTED = Wanted(frozenset({YES}))


def value_automaton(reader: Reader, place: str, syntax: Syntax) -> ByteAutomaton:
    """The values that the schema at `place` allows, as `syntax` writes them.

    Raises UnsupportedSchema, UnsatisfiableSchema or SchemaTooLarge.
    """
    limits = Limits(reader.options)
    make = partial(Machine, reader, syntax, cyclic(reader, place), limits, {})
    machine, block = _largest_that_fits(make, place, reader.options, limits)
    if not block.exits:
        first = reader.pointer(machine.barren[0]) if machine.barren else ""
        why = f"nothing fits the part at {first!r}" if first != reader.pointer(place) else ""
        raise UnsatisfiableSchema(reader.pointer(place), why)
    automaton = assembled(block, [YES])
    if Marks.REPEATING not in block.marks:
        return automaton
    limits.allot(1.0)
    strict = _strict(make, Reference(place), machine.effort, size=block.size)
    if strict is None:
        why = "several keys or items are needed that must differ, and they can't be kept apart"
        raise UnsupportedSchema("uniqueItems", reader.pointer(place), why)
    repeats = partial(repeats_itself, syntax, lambda: automaton)
    return replace(automaton, repeats=repeats, strict=assembled(strict, [YES]))


def _largest_that_fits(
    make: Callable[..., Machine], place: str, options: Options, limits: Limits
) -> tuple[Machine, Block]:
    """The block of the most generous effort that stays below `typical_states`, or else the least.

    Only the least generous may take up to `max_states`; where not even that suffices, all nesting
    is cut and not only recursion. No effort takes more than a share of the time left.
    """
    *ordinary, last = efforts(options)
    least = ordinary[-1]
    typical = min(options.typical_states, options.max_states)
    attempts = [(effort, typical, 1) for effort in ordinary]
    attempts += [(least, options.max_states, 1), (least, options.max_states, 0)]
    generous, best = True, _Made(-1)
    failed: SchemaTooLarge | None = None
    for effort, budget, first in attempts:
        if best.machine is not None and budget > typical:
            break
        if not generous and budget == typical < options.max_states:
            continue  # would be the same again
        if failed is not None and failed.parts == "seconds" and effort is not least:
            continue  # no time for small steps
        limits.allot(_SHARE)
        machine = make(effort=effort)
        machine.budget = budget
        try:
            block, depth = _deep_enough(machine, Reference(place), first=first)
        except SchemaTooLarge as error:
            if error.parts in _FATAL:
                raise
            generous, failed = Marks.GENEROUS in machine.marks, error
            continue
        generous = Marks.GENEROUS in block.marks
        enough = Marks.CUT not in block.marks or depth >= _ENOUGH or options.depth is not None
        if failed is not None and not block.exits:
            raise failed  # with less effort nothing is left; that need not hold of the schema
        if depth > best.depth:
            best = _Made(depth, machine, block)
        if enough or not generous:
            break
    if best.machine is not None and best.block is not None:
        return best.machine, best.block
    limits.allot(1.0)
    machine = make(effort=last)
    block, _ = _deep_enough(machine, Reference(place))
    if failed is not None and not block.exits:
        raise failed
    return machine, block


@dataclass(frozen=True, slots=True)
class _Made:
    depth: int
    machine: Machine | None = None
    block: Block | None = None


def _strict(
    make: Callable[..., Machine], formula: Formula, effort: Effort, *, size: int
) -> Block | None:
    """A block in which keys never repeat: with several free keys, with one, or with none.

    It is seldom used, and so should be no larger than the whole one, of `size`.
    """
    several = len(key_groups())
    few = replace(effort, most_items=2, longest=24, key_limit=-1)
    flat = replace(few, all_nesting=True)
    tries: list[tuple[int, Effort, int | None]] = [(several, few, size)] if size <= _SMALL else []
    tries += [(1, few, size), (0, few, size)]
    lavish = replace(effort, key_limit=-1)  # some arrays must be counted far
    tries += [(many, one, None) for one in (few, flat, lavish) for many in (0, 1, several)]
    for free_keys, how, budget in tries:
        machine = make(effort=how, free_keys=free_keys)
        machine.lavish = budget is None
        if budget is not None:
            machine.budget = max(_SMALL, budget)
        try:
            block, _ = _deep_enough(machine, formula)
        except SchemaTooLarge as error:
            if error.parts in _FATAL or error.parts == "seconds":
                raise
            continue
        if block.exits:
            return block
    return None


def _deep_enough(machine: Machine, formula: Formula, *, first: int = 1) -> tuple[Block, int]:
    """As many levels of recursion as fit `typical_states`, at least as many as any value needs.

    Gives the block and its levels. A strict automaton, which is seldom asked, gets no more than
    needed.
    """
    options = machine.options
    best: tuple[Block, int] | None = None
    sizes: list[int] = []
    for depth in range(first, _DEEPEST) if options.depth is None else [options.depth]:
        try:
            block = machine.block([formula], _WANTED, depth)
        except SchemaTooLarge:
            if best is None or not best[0].exits:
                raise
            return best
        if best is not None and best[0].exits and block.size > options.typical_states:
            return best
        best = block, depth
        if Marks.CUT not in block.marks or (machine.free_keys is not None and block.exits):
            break
        starved = Marks.STARVED in block.marks
        if not block.exits and not starved:  # deeper nesting has nothing to add
            break
        if block.exits:
            machine.budget = options.typical_states
            sizes.append(block.size)
            if _next_size(sizes) > options.typical_states or (not starved and depth >= _FREE_DEPTH):
                break
    assert best is not None
    return best


def _next_size(sizes: Sequence[int]) -> float:
    """About how large one more level makes a block: each adds a multiple of what the last did."""
    if len(sizes) < _TOLD:
        return 0
    first, second, third = sizes[-_TOLD:]
    return third + (third - second) ** 2 / max(1, second - first)


def content_automaton(reader: Reader, place: str, syntax: Syntax) -> ByteAutomaton:
    """The texts of the strings that the schema at `place` allows, without their quotes.

    Raises TemplateError if it allows other values too, and what `value_automaton` raises.
    """
    options = reader.options
    machine = Machine(reader, syntax, frozenset(), Limits(options), {}, effort=efforts(options)[0])
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
