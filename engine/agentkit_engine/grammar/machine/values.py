"""From formulas to blocks: all values about which certain formulas have a wanted truth.

Knows how each kind of value is written and how values nest. Must not know how schemas are spelled,
or tokens. A block is asked for several formulas at once, since a value may have to tell by what it
is which of several alternatives it belongs to; it ends in one place for each label of truths.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from agentkit_engine.errors import SchemaTooLarge, TemplateError
from agentkit_engine.grammar.formula import (
    KINDS,
    Formula,
    IsBoolean,
    Kind,
    Reference,
    evaluate,
)
from agentkit_engine.grammar.leaf import Label, Leaf
from agentkit_engine.grammar.machine.arrays import ArrayWalk
from agentkit_engine.grammar.machine.block import Block, Builder, Marks, assembled
from agentkit_engine.grammar.machine.effort import Effort
from agentkit_engine.grammar.machine.emission import write_array, write_object
from agentkit_engine.grammar.machine.enumeration import all_texts
from agentkit_engine.grammar.machine.folding import (
    equals,
    numbers,
    sure_numbers,
    sure_texts,
    texts,
)
from agentkit_engine.grammar.machine.judgement import (
    Wanted,
    atoms,
    bounds,
    reduced,
    settled,
    specialised,
)
from agentkit_engine.grammar.machine.limits import Limits
from agentkit_engine.grammar.machine.objects import ObjectWalk
from agentkit_engine.grammar.machine.walk import Situation
from agentkit_engine.grammar.number.sets import NumberSet
from agentkit_engine.grammar.number.writing import number_leaf
from agentkit_engine.grammar.schema.reader import Reader
from agentkit_engine.grammar.text.sets import TextSet
from agentkit_engine.grammar.text.writing import text_leaf
from agentkit_engine.grammar.truth import Between, Truth
from agentkit_engine.syntax import Syntax

__all__ = ["YES", "Blocks", "Machine"]

_MAX_NESTING = 60
_COUNTING = 5  # states a character that a leaf which counts characters has at least
_OPEN = (Truth.NO, Truth.YES)
YES: Label = (Truth.YES,)

Blocks = dict[Hashable, list[tuple[int, Block]]]
"""By what is asked and wanted: pairs of the depth that a block was made for, and the block."""


class Machine:
    """Makes the blocks of one document, with a certain effort.

    free_keys: how many keys that no schema names an object may have at most, which are then kept
    apart; None: any number, though they may repeat. shared: blocks that machines for the same
    document have in common.
    """

    def __init__(
        self,
        reader: Reader,
        syntax: Syntax,
        cycles: frozenset[str],
        limits: Limits,
        shared: Blocks,
        *,
        effort: Effort,
        free_keys: int | None = None,
    ) -> None:
        self.reader = reader
        self.syntax = syntax
        self.options = reader.options
        self.effort = effort
        self.free_keys = free_keys
        self.lavish = False  # free keys kept apart come also where the schema doesn't speak of them
        self.budget = reader.options.max_states
        self.barren: list[str] = []  # places of schemas that allow nothing, innermost first
        self.marks = Marks.NONE
        self.check = limits.check
        self._blocks: Blocks = {}
        self._shared: Blocks = {} if effort.all_nesting else shared
        self._walks: dict[Hashable, tuple[ObjectWalk | ArrayWalk, Situation | None]] = {}
        self._special: dict[tuple[Formula, Kind], Formula] = {}
        self._cycles = cycles
        self._nesting = 0

    def block(self, formulas: Sequence[Formula], wanted: Wanted, depth: int) -> Block:
        """All values whose label (the truth of each formula) is wanted.

        depth: levels of recursion that are left; below 0 the block is empty.
        """
        asked = tuple(map(self._resolved, formulas))
        key = (asked, wanted.key)
        known = self._known(key, depth)
        if known is not None:
            self.marks |= known.marks
            return known
        self.check()
        recursive = self._recursive(formulas) or all(settled(one) is not None for one in asked)
        block = self._written(asked, wanted, depth, recursive=recursive)
        self._blocks.setdefault(key, []).append((depth, block))
        if self.free_keys is None and Marks.GENEROUS not in block.marks:
            self._shared.setdefault(key, []).append((depth, block))
        if not block.exits and Marks.CUT not in block.marks and wanted.is_only(YES):
            self.barren += [one.place for one in formulas if isinstance(one, Reference)]
        return block

    def _known(self, key: Hashable, depth: int) -> Block | None:
        """A block made before, by this machine or another."""
        for blocks in (self._blocks, self._shared):
            for made_for, block in blocks.get(key, ()):
                if self.free_keys is not None and blocks is self._shared and (
                    block.marks & (Marks.REPEATING | Marks.CUT)
                ):  # fmt: skip
                    continue
                if made_for == depth or (Marks.CUT not in block.marks and made_for <= depth):
                    return block
        return None

    def _written(
        self, asked: tuple[Formula, ...], wanted: Wanted, depth: int, *, recursive: bool
    ) -> Block:
        builder = Builder(self.budget)
        outside, self.marks = self.marks, Marks.NONE
        try:
            for kind in KINDS:
                special = tuple(self._specialised(formula, kind) for formula in asked)
                spans = [bounds(formula, lambda atom: _OPEN) for formula in special]
                if not wanted.reachable(spans):
                    continue
                if kind not in {"object", "array"}:
                    self._scalar(kind, builder, special, wanted)
                elif recursive and depth <= 0:
                    starved = any(settled(one) is None for one in asked)
                    self.marks |= Marks.CUT | Marks.STARVED if starved else Marks.CUT
                else:
                    self._nest(kind, builder, special, wanted, depth - recursive)
        finally:
            builder.marks = self.marks
            self.marks |= outside
        return builder.finish()

    def _nest(
        self, kind: Kind, builder: Builder, special: tuple[Formula, ...], wanted: Wanted, depth: int
    ) -> None:
        if self._nesting >= _MAX_NESTING:
            raise SchemaTooLarge(_MAX_NESTING + 1, _MAX_NESTING, "levels of nesting")
        self._nesting += 1
        try:
            walk, first = self._walk(kind, special, wanted, depth)
        finally:
            self._nesting -= 1
        if first is not None and isinstance(walk, ObjectWalk):
            write_object(builder, self.syntax, walk, first)
        elif first is not None and isinstance(walk, ArrayWalk):
            write_array(builder, self.syntax, walk, first)

    def _walk(
        self, kind: Kind, special: tuple[Formula, ...], wanted: Wanted, depth: int
    ) -> tuple[ObjectWalk | ArrayWalk, Situation | None]:
        """The situations of objects or arrays; most are the same, however deep values nest."""
        key = (kind, special, wanted.key)
        known = self._walks.get(key)
        if known is not None and known[0].deepened(depth):
            return known
        make = ObjectWalk if kind == "object" else ArrayWalk
        walk = make(self, special, wanted, depth)
        found = self._walks[key] = (walk, walk.explore())
        return found

    def _scalar(
        self, kind: Kind, builder: Builder, special: tuple[Formula, ...], wanted: Wanted
    ) -> None:
        if kind == "null":
            self._literal(builder, b"null", special, wanted, lambda atom: Truth.YES)
        elif kind == "boolean":
            for text, value in ((b"true", True), (b"false", False)):
                self._literal(builder, text, special, wanted, partial(_is, value))
        elif kind == "number":
            leaf = self._leaf(special, wanted, numbers, sure_numbers, _number_leaf)
            if leaf is not None:
                builder.join(0, leaf, tuple(map(builder.exit, leaf.labels)))
        else:
            leaf = self._string(special, wanted)
            if leaf is not None:
                quote = self.syntax.quote
                exits = tuple(builder.before(quote, builder.exit(one)) for one in leaf.labels)
                builder.chain(0, quote, builder.leaf(leaf, exits))

    def _string(self, special: tuple[Formula, ...], wanted: Wanted) -> Leaf | None:
        return self._leaf(special, wanted, texts, self._sure_texts, self._text_leaf)

    def _sure_texts(self, formula: Formula) -> TextSet:
        """The texts that surely fulfil a formula; only shorter ones if these are too many."""
        try:
            return sure_texts(formula)
        except SchemaTooLarge:
            self.marks |= Marks.GENEROUS
            short = sure_texts(formula, TextSet.lengths(0, self.effort.longest))
            if short.empty:
                raise
            return short

    def _text_leaf(self, queries: tuple[Between[TextSet], ...]) -> Leaf:
        leaf = text_leaf(queries, self.syntax)
        if leaf.states <= _COUNTING * self.effort.longest or len(queries) != 1:
            return leaf
        self.marks |= Marks.GENEROUS
        short = queries[0].inner & TextSet.lengths(0, self.effort.longest)
        return leaf if short.empty else text_leaf((Between.exactly(short),), self.syntax)

    def _literal(
        self,
        builder: Builder,
        text: bytes,
        special: tuple[Formula, ...],
        wanted: Wanted,
        truth: Callable[[Formula], Truth],
    ) -> None:
        label = tuple(evaluate(formula, truth) for formula in special)
        if label in wanted:
            builder.chain(0, text, builder.exit(label))

    def _leaf(
        self,
        special: tuple[Formula, ...],
        wanted: Wanted,
        fold: Callable[[Formula], Any],
        sure: Callable[[Formula], Any],
        make: Callable[[tuple[Any, ...]], Leaf],
    ) -> Leaf | None:
        """The leaf of all texts with a wanted label, labelled with the truths of the formulas."""
        asked = {formula: None for formula in special if settled(formula) is None}
        if len(asked) == len(special) == 1 and wanted.is_only(YES):
            # whatever else may be true of others need not be told
            leaf = make((Between.exactly(sure(special[0])),))
            return leaf.renamed(lambda label: label if label == YES else None)
        leaf = make(tuple(map(fold, asked)))

        def name(label: Label) -> Label | None:
            truths = dict(zip(asked, label, strict=True))
            found = tuple(
                truths[formula] if formula in truths else settled(formula) or Truth.NO
                for formula in special
            )
            return found if found in wanted else None

        return leaf.renamed(name)

    def content(self, formula: Formula) -> Leaf | None:
        """The texts of the strings that fulfil a formula; None if none does.

        Raises TemplateError if other values than strings do.
        """
        asked = self._resolved(formula)
        wanted = Wanted(frozenset({YES}))
        for kind in KINDS:
            special = self._specialised(asked, kind)
            spans = [bounds(special, lambda atom: (Truth.NO, Truth.YES))]
            if kind != "string" and wanted.reachable(spans):
                raise TemplateError(
                    f"the schema allows other values than strings ({kind!r}), so its quotes can't "
                    "be left off"
                )
        return self._string((self._specialised(asked, "string"),), wanted)

    def listed(self, formulas: Sequence[Formula], limit: int, depth: int) -> tuple[Formula, ...]:
        """Formulas for each of the values that the given ones allow, if these are at most `limit`.

        Empty if there are more, or no formulas are given.
        """
        found: dict[str, Formula] = {}
        for formula in formulas:
            block = self.block((formula,), Wanted(frozenset({YES})), depth)
            known = all_texts(assembled(block, block.exits), limit)
            for text in known or ():
                value = self.syntax.loads(text)
                one = equals(value)
                if one is None:
                    return ()
                found.setdefault(json.dumps(value), one)
            if known is None or len(found) > limit:
                return ()
        return tuple(found.values())

    def _specialised(self, formula: Formula, kind: Kind) -> Formula:
        key = (formula, kind)
        if key not in self._special:
            self._special[key] = specialised(formula, kind)
        return self._special[key]

    def _resolved(self, formula: Formula) -> Formula:
        return reduced(
            formula,
            lambda atom: self.reader.formula(atom.place) if isinstance(atom, Reference) else None,
        )

    def _recursive(self, formulas: Sequence[Formula]) -> bool:
        """Whether values nest in themselves, or nothing is said of them."""
        if not formulas or self.effort.all_nesting:
            return True
        places = [atom.place for formula in formulas for atom in atoms(formula)
                  if isinstance(atom, Reference)]  # fmt: skip
        return any(place in self._cycles for place in places)


def _number_leaf(queries: tuple[Between[NumberSet], ...]) -> Leaf:
    """Where only listed numbers are asked for, they are written as they are listed: 1, not 1.0."""
    ranges = any(any(one.outer.spans) for one in queries)
    return number_leaf(queries, whole_points=None if ranges or not queries else False)


def _is(value: bool, atom: Formula) -> Truth:
    return Truth.YES if isinstance(atom, IsBoolean) and atom.value is value else Truth.NO
