"""JSON Schema 2020-12 -> the language of its values, as a syntax writes them.

Knows how schemas are combined: references, choices, conjunctions, listed values. Must not know
tokens. Sound first: every text of the language is a valid value; a keyword that can't be honoured
raises `UnsupportedSchema`, and where only a part of the valid values can be written (recursion is
cut, open objects get no extra keys) that part is.
"""

from collections import Counter
from typing import Any

from agentkit_engine.errors import (
    SchemaTooLarge,
    TemplateError,
    UnsatisfiableSchema,
)
from agentkit_engine.grammar.automaton import ByteAutomaton
from agentkit_engine.grammar.construction import build
from agentkit_engine.grammar.disjoint import disjoint
from agentkit_engine.grammar.expression import NOTHING, Expression, choice, literal
from agentkit_engine.grammar.keywords import Node, merge, read, target, wanted_types
from agentkit_engine.grammar.objects import typed_expression
from agentkit_engine.grammar.values import Checker
from agentkit_engine.syntax import JSON, Syntax

__all__ = ["schema_automaton"]

_MAX_NESTING = 3
_MAX_SCHEMAS = 20_000
_MAX_DEPTH = 50


def schema_automaton(
    schema: Any,
    *,
    syntax: Syntax = JSON,
    root: Any = None,
    pointer: str = "",
    content_only: bool = False,
) -> ByteAutomaton:
    """The minimal automaton of a schema's values.

    `root` is the document that references point into, `pointer` the place of `schema` in it.
    `content_only` leaves off the quotes of a schema whose values are all strings.

    Raises UnsupportedSchema, UnsatisfiableSchema or SchemaTooLarge.
    """
    compiler = _Compiler(schema if root is None else root, syntax)
    found = build(compiler.expression(schema, pointer))
    if found.empty:
        raise UnsatisfiableSchema(pointer, compiler.why_empty(pointer))
    if not content_only:
        return found
    content = found.unquoted(syntax.quote[0])
    if content is None:
        raise TemplateError(
            f"the schema at {pointer!r} allows other values than strings, so its quotes can't be "
            "left off"
        )
    return content


class _Compiler:
    """Walks one document; `nesting` counts how often each reference is being followed."""

    def __init__(self, root: Any, syntax: Syntax) -> None:
        self.root = root
        self.syntax = syntax
        self.checker = Checker(root)
        self.nesting: Counter[str] = Counter()
        self.schemas = 0
        self.depth = 0
        self.empty: list[str] = []

    def why_empty(self, pointer: str) -> str:
        """The innermost schema that allows nothing, if it is not the whole one."""
        first = self.empty[0] if self.empty else pointer
        return "" if first == pointer else f"nothing fits the part at {first!r}"

    def expression(self, schema: Any, pointer: str) -> Expression:
        self.schemas += 1
        if self.schemas > _MAX_SCHEMAS:
            raise SchemaTooLarge(self.schemas, _MAX_SCHEMAS, "sub-schemas")
        if self.depth == _MAX_DEPTH:
            raise SchemaTooLarge(self.depth + 1, _MAX_DEPTH, "levels of nesting")
        self.depth += 1
        found: Expression = NOTHING
        if schema is not False:
            found = self.values(read({} if schema is True else schema, pointer))
        self.depth -= 1
        if found == NOTHING:
            self.empty.append(pointer)
        return found

    def values(self, node: Node) -> Expression:
        """What a node allows; combining keywords are resolved one after another."""
        if "$ref" in node:
            return self.referred(node)
        if "allOf" in node:
            members = list(node.branches("allOf"))
            if len(members) > 1:
                raise node.refuse("allOf", "only a single member is supported")
            return self.branch(node, "allOf", *members[0])
        for keyword in ("oneOf", "anyOf"):
            if keyword in node:
                branches = list(node.branches(keyword))
                if keyword == "oneOf":
                    self.require_disjoint(node, branches)
                return choice([self.branch(node, keyword, *one) for one in branches])
        if "enum" in node or "const" in node:
            return choice(literal(self.syntax.dumps(value)) for value in self.checker.allowed(node))
        return choice(
            typed_expression(kind, node, self.syntax, self.expression)
            for kind in wanted_types(node)
        )

    def referred(self, node: Node) -> Expression:
        """What `$ref` points at. Where that nests too deep, nothing: the branch is left out."""
        schema, pointer = target(node, self.root)
        if self.nesting[pointer] >= _MAX_NESTING:
            return NOTHING
        self.nesting[pointer] += 1
        found = self.branch(node, "$ref", schema, pointer)
        self.nesting[pointer] -= 1
        return found

    def branch(self, node: Node, keyword: str, schema: Any, pointer: str) -> Expression:
        """A schema that holds beside the other keywords of `node`."""
        beside = node.without(keyword)
        if not beside.keywords:
            return self.expression(schema, pointer)
        if isinstance(schema, bool):
            return self.values(beside) if schema else NOTHING
        self.depth += 1
        found = self.values(merge(beside, read(schema, pointer), keyword))
        self.depth -= 1
        return found

    def require_disjoint(self, node: Node, branches: list[tuple[Any, str]]) -> None:
        schemas = [schema for schema, _ in branches]
        for number, left in enumerate(schemas):
            for right in schemas[number + 1 :]:
                if not disjoint(left, right, self.checker):
                    other = schemas.index(right, number + 1)
                    why = f"branches {number} and {other} may share values; use 'anyOf'"
                    raise node.refuse("oneOf", why)
