"""Values that a schema lists, and which of them it really allows.

Knows `enum`, `const` and the reference validator, which it asks only where something besides a type
stands beside the list. Must not know how values are written.
"""

from functools import cached_property
from typing import Any

from agentkit_engine.grammar.keywords import Node, allowed_types

__all__ = ["Checker"]


class Checker:
    """Judges single values by the schemas of one document."""

    def __init__(self, root: Any) -> None:
        self.root = root

    def listed(self, node: Node) -> list[Any] | None:
        """The values that `enum` or `const` lists, or None if neither stands there."""
        if "const" in node:
            return [node.get("const")]
        if "enum" not in node:
            return None
        values = node.get("enum")
        if not isinstance(values, list):
            raise node.refuse("enum", f"needs a list of values, not {values!r}")
        return values

    def allowed(self, node: Node) -> list[Any]:
        """Of the listed values those that the node's other keywords allow too."""
        values = self.listed(node) or []
        rest = node.without("const", *(() if "const" in node else ("enum",)))
        if set(rest.keywords) <= {"type"}:
            kinds = set(allowed_types(rest))
            return [value for value in values if kinds & _types_of(value)]
        return [value for value in values if self.valid(value, dict(rest.keywords), node)]

    def valid(self, value: Any, schema: Any, node: Node) -> bool:
        """Whether the reference validator accepts a value that `node` lists, formats asserted."""
        try:
            return bool(self._validator.evolve(schema=schema).is_valid(value))
        except Exception as error:  # a broken reference or pattern, each with its own exception
            keyword = "const" if "const" in node else "enum"
            raise node.refuse(keyword, f"its values can't be checked: {error}") from error

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator

        checker = Draft202012Validator.FORMAT_CHECKER
        return Draft202012Validator(self.root, format_checker=checker)


def _types_of(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"integer", "number"} if value.is_integer() else {"number"}
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return {names.get(type(value), "")}
